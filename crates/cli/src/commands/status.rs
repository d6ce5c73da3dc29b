//! `backstay status`: the fleet at a glance.

use backstay_api::{
    Empty,
    v1::{
        ConstraintsQuery, GetFleetHealth, GetHub, HubView, ListConstraints, ListNodes, ListRepositories,
        ListStacks, ListUndos, NodeView, NodesQuery, Paging, StackView,
    },
};
use backstay_types::{
    Constraint, Effect, FleetHealth, HealthLevel, Repository, RepositoryHealth, RolloutState, StackHealth,
    Undo, UndoState,
};
use clap::Args;
use serde::Serialize;

use super::{Outcome, done, nodes, repos, stacks};
use crate::{
    context::Context,
    ids,
    ui::{Frame, style, when, words},
    views::{constraint, fields::section, undo},
};

/// The fleet at a glance: hub, nodes, stacks, repositories, holds, undos under way.
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
    undos: Vec<Undo>,
}

impl Status {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let query =
            |paging: Paging| NodesQuery { limit: paging.limit, cursor: paging.cursor, selector: None };
        let paging = Paging { limit: Some(100), cursor: None };
        let undos = api.call::<ListUndos>(Empty {}, paging, Empty {}).await?.items;
        let overview = Overview {
            hub: api.get::<GetHub>().await?,
            nodes: api.all::<ListNodes, _>(query).await?,
            stacks: api.get::<ListStacks>().await?.items,
            repositories: api.get::<ListRepositories>().await?.items,
            constraints: api
                .call::<ListConstraints>(Empty {}, ConstraintsQuery::default(), Empty {})
                .await?
                .items,
            fleet: api.get::<GetFleetHealth>().await?,
            undos: undos.into_iter().filter(is_open).collect(),
        };
        cx.ui.data(&overview, || view(&overview, api.url(), &cx.frame()))?;
        done()
    }
}

fn is_open(undo: &Undo) -> bool {
    matches!(undo.state, UndoState::Planned | UndoState::Conflicted | UndoState::RollingOut)
}

fn view(overview: &Overview, url: &str, frame: &Frame) -> String {
    let dim = style::DIM;
    let hub = &overview.hub;
    let mut text = format!(
        "{}  {dim}{url}, version {}, {}, up {}, ledger at {}{dim:#}\n",
        verdict(overview),
        hub.version,
        hub.database,
        when::span(
            frame.now.timestamp().as_second().saturating_sub(hub.started_at.as_second()).unsigned_abs()
        ),
        hub.ledger.seq,
    );
    if overview.fleet.level != HealthLevel::Well {
        let (bad, health) = (style::BAD, &overview.fleet);
        text.push_str(&format!(
            "{bad}The fleet is {}{bad:#}: {}\n",
            words::fleet_level(health.level),
            health.reason
        ));
    }
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
    }
    if !overview.constraints.is_empty() {
        text.push_str(&section("Held, pinned, frozen or left alone"));
        text.push_str(&constraint::view_list(&overview.constraints, frame));
        if overview.constraints.iter().any(|one| matches!(one.effect, Effect::Ban { .. })) {
            text.push_str(
                "A newer commit goes past a ban; to try the same release again: backstay hold lift ID\n",
            );
        }
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

/// All well, or what is not.
fn verdict(overview: &Overview) -> String {
    let (good, bad) = (style::GOOD, style::BAD);
    let mut problems = Vec::new();
    for state in ["offline", "unknown"] {
        if let Some(n) = overview.hub.nodes.get(state).filter(|n| **n > 0) {
            problems.push(format!("{n} {state}"));
        }
    }
    let sick = |health| matches!(health, StackHealth::Degraded | StackHealth::Down);
    let stacks = overview.nodes.iter().flat_map(|node| &node.observed).filter(|one| sick(one.health)).count();
    if stacks > 0 {
        problems.push(format!("{stacks} not healthy"));
    }
    let halted = |one: &&StackView| one.rollout.as_ref().is_some_and(|r| r.state == RolloutState::Halted);
    let halted = overview.stacks.iter().filter(halted).count();
    if halted > 0 {
        problems.push(format!("{halted} rollout{} halted", if halted == 1 { "" } else { "s" }));
    }
    let repositories = overview.repositories.iter().filter(|one| one.health != RepositoryHealth::Ok).count();
    if repositories > 0 {
        problems.push(format!("{repositories} of {} repositories not read", overview.repositories.len()));
    }
    if problems.is_empty() {
        format!("{good}All well{good:#}")
    } else {
        format!("{bad}{}{bad:#}", problems.join(", "))
    }
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
