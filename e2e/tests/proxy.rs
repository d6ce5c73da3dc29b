//! A hub behind nginx, set up as docs/guides/behind-a-proxy.md says.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use backstay_api::{Empty, v1};
use backstay_e2e::{
    Cli, DIR, Fleet, Place,
    stacks::{conf, set_line},
};
use backstay_testkit::{Proxy, eventually, eventually_within, kill_under};
use backstay_types::NodeState;
use serde_json::Value;

const GUIDE: &str = include_str!("../../docs/guides/behind-a-proxy.md");
const NAME: &str = "backstay.example.org";

/// The example for nginx.
fn example() -> &'static str {
    GUIDE.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap()
}

/// A hub as it is shipped behind the proxy, and one node that reaches it only so.
fn behind() -> Option<(Fleet, Proxy)> {
    let mut proxy = Proxy::require()?;
    let fleet = Fleet::of(0)
        .as_shipped()
        .hub_setting("BACKSTAY_HUB_PUBLIC_URL", &format!("https://{NAME}:{}", proxy.port()))
        .hub_setting("BACKSTAY_HUB_TRUSTED_PROXIES", "127.0.0.1")
        .hub_setting("BACKSTAY_SOURCE_POLL_EVERY", "1s")
        .hub_setting("BACKSTAY_BACKUP_TARGET", &format!("{{ folder = \"{DIR}/backups\" }}"));
    let mut fleet = fleet.start()?;
    proxy.start(example(), &fleet.hub.address());
    eventually("the proxy to answer", || {
        let output = curl(&proxy, &["/readyz"]).output().unwrap();
        if output.stdout.starts_with(b"{") { Ok(()) } else { Err(proxy.errors()) }
    });
    let settings = vec![("BACKSTAY_AGENT_CA_FILE".to_owned(), proxy.certificate().display().to_string())];
    fleet.join_at("alpha", &proxy.url(), Place { settings, ..Place::default() });
    Some((fleet.with_process_stack(), proxy))
}

#[test]
fn backups_go_through_tls_that_only_the_agents_own_authority_vouches_for() {
    let Some((mut fleet, proxy)) = behind() else { return };
    let state = fleet.nodes[0].data().join("stacks/web/state");
    fs::create_dir_all(&state).unwrap();
    // More than one pack, and nothing that compresses.
    let mut seed = 1u32;
    let noise = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed.to_le_bytes()
    });
    let large: Vec<u8> = noise.flatten().take(20_000_000).collect();
    fs::write(state.join("large"), &large).unwrap();
    let saved = fleet.cli.json(&["backup", "now", "alpha"]);
    assert!(saved.to_string().contains("\"done\""), "{saved:#}");
    fs::write(state.join("large"), b"lost").unwrap();
    eventually("the snapshot to be read back", || {
        let restored = fleet.cli.output(&["restore", "alpha/web", "--yes"]);
        let said = String::from_utf8_lossy(&restored.stderr).into_owned();
        if restored.status.success() { Ok(()) } else { Err(said) }
    });
    assert!(fs::read(state.join("large")).unwrap() == large);
    let log = proxy.log();
    let bad: Vec<_> = log.lines().filter(|line| line.starts_with('5') || line.starts_with("413")).collect();
    assert!(bad.is_empty(), "{bad:?}");
    kill_under(fleet.dir());
    fleet.nodes.clear();
}

/// `curl` by the public name; the last argument is the path.
fn curl(proxy: &Proxy, args: &[&str]) -> Command {
    let (path, options) = args.split_last().unwrap();
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--no-buffer", "--max-time", "20", "--http1.1", "--cacert"])
        .arg(proxy.certificate());
    command.args(["--resolve", &format!("{NAME}:{}:127.0.0.1", proxy.port())]).args(options);
    command.arg(format!("https://{NAME}:{}{path}", proxy.port()));
    command
}

/// What the page gets: status and body.
fn ask(proxy: &Proxy, args: &[&str]) -> (u16, Value) {
    let output = curl(proxy, &[&["--write-out", "\n%{http_code}"], args].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn behind_nginx_changes_arrive_at_once_and_the_page_and_the_command_line_work() {
    let Some((mut fleet, proxy)) = behind() else { return };
    let url = proxy.url();
    let through =
        fleet.cli.env("SSL_CERT_FILE", &proxy.certificate().display().to_string()).env("BACKSTAY_HUB", &url);

    // Events pass as they come, and the held check-in is answered at once.
    let token = format!("authorization: Bearer {}", fleet.hub.token());
    let mut follow =
        curl(&proxy, &["--header", &token, "/api/v1/events"]).stdout(Stdio::piped()).spawn().unwrap();
    let (sender, events) = mpsc::channel();
    let stream = BufReader::new(follow.stdout.take().unwrap());
    thread::spawn(move || {
        stream.lines().map_while(Result::ok).try_for_each(|line| sender.send((Instant::now(), line)))
    });
    let (_, first) = events.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(first, ":", "the first sign of life is not held back");
    let a = fleet.api.conversation("session-a");
    set_line(&fleet.tree, 2, "A2");
    fleet.commit("Set a line", Some(a));
    through.run(&["repos", "sync", "fleet"]);
    let pushed = Instant::now();
    let started = events.iter().find(|(_, line)| line.contains("rollout_started")).unwrap().0;
    assert!(started.saturating_duration_since(pushed) < Duration::from_secs(2));
    fleet.all_serve(&conf(&[(2, "A2")]));
    assert!(
        pushed.elapsed() < Duration::from_secs(10),
        "it did not wait for the next check-in: {:?}",
        pushed.elapsed()
    );
    fleet.settle();
    follow.kill().unwrap();
    follow.wait().unwrap();

    the_page(&fleet, &proxy, &through);
    let undo = through.json(&["rollback", "--conversation", &a.to_string(), "--yes"]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    let log = proxy.log();
    let bad: Vec<_> = log.lines().filter(|line| line.starts_with('5') || line.starts_with("413")).collect();
    assert!(bad.is_empty(), "{bad:?}");
    kill_under(fleet.dir());
    fleet.nodes.clear();
}

/// Signs in by the public name, and looks whether only the hub's own page may change something.
fn the_page(fleet: &Fleet, proxy: &Proxy, through: &Cli) {
    let (status, _) = ask(proxy, &["/"]);
    assert_eq!(status, 200);
    let made = fleet.api.call::<v1::CreateOpenLink>(&Empty {}, &Empty {}, &Default::default());
    let link = made.link.expose();
    let code = &link[link.find("bsl.").unwrap()..];
    let (body, ours) =
        (format!("{{\"code\":\"{code}\"}}"), format!("origin: https://{NAME}:{}", proxy.port()));
    let jar = fleet.dir().join("cookies").display().to_string();
    let json = "content-type: application/json";
    let (status, view) = ask(
        proxy,
        &["--cookie-jar", &jar, "--header", json, "--header", &ours, "--data", &body, "/api/v1/session/link"],
    );
    assert_eq!((status, &view["signed_in"]), (200, &Value::Bool(true)), "{view:#}");
    let join = |origin: &str| {
        ask(
            proxy,
            &["--cookie", &jar, "--header", json, "--header", origin, "--data", "{}", "/api/v1/join-tokens"],
        )
        .0
    };
    assert_eq!(join(&ours), 200);
    assert_eq!(join("origin: https://evil.example"), 403);
    assert_eq!(
        ask(proxy, &["--header", "host: evil.example", "/readyz"]).0,
        421,
        "a name that is not the hub's"
    );

    // Who guesses is told apart by address, not by the proxy's.
    let guess = |from: &str, name: &str| {
        let (from, body) =
            (format!("x-forwarded-for: {from}"), format!("{{\"name\":\"{name}\",\"password\":\"x\"}}"));
        ask(
            proxy,
            &["--header", json, "--header", &from, "--header", &ours, "--data", &body, "/api/v1/session"],
        )
        .0
    };
    let tries: Vec<_> = (0..40).map(|number| guess("203.0.113.7", &format!("nobody-{number}"))).collect();
    assert!(tries.contains(&429), "{tries:?}");
    through.run(&["status"]);
}

#[test]
fn a_hub_that_restarts_behind_nginx_and_an_nginx_that_is_away_cost_nothing() {
    let Some((mut fleet, mut proxy)) = behind() else { return };
    let a = fleet.api.conversation("session-a");

    fleet.hub.kill();
    eventually("the proxy to say that the hub is away", || {
        let (status, _) = ask(&proxy, &["/readyz"]);
        if status == 502 { Ok(()) } else { Err(status.to_string()) }
    });
    fleet.all_serve(&conf(&[]));
    set_line(&fleet.tree, 2, "A2");
    fleet.commit("Set a line while the hub is away", Some(a));
    fleet.hub.restart();
    for _ in 0..10 {
        assert_ne!(fleet.api.node("alpha").state, NodeState::Offline, "nobody is shown offline falsely");
        thread::sleep(Duration::from_millis(200));
    }
    eventually_within(Duration::from_secs(90), "the node to come back through the proxy", || {
        let found = fleet.nodes[0].get("app.conf")?;
        if found == conf(&[(2, "A2")]) { Ok(()) } else { Err(fleet.nodes[0].log()) }
    });
    fleet.settle();

    proxy.stop();
    let away = Instant::now();
    set_line(&fleet.tree, 3, "A3");
    let commit = fleet.commit("Set a line while the proxy is away", Some(a));
    eventually("the hub to go on without the proxy", || {
        let tip = fleet.api.sync("fleet").tip.map(|tip| tip.to_string());
        if tip.as_deref() == Some(&commit) { Ok(()) } else { Err(format!("{tip:?}")) }
    });
    fleet.cli.run(&["status"]);
    while away.elapsed() < Duration::from_secs(5) {
        fleet.all_serve(&conf(&[(2, "A2")]));
        thread::sleep(Duration::from_millis(500));
    }
    proxy.start(example(), &fleet.hub.address());
    eventually_within(Duration::from_secs(90), "the node to take up what it missed", || {
        let found = fleet.nodes[0].get("app.conf")?;
        if found == conf(&[(2, "A2"), (3, "A3")]) { Ok(()) } else { Err(fleet.nodes[0].log()) }
    });
    fleet.settle();
    let deployments = fleet.api.deployments("alpha", "web");
    assert_eq!(deployments.len(), 3, "each once: {deployments:#?}");
    fleet.cli.run(&["audit", "verify"]);
}
