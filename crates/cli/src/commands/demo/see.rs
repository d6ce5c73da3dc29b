//! Looking: what the real web servers say, and waiting until it is as promised.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use backstay_types::ErrorCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::error::CliError;

/// An answer of a web server: its status and all of its body.
pub(super) async fn get(port: u16, path: &str) -> Result<(u16, String), String> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), ask).await;
    let answer = answer.map_err(|_| "no answer within 2s".to_owned())?.map_err(|e| e.to_string())?;
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or("not an HTTP answer")?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

/// What a page must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) greeting: &'static str,
    pub(super) colour: &'static str,
    pub(super) closing: &'static str,
    pub(super) columns: &'static str,
    pub(super) cache_mb: &'static str,
}

impl Page {
    /// The page as it begins.
    pub(super) const FIRST: Self = Self {
        greeting: "Welcome",
        colour: "slategray",
        closing: "Come back soon",
        columns: "1",
        cache_mb: "64",
    };

    /// Whether the server at `port` is healthy and shows exactly this.
    pub(super) async fn is_shown(&self, port: u16) -> Result<(), String> {
        let (status, said) = get(port, "/healthz").await?;
        if status != 200 {
            return Err(format!("not healthy: {}", said.trim()));
        }
        let (_, html) = get(port, "/").await?;
        let wanted = BTreeMap::from([
            ("greeting", format!("<h1>{}</h1>", self.greeting)),
            ("colour", format!("background:{};", self.colour)),
            ("closing", format!("<p>{}</p>", self.closing)),
            ("columns", format!("columns:{}}}", self.columns)),
            ("cache", format!("cache {} MB", self.cache_mb)),
        ]);
        match wanted.iter().find(|(_, text)| !html.contains(*text)) {
            None => Ok(()),
            Some((what, text)) => Err(format!("its {what} is not as in `{text}`")),
        }
    }
}

/// Asks until it is as promised; gives how long that took.
///
/// # Errors
/// When `limit` is over, with what was seen last.
pub(super) async fn eventually<F>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<Duration, CliError>
where
    F: Future<Output = Result<(), String>>,
{
    let started = Instant::now();
    loop {
        let Err(seen) = look().await else { return Ok(started.elapsed()) };
        if started.elapsed() >= limit {
            let detail = format!("promised: {what}; seen after {}s: {seen}", limit.as_secs());
            return Err(CliError::new(ErrorCode::BS8008, detail));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
