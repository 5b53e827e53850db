//! `td`, the tracker with a server of its own: see [`cli`].

mod cli;

fn main() -> std::process::ExitCode {
    cli::main().into()
}
