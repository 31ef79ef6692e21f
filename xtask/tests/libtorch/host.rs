//! A host on this machine that serves, or fails to serve, the archive.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A host that does with each connection what it is told, and counts them.
pub struct Host {
    pub url: String,
    asked: Arc<AtomicUsize>,
}

impl Host {
    pub fn new(behave: impl Fn(TcpStream) + Send + Sync + 'static) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/libtorch.zip", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let behave = Arc::new(behave);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::SeqCst);
                let behave = behave.clone();
                thread::spawn(move || behave(stream));
            }
        });
        Host { url, asked }
    }

    /// Announces `length` bytes of `kind`, sends `body`, and keeps the line open for `linger` before hanging up.
    pub fn sending(kind: &'static str, body: Vec<u8>, length: usize, linger: Duration) -> Host {
        Host::new(move |mut stream| {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            // Whoever asked may have been killed meanwhile.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            thread::sleep(linger);
        })
    }

    pub fn good(body: Vec<u8>) -> Host {
        let length = body.len();
        Host::sending("application/zip", body, length, Duration::ZERO)
    }

    pub fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The address of a host that refuses at once.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/libtorch.zip", listener.local_addr().unwrap())
}
