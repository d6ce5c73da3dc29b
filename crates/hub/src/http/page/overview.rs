//! `GET /api/v1/overview`

use std::collections::{BTreeMap, HashMap};

use backstay_api::v1::{
    Attention, AttentionKind, GetOverview, HourFigures, Overview, StackSpread, TimelineEntry,
};
use backstay_store::{
    Reader, changes, constraints, deployments as deployed,
    ledger::{self, Filter, Window},
    releases, repositories, rollouts, stacks, undos,
};
use backstay_types::{
    AgentUpdateState, CommitId, Effect, Release, ReleaseId, Repository, RepositoryId, Timestamp,
};

use super::attention;
use crate::{
    app::App,
    http::{ApiError, Call, Encoded, deployments, deployments::steer::stop_view, names},
    live::Census,
};

/// How many hours the figures go back.
const HOURS: i64 = 48;
/// How many entries are told.
const LATEST: u32 = 20;
/// Among how many.
const FAR: u64 = 5_000;
/// What follows from other entries: telling it again would hide them.
const QUIET: [&str; 2] = ["desired_changed", "release_created"];

/// The fleet at a glance. All pages that show it ask when something happens: they share what is made then.
pub(crate) async fn overview(call: Call<GetOverview>) -> Result<Encoded<Overview>, ApiError> {
    call.app.overview.get(async { Encoded::of(&made(&call.app).await?) }).await
}

async fn made(app: &App) -> Result<Overview, ApiError> {
    let mut store = app.store.read();
    let now = app.world.now();
    let seq = *app.sealed.borrow();
    let census = Census::take(app, &mut store).await?;
    let known = repositories::list(&mut store).await?;
    let running = rollouts::running(&mut store).await?;
    let open = undos::open(&mut store).await?;
    let attention = attention::of(app, &mut store, &census, &known).await?;
    Ok(Overview {
        at: now,
        seq,
        nodes: census.by_state(),
        health: census.by_health(),
        agents: census.agents.clone(),
        stacks: spread(&mut store, &census, &known).await?,
        rollouts: deployments::rollout_views(app, &mut store, running).await?,
        stop: stop_view(app.engine.emergency_stop().await?),
        undos: open,
        freezes: constraints::in_force(&mut store, now)
            .await?
            .into_iter()
            .filter(|one| matches!(one.effect, Effect::Freeze { .. }))
            .collect(),
        attention,
        fleet: app.engine.fleet_health().await?,
        agent_update: app
            .engine
            .newest_agent_update()
            .await?
            .filter(|one| one.state != AgentUpdateState::Done),
        hours: hours(&mut store, now).await?,
        latest: latest(app, &mut store).await?,
        repositories: known.len() as u64,
        warnings: known.iter().map(|one| one.warnings.len() as u64).sum(),
    })
}

async fn spread(
    store: &mut Reader,
    census: &Census,
    known: &[Repository],
) -> Result<Vec<StackSpread>, ApiError> {
    let names: HashMap<RepositoryId, String> =
        known.iter().map(|one| (one.id, one.name.to_string())).collect();
    let found = stacks::list(store).await?;
    let wanted: Vec<_> = found.iter().filter_map(|stack| stack.release).collect();
    let wanted: HashMap<ReleaseId, Release> =
        releases::many(store, &wanted).await?.into_iter().map(|release| (release.id, release)).collect();
    let commits = wanted.values().map(|release| (release.repository, release.commit.clone()));
    let known = changes::each(store, commits).await?.into_iter().map(|known| known.change);
    let subjects: HashMap<(RepositoryId, CommitId), String> =
        known.map(|change| ((change.repository, change.commit), change.subject)).collect();
    let mut spread: Vec<_> = found
        .into_iter()
        .map(|stack| {
            let release = stack.release.and_then(|id| wanted.get(&id));
            let subject = release.and_then(|one| subjects.get(&(one.repository, one.commit.clone())));
            StackSpread {
                repository: names.get(&stack.repository).cloned().unwrap_or_default(),
                tree: release.map(|release| release.tree),
                commit: release.map(|release| release.commit.clone()),
                subject: subject.cloned(),
                versions: census.versions(&stack.name),
                stack: stack.name,
            }
        })
        .collect();
    // One that the branch no longer has is of interest for as long as anyone runs it.
    spread.retain(|one| one.tree.is_some() || !one.versions.is_empty());
    Ok(spread)
}

/// All of the last hours, those without deployments too.
async fn hours(store: &mut Reader, now: Timestamp) -> Result<Vec<HourFigures>, ApiError> {
    let last = now.as_second().div_euclid(3600);
    let first = Timestamp::from_second((last - HOURS + 1) * 3600).map_err(ApiError::internal)?;
    let found: BTreeMap<_, _> =
        deployed::by_hour(store, first).await?.into_iter().map(|hour| (hour.at, hour)).collect();
    let hour = |number: i64| {
        let at = Timestamp::from_second(number * 3600).map_err(ApiError::internal)?;
        let hour = found.get(&at);
        Ok(HourFigures {
            at,
            deployments: hour.map_or(0, |hour| hour.deployments),
            failures: hour.map_or(0, |hour| hour.failures),
        })
    };
    (last - HOURS + 1..=last).map(hour).collect()
}

async fn latest(app: &App, store: &mut Reader) -> Result<Vec<TimelineEntry>, ApiError> {
    // A rollout over many nodes leaves many quiet entries; beyond some thousands nobody looks for the one before.
    let from = app.sealed.borrow().saturating_sub(FAR);
    let filter = Filter { without: QUIET.to_vec(), from: Some(from), ..Filter::default() };
    let found = ledger::timeline(store, &filter, Window::Newest, LATEST).await?;
    names::of_entries(store, found).await
}

/// One line about something, with what it is about.
pub(super) fn item(
    kind: AttentionKind,
    summary: String,
    since: Option<Timestamp>,
    refs: backstay_types::Refs,
) -> Attention {
    Attention { kind, summary, since, refs, name: None }
}
