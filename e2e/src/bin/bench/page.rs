//! What the hub's page costs on a large fleet: in a real browser, and for the hub when a hundred look at it.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backstay_api::{
    Empty,
    v1::{CreateOpenLink, ResolveConversation, ResolveConversationRequest},
};
use backstay_e2e::Hub;
use backstay_testkit::{find_tool, scratch_dir};
use backstay_types::ForeignId;
use serde_json::Value;

use crate::{
    figures::Figures,
    procfs::{cpu_seconds, rss_mb},
    seed::{Sizes, seed},
};

/// How many pages are open at once.
const PAGES: usize = 100;
/// How long they are looked at, and as long the hub alone: a hub in peace plans over the whole fleet once a minute, and
/// each must see the same of that.
const WATCH: Duration = Duration::from_secs(120);
/// Relative to the workspace's root.
const SCRIPT: &str = "web/bench/page.mjs";

/// Milliseconds until something is painted; the baseline is the hub's own small page `/docs`. `filled` is a database
/// that [`seed`] has filled within the last hour, so that one need not wait for another.
pub(crate) fn measure(filled: Option<&Path>) -> Result<Figures, String> {
    let chromium = find_tool("chromium").ok_or("chromium is missing; scripts/setup gets it")?;
    let dir = scratch_dir();
    let data = dir.path().join("hub");
    match filled {
        Some(filled) => {
            let copied = fs::create_dir_all(&data).and_then(|()| fs::copy(filled, data.join("hub.db")));
            copied.map_err(|error| format!("{}: {error}", filled.display()))?;
        }
        None => {
            eprintln!("filling a database");
            seed(&data, Sizes::LARGE)?;
        }
    }
    let hub = Hub::with_data(dir.path());
    let pid = hub.pid().ok_or("the hub has ended")?;
    calm(pid)?;
    eprintln!("asking a browser");
    let found = browse(&hub, &chromium)?;
    let figure =
        |name: &str| found.get(name).and_then(Value::as_f64).ok_or(format!("`{name}` was not measured"));
    let figures = Figures {
        value: figure("first_paint_ms")?,
        baseline: Some(figure("plain_paint_ms")?),
        ..Figures::default()
    };
    calm(pid)?;
    eprintln!("{PAGES} pages are open");
    let (alone, _) = follow(&hub, pid, 0, WATCH)?;
    let (percent, heard) = follow(&hub, pid, PAGES, WATCH)?;
    let mut figures = figures
        .with("hub_cpu_percent", percent - alone)
        .with("hub_cpu_percent_without_pages", alone)
        .with("events_heard_by_each", heard)
        .with("hub_mb", rss_mb(pid)?);
    for (name, value) in &found {
        match value {
            Value::Number(number) => figures = figures.with(name, number.as_f64().unwrap_or(f64::NAN)),
            other => drop(figures.more.insert(name.clone(), other.clone())),
        }
    }
    Ok(figures)
}

/// Waits until the hub has looked through what it found, and is idle.
fn calm(pid: u32) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let before = cpu_seconds(pid)?;
        thread::sleep(Duration::from_secs(3));
        let used = cpu_seconds(pid)? - before;
        if used < 0.15 {
            eprintln!("the hub is calm after {:.0} s", started.elapsed().as_secs_f64());
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(300) {
            return Err(format!("the hub does not come to rest: {used:.2} s of processor time in 3 s"));
        }
    }
}

fn browse(hub: &Hub, chromium: &Path) -> Result<BTreeMap<String, Value>, String> {
    let link = hub.api().call::<CreateOpenLink>(&Empty {}, &Empty {}, &Empty {}).link;
    let mut node = Command::new("node");
    node.arg(SCRIPT).stderr(Stdio::inherit());
    node.env("BACKSTAY_URL", hub.url())
        .env("BACKSTAY_TOKEN", hub.token())
        .env("BACKSTAY_LINK", link.expose());
    let output =
        node.env("BACKSTAY_CHROMIUM", chromium).output().map_err(|error| format!("node: {error}"))?;
    if !output.status.success() {
        return Err(format!("{SCRIPT} ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).map_err(|error| error.to_string())
}

/// The hub's share of a core in percent while so many pages show the overview and something happens each second, and
/// how many entries each of them heard.
fn follow(hub: &Hub, pid: u32, pages: usize, watch: Duration) -> Result<(f64, f64), String> {
    let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let followers: Vec<_> = (0..pages)
        .map(|_| {
            let (stop, heard, token) = (stop.clone(), heard.clone(), hub.token().to_owned());
            let address = hub.url().trim_start_matches("http://").to_owned();
            let stream = ask(&address, &token, "/api/v1/events").map_err(|error| error.to_string())?;
            Ok(thread::spawn(move || look_on(stream, (&address, &token), &stop, &heard)))
        })
        .collect::<Result<_, String>>()?;
    thread::sleep(Duration::from_secs(2));
    heard.store(0, Ordering::Relaxed);
    let (started, before) = (Instant::now(), cpu_seconds(pid)?);
    let mut number = 0;
    while started.elapsed() < watch {
        let value = format!("{pages}-{number}");
        let id = ForeignId { tool: "bench".to_owned(), kind: "session_id".to_owned(), value };
        hub.api().call::<ResolveConversation>(&Empty {}, &Empty {}, &ResolveConversationRequest { id });
        number += 1;
        thread::sleep(Duration::from_secs(1));
    }
    let percent = (cpu_seconds(pid)? - before) / started.elapsed().as_secs_f64() * 100.0;
    stop.store(true, Ordering::Relaxed);
    for follower in followers {
        follower.join().map_err(|_| "a follower failed")?;
    }
    let each = heard.load(Ordering::Relaxed) as f64 / pages.max(1) as f64;
    if pages > 0 && each < f64::from(number) {
        return Err(format!("{number} entries were written, and each heard {each}"));
    }
    Ok((percent, each))
}

fn ask(address: &str, token: &str, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\naccept-encoding: gzip, br\r\n\r\n"
    )?;
    Ok(stream)
}

/// What a page with the overview does: counts entries, and asks anew when one came, a second and a half after it last did.
fn look_on(mut stream: TcpStream, (address, token): (&str, &str), stop: &AtomicBool, heard: &AtomicUsize) {
    const ENTRY: &[u8] = b"event: entry";
    let (mut buffer, mut rest) = ([0; 16_384], Vec::new());
    let (mut asked, mut due) = (Instant::now(), false);
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => rest.extend_from_slice(&buffer[..count]),
            // Nothing came for a while.
            Err(_) => {}
        }
        let found = rest.windows(ENTRY.len()).filter(|part| *part == ENTRY).count();
        heard.fetch_add(found, Ordering::Relaxed);
        // What may be the beginning of another stays.
        rest.drain(..rest.len().saturating_sub(ENTRY.len() - 1));
        due |= found > 0;
        if due && asked.elapsed() > Duration::from_millis(1500) {
            (asked, due) = (Instant::now(), false);
            if let Ok(mut answer) = ask(address, token, "/api/v1/overview") {
                // The first bytes come when the whole answer is made.
                let _ = answer.read(&mut buffer);
            }
        }
    }
}
