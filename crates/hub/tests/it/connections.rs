//! Connections that are nearly, and quite, all taken.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::TestHub;

/// The head of the hub's answer to a request on an open connection.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(format!("{request} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_they_get_scarce_only_check_ins_keep_theirs_and_who_comes_too_late_waits() {
    let hub = TestHub::with(|settings| settings.hub.max_connections = 16).await;
    let address = hub.hub.address();
    let mut kept = TcpStream::connect(address).await.unwrap();
    let head = ask(&mut kept, "GET /healthz").await;
    assert!(head.starts_with("http/1.1 200") && !head.contains("connection: close"), "{head}");
    let mut others = Vec::new();
    for _ in 0..14 {
        let mut other = TcpStream::connect(address).await.unwrap();
        // It is known to be taken in once it is answered; a check-in keeps its connection, here also without a credential.
        let head = ask(&mut other, "POST /agent/v1/check-in").await;
        assert!(head.starts_with("http/1.1 4") && !head.contains("connection: close"), "{head}");
        others.push(other);
    }
    let mut last = TcpStream::connect(address).await.unwrap();
    let head = ask(&mut last, "GET /healthz").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
    // Taken anew, so that all are.
    let mut full = TcpStream::connect(address).await.unwrap();
    ask(&mut full, "POST /agent/v1/check-in").await;
    let mut late = TcpStream::connect(address).await.unwrap();
    late.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let early = timeout(Duration::from_millis(200), late.read_u8()).await;
    assert!(early.is_err(), "answered while all were taken: {early:?}");
    drop(others);
    assert_eq!(timeout(Duration::from_secs(10), late.read_u8()).await.unwrap().unwrap(), b'H');
}
