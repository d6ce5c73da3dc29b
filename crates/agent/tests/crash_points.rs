//! Crash points by the kernel: `strace` kills the real agent, or has a system call fail with ENOSPC or EIO, at one
//! mutating system call after the other of a deployment, of a way back, of the agent's own update and of joining. After
//! each it runs undisturbed: the node must be on the old or the new release (or agent), healthy, its journal readable, and
//! the hub must be told.
//!
//! Points are found by a counting run. A sample is taken in every run of the tests; `cargo xtask crash-points` takes as
//! many as it is asked for (`BACKSTAY_CRASH_POINTS`). One that failed is tried again by what the failure names
//! (`BACKSTAY_CRASH_POINT='inject=write:error=ENOSPC:when=31+'`), as often as is asked for.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests; the long run says how far it is")]

mod support;

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use backstay_loader::Slot;
use backstay_testkit::{Part, find_tool, left_out::leave_out};
use backstay_types::{AgentOutcome, DeploymentState, Digest, FixedClock, SeededEntropy, Timestamp, World};
use support::{FakeHub, Node, Stack, agent, eventually_within, process_stack};

/// System calls that change something; of those that open, the ones that only read come along.
const CALLS: &str = "open,openat,write,writev,pwrite64,rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat,symlink,symlinkat,\
                     mkdir,mkdirat,ftruncate,link,linkat,chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,rmdir,\
                     copy_file_range,sendfile,fallocate,utimensat";
/// Calls about files and descriptors that change nothing on the disk. A call that is in neither list is one that nobody
/// has thought of: the test fails until it is in one of them.
const HARMLESS: &str = "accept,accept4,access,bind,chdir,close,close_range,connect,dup,dup2,dup3,epoll_create1,epoll_ctl,\
                        epoll_pwait,epoll_wait,eventfd2,execve,execveat,faccessat,faccessat2,fadvise64,fchdir,fcntl,flock,\
                        fstat,fstatfs,getcwd,getdents64,getpeername,getrandom,getsockname,getsockopt,getxattr,\
                        inotify_add_watch,inotify_init1,inotify_rm_watch,ioctl,listen,listxattr,lseek,lstat,madvise,\
                        memfd_create,mmap,newfstatat,open_by_handle_at,pidfd_open,pidfd_send_signal,pipe,pipe2,poll,ppoll,\
                        pread64,preadv,read,readlink,readlinkat,readv,recvfrom,recvmsg,sendmsg,sendmmsg,sendto,setsockopt,\
                        shutdown,signalfd4,socket,socketpair,stat,statfs,statx,timerfd_create,timerfd_settime,umask";
/// How many points are taken when nobody asks for more.
const SAMPLE: usize = 30;
/// Of more calls of one kind than twice this, the first and the last so many are points: those between are all parts of
/// one long download.
const ENDS: usize = 200;
/// How long the agent is left to itself with what was done to it.
const DISTURBED: Duration = Duration::from_secs(4);
/// How long the agent has to come to rest.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is done when it is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A good release on top of another.
    Apply,
    /// A bad release on top of a good one.
    Back,
    /// Joining a hub.
    Join,
    /// A new agent in place of the one that runs, by the loader.
    Update,
}

impl Way {
    /// Its share of the points that are taken: those that come seldom in the life of a node get fewer.
    fn share(self, count: usize) -> usize {
        let percent = match self {
            Self::Apply => 35,
            Self::Back => 30,
            Self::Update => 25,
            Self::Join => 10,
        };
        (count * percent).div_ceil(100)
    }
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The process that comes to it is killed.
    Kill,
    /// This call fails.
    Once(&'static str),
    /// This call and all of its kind after it fail, in this process.
    From(&'static str),
}

/// The `nth` call of its kind in a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Point {
    call: String,
    nth: usize,
    fault: Fault,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, nth, fault } = self;
        match fault {
            Fault::Kill => write!(f, "inject={call}:signal=KILL:when={nth}"),
            Fault::Once(error) => write!(f, "inject={call}:error={error}:when={nth}"),
            Fault::From(error) => write!(f, "inject={call}:error={error}:when={nth}+"),
        }
    }
}

#[test]
fn apply() {
    disturb(Way::Apply);
}

#[test]
fn go_back() {
    disturb(Way::Back);
}

#[test]
fn join() {
    disturb(Way::Join);
}

#[test]
fn update() {
    disturb(Way::Update);
}

fn disturb(way: Way) {
    let Some(strace) = strace() else { return };
    let asked: Option<usize> = env::var("BACKSTAY_CRASH_POINTS").ok().and_then(|count| count.parse().ok());
    let points = chosen(points(way, &strace), way.share(asked.unwrap_or(SAMPLE)), way);
    let began = Instant::now();
    let (mut hit, mut old, mut new) = (0, 0, 0);
    let mut trial = Trial::new(way);
    for (number, point) in points.iter().enumerate() {
        let outcome = trial.at(point, &strace);
        hit += usize::from(outcome.hit);
        *(if outcome.new { &mut new } else { &mut old }) += 1;
        if asked.is_some() && number % 50 == 49 {
            println!("{way:?}: {} of {} points, {:?}", number + 1, points.len(), began.elapsed());
        }
    }
    let (count, took) = (points.len(), began.elapsed());
    println!("{way:?}: {count} points, {hit} reached, {old} ended as before and {new} anew, {took:?}");
    // Threads come and go: the nth call of its kind is not in one thread each time.
    assert!(hit * 4 >= count, "points are reached: {hit} of {count}");
}

/// `strace`, where it is there and may trace.
fn strace() -> Option<PathBuf> {
    let path = find_tool("strace");
    let works = |path: &PathBuf| {
        Command::new(path).args(["-f", "-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success())
    };
    let found = path.filter(works);
    if found.is_none() {
        leave_out(Part::Strace, "it is not there, or may not trace");
    }
    found
}

/// Every point of a way, by a run in which calls are only counted.
fn points(way: Way, strace: &Path) -> Vec<Point> {
    let mut trial = Trial::new(way);
    // All of it is to be seen, and tracing takes its time.
    trial.disturbed = PATIENCE;
    let log = trial.node.dir().join("calls");
    // Everything that may change a file, so that what is in no list is seen.
    let prefix = under(strace, &log, &["-e", "trace=%file,%desc"]);
    let nothing = Point { call: "nothing".to_owned(), nth: 0, fault: Fault::Kill };
    match way {
        Way::Join => drop(trial.join(&prefix, &nothing)),
        Way::Apply | Way::Back => drop(trial.deploy(&prefix, &nothing)),
        Way::Update => drop(trial.update(&prefix, &nothing)),
    }
    let text = fs::read_to_string(&log).unwrap();
    let known = |list: &str, call: &str| list.split(',').any(|one| one.trim() == call);
    // How many calls of each kind each thread made.
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut unheard_of: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        if known(CALLS, call) {
            *counts.entry((call, thread)).or_default() += 1;
        } else {
            let known = known(HARMLESS, call) && !arguments.contains("FICLONE");
            let _ = (!known).then(|| unheard_of.insert(call, line));
        }
    }
    assert!(unheard_of.is_empty(), "{way:?}: calls that are in no list: {unheard_of:#?}");
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((call, _), count) in &counts {
        let most = most.entry(call).or_default();
        *most = (*most).max(*count);
    }
    let mut points = Vec::new();
    for (call, most) in most {
        for nth in (1..=most).filter(|nth| *nth <= ENDS || most - nth < ENDS) {
            let faults = [
                Fault::Kill,
                Fault::Once("ENOSPC"),
                Fault::Once("EIO"),
                Fault::From("ENOSPC"),
                Fault::From("EIO"),
            ];
            points.extend(faults.map(|fault| Point { call: call.to_owned(), nth, fault }));
        }
    }
    println!("{way:?}: {} points, in {} calls", points.len(), points.len() / 5);
    points
}

/// So many of them, spread over all; the same in every run.
fn chosen(mut points: Vec<Point>, count: usize, way: Way) -> Vec<Point> {
    if let Ok(only) = env::var("BACKSTAY_CRASH_POINT") {
        let point = points.iter().find(|point| point.to_string() == only);
        return point.map_or_else(Vec::new, |point| vec![point.clone(); count]);
    }
    let seed = env::var("BACKSTAY_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let clock = Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH));
    let world = World::new(clock, Arc::new(SeededEntropy::new(seed + way as u64)));
    for at in (1..points.len()).rev() {
        let other = u64::from_le_bytes(world.random()) % (at as u64 + 1);
        points.swap(at, usize::try_from(other).unwrap());
    }
    points.truncate(count);
    points
}

/// A node on which one point after the other is tried.
struct Trial {
    way: Way,
    hub: FakeHub,
    node: Node,
    version: usize,
    runs: Option<Stack>,
    /// The agent that is known to work.
    agent: Digest,
    /// How long the agent is left to itself with what is done to it.
    disturbed: Duration,
}

struct Outcome {
    hit: bool,
    new: bool,
}

impl Trial {
    fn new(way: Way) -> Self {
        let hub = FakeHub::start();
        let mut node = if way == Way::Join { Node::new() } else { Node::join(&hub) };
        // What is wrong is to be looked at, and put right, within the patience of a test.
        node.settings =
            "failure_pause = \"100ms\"\ncheck_every = \"2s\"\nupdate_confirm_within = \"30s\"".to_owned();
        let installed = Digest::of(&fs::read(agent()).unwrap());
        let mut trial =
            Self { way, hub, node, version: 0, runs: None, agent: installed, disturbed: DISTURBED };
        if way != Way::Join {
            match way {
                Way::Update => trial.node.start_loaded(""),
                _ => trial.node.start(""),
            }
            let first = process_stack("v0", "true");
            let deployment = trial.hub.deploy(&first);
            eventually_within(PATIENCE, "the first release", || trial.hub.ends(deployment).pop());
            trial.runs = Some(first);
        }
        trial
    }

    /// Has it happen at a point, then lets the agent run undisturbed, and looks.
    fn at(&mut self, point: &Point, strace: &Path) -> Outcome {
        let log = self.node.dir().join("injected");
        let _ = fs::remove_file(&log);
        let filter = format!("trace={}", point.call);
        let prefix = under(strace, &log, &["-e", &filter, "-e", &point.to_string()]);
        let new = match self.way {
            Way::Join => self.join(&prefix, point),
            Way::Apply | Way::Back => self.deploy(&prefix, point),
            Way::Update => self.update(&prefix, point),
        };
        let text = fs::read_to_string(&log).unwrap_or_default();
        Outcome { hit: text.contains("(INJECTED)") || text.contains("killed by SIGKILL"), new }
    }

    /// True when the new release is what it ended on.
    fn deploy(&mut self, prefix: &[String], point: &Point) -> bool {
        let old = self.runs.clone().unwrap();
        self.version += 1;
        let check = if self.way == Way::Back { "false" } else { "true" };
        let next = process_stack(&format!("v{}", self.version), check);
        self.node.kill();
        let deployment = self.hub.deploy(&next);
        self.node.start_under(prefix);
        let until = Instant::now() + self.disturbed;
        while Instant::now() < until && self.node.is_alive() && self.hub.ends(deployment).is_empty() {
            thread::sleep(Duration::from_millis(10));
        }
        self.node.kill();
        let links = ["current", "previous"].map(|link| self.node.link(link));
        let known = [old.tree(), next.tree()];
        assert!(links[0].is_some_and(|tree| known.contains(&tree)), "{point}: `current` is {links:?}");

        self.node.start("");
        let what = format!("{point}: an end");
        let end = eventually_within(PATIENCE, &what, || self.hub.ends(deployment).pop());
        self.quiet(point);
        assert_eq!(self.hub.ends(deployment).len(), 1, "{point}: it ends once");
        let is_new = end == DeploymentState::Succeeded;
        assert!(is_new || end.is_failure(), "{point}: {end:?}");
        assert!(!(is_new && self.way == Way::Back), "{point}: a bad release is not taken");
        let expected = if is_new { next } else { old };
        self.check(&expected, point);
        self.runs = Some(expected);
        if !is_new {
            self.prove_good(point);
        }
        is_new
    }

    /// Something good after what failed, so that the next trial does not wait for what the last one came to.
    fn prove_good(&mut self, point: &Point) {
        self.version += 1;
        let good = process_stack(&format!("v{}", self.version), "true");
        let deployment = self.hub.deploy(&good);
        let what = format!("{point}: something good after it");
        let end = eventually_within(PATIENCE, &what, || self.hub.ends(deployment).pop());
        assert_eq!(end, DeploymentState::Succeeded, "{what}");
        self.quiet(point);
        self.runs = Some(good);
    }

    fn check(&self, expected: &Stack, point: &Point) {
        let version = expected.files.iter().find(|file| file.path == "version").unwrap();
        let version = String::from_utf8(version.content.clone()).unwrap();
        let until = Instant::now() + PATIENCE;
        while self.node.running() != [version.as_str()] {
            let runs = (self.node.running(), self.node.pids());
            assert!(Instant::now() < until, "{point}: {runs:?} runs instead of {version}");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.node.link("current"), Some(expected.tree()), "{point}: `current`");
        let committed = self.node.status()["stacks"]["web"]["committed"].clone();
        assert_eq!(committed, expected.tree().to_string(), "{point}: the journal");
        assert!(!self.node.data().join("agent.db.damaged").exists(), "{point}: the journal was set aside");
    }

    /// True when the new agent is what it ended on. What runs is not touched by any of it.
    fn update(&mut self, prefix: &[String], point: &Point) -> bool {
        self.version += 1;
        let (old, pids) = (self.agent, self.node.pids());
        self.node.stop_loaded();
        let mut program = fs::read(agent()).unwrap();
        program.extend_from_slice(format!("{}", self.version).as_bytes());
        let new = self.hub.ask_agent(&program, false);
        self.node.start_loaded_under(prefix);
        let until = Instant::now() + self.disturbed;
        while Instant::now() < until && self.node.is_alive() && self.hub.agent_outcome(new).is_none() {
            thread::sleep(Duration::from_millis(10));
        }
        self.node.kill();
        let known = self.known_to_work();
        assert!(known == old || known == new, "{point}: neither the old agent nor the new is known to work");

        self.node.start_loaded("");
        let end = eventually_within(PATIENCE, &format!("{point}: an end"), || self.hub.agent_outcome(new));
        self.quiet(point);
        let is_new = end == AgentOutcome::Updated;
        assert!(is_new || matches!(end, AgentOutcome::Failed { .. }), "{point}: {end:?}");
        let expected = if is_new { new } else { old };
        assert_eq!(self.known_to_work(), expected, "{point}: it ended as {end:?}");
        assert_eq!(self.node.loader_state().trial, None, "{point}: nothing is on trial any more");
        assert_eq!(self.node.pids(), pids, "{point}: what runs kept running");
        self.hub.forget_agent(new);
        self.agent = expected;
        is_new
    }

    /// The agent that the loader goes back to.
    fn known_to_work(&self) -> Digest {
        let path = match self.node.loader_state().good {
            Slot::Installed => PathBuf::from(agent()),
            slot => self.node.slots().join(slot.word()),
        };
        Digest::of(&fs::read(path).unwrap())
    }

    /// Joins; a node that has not joined can do so again.
    fn join(&mut self, prefix: &[String], point: &Point) -> bool {
        let mut node = Node::new();
        let token = self.hub.token();
        let first = node.try_join_under(prefix, &self.hub, &token).status.success();
        let again = node.try_join(&self.hub, &token);
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        let had = said.contains("BS3013");
        assert!(again.status.success() || had, "{point}: {said}");
        assert!(!first || had, "{point}: it said that it had joined, and had not");
        let before = self.hub.check_ins().len();
        node.start("");
        eventually_within(PATIENCE, &format!("{point}: it checks in"), || {
            (self.hub.check_ins().len() > before).then_some(())
        });
        had
    }

    /// Until nothing is under way and the hub knows all.
    fn quiet(&self, point: &Point) {
        eventually_within(PATIENCE, &format!("{point}: rest"), || {
            let status = self.node.status();
            (status["operation"].is_null() && status["unsent_reports"] == 0).then_some(())
        });
    }
}

fn under(strace: &Path, log: &Path, rest: &[&str]) -> Vec<String> {
    let (strace, log) = (strace.display().to_string(), log.display().to_string());
    // Without its filter: that would stay with the supervisors, which outlive the tracer, and fail their calls.
    let prefix = [strace.as_str(), "-f", "-qq", "-o", log.as_str()];
    prefix.iter().chain(rest).map(|argument| (*argument).to_owned()).collect()
}
