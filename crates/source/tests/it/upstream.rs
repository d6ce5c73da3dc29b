//! Fetching: what upstream may do to us.

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use backstay_source::{Credential, Endpoint, FailureKind, Mirror, MirrorConfig, Relation, SourceError};
use backstay_types::{ErrorCode, Secret};

use crate::support::{Fleet, fetch};

fn kinds(error: &SourceError) -> Vec<FailureKind> {
    match error {
        SourceError::Fetch(failures) => failures.iter().map(|failure| failure.kind).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn fetches_one_branch_and_the_notes() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    assert_eq!(mirror.tip().unwrap(), None);
    let first = mirror.fetch(None).unwrap();
    assert_eq!((first.tip.clone(), first.before, first.notes), (fleet.head(), None, None));

    fleet.git(&["branch", "other"]);
    fleet.git(&["tag", "v1"]);
    fleet.git(&["notes", "--ref", "ai", "add", "-m", "note", "HEAD"]);
    fleet.git(&["notes", "--ref", "other", "add", "-m", "note", "HEAD"]);
    fleet.git(&["push", "-q", "origin", "other", "v1", "refs/notes/*:refs/notes/*"]);
    let head = fleet.change("stacks/web/a", "1");
    fleet.publish();
    let second = mirror.fetch(None).unwrap();
    assert_eq!((&second.tip, second.before), (&head, Some(first.tip)));
    assert!(second.notes.is_some());
    let refs = fleet.git_in(mirror.dir(), &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, "refs/backstay/notes/ai\nrefs/backstay/upstream/main");
    assert_eq!(mirror.relation(&second.tip, &second.tip).unwrap(), Relation::Same);
}

#[test]
fn a_branch_or_repository_that_vanishes_changes_nothing() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    let tip = fetch(&mirror);
    fleet.git_in(&fleet.upstream(), &["update-ref", "-d", "refs/heads/main"]);
    let error = mirror.fetch(None).unwrap_err();
    assert_eq!(kinds(&error), [FailureKind::NoBranch]);
    assert_eq!(error.code(), ErrorCode::BS2002);
    fs::rename(fleet.upstream(), fleet.dir.path().join("gone")).unwrap();
    let error = mirror.fetch(None).unwrap_err();
    assert_eq!(kinds(&error), [FailureKind::NoRepository]);
    assert_eq!(mirror.tip().unwrap(), Some(tip.clone()));
    assert_eq!(mirror.read(&tip, "stacks/web/compose.yaml").unwrap(), b"services: {}\n");
}

#[test]
fn an_empty_repository_is_an_error() {
    let fleet = Fleet::empty();
    let mirror = fleet.mirror();
    assert_eq!(kinds(&mirror.fetch(None).unwrap_err()), [FailureKind::NoBranch]);
    assert_eq!(mirror.tip().unwrap(), None);
}

#[test]
fn the_next_endpoint_takes_over() {
    let fleet = Fleet::new();
    let gone = fleet.dir.path().join("gone.git");
    let mirror = fleet.mirror_of(&[
        "http://127.0.0.1:1/fleet.git",
        gone.to_str().unwrap(),
        fleet.upstream().to_str().unwrap(),
    ]);
    let fetched = mirror.fetch(None).unwrap();
    assert_eq!(fetched.tip, fleet.head());
    assert_eq!(fetched.endpoint, fleet.upstream().to_str().unwrap());
    let kinds: Vec<FailureKind> = fetched.failures.iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::Unreachable, FailureKind::NoRepository]);
}

#[test]
fn a_silent_endpoint_is_left_in_time() {
    let fleet = Fleet::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/fleet.git", silent.local_addr().unwrap());
    let upstream = fleet.upstream();
    let endpoints =
        [address.as_str(), upstream.to_str().unwrap()].map(|text| Endpoint::parse(text).unwrap()).to_vec();
    let config = MirrorConfig { silence: Duration::from_millis(700), ..MirrorConfig::new(endpoints, "main") };
    let mirror = Mirror::open_or_init(fleet.dir.path().join("mirror"), config).unwrap();
    let started = Instant::now();
    let credential = Credential { username: None, token: Secret::new("hunter2") };
    let fetched = mirror.fetch(Some(&credential)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(fetched.failures[0].kind, FailureKind::TimedOut);
    assert!(!format!("{fetched:?}").contains("hunter2"));
}

#[test]
fn a_force_push_is_seen_and_takes_nothing_away() {
    let fleet = Fleet::new();
    let base = fleet.head();
    let old = fleet.change("stacks/web/a", "old");
    fleet.publish();
    let mirror = fleet.mirror();
    assert_eq!(fetch(&mirror), old);
    mirror.accept(&old).unwrap();
    assert_eq!(mirror.relation(&base, &old).unwrap(), Relation::FastForward);

    fleet.git(&["reset", "-q", "--hard", base.as_str()]);
    fleet.publish();
    assert_eq!(mirror.relation(&old, &fetch(&mirror)).unwrap(), Relation::Behind);
    let new = fleet.change("stacks/web/a", "new");
    fleet.publish();
    assert_eq!(fetch(&mirror), new);
    assert_eq!(mirror.relation(&old, &new).unwrap(), Relation::Rewritten);
    fleet.git_in(mirror.dir(), &["gc", "-q", "--prune=now"]);
    assert_eq!(mirror.read(&old, "stacks/web/a").unwrap(), b"old");
    assert_eq!(mirror.accepted().unwrap(), [old]);
}

#[test]
fn a_repository_with_no_common_history_is_a_rewrite() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    let old = fetch(&mirror);
    fleet.git(&["checkout", "-q", "--orphan", "fresh"]);
    fleet.commit("Other");
    fleet.publish();
    assert_eq!(mirror.relation(&old, &fetch(&mirror)).unwrap(), Relation::Rewritten);
}

#[test]
fn what_a_killed_fetch_leaves_does_not_stop_the_next() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    fetch(&mirror);
    let head = fleet.change("stacks/web/a", "1");
    fleet.publish();
    drop(mirror);
    let dir = fleet.dir.path().join("mirror");
    for path in ["refs/backstay/upstream/main.lock", "packed-refs.lock", "config.lock", "HEAD.lock"] {
        fs::write(dir.join(path), "").unwrap();
    }
    fs::write(dir.join("objects/pack/tmp_pack_x"), "half").unwrap();
    let mirror = fleet.mirror();
    assert_eq!(fetch(&mirror), head);
    assert!(!dir.join("objects/pack/tmp_pack_x").exists());
    fleet.git_in(&dir, &["fsck", "--strict"]);
}

#[test]
fn a_fetch_killed_in_the_middle_leaves_a_usable_mirror() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    let before = fetch(&mirror);
    let mut noise = vec![0_u8; 3 << 20];
    let mut state = 1_u32;
    noise.iter_mut().for_each(|byte| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    });
    let head = fleet.change("stacks/web/noise", &noise);
    fleet.publish();
    for delay in [1, 3, 6, 10, 15, 25, 40] {
        let refspec = "+refs/heads/main:refs/backstay/upstream/main";
        let upstream = fleet.upstream();
        let mut command =
            fleet.command(mirror.dir(), &["fetch", "-q", "--no-tags", upstream.to_str().unwrap(), refspec]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().ok();
        child.wait().unwrap();
        let reopened = fleet.mirror();
        let tip = reopened.tip().unwrap().unwrap();
        assert!(tip == before || tip == head);
        assert!(reopened.read(&tip, "stacks/web/compose.yaml").is_ok());
    }
    assert_eq!(fetch(&fleet.mirror()), head);
    assert_eq!(fleet.mirror().read(&head, "stacks/web/noise").unwrap(), noise);
}

#[test]
fn harmful_objects_are_refused() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    let tip = fetch(&mirror);
    // A tree with an entry `.git` would put files where hooks are.
    let blob = fleet.git(&["hash-object", "-w", "/dev/null"]);
    let entry = [b"100644 .git\0".as_slice(), &hex::decode(blob).unwrap()].concat();
    fs::write(fleet.dir.path().join("tree"), entry).unwrap();
    let path = fleet.dir.path().join("tree");
    let tree = fleet.git(&["hash-object", "-w", "-t", "tree", "--literally", path.to_str().unwrap()]);
    let commit = fleet.git(&["commit-tree", &tree, "-m", "trick"]);
    fleet.git(&["push", "-q", "-f", "origin", &format!("{commit}:main")]);
    let error = mirror.fetch(None).unwrap_err();
    assert_eq!(kinds(&error), [FailureKind::Harmful], "{error}");
    assert_eq!(error.code(), ErrorCode::BS2005);
    assert_eq!(mirror.tip().unwrap(), Some(tip));
}

#[test]
fn a_fetch_that_brings_too_much_is_stopped() {
    let fleet = Fleet::new();
    let mut noise = vec![0_u8; 40 << 20];
    let mut state = 1_u64;
    noise.iter_mut().for_each(|byte| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    });
    fleet.git(&["config", "core.compression", "0"]);
    fleet.change("stacks/web/noise", &noise);
    fleet.publish();
    let endpoints = vec![Endpoint::parse(fleet.upstream().to_str().unwrap()).unwrap()];
    let config = MirrorConfig { max_fetch_bytes: 1 << 20, ..MirrorConfig::new(endpoints, "main") };
    let mirror = Mirror::open_or_init(fleet.dir.path().join("mirror"), config).unwrap();
    let error = mirror.fetch(None).unwrap_err();
    assert_eq!(kinds(&error), [FailureKind::TooLarge], "{error}");
    assert_eq!(mirror.tip().unwrap(), None);
}

#[test]
fn odd_names_are_only_names() {
    let fleet = Fleet::new();
    fleet.git(&["push", "-q", "origin", "HEAD:refs/heads/$(touch${IFS}x)/--upload-pack=x;y"]);
    let odd = fleet.dir.path().join("--up $(touch pwned)';.git");
    fs::rename(fleet.upstream(), &odd).unwrap();
    let endpoints = vec![Endpoint::parse(odd.to_str().unwrap()).unwrap()];
    let config = MirrorConfig::new(endpoints, "$(touch${IFS}x)/--upload-pack=x;y");
    let mirror = Mirror::open_or_init(fleet.dir.path().join("mirror"), config).unwrap();
    assert_eq!(fetch(&mirror), fleet.head());
    assert!(!fleet.dir.path().join("pwned").exists() && !mirror.dir().join("pwned").exists());
}

#[test]
fn branches_that_were_folders_of_each_other_can_follow() {
    let fleet = Fleet::new();
    let endpoints = vec![Endpoint::parse(fleet.upstream().to_str().unwrap()).unwrap()];
    let open = |branch: &str| {
        let config = MirrorConfig::new(endpoints.clone(), branch);
        Mirror::open_or_init(fleet.dir.path().join("mirror"), config).unwrap()
    };
    fetch(&open("main"));
    fleet.git(&["push", "-q", "origin", "HEAD:refs/heads/x"]);
    fleet.git_in(&fleet.upstream(), &["update-ref", "-d", "refs/heads/main"]);
    fleet.git(&["push", "-q", "origin", "HEAD:refs/heads/main/next"]);
    assert_eq!(fetch(&open("main/next")), fleet.head());
}

#[test]
fn replacements_and_hooks_upstream_mean_nothing_here() {
    let fleet = Fleet::new();
    let honest = fleet.change("stacks/web/a", "honest");
    let trick = fleet.change("stacks/web/a", "trick");
    fleet.git(&["reset", "-q", "--hard", honest.as_str()]);
    fleet.git(&["replace", honest.as_str(), trick.as_str()]);
    fleet.publish();
    fleet.git(&["push", "-q", "origin", "refs/replace/*:refs/replace/*"]);
    let mirror = fleet.mirror();
    assert_eq!(fetch(&mirror), honest);
    // Even if somebody puts one into the mirror.
    fleet.git(&["push", "-q", mirror.dir().to_str().unwrap(), "refs/replace/*:refs/replace/*"]);
    assert_eq!(fleet.mirror().read(&honest, "stacks/web/a").unwrap(), b"honest");
}

#[test]
fn maintenance_loses_nothing() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    let mut commits = vec![fetch(&mirror)];
    assert!(!mirror.maintain().unwrap());
    for n in 0..45 {
        commits.push(fleet.change("stacks/web/n", n.to_string()));
        fleet.publish();
        fetch(&mirror);
        mirror.keep(&commits[n]).unwrap();
    }
    let lonely = fleet.change("stacks/web/n", "lonely");
    fleet.publish();
    fetch(&mirror);
    fleet.git(&["reset", "-q", "--hard", commits[40].as_str()]);
    fleet.publish();
    fetch(&mirror);
    let packs = || fs::read_dir(mirror.dir().join("objects/pack")).unwrap().count();
    let before = packs();
    assert!(mirror.maintain().unwrap());
    assert!(packs() < before / 4, "{before} → {}", packs());
    for (n, commit) in commits.iter().enumerate().skip(1) {
        assert_eq!(mirror.read(commit, "stacks/web/n").unwrap(), (n - 1).to_string().as_bytes());
    }
    assert_eq!(mirror.read(&lonely, "stacks/web/n").unwrap(), b"lonely");
    assert_eq!(mirror.kept().unwrap().len(), 45);
}

/// Answers every request with `response`; returns its address and what it was asked.
fn answering(response: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/fleet.git", listener.local_addr().unwrap());
    let (send, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap();
            stream.write_all(response.as_bytes()).unwrap();
            if send.send(String::from_utf8_lossy(&request[..n]).into_owned()).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn a_token_reaches_its_host_and_nobody_else() {
    let fleet = Fleet::new();
    let (address, asked) = answering(DENIED);
    let mirror = fleet.mirror_of(&[&address]);
    let credential = Credential { username: Some("robot".into()), token: Secret::new("hunter2") };
    let error = mirror.fetch(Some(&credential)).unwrap_err();
    assert_eq!(kinds(&error), [FailureKind::Denied], "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    // Base64 of `robot:hunter2`.
    assert!(asked.recv().unwrap().contains("Authorization: Basic cm9ib3Q6aHVudGVyMg=="));
    mirror.fetch(None).unwrap_err();
    assert!(!asked.recv().unwrap().contains("Authorization"));
}

#[test]
fn redirects_are_not_followed() {
    let fleet = Fleet::new();
    let (elsewhere, asked) = answering(DENIED);
    let location =
        format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}/info/refs\r\nContent-Length: 0\r\n\r\n");
    let (address, _asked) = answering(location.leak());
    assert!(fleet.mirror_of(&[&address]).fetch(None).is_err());
    assert!(asked.try_recv().is_err());
}

#[test]
fn other_branches_can_be_kept() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    let tip = fetch(&mirror);
    fleet.git(&["checkout", "-q", "-b", "topic/x"]);
    let topic = fleet.change("stacks/web/a", "1");
    fleet.git(&["push", "-q", "origin", "topic/x"]);
    let found = mirror.fetch_branch("topic/x", None).unwrap();
    assert_eq!(
        (&found.tip, found.endpoint.as_str()),
        (&topic, mirror.config().endpoints[0].to_string().as_str())
    );
    assert_eq!(mirror.kept().unwrap(), [topic]);
    assert_eq!(mirror.tip().unwrap(), Some(tip));
    assert_eq!(kinds(&mirror.fetch_branch("nothing", None).unwrap_err()), [FailureKind::NoBranch]);
    assert!(mirror.fetch_branch("-x", None).is_err());
}

#[test]
fn two_mirrors_in_one_folder_take_turns() {
    let fleet = Fleet::new();
    let head = fleet.head();
    let mirrors = [fleet.mirror(), fleet.mirror()];
    std::thread::scope(|scope| {
        for mirror in &mirrors {
            let head = &head;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(fetch(mirror), *head);
                    mirror.accept(head).unwrap();
                }
            });
        }
    });
    assert_eq!(mirrors[0].accepted().unwrap(), [head]);
}
