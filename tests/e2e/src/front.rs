//! A front before an ACME server: passes everything on, counts, and refuses or stalls what it is told to.

use crate::tls::{Authority, connect};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What to do with the requests whose path ends so.
#[derive(Clone)]
pub enum Fault {
    /// Answers 429 `rateLimited`, with this `Retry-After`.
    Limited(&'static str, u32),
    /// Answers nothing and keeps the connection open.
    Stalled(&'static str),
}

/// The front; its threads end with the test's process.
pub struct Front {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    asked: Vec<String>,
    fault: Option<Fault>,
}

impl Front {
    /// Before the server at `target`, whose certificate and ours the authority signs.
    pub fn to(target: SocketAddr, authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (config, root) =
            (authority.sign(&["localhost"]).server_config(), authority.root_pem().to_string());
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (config, root, state) = (Arc::clone(&config), root.clone(), Arc::clone(&shared));
                // A client that hangs up ends its own thread only.
                std::thread::spawn(move || drop(pass_on(socket, config, &root, target, &state)));
            }
        });
        Self { address, state }
    }

    /// The directory behind it.
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.address.port())
    }

    /// `METHOD /path` of every request so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().expect("lock").asked.clone()
    }

    /// From now on.
    pub fn set(&self, fault: Option<Fault>) {
        self.state.lock().expect("lock").fault = fault;
    }
}

/// One request per connection.
fn pass_on(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    root: &str,
    target: SocketAddr,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = BufReader::new(StreamOwned::new(session, socket));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        if line.trim().is_empty() {
            break;
        }
        // One request per connection, on both sides; pebble builds its links from `Host`, which stays.
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    let asked = head.lines().next().unwrap_or_default().rsplit_once(' ').unwrap_or_default().0.to_string();
    let fault = {
        let mut state = state.lock().expect("lock");
        state.asked.push(asked.clone());
        state.fault.clone()
    };
    let client = client.get_mut();
    match fault {
        Some(Fault::Limited(path, seconds)) if asked.ends_with(path) => {
            let problem = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates","status":429}"#;
            let head = format!(
                "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nRetry-After: {seconds}\r\n\
                 Connection: close\r\nContent-Length: {}\r\n\r\n",
                problem.len()
            );
            client.write_all(head.as_bytes())?;
            client.write_all(problem.as_bytes())?;
        }
        Some(Fault::Stalled(path)) if asked.ends_with(path) => {
            // Until the other side gives up.
            let mut nothing = [0];
            while client.read(&mut nothing)? > 0 {}
        }
        _ => {
            let mut server = connect(root, target, "localhost").map_err(std::io::Error::other)?;
            server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
            server.write_all(&body)?;
            std::io::copy(&mut server, client)?;
        }
    }
    client.conn.send_close_notify();
    client.flush()
}
