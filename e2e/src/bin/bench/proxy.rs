//! A proxy on loopback that counts bytes.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Passes connections on, and counts what goes either way. Heads of TCP and IP are not counted.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: String,
    bytes: Arc<AtomicU64>,
}

impl Proxy {
    /// A proxy before `target`, `host:port`.
    pub(crate) fn start(target: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let bytes = Arc::new(AtomicU64::new(0));
        let (target, counted) = (target.to_owned(), bytes.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // What cannot be reached is refused, as without a proxy.
                let Ok(server) = TcpStream::connect(&target) else { continue };
                for (from, to) in
                    [(client.try_clone(), server.try_clone()), (server.try_clone(), client.try_clone())]
                {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    let counted = counted.clone();
                    thread::spawn(move || pass_on(from, to, &counted));
                }
            }
        });
        Ok(Self { address, bytes })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes so far, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, counted: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        counted.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
