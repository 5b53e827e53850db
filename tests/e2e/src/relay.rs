//! A cable between a device and a server that can be pulled out: a byte relay on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Forwards connections until it is cut; a cut also ends the connections under way.
pub struct Relay {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// A relay to `target` on a port of its own.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (is_cut, keep) = (Arc::clone(&cut), Arc::clone(&open));
        std::thread::spawn(move || {
            for inbound in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::SeqCst) {
                    continue; // dropped: the other side sees the connection closed without an answer
                }
                let Ok(outbound) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&inbound, &outbound), (&outbound, &inbound)] {
                    let (from, to) = (from.try_clone().expect("socket"), to.try_clone().expect("socket"));
                    keep.lock().expect("lock").push(from.try_clone().expect("socket"));
                    std::thread::spawn(move || pump(from, to));
                }
            }
        });
        Self { address, cut, open }
    }

    /// Where devices connect.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends every connection and forwards no new one.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for socket in self.open.lock().expect("lock").drain(..) {
            // Already closed by its own ends: nothing to cut.
            let _closed_before = socket.shutdown(Shutdown::Both);
        }
    }

    /// Forwards again.
    pub fn restore(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _other_side_may_be_gone = to.shutdown(Shutdown::Write);
}
