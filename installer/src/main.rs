//! stub

use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let spec = Path::new(&args[3]);
    match args[1].as_str() {
        "supervise" => {
            if let Err(error) = td_deploy::supervisor::supervise(spec) {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        _ => {
            let error = td_deploy::supervisor::exec_server(spec, args[5].parse().unwrap_or(0));
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
