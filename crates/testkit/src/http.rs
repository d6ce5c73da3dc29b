//! Requests to servers on loopback: one connection each, plain HTTP/1.1.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use url::Url;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The first header with this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// `GET url`.
///
/// # Errors
/// When nobody answers within 10 seconds or the answer is not HTTP.
pub fn get(url: &str) -> io::Result<Response> {
    send("GET", url, &[], b"")
}

/// A request with headers and a body.
///
/// # Errors
/// When nobody answers within 10 seconds or the answer is not HTTP.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let url = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
    let host = url.host_str().ok_or_else(|| invalid("a URL without a host"))?;
    let port = url.port_or_known_default().ok_or_else(|| invalid("a URL without a port"))?;
    let mut stream = TcpStream::connect((host, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n");
    if !body.is_empty() || method != "GET" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    read(BufReader::new(stream)).map_err(|error| invalid(&error.to_string()))
}

fn read(mut reader: impl BufRead) -> io::Result<Response> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not a status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response { status, headers, body: String::new() };
    let bytes = read_body(reader, &response)?;
    response.body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(response)
}

fn read_body(mut reader: impl BufRead, head: &Response) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if head.header("transfer-encoding") != Some("chunked") {
        match head.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => reader.take(length).read_to_end(&mut bytes)?,
            None => reader.read_to_end(&mut bytes)?,
        };
        return Ok(bytes);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        if size == 0 {
            return Ok(bytes);
        }
        reader.by_ref().take(size).read_to_end(&mut bytes)?;
        reader.read_line(&mut String::new())?;
    }
}
