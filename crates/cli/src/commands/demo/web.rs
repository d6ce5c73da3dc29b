//! The demo's workload: a small web server that serves the page of the release that it runs from.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use backstay_types::ErrorCode;
use clap::Args;

use crate::error::CliError;

/// The page's settings in the stack's folder.
pub(super) const PAGE: &str = "page.conf";

/// Options of the web server.
#[derive(Debug, Args)]
pub(crate) struct DemoWeb {
    /// The port on loopback
    #[arg(long)]
    port: u16,
    /// How much memory this node has for a cache
    #[arg(long)]
    memory_mb: u64,
    /// The node's name
    #[arg(long)]
    node: String,
}

impl DemoWeb {
    /// Serves until it is ended.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let text = fs::read_to_string(PAGE).map_err(|e| CliError::file("read", PAGE.as_ref(), e))?;
        let page = Page { settings: parse(&text), memory_mb: self.memory_mb, node: self.node };
        let failed =
            |e| CliError::new(ErrorCode::BS8016, format!("port {} cannot be used", self.port)).with_source(e);
        let listener = TcpListener::bind(("127.0.0.1", self.port)).map_err(failed)?;
        for stream in listener.incoming().flatten() {
            // A visitor who goes away early is no reason to stop.
            let _ = answer(stream, &page);
        }
        Ok(())
    }
}

/// `key = value` lines; `#` begins a comment.
pub(super) fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// What one node serves.
struct Page {
    settings: BTreeMap<String, String>,
    memory_mb: u64,
    node: String,
}

impl Page {
    fn get(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", String::as_str)
    }

    /// Why the release cannot work on this node.
    fn problem(&self) -> Option<String> {
        let cache: u64 = match self.get("cache_mb").parse() {
            Ok(cache) => cache,
            Err(_) => return Some("cache_mb is not a number".to_owned()),
        };
        (cache > self.memory_mb)
            .then(|| format!("a cache of {cache} MB does not fit into {} MB of memory", self.memory_mb))
    }

    fn html(&self) -> String {
        let (greeting, colour) = (escape(self.get("greeting")), escape(self.get("colour")));
        let (closing, columns) = (escape(self.get("closing")), escape(self.get("columns")));
        let (node, cache) = (escape(&self.node), escape(self.get("cache_mb")));
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>{greeting}</title>\
             <style>body{{font:18px/1.5 system-ui,sans-serif;margin:0;background:{colour};color:#fff;\
             display:grid;place-content:center;min-height:100vh;text-align:center}}\
             main{{background:#0004;padding:2em 3em;border-radius:1em;columns:{columns}}}</style>\
             <main><h1>{greeting}</h1><p>{closing}</p><p><small>{node}, cache {cache} MB</small></p></main>\n"
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn answer(mut stream: TcpStream, page: &Page) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, kind, body) = match (path, page.problem()) {
        ("/healthz", None) => ("200 OK", "text/plain", "ok\n".to_owned()),
        ("/healthz", Some(problem)) => ("503 Service Unavailable", "text/plain", format!("{problem}\n")),
        ("/", _) => ("200 OK", "text/html; charset=utf-8", page.html()),
        _ => ("404 Not Found", "text/plain", "nothing here\n".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str, memory_mb: u64) -> Page {
        Page { settings: parse(text), memory_mb, node: "n".into() }
    }

    #[test]
    fn a_cache_that_does_not_fit_is_not_healthy() {
        assert_eq!(page("cache_mb = 64\n", 256).problem(), None);
        assert!(page("cache_mb = 512\n", 256).problem().unwrap().contains("512 MB does not fit"));
        assert!(page("# cache_mb = 64\n", 256).problem().is_some());
    }

    #[test]
    fn what_the_page_says_is_text() {
        let html = page("greeting = <b>Hi & \"bye\"\n", 1).html();
        assert!(html.contains("<h1>&lt;b>Hi &amp; &quot;bye&quot;</h1>"), "{html}");
    }
}
