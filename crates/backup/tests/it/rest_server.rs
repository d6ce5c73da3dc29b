//! A small server of restic's REST protocol, version 2: append-only, with one bearer credential, over a folder.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use backstay_testkit::scratch_dir;
use backstay_types::{Secret, backup::job::Target};

use crate::job::Bench;

pub(crate) const CREDENTIAL: &str = "node-credential";

/// A running server; it ends with the test's process.
pub(crate) struct RestServer {
    state: Arc<State>,
    address: String,
    _dir: tempfile::TempDir,
}

struct State {
    folder: PathBuf,
    requests: AtomicU64,
    /// Answers every second write with 503 after it was written.
    flaky: AtomicBool,
    writes: AtomicU64,
    may_delete: AtomicBool,
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl RestServer {
    pub(crate) fn start() -> Self {
        let dir = scratch_dir();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            folder: dir.path().join("store"),
            requests: AtomicU64::new(0),
            flaky: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            may_delete: AtomicBool::new(false),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(&state, &stream));
            }
        });
        Self { state, address, _dir: dir }
    }

    pub(crate) fn target(&self, credential: &str) -> Target {
        let url = format!("http://{}/agent/v1/repository/", self.address);
        Target::Rest { url, credential: Secret::new(credential), ca_file: None }
    }

    pub(crate) fn bench(&self) -> Bench {
        Bench::at(scratch_dir(), self.target(CREDENTIAL))
    }

    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(SeqCst)
    }

    pub(crate) fn packs(&self) -> usize {
        fs::read_dir(self.state.folder.join("data")).unwrap().count()
    }

    pub(crate) fn be_flaky(&self) {
        self.state.flaky.store(true, SeqCst);
    }

    pub(crate) fn let_delete(&self) {
        self.state.may_delete.store(true, SeqCst);
    }
}

fn serve(state: &State, stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        state.requests.fetch_add(1, SeqCst);
        let (status, headers, body) = answer(state, &request);
        let mut head = format!("HTTP/1.1 {status} x\r\n{headers}");
        if !headers.contains("content-length") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let mut out = stream;
        let body = if request.method == "HEAD" { Vec::new() } else { body };
        if out.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| out.write_all(&body)).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

type Answer = (u16, String, Vec<u8>);

fn plain(status: u16) -> Answer {
    (status, String::new(), Vec::new())
}

fn answer(state: &State, request: &Request) -> Answer {
    if request.header("authorization") != Some(&format!("Bearer {CREDENTIAL}")) {
        return plain(401);
    }
    let Some(path) = request.path.strip_prefix("/agent/v1/repository/") else { return plain(404) };
    if path == "?create=true" {
        for kind in ["data", "index", "keys", "locks", "snapshots"] {
            fs::create_dir_all(state.folder.join(kind)).unwrap();
        }
        return plain(200);
    }
    let names: Vec<_> = path.split('/').collect();
    let is_known = match names[..] {
        ["config"] => true,
        [kind, name] => {
            ["data", "index", "keys", "locks", "snapshots"].contains(&kind)
                && (name.is_empty() || name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
        }
        _ => false,
    };
    if !is_known {
        return plain(404);
    }
    let file = state.folder.join(path);
    match request.method.as_str() {
        "GET" if path.ends_with('/') => list(&file, request),
        "GET" | "HEAD" => get(&file, request),
        "POST" => post(state, &file, request),
        "DELETE" if names[0] == "locks" || state.may_delete.load(SeqCst) => {
            plain(if fs::remove_file(file).is_ok() { 200 } else { 404 })
        }
        "DELETE" => plain(403),
        _ => plain(405),
    }
}

fn list(folder: &Path, request: &Request) -> Answer {
    if request.header("accept") != Some("application/vnd.x.restic.rest.v2") {
        return plain(406);
    }
    let Ok(entries) = fs::read_dir(folder) else { return plain(404) };
    let files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            serde_json::json!({ "name": name, "size": entry.metadata().unwrap().len() })
        })
        .collect();
    (
        200,
        "content-type: application/vnd.x.restic.rest.v2\r\n".to_owned(),
        serde_json::to_vec(&files).unwrap(),
    )
}

fn get(file: &Path, request: &Request) -> Answer {
    let Ok(content) = fs::read(file) else { return plain(404) };
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else {
        return (200, format!("content-length: {}\r\n", content.len()), content);
    };
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    if first >= content.len() {
        return plain(416);
    }
    (206, String::new(), content[first..(last + 1).min(content.len())].to_vec())
}

fn post(state: &State, file: &Path, request: &Request) -> Answer {
    if file.exists() {
        return plain(403);
    }
    let temporary = file.with_extension("new");
    fs::write(&temporary, &request.body).unwrap();
    fs::rename(temporary, file).unwrap();
    let number = state.writes.fetch_add(1, SeqCst);
    // Written, and the answer is lost.
    plain(if state.flaky.load(SeqCst) && number.is_multiple_of(2) { 503 } else { 200 })
}
