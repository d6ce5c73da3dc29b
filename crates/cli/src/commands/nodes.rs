//! `backstay nodes`: list, show, make join tokens, lead out of safe mode, revoke.

mod only;
mod replace;

use backstay_api::{
    Empty,
    v1::{
        CreateJoinToken, CreateJoinTokenRequest, GetNode, LeaveSafeMode, LeaveSafeModeRequest, ListNodes,
        NodePath, NodeView, NodesQuery, RevokeNode,
    },
};
use clap::{Args, Subcommand};

use self::{only::Only, replace::Replace};
use super::{Outcome, decommission::Decommission, done, inventory::Inventory, labels::Label};
use crate::{
    context::Context,
    error::CliError,
    time,
    ui::{Cell, Frame, Table, style, words},
    views::{
        fields::{Fields, heading, section},
        host,
    },
};

/// Nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// All nodes, or those that a selector matches
    List(List),
    /// One node: its machine, what it should run and what it runs
    Show(Show),
    /// Make a one-time join token
    Token(Token),
    /// Change labels: which stacks, rings, environments and windows a node is in
    Label(Label),
    /// Let a node leave safe mode; what failed there may then be tried again
    LeaveSafeMode(Leave),
    /// All nodes with their machines, what they run and what is pending; as a table, JSON or CSV
    Inventory(Inventory),
    /// Take a node out of the fleet: what it runs is taken away, its data stays, then it is revoked
    Decommission(Decommission),
    /// Put a new machine in the place of one that is lost: the lost one is shut out, and what it had saved is put back on
    /// the machine that joins under its name
    Replace(Replace),
    /// Take a node's credential away; what it runs keeps running
    Revoke(Revoke),
}

/// Options of `nodes list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only nodes that this label selector matches, such as `role=web,region in (eu,us)`
    #[arg(long = "nodes", visible_alias = "selector", short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only nodes of which this is so
    #[arg(long, value_name = "WHAT")]
    only: Option<Only>,
}

/// Options of `nodes show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name or id
    node: String,
}

/// Options of `nodes token`.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// How long it works, or until when
    #[arg(long, value_name = "TIME", default_value = "1h")]
    expires: String,
}

/// Options of `nodes leave-safe-mode`.
#[derive(Debug, Args)]
pub(crate) struct Leave {
    /// Name or id
    node: String,
    /// Why: what was mended, or looked at
    #[arg(long, value_name = "WHY")]
    reason: String,
}

/// Options of `nodes revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Name or id
    node: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Nodes {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::List(command) => list(command, cx).await,
            Self::Show(command) => show(command, cx).await,
            Self::Token(command) => token(command, cx).await,
            Self::Label(command) => command.run(cx).await,
            Self::LeaveSafeMode(command) => leave_safe_mode(command, cx).await,
            Self::Inventory(command) => command.run(cx).await,
            Self::Decommission(command) => command.run(cx).await,
            Self::Replace(command) => command.run(cx).await,
            Self::Revoke(command) => revoke(command, cx).await,
        }
    }
}

async fn list(command: List, cx: &Context) -> Outcome {
    let query = |paging: backstay_api::v1::Paging| NodesQuery {
        selector: command.selector.clone(),
        limit: paging.limit,
        cursor: paging.cursor,
    };
    let api = cx.api()?;
    let mut nodes = api.all::<ListNodes, _>(query).await?;
    if let Some(only) = command.only {
        let chosen = only.find(&api, command.selector.as_ref()).await?;
        nodes.retain(|view| chosen.contains(&view.node.id));
    }
    let narrowed = command.only.is_some() || command.selector.is_some();
    cx.ui.data(&nodes, || match nodes.is_empty() && narrowed {
        true => "No node fits.\n".to_owned(),
        false => view_list(&nodes, &cx.frame()),
    })?;
    done()
}

async fn show(command: Show, cx: &Context) -> Outcome {
    let node = cx.api()?.call::<GetNode>(NodePath { node: command.node }, Empty {}, Empty {}).await?;
    cx.ui.data(&node, || view_one(&node, &cx.frame()))?;
    done()
}

async fn token(command: Token, cx: &Context) -> Outcome {
    let api = cx.api()?;
    let life = time::life(&command.expires, &cx.frame().now)?;
    let request = CreateJoinTokenRequest { expires_in_seconds: Some(life.as_secs()) };
    let token = api.call::<CreateJoinToken>(Empty {}, Empty {}, request).await?;
    cx.ui.data(&token, || {
        let (bold, dim) = (style::BOLD, style::DIM);
        let expires = cx.frame().exactly(token.expires_at);
        format!(
            "{bold}{}{bold:#}\n\n{dim}It works once, until {expires}. On the new node:{dim:#}\n\n  \
             backstay join --hub {} {}\n",
            token.token.expose(),
            api.url(),
            token.token.expose(),
        )
    })?;
    done()
}

async fn leave_safe_mode(command: Leave, cx: &Context) -> Outcome {
    let path = NodePath { node: command.node };
    let request = LeaveSafeModeRequest { reason: command.reason };
    let node = cx.api()?.call::<LeaveSafeMode>(path, Empty {}, request).await?;
    cx.ui.data(&node, || {
        let name = &node.node.name;
        format!(
            "{name} may leave safe mode; it does when it next checks in (`backstay nodes show {name}`).\n"
        )
    })?;
    done()
}

async fn revoke(command: Revoke, cx: &Context) -> Outcome {
    let question = format!("Revoke node {}? It will have to join again with a new token.", command.node);
    if !command.yes && !cx.ui.confirm(&question)? {
        return Err(CliError::argument("nothing was revoked"));
    }
    let path = NodePath { node: command.node.clone() };
    cx.api()?.call::<RevokeNode>(path, Empty {}, Empty {}).await?;
    cx.ui.say(format!("Node {} is revoked. What it runs keeps running.", command.node));
    done()
}

/// All nodes in a table.
pub(crate) fn view_list(nodes: &[NodeView], frame: &Frame) -> String {
    if nodes.is_empty() {
        return "No nodes yet. `backstay nodes token` makes a token for one to join.\n".to_owned();
    }
    let mut table = Table::new(["NODE", "STATE", "LAST SEEN", "~LABELS", "~STACKS"]);
    for view in nodes {
        let stacks =
            view.observed.iter().map(|observed| observed.stack.to_string()).collect::<Vec<_>>().join(" ");
        table.row([
            Cell::styled(view.node.name.to_string(), style::NAME),
            if view.decommissioning.is_some() {
                Cell::styled(format!("{}, decommissioning", words::node(view.state).plain()), style::WARN)
            } else if view.safety.safe_mode.is_some() {
                Cell::styled(format!("{}, safe mode", words::node(view.state).plain()), style::BAD)
            } else {
                words::node(view.state)
            },
            view.last_seen_at.map_or_else(|| "never".to_owned(), |at| frame.when(at)).into(),
            labels(view).into(),
            stacks.into(),
        ]);
    }
    frame.table(&table)
}

fn labels(view: &NodeView) -> String {
    view.node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn view_one(view: &NodeView, frame: &Frame) -> String {
    let mut text = heading(&format!("Node {}", view.node.name));
    let mut fields = Fields::default();
    let state = words::node(view.state);
    fields.add("id", view.node.id.to_string()).add("state", state.text());
    fields.add("last seen", view.last_seen_at.map_or_else(|| "never".to_owned(), |at| frame.exactly(at)));
    if let Some(one) = &view.decommissioning {
        let since = frame.exactly(one.since);
        fields.add("leaves", format!("being taken out of the fleet, {since} by {}: {}", one.by, one.reason));
    }
    fields.add("joined", frame.exactly(view.node.joined_at));
    fields.maybe("labels", Some(labels(view)).filter(|labels| !labels.is_empty()));
    if let Some(facts) = &view.facts {
        fields.add("machine", format!("{} ({} {})", facts.hostname, facts.os, facts.arch));
        fields.add("agent", format!("{}; runtimes: {}", facts.agent_version, facts.runtimes.join(", ")));
        let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 10) >> 30);
        fields.add("disk", format!("{} of {} free", gib(facts.disk_free_bytes), gib(facts.disk_total_bytes)));
        host::facts(facts, &mut fields);
    }
    fields.add("ssh", words::ssh(view.safety.ssh));
    text.push_str(&fields.render());
    text.push_str(&host::figures(view, frame));
    text.push_str(&safety(view, frame));
    text.push_str(&stacks(view, frame));
    text
}

fn safety(view: &NodeView, frame: &Frame) -> String {
    let mut text = String::new();
    if let Some(mode) = &view.safety.safe_mode {
        text.push_str(&section(&format!("In safe mode since {}", frame.exactly(mode.since))));
        for one in &mode.stacks {
            let stopped = if one.stopped { " (stopped: not even its last good release runs)" } else { "" };
            text.push_str(&format!("  {}{stopped}: {}\n", one.stack, one.reason));
        }
        let notice =
            if mode.minimal_stack { "" } else { " The minimal stack that shows this there does not run." };
        if view.leaving_safe_mode {
            text.push_str("  It may leave, as somebody said; it does when it next checks in.\n");
        }
        text.push_str(&format!(
            "  Nothing forward is tried until a newer release of what failed proves itself, or somebody says so:\n  \
             backstay nodes leave-safe-mode {} --reason WHY{notice}\n",
            view.node.name
        ));
    }
    if !view.safety.waiting.is_empty() {
        text.push_str(&section("Waits"));
        for one in &view.safety.waiting {
            text.push_str(&format!("  {}: {}\n", one.stack, one.reason));
        }
    }
    text
}

fn stacks(view: &NodeView, frame: &Frame) -> String {
    let mut desired = Table::new(["  STACK", "RELEASE", "COMMIT", "~WHY"]);
    for one in &view.desired {
        desired.row([
            format!("  {}", one.stack).into(),
            one.tree.short().into(),
            one.commit.short().into(),
            one.reason.clone().into(),
        ]);
    }
    let mut observed = Table::new(["  STACK", "RELEASE", "HEALTH", "WAY BACK", "~DETAIL"]);
    for one in &view.observed {
        observed.row([
            format!("  {}", one.stack).into(),
            one.current.map_or_else(|| "-".to_owned(), |tree| tree.short()).into(),
            words::health(one.health),
            if one.can_return { Cell::from("open") } else { Cell::styled("closed", style::WARN) },
            one.detail.clone().into(),
        ]);
    }
    let mut drift = Table::new(["  STACK", "STATE", "WHAT", "~HOW"]);
    for one in &view.observed {
        for found in &one.drift {
            drift.row([
                format!("  {}", one.stack).into(),
                words::drift(found.state),
                words::drifted(found).into(),
                found.detail.clone().into(),
            ]);
        }
    }
    let mut text = String::new();
    for (title, table) in [("Should run", desired), ("Runs", observed)] {
        text.push_str(&section(title));
        text.push_str(&if table.is_empty() { "  nothing\n".to_owned() } else { frame.table(&table) });
    }
    if !drift.is_empty() {
        text.push_str(&section("Drift"));
        text.push_str(&frame.table(&drift));
    }
    text
}
