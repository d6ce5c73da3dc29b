//! Prometheus itself, to compare answers with: on loopback, with a folder of its own, given samples by remote-write.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use url::form_urlencoded;

use crate::{
    http,
    left_out::{Part, require},
    paths::{cache_dir, find_tool, scratch_dir},
    port::Port,
    program::{Program, Ready},
};

/// A series with samples: labels, and pairs of a time in milliseconds since 1970 and a value.
pub type WrittenSeries = (Vec<(String, String)>, Vec<(i64, f64)>);

/// One sample of a series: time, value, labels.
type WrittenSample<'a> = (i64, f64, &'a [(String, String)]);

/// A running Prometheus 3.5 or later that scrapes nothing and has its experimental functions on.
#[derive(Debug)]
pub struct Prometheus {
    _program: Program,
    port: Port,
    dir: TempDir,
}

impl Prometheus {
    /// Starts one, or notes that the test is left out.
    ///
    /// # Panics
    /// When one that is installed does not start; with `CI=true` when it is missing.
    pub fn require() -> Option<Self> {
        Self::require_with("{}\n")
    }

    /// As [`Prometheus::require`], with a configuration, in which `SELF` stands for its own address.
    ///
    /// # Panics
    /// As [`Prometheus::require`].
    pub fn require_with(configuration: &str) -> Option<Self> {
        let cached = cache_dir().join("prometheus/bin/prometheus");
        let path = if cached.is_file() { Some(cached) } else { find_tool("prometheus") };
        let path = require(Part::Prometheus, path.ok_or_else(|| "prometheus is not installed".to_owned()))?;
        let (dir, port) = (scratch_dir(), Port::take());
        let config = dir.path().join("prometheus.yml");
        let text = configuration.replace("SELF", &port.address().to_string());
        std::fs::write(&config, text).expect("write Prometheus' configuration");
        let program = Program::at(path, "prometheus", dir.path())
            .args([
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", dir.path().join("data").display()),
                format!("--web.listen-address={}", port.address()),
                "--web.enable-remote-write-receiver".to_owned(),
                "--web.enable-admin-api".to_owned(),
                "--enable-feature=promql-experimental-functions".to_owned(),
                "--storage.tsdb.retention.time=100y".to_owned(),
            ])
            .ready(Ready::Http(format!("{}/-/ready", port.url())))
            .discreet()
            .started();
        Some(Self { _program: program, port, dir })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.port.url()
    }

    /// The version that answers, such as `3.5.3`.
    pub fn version(&self) -> String {
        let info = self.ask("status/buildinfo", &[]);
        info["data"]["version"].as_str().unwrap_or_default().to_owned()
    }

    /// Asks `/api/v1/<path>` by a form.
    ///
    /// # Panics
    /// When there is no answer in JSON.
    pub fn ask(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{path}", self.url());
        let answer = match form {
            [] => http::get(&url),
            form => {
                let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
                let kind = ("content-type", "application/x-www-form-urlencoded");
                http::send("POST", &url, &[kind], body.as_bytes())
            }
        };
        answer.expect("an answer of Prometheus").json()
    }

    /// Has it write all that it has as blocks; the folder with them.
    ///
    /// # Panics
    /// When it does not.
    pub fn snapshot(&self) -> PathBuf {
        let done = self.ask("admin/tsdb/snapshot", &[("skip_head", "false")]);
        let name = done["data"]["name"].as_str().expect("a snapshot's name");
        self.dir.path().join("data/snapshots").join(name)
    }

    /// Writes series. Samples of all of them go in together by their time: Prometheus takes nothing that is much older
    /// than what it has.
    ///
    /// # Panics
    /// When it takes less than all.
    pub fn write(&self, series: &[WrittenSeries]) {
        let mut all: Vec<_> = series
            .iter()
            .flat_map(|(labels, samples)| samples.iter().map(move |(at, value)| (*at, *value, &**labels)))
            .collect();
        all.sort_by_key(|(at, _, _)| *at);
        for batch in all.chunks(5_000) {
            let body = literal_snappy(&write_request(batch));
            let headers = [
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ];
            let done = http::send("POST", &format!("{}/api/v1/write", self.url()), &headers, &body);
            let done = done.expect("an answer to remote-write");
            assert!((200..300).contains(&done.status), "{}: {}", done.status, done.body);
        }
    }
}

/// A `prometheus.WriteRequest` in protobuf: series (1) of labels (1) of name (1) and value (2), and of samples (2) of value
/// (1) and time (2).
fn write_request(samples: &[WrittenSample<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    for (at, value, labels) in samples {
        let mut labels = labels.to_vec();
        labels.sort();
        let mut series = Vec::new();
        for (name, value) in &labels {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        let mut sample = vec![0x09];
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(0x10);
        put_varint(&mut sample, at.cast_unsigned());
        put_bytes(&mut series, 2, &sample);
        put_bytes(&mut request, 1, &series);
    }
    request
}

fn put_bytes(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(to, field << 3 | 2);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Snappy's block format without any compression: the length, and literals of at most 64 KiB.
fn literal_snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 16);
    put_varint(&mut out, bytes.len() as u64);
    for chunk in bytes.chunks(1 << 16) {
        out.push(61 << 2);
        out.extend_from_slice(&((chunk.len() - 1) as u16).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out
}
