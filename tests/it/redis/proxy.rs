//! Stands between a client and the server and cuts connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

/// A proxy; it runs until the process ends.
pub struct Proxy {
    pub port: u16,
    /// How many connections are still cut.
    pub cuts: Arc<AtomicI64>,
}

impl Proxy {
    /// Before the server at `port`; a connection is cut each time that `every` more bytes have passed, in the middle of
    /// whatever passes.
    pub fn before(port: u16, every: i64, cuts: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let (cuts, left) = (Arc::new(AtomicI64::new(cuts)), Arc::new(AtomicI64::new(every)));
        let shared = Arc::clone(&cuts);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (left, cuts) = (Arc::clone(&left), Arc::clone(&shared));
                    thread::spawn(move || pass(from, to, every, &left, &cuts));
                }
            }
        });
        Self { port: own, cuts }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, every: i64, left: &AtomicI64, cuts: &AtomicI64) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let is_due = left.fetch_sub(read as i64, Ordering::SeqCst) <= read as i64;
        if is_due && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |cuts| (cuts > 0).then(|| cuts - 1)).is_ok()
        {
            left.store(every, Ordering::SeqCst);
            let _ = to.write_all(&buffer[..read / 2]);
            break;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
