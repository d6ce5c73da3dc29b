//! Power cuts: the real agent in a guest under QEMU, whose power goes at moments chosen by chance while releases come
//! and go. What the guest had not written is lost, of what the disk had in its cache some is lost, torn or out of order.
//! After each cut the guest boots from what is left: the disk must hold the old or the new release, whole, a journal
//! that can be read, and all that the hub was told; and in the end the deployment comes to its end.
//!
//! A few cuts are made in every run of the tests; `cargo xtask power-cuts` makes as many as it is asked for
//! (`BACKSTAY_POWER_CUTS`), on several nodes at once (`BACKSTAY_POWER_NODES`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests; the long run says how far it is"
)]

mod node;
mod seen;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    env,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use backstay_testkit::Loss;
use backstay_types::{
    DeploymentId, DeploymentState, FixedClock, SeededEntropy, Timestamp, TreeDigest, World,
};
use node::CutNode;
use seen::Seen;
use support::{FakeHub, Stack, process_stack};

/// How many cuts there are when nobody asks for more.
const FEW: u64 = 2;
/// So often the power goes in a deployment, at most.
const MOST: u64 = 6;
/// How long the agent has to come to an end and to rest, also where it is emulated on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// More files than the agent syncs one by one.
const MANY: u32 = 80;
/// Power that goes on the way up goes within so many requests to the disk.
const WAY_UP: u64 = 12;

#[test]
fn old_or_new_after_every_cut() {
    let [cuts, seed, nodes] = [("CUTS", FEW), ("SEED", 1), ("NODES", 1)].map(|(name, default)| {
        env::var(format!("BACKSTAY_POWER_{name}")).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    });
    let began = Instant::now();
    let (share, rest) = (cuts / nodes, cuts % nodes);
    let runs: Vec<_> = (0..nodes)
        .map(|number| thread::spawn(move || run(seed + number, share + u64::from(number < rest))))
        .collect();
    let mut total = Tally::default();
    let mut found = Vec::new();
    for run in runs {
        match run.join().unwrap() {
            Ok(Some(tally)) => total = total.and(&tally),
            Ok(None) => return,
            Err(why) => found.push(why),
        }
    }
    println!("{total}, {:?}", began.elapsed());
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(total.cuts, cuts);
}

/// What is judged can be told: a disk that says yes to flushes and does not do them takes back what the hub was told.
#[test]
fn a_disk_that_lies_is_found_out() {
    let Some(mut trial) = Trial::new(1) else { return };
    trial.begin().unwrap();
    trial.node.disk.lie();
    let next = trial.next(true);
    let deployment = trial.deploy(&next);
    trial.end(deployment).unwrap();
    trial.node.cut(Loss::All, &trial.chance);
    trial.node.boot(u64::MAX).unwrap();
    let seen = trial.node.look().unwrap();
    let found = trial.judge(&seen, &next, deployment).unwrap_err();
    assert!(found.contains("the hub was told"), "{found}");
}

/// One node and so many cuts. Nothing when there is no QEMU.
fn run(seed: u64, cuts: u64) -> Result<Option<Tally>, String> {
    let Some(mut trial) = Trial::new(seed) else { return Ok(None) };
    let outcome = trial.run(cuts);
    let (tally, last) = (trial.tally, &trial.last);
    outcome.map(|()| Some(tally)).map_err(|why| {
        let kept = trial.node.keep();
        format!("seed {seed}, cut {} ({last}): {why}\n{kept}", tally.cuts)
    })
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    cuts: u64,
    /// Of these, before the disk was mounted.
    on_the_way_up: u64,
    /// Of these, with writes that were lost or torn in the disk's cache.
    with_losses: u64,
    deployments: u64,
    old: u64,
    new: u64,
}

impl Tally {
    fn and(&self, other: &Self) -> Self {
        Self {
            cuts: self.cuts + other.cuts,
            on_the_way_up: self.on_the_way_up + other.on_the_way_up,
            with_losses: self.with_losses + other.with_losses,
            deployments: self.deployments + other.deployments,
            old: self.old + other.old,
            new: self.new + other.new,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cuts, on_the_way_up, with_losses, deployments, old, new } = self;
        write!(
            f,
            "{cuts} power cuts ({on_the_way_up} on the way up, {with_losses} with losses in the disk's cache) in \
             {deployments} deployments: {old} ended as before and {new} anew"
        )
    }
}

/// A node whose power goes again and again.
struct Trial {
    seed: u64,
    chance: World,
    hub: FakeHub,
    node: CutNode,
    /// All that was ever deployed.
    known: BTreeMap<TreeDigest, Stack>,
    /// What runs when nothing is under way.
    runs: Option<Stack>,
    version: u64,
    /// How many in a row failed.
    failures: u32,
    /// How many requests to its disk a deployment makes, about.
    span: u64,
    tally: Tally,
    /// The last cut.
    last: String,
    /// Whether somebody asked for a number of cuts, and wants to see them go by.
    asked: bool,
}

impl Trial {
    fn new(seed: u64) -> Option<Self> {
        let clock = Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH));
        let chance = World::new(clock, Arc::new(SeededEntropy::new(seed)));
        let hub = FakeHub::start();
        // Where data may come after what refers to it, forgotten syncs show more often.
        let mount = if seed.is_multiple_of(2) { "data=writeback" } else { "data=ordered" };
        let node = CutNode::new(&hub, mount)?;
        println!("seed {seed}: {mount}, {}", node.accelerator());
        let asked = env::var_os("BACKSTAY_POWER_CUTS").is_some();
        let (known, tally) = (BTreeMap::new(), Tally::default());
        let last = "none yet".to_owned();
        Some(Self {
            seed,
            chance,
            hub,
            node,
            known,
            runs: None,
            version: 0,
            failures: 0,
            span: 0,
            tally,
            last,
            asked,
        })
    }

    fn below(&self, end: u64) -> u64 {
        u64::from_le_bytes(self.chance.random()) % end
    }

    /// Joins, and has a release run, undisturbed.
    fn begin(&mut self) -> Result<(), String> {
        self.node.boot(u64::MAX)?;
        self.node.start_agent();
        let first = self.next(true);
        let before = self.node.disk.requests();
        let deployment = self.deploy(&first);
        self.end(deployment)?;
        self.span = self.node.disk.requests() - before;
        self.rest(&first, deployment)?;
        self.runs = Some(first);
        Ok(())
    }

    fn run(&mut self, cuts: u64) -> Result<(), String> {
        self.begin()?;
        while self.tally.cuts < cuts {
            let good = self.below(3) != 0;
            // The few of every run are in one deployment: those take longer than cuts.
            let times = if self.asked { 1 + self.below(MOST) } else { FEW }.min(cuts - self.tally.cuts);
            self.round(good, times, cuts)?;
        }
        Ok(())
    }

    /// A deployment in which the power goes so many times; then something good, when it was the second in a row that
    /// failed and there are cuts to come.
    fn round(&mut self, good: bool, times: u64, cuts: u64) -> Result<(), String> {
        let next = self.next(good);
        let deployment = self.deploy(&next);
        self.tally.deployments += 1;
        let mut up = true;
        for number in 0..times {
            // On the way up the moment has come already.
            if up {
                self.wait_for_the_moment(deployment);
            }
            let ended = !self.hub.ends(deployment).is_empty();
            self.cut(&next, &format!("{} of {times}, {}", number + 1, if good { "good" } else { "bad" }));
            // The power may go again while it comes up.
            let again = number + 1 < times && !ended;
            let limit = if again && self.below(4) == 0 { 1 + self.below(WAY_UP) } else { u64::MAX };
            up = self.node.boot(limit)?;
            if up {
                let seen = self.node.look()?;
                self.judge(&seen, &next, deployment)?;
                self.node.start_agent();
            } else {
                self.tally.on_the_way_up += 1;
            }
            if !again {
                break;
            }
        }
        let end = self.end(deployment)?;
        let is_new = end == DeploymentState::Succeeded;
        if !(is_new && good || end.is_failure()) {
            return Err(format!("a release that is {} ended {end:?}", if good { "good" } else { "bad" }));
        }
        let now = if is_new { next } else { self.runs.clone().unwrap() };
        self.rest(&now, deployment)?;
        self.runs = Some(now);
        *(if is_new { &mut self.tally.new } else { &mut self.tally.old }) += 1;
        self.failures = if is_new { 0 } else { self.failures + 1 };
        // After three failures in a row a node tries nothing more.
        if self.failures < 2 || self.tally.cuts == cuts { Ok(()) } else { self.prove_good() }
    }

    fn prove_good(&mut self) -> Result<(), String> {
        let good = self.next(true);
        let deployment = self.deploy(&good);
        let end = self.end(deployment)?;
        if end != DeploymentState::Succeeded {
            return Err(format!("something good, undisturbed, ended {end:?}"));
        }
        self.rest(&good, deployment)?;
        (self.runs, self.failures) = (Some(good), 0);
        Ok(())
    }

    /// Another release: a few processes' worth of files, from empty to many blocks.
    fn next(&mut self, good: bool) -> Stack {
        self.version += 1;
        let version = format!("v{}", self.version);
        let (check, within) = if good { ("true", "60s") } else { ("false", "1s") };
        let bake = if self.below(2) == 0 { "[bake]\nfor = \"2s\"\n" } else { "" };
        let manifest = format!(
            "runtime = \"process\"\n[[process]]\nname = \"web\"\ncommand = [\"./serve\"]\nstop_grace = \"2s\"\n\
             [[probe]]\ncommand = [\"./check\"]\nevery = \"100ms\"\ntimeout = \"30s\"\nwithin = \"{within}\"\n{bake}"
        );
        let mut stack = process_stack(&version, check).file("stack.toml", &manifest);
        for number in 0..6u32 {
            let line = format!("{version}, part {number}\n");
            stack = stack.file(&format!("parts/{number}"), &line.repeat(usize::pow(6, number)));
        }
        // Many files are synced in another way than few.
        for number in 0..if self.below(3) == 0 { MANY } else { 0 } {
            stack = stack.file(&format!("many/{number}"), &format!("{version} {number}"));
        }
        self.known.insert(stack.tree(), stack.clone());
        stack
    }

    fn deploy(&self, stack: &Stack) -> DeploymentId {
        self.hub.deploy(stack)
    }

    /// Until the disk has taken so many requests, or so much time has passed, or it has ended for a while.
    fn wait_for_the_moment(&self, deployment: DeploymentId) {
        let began = Instant::now();
        let patience = Duration::from_millis(if self.below(4) == 0 { self.below(4000) } else { 20_000 });
        self.node.disk.limit(self.below(self.span + self.span / 4) + 1);
        let mut ended = None;
        while began.elapsed() < patience && !self.node.disk.wait_limit(Duration::from_millis(20)) {
            if self.hub.ends(deployment).is_empty() {
                continue;
            }
            let ended: &Instant = ended.get_or_insert_with(Instant::now);
            if ended.elapsed() > Duration::from_secs(1) {
                return;
            }
        }
    }

    fn cut(&mut self, next: &Stack, what: &str) {
        let loss =
            [Loss::Nothing, Loss::All, Loss::Some, Loss::Some][usize::try_from(self.below(4)).unwrap()];
        let lost = self.node.cut(loss, &self.chance);
        self.tally.cuts += 1;
        self.tally.with_losses += u64::from(lost.gone + lost.torn > 0);
        self.last = format!("{what} {}, {lost}", next.tree().short());
        if self.asked {
            println!("seed {}, cut {}: {}", self.seed, self.tally.cuts, self.last);
        }
    }

    /// What must hold right after the power came back, before the agent runs.
    fn judge(&self, seen: &Seen, next: &Stack, deployment: DeploymentId) -> Result<(), String> {
        seen.whole(&self.known)?;
        let old = self.runs.as_ref().unwrap().tree();
        let either = [old, next.tree()];
        let committed = seen.journal("committed").as_str().and_then(|tree| tree.parse().ok());
        for (what, tree) in [("current", seen.link("current")), ("what is committed", committed)] {
            if !tree.is_some_and(|tree| either.contains(&tree)) {
                return Err(format!("{what} is {tree:?}, neither {old} nor {}", next.tree()));
            }
        }
        // Told by an agent before the power went: that it held a statement, and that a deployment ended.
        let held = self.hub.check_ins().iter().filter_map(|check_in| Some(check_in.have?.generation)).max();
        if seen.status["generation"].as_u64() < held {
            return Err(format!("it holds {}, and the hub was told {held:?}", seen.status["generation"]));
        }
        let Some(end) = self.hub.ends(deployment).pop() else { return Ok(()) };
        let (expected, place) = match end {
            DeploymentState::Succeeded => (next.tree(), seen.journal("deployment")),
            _ => (old, &seen.journal("ended")["deployment"]),
        };
        if committed != Some(expected) || *place != deployment.to_string() {
            let journal = &seen.status["stacks"]["web"];
            return Err(format!("the hub was told {end:?} of {deployment}, and the journal says {journal}"));
        }
        Ok(())
    }

    /// Waits until a deployment ends.
    fn end(&self, deployment: DeploymentId) -> Result<DeploymentState, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.hub.ends(deployment).pop() {
                return Ok(end);
            }
            if Instant::now() >= until {
                return Err(format!("{deployment} does not end"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until nothing is under way, and judges what is there then.
    fn rest(&mut self, runs: &Stack, deployment: DeploymentId) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let tree = runs.tree();
        loop {
            let seen = self.node.look()?;
            let found = match seen.at_rest() {
                true => self.judge_rest(&seen, tree),
                false => Err(format!("it does not come to rest: {}", seen.status)),
            };
            // Also what runs may be on its way, and what is left over is not swept at once.
            match found {
                Ok(()) => break,
                Err(why) if Instant::now() >= until => return Err(why),
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
        match self.hub.ends(deployment).as_slice() {
            [_] => Ok(()),
            ends => Err(format!("{deployment} ended {ends:?}")),
        }
    }

    fn judge_rest(&self, seen: &Seen, tree: TreeDigest) -> Result<(), String> {
        seen.whole(&self.known)?;
        let name = tree.to_string();
        if seen.runs != [name.as_str()] {
            return Err(format!("{:?} runs instead of {name}", seen.runs));
        }
        for (what, found) in [("current", "committed"), ("previous", "previous")] {
            let (link, journal) = (seen.link(what), seen.journal(found));
            if link.map(|tree| tree.to_string()).as_deref() != journal.as_str() {
                return Err(format!("{what} points to {link:?}, and the journal says {journal}"));
            }
        }
        if seen.link("current") != Some(tree) {
            return Err(format!("it came to rest on {:?} instead of {name}", seen.link("current")));
        }
        match seen.leftovers() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} are left over")),
        }
    }
}
