//! A client against a socket that answers byte by byte as the test wants.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use backstay_api::{
    Empty,
    agent::{GetPack, PackPath},
    v1::{ConstraintPath, GetHub, LiftConstraint, LiftRequest},
};
use backstay_client::{Client, ClientError, Options};
use backstay_types::{ConstraintId, ErrorCode, Id as _, Secret};

/// Answers one request with `answer`, and returns what it was sent.
fn serve(answer: Vec<u8>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        stream.write_all(&answer).unwrap();
        request
    });
    (url, server)
}

fn read_request(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(bytes).unwrap()
}

fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn options() -> Options {
    Options { timeout: Duration::from_secs(3), max_response_bytes: 1000, ..Options::default() }
}

async fn get_hub(answer: Vec<u8>) -> ClientError {
    let (url, _server) = serve(answer);
    let client = Client::with_options(&url, None, options()).unwrap();
    client.call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap_err()
}

#[tokio::test]
async fn sends_what_the_declaration_says() {
    let (url, server) = serve(answer(
        "404 Not Found",
        "application/problem+json",
        r#"{"code":"BS4004","title":"There is no such thing","status":404,"detail":"no such constraint"}"#,
    ));
    let client = Client::with_options(&url, Some(Secret::new("bst.x.y")), options()).unwrap();
    let path = ConstraintPath { constraint: ConstraintId::from_uuid(uuid()) };
    let request = LiftRequest { reason: "done".into() };
    let error = client.call::<LiftConstraint>(&path, &Empty {}, &request).await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!((problem.code, problem.detail.as_str()), (ErrorCode::BS4004, "no such constraint"));
    assert!(!error.is_temporary());
    let sent = server.join().unwrap();
    assert!(sent.starts_with(&format!("POST /api/v1/constraints/{}/lift HTTP/1.1\r\n", path.constraint)));
    assert!(sent.contains("authorization: Bearer bst.x.y\r\n"), "{sent}");
    assert!(sent.contains("content-type: application/json\r\n"), "{sent}");
    assert!(sent.contains("user-agent: backstay/"), "{sent}");
    assert!(sent.ends_with("\r\n\r\n{\"reason\":\"done\"}"), "{sent}");
    assert!(!format!("{client:?}").contains("bst.x.y"));
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::from_u128(7)
}

#[tokio::test]
async fn follows_no_redirect_and_reads_no_more_than_it_may() {
    let error =
        get_hub(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec())
            .await;
    assert!(matches!(error, ClientError::Unexpected { status: 302, .. }), "{error:?}");
    let error = get_hub(answer("200 OK", "application/json", &" ".repeat(2000))).await;
    assert!(matches!(error, ClientError::TooLarge { limit: 1000 }), "{error:?}");
    let error = get_hub(answer("200 OK", "application/json", "[]")).await;
    assert!(matches!(error, ClientError::Malformed { endpoint: "GetHub", .. }), "{error:?}");
    let error = get_hub(answer("502 Bad Gateway", "text/html", "<h1>nginx\u{1b}[31m")).await;
    assert!(error.is_temporary());
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
}

#[tokio::test]
async fn a_download_cut_short_is_an_error() {
    let (url, _server) = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec());
    let client = Client::with_options(&url, None, options()).unwrap();
    let path = PackPath { pack: "x.pack".into() };
    let mut download =
        client.download::<GetPack>(&path, &Empty {}, &Empty {}, Duration::from_secs(3), 100).await.unwrap();
    assert_eq!(download.len_hint(), Some(10));
    let mut got = Vec::new();
    let error = loop {
        match download.chunk().await {
            Ok(Some(chunk)) => got.extend_from_slice(chunk.as_ref()),
            Ok(None) => panic!("an end instead of an error"),
            Err(error) => break error,
        }
    };
    assert_eq!(got, b"abc");
    assert!(matches!(error, ClientError::Interrupted(_)), "{error:?}");
}

#[tokio::test]
async fn a_hub_that_is_away_is_a_temporary_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let slow = Options { timeout: Duration::from_millis(100), ..options() };
    let client = Client::with_options(&url, None, slow).unwrap();
    let error = client.call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout(_)) && error.is_temporary(), "{error:?}");
    drop(listener);
    let error = client.call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)) && error.is_temporary(), "{error:?}");
}
