//! How the backups of all nodes stand, looked at once for all who ask within a few seconds.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstay_api::v1::{BackupHealth, BackupRate};
use backstay_engine::backups::{Reached, Whose};
use backstay_store::{
    backups::{drills, jobs, repositories, snapshots},
    nodes,
};
use backstay_types::{
    NodeId, NodeName, StackName, Timestamp,
    backup::{BackupHistory, BackupTaskKind, DrillHistory, RepositoryFacts},
};
use tokio::time::Instant;

use crate::{app::App, backups::ceiling, http::ApiError};

/// How long a look is good for.
const FRESH: Duration = Duration::from_secs(5);
/// Over how long it is counted how backups and drills ended.
const COUNTED: Duration = Duration::from_secs(90 * 86_400);
/// So long it is told that a snapshot has a date that cannot be.
const LATELY: Duration = Duration::from_secs(14 * 86_400);

/// How one stands.
#[derive(Debug, Clone)]
pub(crate) struct Stands {
    /// The node, with its name and since when it is there; absent for the hub's own state.
    pub(crate) node: Option<(NodeId, NodeName, Timestamp)>,
    /// How it stands.
    pub(crate) state: BackupHealth,
    /// Why.
    pub(crate) why: String,
    /// When the newest proven snapshot was begun.
    pub(crate) proven_at: Option<Timestamp>,
    /// How many of its snapshots of the last two weeks have dates that cannot be, and when the hub heard of the first.
    pub(crate) misdated: Option<(u64, Timestamp)>,
    /// How many of its snapshots lost data, and when the newest of them was begun.
    pub(crate) lost: Option<(u64, Timestamp)>,
    /// What was tried.
    pub(crate) history: BackupHistory,
    /// The repository.
    pub(crate) facts: RepositoryFacts,
    /// How backups of the last 90 days ended.
    pub(crate) rate: BackupRate,
    /// How drills of the last 90 days ended.
    pub(crate) drill_rate: BackupRate,
    /// When the newest proven snapshot of each of its stacks was begun.
    pub(crate) stacks: Vec<(StackName, Timestamp)>,
    /// How drills of its stacks went.
    pub(crate) drills: Vec<(StackName, DrillHistory)>,
}

impl Stands {
    /// Its name.
    pub(crate) fn name(&self) -> String {
        self.node.as_ref().map_or_else(|| super::HUB.to_owned(), |(_, name, _)| name.to_string())
    }

    /// What of it was lost though it goes on well, in words; where it does not, its state says so.
    pub(crate) fn lost_data(&self) -> Option<String> {
        self.lost_in_words().filter(|_| self.state != BackupHealth::Damaged)
    }

    /// What else a person should look at though backups go on well, in words, and since when.
    pub(crate) fn troubles(&self, second: bool) -> Vec<(String, Timestamp)> {
        let mut found = Vec::new();
        if let Some((count, since)) = self.misdated {
            let text = format!(
                "{count} snapshots say that they were begun when they cannot have been: its clock is wrong, or somebody \
                 else has its key; they make no other go"
            );
            found.push((text, since));
        }
        if let Some(trouble) = &self.facts.trouble {
            let text = format!(
                "the hub cannot look after them as it should since {}: {}",
                trouble.since, trouble.why
            );
            found.push((text, trouble.since));
        }
        if let Some(trouble) = self.facts.second_trouble.as_ref().filter(|_| second) {
            let text = format!("the second target fails since {}: {}", trouble.since, trouble.why);
            found.push((text, trouble.since));
        }
        found
    }

    /// Since when it is right again, after it had lost data.
    fn right_since(&self) -> Option<Timestamp> {
        let (_, newest) = self.lost?;
        self.proven_at.filter(|at| *at > newest)
    }

    fn lost_in_words(&self) -> Option<String> {
        let (count, newest) = self.lost?;
        let now = match self.right_since() {
            Some(at) => format!("the one from {at} is right"),
            None => "no newer one is proven yet".to_owned(),
        };
        let snapshots = if count == 1 { "1 snapshot".to_owned() } else { format!("{count} snapshots") };
        Some(format!("{snapshots} lost data and cannot be restored whole, the newest from {newest}; {now}"))
    }

    /// Whose data it is.
    pub(crate) fn whose(&self) -> Whose {
        self.node.as_ref().map(|(id, ..)| *id)
    }
}

/// How all stand: the hub's own first, then what needs a person most, then by name.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Each.
    pub(crate) all: Vec<Stands>,
    /// Bytes of all repositories.
    pub(crate) bytes: u64,
}

impl Standing {
    /// How many nodes are in each state.
    pub(crate) fn by_state(&self) -> BTreeMap<BackupHealth, u64> {
        let mut counts = BTreeMap::new();
        for one in self.all.iter().filter(|one| one.node.is_some()) {
            *counts.entry(one.state).or_default() += 1;
        }
        counts
    }

    /// How all backups of the last 90 days ended.
    pub(crate) fn rate(&self) -> BackupRate {
        sum(self.all.iter().map(|one| one.rate))
    }

    /// How all drills of the last 90 days ended.
    pub(crate) fn drill_rate(&self) -> BackupRate {
        sum(self.all.iter().map(|one| one.drill_rate))
    }

    /// Every stack that was drilled, with whose it is.
    pub(crate) fn drills(&self) -> impl Iterator<Item = (&Stands, &StackName, &DrillHistory)> {
        self.all.iter().flat_map(|one| one.drills.iter().map(move |(stack, drill)| (one, stack, drill)))
    }

    /// When the newest drilled snapshot was begun, of that stack on that node where it is the oldest.
    pub(crate) fn oldest_drilled_at(&self) -> Option<Timestamp> {
        self.drills().filter_map(|(_, _, drill)| drill.snapshot_at).min()
    }

    /// How long it took to restore each stack in its newest drill, where it took longest, in milliseconds.
    pub(crate) fn restore_ms(&self) -> BTreeMap<StackName, u64> {
        let mut longest = BTreeMap::new();
        for (_, stack, drill) in self.drills() {
            if let Some(took) = drill.restore_ms {
                let known: &mut u64 = longest.entry(stack.clone()).or_default();
                *known = took.max(*known);
            }
        }
        longest
    }

    /// When the newest proven snapshot of each stack was begun, of that node whose newest is the oldest.
    pub(crate) fn proven_by_stack(&self) -> BTreeMap<StackName, Timestamp> {
        let mut oldest = BTreeMap::new();
        for (stack, at) in self.all.iter().flat_map(|one| &one.stacks) {
            let known = oldest.entry(stack.clone()).or_insert(*at);
            *known = (*known).min(*at);
        }
        oldest
    }

    /// When the newest proven snapshot of that node was begun whose newest is the oldest.
    pub(crate) fn oldest_proven_at(&self) -> Option<Timestamp> {
        self.all.iter().filter_map(|one| one.proven_at).min()
    }
}

fn sum(rates: impl Iterator<Item = BackupRate>) -> BackupRate {
    rates.fold(BackupRate::default(), |sum, one| BackupRate {
        done: sum.done + one.done,
        failed: sum.failed + one.failed,
    })
}

/// The last look. What was seen before something ended is not shown to who asks after it: whoever comes later has no
/// other reason to ask again.
#[derive(Debug, Default)]
pub(crate) struct LastLook(Mutex<Looked>);

#[derive(Debug, Default)]
struct Looked {
    /// How often something came that a look should have in it.
    news: u64,
    last: Option<(Instant, Arc<Standing>)>,
}

impl LastLook {
    /// Something came that a look should have in it.
    pub(crate) fn forget(&self) {
        let mut looked = self.lock();
        looked.news += 1;
        looked.last = None;
    }

    fn lock(&self) -> MutexGuard<'_, Looked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How all stand.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn standing(app: &App) -> Result<Arc<Standing>, ApiError> {
    let news = {
        let looked = app.backups.last_look.lock();
        if let Some((_, standing)) = looked.last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(standing.clone());
        }
        looked.news
    };
    let standing = Arc::new(look(app).await?);
    let mut looked = app.backups.last_look.lock();
    // What came while it looked may not be in it.
    if looked.news == news {
        looked.last = Some((Instant::now(), standing.clone()));
    }
    Ok(standing)
}

async fn look(app: &App) -> Result<Standing, ApiError> {
    if app.backups.place.is_none() {
        return Ok(Standing::default());
    }
    let now = app.world.now();
    let mut store = app.store.snapshot().await?;
    let since = now.checked_sub(COUNTED).unwrap_or(Timestamp::MIN);
    let rates = jobs::rates(&mut store, BackupTaskKind::Save, since).await?;
    let drill_rates = jobs::rates(&mut store, BackupTaskKind::Drill, since).await?;
    let mut drilled: HashMap<Whose, Vec<(StackName, DrillHistory)>> = HashMap::new();
    for (node, stack, history) in drills::all(&mut store).await? {
        drilled.entry(Some(node)).or_default().push((stack, history));
    }
    let mut histories = repositories::histories(&mut store).await?;
    let kept = repositories::list(&mut store).await?;
    let mut facts: HashMap<Whose, RepositoryFacts> =
        kept.into_iter().map(|one| (one.whose, one.facts)).collect();
    let proven: HashMap<Whose, Timestamp> = snapshots::newest_proven(&mut store).await?.into_iter().collect();
    let mut stacks: HashMap<Whose, Vec<(StackName, Timestamp)>> = HashMap::new();
    for (node, stack, at) in snapshots::proven_of_stacks(&mut store).await? {
        stacks.entry(Some(node)).or_default().push((stack, at));
    }
    let with: HashSet<Whose> = snapshots::repositories(&mut store).await?.into_iter().collect();
    let lost = snapshots::lost(&mut store).await?;
    let lost: HashMap<Whose, _> = lost.into_iter().map(|(whose, count, at)| (whose, (count, at))).collect();
    let lately = now.checked_sub(LATELY).unwrap_or(Timestamp::MIN);
    let misdated = snapshots::misdated(&mut store, lately).await?;
    let misdated: HashMap<Whose, _> =
        misdated.into_iter().map(|(whose, count, at)| (whose, (count, at))).collect();
    let bytes = repositories::totals(&mut store).await?.0;
    let every = &app.settings.backup;
    let late = every.every * 2 + every.jitter;
    let ceiling = ceiling(every);
    let active = nodes::active(&mut store).await?;
    let of = std::iter::once(None)
        .chain(active.into_iter().map(|node| Some((node.id, node.name, node.joined_at))));
    let mut all: Vec<Stands> = of
        .map(|node| {
            let whose = node.as_ref().map(|(id, ..)| *id);
            let rate = |(done, failed): (u64, u64)| BackupRate { done, failed };
            let mut one = Stands {
                node,
                state: BackupHealth::Good,
                why: String::new(),
                proven_at: proven.get(&whose).copied(),
                misdated: misdated.get(&whose).copied(),
                lost: lost.get(&whose).copied(),
                history: histories.remove(&whose).unwrap_or_default(),
                facts: facts.remove(&whose).unwrap_or_default(),
                rate: rate(rates.get(&whose).copied().unwrap_or_default()),
                drill_rate: rate(drill_rates.get(&whose).copied().unwrap_or_default()),
                stacks: stacks.remove(&whose).unwrap_or_default(),
                drills: drilled.remove(&whose).unwrap_or_default(),
            };
            let full = ceiling.reached(whose.map(|_| one.facts.bytes), bytes);
            (one.state, one.why) = state(&one, with.contains(&whose), full, now, late);
            one
        })
        .collect();
    all.sort_by_cached_key(|one| (one.node.is_some(), one.state, one.name()));
    Ok(Standing { all, bytes })
}

fn state(
    one: &Stands,
    has_any: bool,
    full: Option<Reached>,
    now: Timestamp,
    late: Duration,
) -> (BackupHealth, String) {
    let old = |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > late);
    if let Some(damage) = &one.facts.damaged {
        let first = damage.problems.first().map(|problem| format!(": {}: {}", problem.at, problem.what));
        let why = format!("its repository is damaged{}", first.unwrap_or_default());
        return (BackupHealth::Damaged, why);
    }
    if let Some(lost) = one.lost_in_words().filter(|_| one.right_since().is_none()) {
        return (BackupHealth::Damaged, lost);
    }
    if one.history.failed_in_a_row > 0 {
        let why = one.history.last_failure.clone().unwrap_or_default();
        return (BackupHealth::Failed, format!("{} in a row failed: {why}", one.history.failed_in_a_row));
    }
    if let Some(full) = full {
        return (BackupHealth::Full, full.to_string());
    }
    let joined = one.node.as_ref().map(|(_, _, joined)| *joined);
    match (one.proven_at, has_any, one.history.last_good_at) {
        (Some(at), ..) if old(at) => (BackupHealth::Late, format!("the newest proven one is from {at}")),
        (Some(_), ..) => (BackupHealth::Good, String::new()),
        (None, true, Some(good)) if old(good) => {
            (BackupHealth::Late, format!("none was read back; the newest is from {good}"))
        }
        (None, true, _) => (BackupHealth::Unproven, "none was read back yet".to_owned()),
        (None, false, Some(_)) => (BackupHealth::Nothing, "nothing on it is to be saved".to_owned()),
        (None, false, None) if joined.is_some_and(old) => {
            (BackupHealth::Late, "none was made since it joined".to_owned())
        }
        (None, false, None) => (BackupHealth::Never, "none was made yet".to_owned()),
    }
}
