//! Backups over months of virtual time, by the real engine on a real store: whose turn it is, what nodes tell, what is
//! read back, what is forgotten. Repositories are sets of snapshots; nodes come and go, fail, tell twice or never; the
//! hub dies; its clock is set back. After each prune there is exactly what the policy keeps, which is worked out here
//! from all that was ever proven.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use backstay_engine::{
    Engine, Presence, Settings,
    backups::{
        BackupRules, Ceiling, Chore, DrillRhythm, Keep, NextOrder, Rhythm, Upkeep, UpkeepRules, Whose,
    },
};
use backstay_store::{Store, nodes};
use backstay_types::{
    BackupJobId, Digest, FixedClock, Labels, Node, NodeId, Secret, SeededEntropy, Timestamp, World,
    backup::{
        BackupJob, BackupReason, BackupResult, BackupTask, Proof, Snapshot, SnapshotHold, SnapshotId,
        SnapshotTags, WorkOutcome, job::Pruned,
    },
};
use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, tz::TimeZone};

const STEP: SignedDuration = SignedDuration::from_hours(1);
const STEPS_A_DAY: u64 = 24;
const KEEP: Keep = Keep { days: 90, hourly: 24, daily: 14, weekly: 8, monthly: 3, at_least: 3 };
const EVERY: Duration = Duration::from_secs(6 * 3600);
const JITTER: Duration = Duration::from_secs(3600);

/// Who is there.
#[derive(Debug, Default)]
struct Rota(Mutex<HashSet<NodeId>>);

impl Presence for Rota {
    fn is_online(&self, node: NodeId) -> bool {
        self.0.lock().unwrap().contains(&node)
    }

    fn is_silent(&self, node: NodeId) -> bool {
        !self.is_online(node)
    }

    fn unseal(&self, _: &str) -> Option<Secret> {
        None
    }
}

/// What a node is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Always there, and all goes well.
    Steady,
    /// There for two hours a day.
    Sleeper,
    /// Fails, dies in the middle, or has its answer lost, now and then.
    Shaky,
}

struct Played {
    node: Node,
    kind: Kind,
    /// What it is at, and in which step it is done.
    at: Option<(BackupJob, u64)>,
}

/// A repository: what is in it, and all that was ever proven.
#[derive(Default)]
struct Shelf {
    there: BTreeMap<SnapshotId, Snapshot>,
    proven: BTreeMap<SnapshotId, Timestamp>,
    /// When the hub heard of each, and whether that was by its job.
    heard: BTreeMap<SnapshotId, (Timestamp, bool)>,
    held: BTreeSet<SnapshotId>,
    prunes: u32,
}

struct Days {
    dir: tempfile::TempDir,
    clock: Arc<FixedClock>,
    rota: Arc<Rota>,
    engine: Engine,
    store: Store,
    played: Vec<Played>,
    shelves: HashMap<Whose, Shelf>,
    step: u64,
    now: Timestamp,
    chance: u64,
    /// Begun backups of each node that ended well.
    good: HashMap<NodeId, Vec<u64>>,
}

async fn hub(dir: &std::path::Path, clock: &Arc<FixedClock>, rota: &Arc<Rota>, life: u64) -> (Engine, Store) {
    let world = World::new(Arc::clone(clock) as _, Arc::new(SeededEntropy::new(life)));
    let store = Store::open(dir.join("hub.db").to_str().unwrap(), world.clone()).await.unwrap();
    let rules = BackupRules {
        rhythm: Rhythm { every: EVERY, jitter: JITTER, parallel: 2 },
        keep: KEEP,
        upkeep: UpkeepRules { read_all_every: Duration::from_secs(28 * 86_400), second: false },
        ceiling: Ceiling::default(),
        drills: DrillRhythm { every: Duration::ZERO, parallel: 2 },
        deadline: Duration::from_secs(4 * 3600),
    };
    let settings = Settings { backups: Some(rules), ..Settings::new(dir.join("data")) };
    let key = SigningKey::from_bytes(&[7; 32]);
    (Engine::new(store.clone(), world, key, Arc::clone(rota) as _, settings), store)
}

impl Days {
    async fn new(seed: u64) -> Self {
        let dir = backstay_testkit::scratch_dir();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (clock, rota) = (Arc::new(FixedClock::new(now)), Arc::new(Rota::default()));
        let (engine, store) = hub(dir.path(), &clock, &rota, seed).await;
        let mut played = Vec::new();
        let kinds = [("steady", Kind::Steady), ("sleeper", Kind::Sleeper), ("shaky", Kind::Shaky)];
        for (number, (name, kind)) in (1u128..).zip(kinds) {
            let node = Node {
                id: backstay_types::Id::from_uuid(uuid::Uuid::from_u128(number)),
                name: name.parse().unwrap(),
                labels: Labels::default(),
                joined_at: now,
                revoked_at: None,
            };
            let mut tx = store.begin().await.unwrap();
            nodes::insert(&mut tx, &node, Digest::of(name.as_bytes())).await.unwrap();
            tx.commit().await.unwrap();
            played.push(Played { node, kind, at: None });
        }
        Self {
            dir,
            clock,
            rota,
            engine,
            store,
            played,
            shelves: HashMap::new(),
            step: 0,
            now,
            chance: seed,
            good: HashMap::new(),
        }
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        // SplitMix64.
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).is_multiple_of(times)
    }

    async fn live(&mut self, days: u64) {
        for _ in 0..days * STEPS_A_DAY {
            self.step += 1;
            self.now = self.now.checked_add(STEP).unwrap();
            if self.step == 40 * STEPS_A_DAY {
                self.now = self.now.checked_sub(SignedDuration::from_hours(1)).unwrap();
            }
            self.clock.set(self.now);
            if self.once_in(150) {
                (self.engine, self.store) = hub(self.dir.path(), &self.clock, &self.rota, self.chance).await;
            }
            self.come_and_go();
            self.engine.schedule_backups().await.unwrap();
            for index in 0..self.played.len() {
                self.play(index).await;
            }
            self.look_after().await;
        }
    }

    fn come_and_go(&self) {
        let hour = self.step % STEPS_A_DAY;
        let there = self.played.iter().filter(|one| one.kind != Kind::Sleeper || (9..11).contains(&hour));
        *self.rota.0.lock().unwrap() = there.map(|one| one.node.id).collect();
    }

    async fn play(&mut self, index: usize) {
        let node = self.played[index].node.clone();
        let shaky = self.played[index].kind == Kind::Shaky;
        if !self.rota.is_online(node.id) {
            return;
        }
        if shaky && self.once_in(200) {
            // It dies; when it is back it asks again and is given the same.
            self.played[index].at = None;
        }
        match self.played[index].at.take() {
            Some((job, done)) if done <= self.step => {
                let failed = shaky && self.once_in(6);
                let outcome = self.outcome(&node, &job, failed);
                if shaky && self.once_in(25) {
                    return; // What it saved is there, and nobody is told.
                }
                self.engine.finish_backup(&node, job.id, outcome.clone()).await.unwrap();
                let now = self.now;
                for one in &outcome.snapshots {
                    self.shelf(Some(node.id)).heard.entry(one.id).or_insert((now, true));
                }
                if shaky && self.once_in(4) {
                    self.engine.finish_backup(&node, job.id, outcome).await.unwrap();
                }
                if !failed {
                    self.good.entry(node.id).or_default().push(done - 1);
                }
            }
            Some(at) => self.played[index].at = Some(at),
            None => {
                if let NextOrder::Do(job, ..) = self.engine.next_backup(&node, None).await.unwrap() {
                    assert!(matches!(job.task, BackupTask::Save(_)));
                    self.played[index].at = Some((*job, self.step + 1));
                }
            }
        }
    }

    /// What came of a backup: one snapshot of one stack, or none.
    fn outcome(&mut self, node: &Node, job: &BackupJob, failed: bool) -> WorkOutcome {
        let mut outcome = WorkOutcome::default();
        if failed {
            outcome.failed = Some("the database did not answer".to_owned());
            return outcome;
        }
        let snapshot = self.snapshot(Some(node), job.id);
        self.shelf(Some(node.id)).there.insert(snapshot.id, snapshot.clone());
        outcome.snapshots.push(snapshot);
        outcome
    }

    fn snapshot(&self, node: Option<&Node>, job: BackupJobId) -> Snapshot {
        let digest = Digest::of(format!("{job} {}", self.step).as_bytes());
        // One node's clock is far ahead for once.
        let wrong = self.step / STEPS_A_DAY == 60 && node.is_some_and(|node| node.name.as_str() == "shaky");
        Snapshot {
            id: SnapshotId::new(digest),
            at: if wrong { "2031-01-01T00:00:00Z".parse().unwrap() } else { self.now },
            tags: SnapshotTags {
                node: node.map(|node| node.id),
                node_name: node.map(|node| node.name.clone()),
                stack: node.map(|_| "web".parse().unwrap()),
                tree: None,
                deployment: None,
                conversation: None,
                reason: BackupReason::Schedule,
            },
            proof: Proof::Matched,
            files: 1,
            bytes: 1000,
            added_bytes: 100,
            manifest: digest,
        }
    }

    fn shelf(&mut self, whose: Whose) -> &mut Shelf {
        self.shelves.entry(whose).or_default()
    }

    /// Whether the target can be read: for five days it cannot.
    fn is_readable(&self) -> bool {
        !(20..25).contains(&(self.step / STEPS_A_DAY))
    }

    /// What the hub's worker does, once around.
    async fn look_after(&mut self) {
        for work in self.engine.upkeep_work(&HashSet::new(), &HashMap::new()).await.unwrap() {
            let whose = work.whose;
            let now = self.now;
            match work.chore {
                Chore::Upkeep(Upkeep::Make) => {
                    self.engine.keep_passwords(whose, "sealed", "sealed").await.unwrap();
                    self.engine.note_repository(whose, |facts| facts.made_at = Some(now)).await.unwrap();
                }
                Chore::Upkeep(_) if !self.is_readable() => {}
                Chore::Upkeep(Upkeep::Verify(ids)) => {
                    self.engine.note_verified(whose, &ids, None).await.unwrap();
                    let shelf = self.shelf(whose);
                    for id in ids {
                        let at = shelf.there[&id].at;
                        shelf.proven.insert(id, at);
                    }
                }
                Chore::Upkeep(Upkeep::List) => {
                    let shelf = self.shelf(whose);
                    let found: Vec<Snapshot> = shelf.there.values().cloned().collect();
                    for one in &found {
                        shelf.heard.entry(one.id).or_insert((now, false));
                    }
                    let unproven = self.engine.note_listed(whose, found).await.unwrap();
                    assert!(unproven.is_empty(), "all that is in there can be read");
                }
                Chore::Upkeep(Upkeep::Check(part, parts)) => {
                    let note = move |facts: &mut backstay_types::backup::RepositoryFacts| {
                        facts.checked_at = Some(now);
                        facts.next_part = (part + 1) % parts;
                    };
                    self.engine.note_checked(whose, &[], &[], false, note).await.unwrap();
                }
                Chore::Upkeep(Upkeep::Prune) => self.prune(whose).await,
                Chore::Upkeep(other) => panic!("{other:?}"),
                Chore::Job(job) => self.save_own_state(&job).await,
            }
        }
    }

    async fn save_own_state(&mut self, job: &BackupJob) {
        assert_eq!(job.node, None);
        let Some(job) = self.engine.begin_upkeep(job.id).await.unwrap() else { return };
        let snapshot = self.snapshot(None, job.id);
        let now = self.now;
        self.shelf(None).there.insert(snapshot.id, snapshot.clone());
        self.shelf(None).heard.insert(snapshot.id, (now, true));
        let work = WorkOutcome { snapshots: vec![snapshot], ..WorkOutcome::default() };
        let result = BackupResult { work: Some(work), ..BackupResult::default() };
        self.engine.end_upkeep(job.id, result, None).await.unwrap();
    }

    async fn prune(&mut self, whose: Whose) {
        let fates = self.engine.retention_of(whose).await.unwrap();
        let gone: Vec<SnapshotId> =
            fates.iter().filter(|(_, fate)| !fate.stays).map(|(one, _)| one.snapshot.id).collect();
        let pruned = Pruned {
            bytes_before: 1000,
            unused_bytes: 0,
            deleted_bytes: 100 * gone.len() as u64,
            marked_bytes: 0,
        };
        self.engine.note_pruned(whose, &gone, Some(&pruned), None, false).await.unwrap();
        let now = self.now;
        let shelf = self.shelf(whose);
        shelf.there.retain(|id, _| !gone.contains(id));
        shelf.prunes += 1;
        let there: BTreeSet<SnapshotId> = shelf.there.keys().copied().collect();
        let (proven, unproven): (BTreeSet<_>, BTreeSet<_>) =
            there.iter().partition(|id| shelf.proven.contains_key(id));
        let wanted = wanted(shelf, now);
        let times = |ids: &BTreeSet<SnapshotId>| -> Vec<String> {
            ids.iter().map(|id| shelf.proven[id].to_string()).collect()
        };
        let (missing, too_many) = (&wanted - &proven, &proven - &wanted);
        assert!(missing.is_empty(), "{now}, {whose:?}: gone, and to be kept: {:?}", times(&missing));
        assert!(too_many.is_empty(), "{now}, {whose:?}: there, and not to be kept: {:?}", times(&too_many));
        for id in unproven {
            let made = shelf.there[&id].at;
            let young = now.duration_since(made) < SignedDuration::from_hours(7 * 24 + 25);
            assert!(young, "{now}, {whose:?}: never proven, of {made}");
        }
    }
}

/// What the policy keeps of all that was ever proven: for each rule, the spans from the newest back that have one.
fn wanted(shelf: &Shelf, now: Timestamp) -> BTreeSet<SnapshotId> {
    let tolerated = now.checked_add(SignedDuration::from_mins(10)).unwrap();
    let oldest = now.checked_sub(SignedDuration::from_hours(90 * 24)).unwrap();
    // What was told by its job, and not with a date of the future, has places; the rest stays beside these.
    let is_sure = |id: &SnapshotId, at: Timestamp| shelf.heard[id].1 && at <= tolerated;
    let mut newest_first: Vec<(Timestamp, SnapshotId)> =
        shelf.proven.iter().map(|(id, at)| (*at, *id)).filter(|(at, id)| is_sure(id, *at)).collect();
    newest_first.sort_by(|a, b| b.cmp(a));
    let unsure = shelf.proven.iter().filter(|(id, at)| !is_sure(id, **at) && shelf.heard[*id].0 > oldest);
    let mut wanted: BTreeSet<SnapshotId> =
        unsure.map(|(id, _)| *id).chain(shelf.held.iter().copied()).collect();
    wanted.extend(newest_first.iter().take(KEEP.at_least as usize).map(|(_, id)| *id));
    let spans: [(&str, u32); 4] = [
        ("%Y-%m-%d %H", KEEP.hourly),
        ("%Y-%m-%d", KEEP.daily),
        ("%G-%V", KEEP.weekly),
        ("%Y-%m", KEEP.monthly),
    ];
    for (format, count) in spans {
        let mut newest: BTreeMap<String, SnapshotId> = BTreeMap::new();
        for (at, id) in newest_first.iter().filter(|(at, _)| *at >= oldest) {
            let span = at.to_zoned(TimeZone::UTC).strftime(format).to_string();
            newest.entry(span).or_insert(*id);
        }
        wanted.extend(newest.values().rev().take(count as usize));
    }
    wanted
}

#[tokio::test]
async fn after_each_prune_of_three_months_and_more_there_is_exactly_what_the_policy_keeps() {
    let mut days = Days::new(5).await;
    days.live(10).await;
    let steady = days.played[0].node.id;
    let held = *days.shelf(Some(steady)).proven.keys().next().unwrap();
    let hold = SnapshotHold { reason: "before the audit".to_owned(), by: "ann".to_owned(), until: None };
    let found = days.engine.find_snapshot(&held.to_string()).await.unwrap();
    days.engine.hold_snapshot(&found, Some(hold), "ann").await.unwrap();
    days.shelf(Some(steady)).held.insert(held);
    days.live(95).await;

    assert_eq!(days.shelves.len(), 4, "three nodes, and the hub's own state");
    for (whose, shelf) in &days.shelves {
        assert!(shelf.prunes > 80, "{whose:?} was pruned {} times", shelf.prunes);
        assert!(shelf.proven.len() >= 100 && shelf.there.len() < 70, "{whose:?}");
    }
    assert!(days.shelf(Some(steady)).there.contains_key(&held));
    // In hours: six, less and more half the spread, and what it takes to ask.
    let gaps = |begun: &[u64]| begun.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    let regular = gaps(&days.good[&steady]);
    assert!(regular.iter().filter(|gap| !(5..=8).contains(*gap)).count() <= 1, "but for the set clock");
    let sleeper = days.played[1].node.id;
    assert!(gaps(&days.good[&sleeper]).iter().all(|gap| *gap <= STEPS_A_DAY + 1), "once each time it wakes");
    let shaky = days.played[2].node.id;
    assert!(days.shelf(Some(shaky)).there.values().any(|one| one.at.to_string().starts_with("2031")));
}
