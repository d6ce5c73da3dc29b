//! `backstay status`: the fleet at a glance.

use backstay_api::{
    Empty,
    v1::{
        Attention, AttentionKind, ConstraintsQuery, EmergencyStopView, GetHub, GetOverview, HubView,
        ListConstraints, ListNodes, ListRepositories, ListStacks, NodeView, NodesQuery, Paging, RolloutView,
        StackView,
    },
};
use backstay_types::{
    AgentUpdate, AgentUpdateState, Constraint, DriftState, Effect, FleetHealth, HealthLevel, Repository,
    RepositoryHealth, RolloutState, StackHealth, Timestamp, Undo,
};
use clap::Args;
use serde::Serialize;

use super::{Outcome, done, emergency_stop, nodes, repos, rollouts, stacks};
use crate::{
    context::Context,
    ids,
    ui::{Frame, count, style, when, words},
    views::{attention, constraint, fields::section, undo},
};

/// The fleet at a glance: what is stopped, what needs a person, nodes, stacks, limits, rollouts and undos under way.
#[derive(Debug, Args)]
pub(crate) struct Status {}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Overview {
    hub: HubView,
    nodes: Vec<NodeView>,
    stacks: Vec<StackView>,
    repositories: Vec<Repository>,
    constraints: Vec<Constraint>,
    fleet: FleetHealth,
    /// Rollouts under way, each with what its gate waits for.
    rollouts: Vec<RolloutView>,
    undos: Vec<Undo>,
    stop: EmergencyStopView,
    attention: Vec<Attention>,
    /// The newest update of agents, while it runs or has stopped.
    agent_update: Option<AgentUpdate>,
}

impl Status {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let query =
            |paging: Paging| NodesQuery { limit: paging.limit, cursor: paging.cursor, selector: None };
        let seen = api.get::<GetOverview>().await?;
        let overview = Overview {
            hub: api.get::<GetHub>().await?,
            nodes: api.all::<ListNodes, _>(query).await?,
            stacks: api.get::<ListStacks>().await?.items,
            repositories: api.get::<ListRepositories>().await?.items,
            constraints: api
                .call::<ListConstraints>(Empty {}, ConstraintsQuery::default(), Empty {})
                .await?
                .items,
            fleet: seen.fleet,
            rollouts: seen.rollouts,
            undos: seen.undos,
            stop: seen.stop,
            attention: seen.attention,
            agent_update: seen.agent_update,
        };
        cx.ui.data(&overview, || view(&overview, api.url(), &cx.frame()))?;
        done()
    }
}

fn view(overview: &Overview, url: &str, frame: &Frame) -> String {
    let dim = style::DIM;
    let hub = &overview.hub;
    let mut text = format!(
        "{}  {dim}{url}, version {}, {}, up {}, ledger at {}{dim:#}\n",
        verdict(overview, frame.now.timestamp()),
        hub.version,
        hub.database,
        when::span(
            frame.now.timestamp().as_second().saturating_sub(hub.started_at.as_second()).unsigned_abs()
        ),
        hub.ledger.seq,
    );
    text.push_str(&stopped(overview, frame));
    text.push_str(&attention::view_list(&overview.attention));
    text.push_str(&section("Nodes"));
    text.push_str(&nodes::view_list(&overview.nodes, frame));
    text.push_str(&section("Stacks"));
    text.push_str(&stacks::view_list(&overview.stacks, frame));
    text.push_str(&unwell(&overview.nodes));
    if overview.repositories.iter().any(|one| one.health != RepositoryHealth::Ok)
        || overview.repositories.is_empty()
    {
        text.push_str(&section("Repositories"));
        text.push_str(&repos::view_list(&overview.repositories, frame));
    } else {
        text.push_str(&repos::view_warned(&overview.repositories));
    }
    if !overview.constraints.is_empty() {
        text.push_str(&section("Held, pinned, frozen or left alone"));
        text.push_str(&constraint::view_list(&overview.constraints, frame));
        text.push_str("To end one before its time: backstay hold lift ID --reason WHY\n");
        if overview.constraints.iter().any(|one| matches!(one.effect, Effect::Ban { .. })) {
            text.push_str("A newer commit goes past a ban; to try the same release again, lift that.\n");
        }
    }
    if !overview.rollouts.is_empty() {
        text.push_str(&section("Rollouts under way"));
        overview.rollouts.iter().for_each(|view| text.push_str(&rollouts::view_line(view)));
    }
    if !overview.undos.is_empty() {
        text.push_str(&section("Undos under way"));
        for one in &overview.undos {
            let (id, state) = (ids::short(one.id), words::undo(&one.state).text());
            text.push_str(&format!("  {id}  {}: {state}\n", undo::selector(&one.selector)));
        }
    }
    text
}

/// What keeps the whole fleet from going on, each with the command that ends it.
fn stopped(overview: &Overview, frame: &Frame) -> String {
    let bad = style::BAD;
    let mut text = String::new();
    if overview.stop.stopped {
        text.push_str(&format!("{bad}{}{bad:#}", emergency_stop::words(&overview.stop, frame)));
    }
    if overview.fleet.level != HealthLevel::Well {
        let health = &overview.fleet;
        text.push_str(&format!(
            "{bad}The fleet is {}{bad:#}: {}\n{}",
            words::fleet_level(health.level),
            health.reason,
            what_next(health.level)
        ));
    }
    if let Some(update) = halted_update(overview) {
        text.push_str(&format!(
            "{bad}The update of agents to {} was stopped{bad:#}: {}\n`backstay agents list` says who failed and why; \
             `backstay agents update --to VERSION` begins anew.\n",
            update.version, update.reason
        ));
    }
    text
}

/// What ends what followed from the fleet not being well.
fn what_next(level: HealthLevel) -> &'static str {
    match level {
        HealthLevel::Well | HealthLevel::Warned => "",
        HealthLevel::Halted => {
            "`backstay rollout resume ID --reason WHY` lets a rollout go on, after a look.\n"
        }
        HealthLevel::Stopped => {
            "`backstay emergency-stop --lift WHY` and `backstay pin lift ID --reason WHY` let it go on, once the cause is known.\n"
        }
    }
}

fn halted_update(overview: &Overview) -> Option<&AgentUpdate> {
    overview.agent_update.as_ref().filter(|update| update.state == AgentUpdateState::Halted)
}

/// All well, or what is not, the worst first.
fn verdict(overview: &Overview, now: Timestamp) -> String {
    let (good, bad, warn) = (style::GOOD, style::BAD, style::WARN);
    let problems = problems(overview);
    let frozen = |one: &&Constraint| matches!(one.effect, Effect::Freeze { .. }) && one.is_in_force(now);
    let frozen = overview.constraints.iter().filter(frozen).count();
    let frozen = (frozen > 0).then(|| format!("{} in force", count(frozen, "freeze")));
    match (problems.is_empty(), frozen) {
        (true, None) => format!("{good}All well{good:#}"),
        // Somebody wants it so: it is to be known, and nothing is wrong.
        (true, Some(frozen)) => format!("{warn}All well, {frozen}{warn:#}"),
        (false, frozen) => {
            let all: Vec<_> = problems.into_iter().chain(frozen).collect();
            format!("{bad}{}{bad:#}", all.join(", "))
        }
    }
}

fn problems(overview: &Overview) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |how_many: usize, what: &dyn Fn(usize) -> String| {
        if how_many > 0 {
            found.push(what(how_many));
        }
    };
    let needs = |kind: AttentionKind| overview.attention.iter().filter(|one| one.kind == kind).count();
    add(usize::from(overview.stop.stopped), &|_| "EVERYTHING IS STOPPED".to_owned());
    let unwell = overview.fleet.level != HealthLevel::Well;
    add(usize::from(unwell), &|_| "the fleet is not well".to_owned());
    for state in ["offline", "unknown"] {
        let nodes = overview.hub.nodes.get(state).copied().unwrap_or_default();
        add(usize::try_from(nodes).unwrap_or(usize::MAX), &|n| format!("{n} {state}"));
    }
    let present = || overview.nodes.iter().filter(|view| view.node.revoked_at.is_none());
    let safe = present().filter(|view| view.safety.safe_mode.is_some()).count();
    add(safe, &|n| format!("{n} in safe mode"));
    add(needs(AttentionKind::NodeBroken), &|n| format!("{n} not brought back"));
    let stacks = || present().flat_map(|view| &view.observed);
    let drift = stacks().flat_map(|one| &one.drift).filter(|one| one.state == DriftState::Escalated).count();
    add(drift, &|n| format!("{} given up on", count(n, "drift")));
    let sick = stacks().filter(|one| matches!(one.health, StackHealth::Degraded | StackHealth::Down)).count();
    add(sick, &|n| format!("{n} not healthy"));
    let halted = |one: &&StackView| one.rollout.as_ref().is_some_and(|r| r.state == RolloutState::Halted);
    add(overview.stacks.iter().filter(halted).count(), &|n| format!("{} halted", count(n, "rollout")));
    add(usize::from(halted_update(overview).is_some()), &|_| "the update of agents halted".to_owned());
    let waiting = needs(AttentionKind::UndoConflicted) + needs(AttentionKind::UndoAwaitingMerge);
    add(waiting, &|n| format!("{} to decide on", count(n, "undo")));
    let unread = overview.repositories.iter().filter(|one| one.health != RepositoryHealth::Ok).count();
    add(unread, &|n| format!("{n} of {} repositories not read", overview.repositories.len()));
    add(needs(AttentionKind::BranchUnwell), &|n| match n {
        1 => "1 branch not read".to_owned(),
        n => format!("{n} branches not read"),
    });
    let webhooks = needs(AttentionKind::DeliveryUnrecognised);
    add(webhooks, &|n| format!("{} not understood", count(n, "webhook")));
    found
}

/// Stacks that do not run as they should, each with its reason.
fn unwell(nodes: &[NodeView]) -> String {
    let mut text = String::new();
    for node in nodes {
        for one in node.observed.iter().filter(|one| !matches!(one.health, StackHealth::Healthy)) {
            let health = words::health(one.health).text();
            let detail = if one.detail.is_empty() { String::new() } else { format!(": {}", one.detail) };
            text.push_str(&format!("  {}/{}  {health}{detail}\n", node.node.name, one.stack));
        }
    }
    if text.is_empty() { text } else { format!("{}{text}", section("Not as it should be")) }
}
