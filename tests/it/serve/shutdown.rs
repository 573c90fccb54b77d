//! How a server ends.

use super::client::connect;
use super::server::{Server, config, publish};
use std::io::Write;
use std::time::{Duration, Instant};
use tempfile::tempdir;

#[test]
fn a_request_under_way_is_answered_before_the_end() {
    for signal in ["-TERM", "-INT"] {
        let home = tempdir().unwrap();
        publish(home.path(), "fraud", &["42"], 0.5, 1);
        let server = Server::start(home.path(), &[]);
        let mut idle = server.connect();
        idle.get("/v1/fraud/42").expect(200);
        let mut busy = server.connect();
        let body = r#"{"keys":["42"]}"#;
        let head = format!(
            "POST /v1/fraud:mget HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        busy.stream.write_all(format!("{head}{}", &body[..4]).as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        server.signal(signal);
        let address = server.address;
        std::thread::sleep(Duration::from_millis(300));
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody new is let in");
        let answer = busy.send(&body.as_bytes()[4..]).unwrap().expect(200);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(idle.answer(false).is_err(), "an idle connection is closed");
        let began = Instant::now();
        let (code, told) = server.end();
        assert_eq!((code, told.as_str()), (Some(0), ""), "{signal}");
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn a_request_that_never_ends_does_not_hold_up_the_end() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let file = config(home.path(), "[limits]\ndrain_timeout = \"500ms\"\n");
    let server = Server::start(home.path(), &["--config", &file]);
    let mut slow = connect(server.address);
    slow.stream.write_all(b"POST /v1/fraud:mget HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal("-TERM");
    let began = Instant::now();
    let (code, told) = server.end();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("cut off"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
