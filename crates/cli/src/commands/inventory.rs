//! `backstay nodes inventory`: all nodes with all that is known of them, to look at or to take elsewhere.

use std::path::PathBuf;

use backstay_api::v1::{GetInventory, InventoryNode, InventoryStack, NodesQuery, Paging, PendingUpdate};
use backstay_types::ErrorCode;
use clap::{Args, ValueEnum};

use super::{Outcome, done};
use crate::{
    context::Context,
    error::CliError,
    ui::{Cell, Frame, Table, count, style, words},
};

/// Options of `nodes inventory`.
#[derive(Debug, Args)]
pub(crate) struct Inventory {
    /// Only nodes that this label selector matches
    #[arg(long = "where", value_name = "SELECTOR")]
    selector: Option<String>,
    /// In which form [default: a table, or JSON with --json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write it to this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A form of the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One document with all that is known
    Json,
    /// A line for each node and stack, and one for a node that runs nothing
    Csv,
}

impl Inventory {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let query = |paging: Paging| NodesQuery {
            selector: self.selector.clone(),
            limit: paging.limit,
            cursor: paging.cursor,
        };
        let nodes = cx.api()?.all::<GetInventory, _>(query).await?;
        let text = match self.format {
            Some(Format::Csv) => csv(&nodes),
            Some(Format::Json) => json(&nodes)?,
            None if cx.ui.json => json(&nodes)?,
            // A file is as wide as it has to be.
            Some(Format::Table) | None if self.output.is_some() => {
                table(&nodes, &Frame { width: None, ..cx.frame() })
            }
            Some(Format::Table) | None => table(&nodes, &cx.frame()),
        };
        let Some(path) = &self.output else {
            cx.ui.out(&text);
            return done();
        };
        std::fs::write(path, anstream::adapter::strip_str(&text).to_string())
            .map_err(|error| CliError::file("write", path, error))?;
        cx.ui.say(format!("{} written to {}.", count(nodes.len(), "node"), path.display()));
        done()
    }
}

fn json(nodes: &[InventoryNode]) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(nodes)
        .map_err(|error| CliError::new(ErrorCode::BS8013, "cannot write JSON").with_source(error))?;
    Ok(format!("{text}\n"))
}

fn table(nodes: &[InventoryNode], frame: &Frame) -> String {
    let mut table =
        Table::new(["NODE", "STATE", "LAST SEEN", "AGENT", "~MACHINE", "~LABELS", "~RUNS", "~PENDING"]);
    for node in nodes {
        let machine = node.facts.as_ref().map(|facts| match facts.model.is_empty() {
            true => format!("{} {}", facts.os, facts.arch),
            false => format!("{}, {} {}", facts.model, facts.os, facts.arch),
        });
        let stacks: Vec<_> =
            node.stacks.iter().map(|one| format!("{}@{}", one.stack, version(one))).collect();
        let pending: Vec<_> = node.pending.iter().map(what).collect();
        table.row([
            Cell::styled(node.name.to_string(), style::NAME),
            state(node).into(),
            node.last_seen_at.map_or_else(|| "never".to_owned(), |at| frame.when(at)).into(),
            node.facts.as_ref().map_or_else(|| "-".to_owned(), |facts| facts.agent_version.clone()).into(),
            machine.unwrap_or_else(|| "-".to_owned()).into(),
            labels(node).into(),
            stacks.join(" ").into(),
            pending.join(" ").into(),
        ]);
    }
    if table.is_empty() { "No nodes.\n".to_owned() } else { frame.table(&table) }
}

fn version(one: &InventoryStack) -> String {
    let commit = one.commit.as_ref().map(|commit| commit.short().to_owned());
    commit.or_else(|| one.tree.map(|tree| tree.short())).unwrap_or_default()
}

fn state(node: &InventoryNode) -> String {
    let mut text = words::node(node.state).plain().to_owned();
    if node.safe_mode {
        text.push_str(", safe mode");
    }
    if node.decommissioning.is_some() {
        text.push_str(", decommissioning");
    }
    text
}

fn labels(node: &InventoryNode) -> String {
    node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn what(one: &PendingUpdate) -> String {
    let to: String = one.to.chars().take(12).collect();
    format!("{}@{to}", one.stack.as_ref().map_or("agent", |stack| stack.as_str()))
}

const HEAD: [&str; 22] = [
    "name",
    "id",
    "state",
    "labels",
    "joined_at",
    "revoked_at",
    "last_seen_at",
    "hostname",
    "os",
    "arch",
    "model",
    "cpus",
    "memory_bytes",
    "disk_total_bytes",
    "disk_free_bytes",
    "agent_version",
    "stack",
    "commit",
    "tree",
    "since",
    "health",
    "pending",
];

fn csv(nodes: &[InventoryNode]) -> String {
    let mut text = format!("{}\r\n", HEAD.join(","));
    for node in nodes {
        let of_node = of_node(node);
        let mut line = |stack: [String; 5], pending: String| {
            let fields = of_node.iter().chain(&stack).chain([&pending]);
            text.push_str(&fields.map(|field| quoted(field)).collect::<Vec<_>>().join(","));
            text.push_str("\r\n");
        };
        for one in &node.stacks {
            let mine = node.pending.iter().filter(|pending| pending.stack.as_ref() == Some(&one.stack));
            line(of_stack(one), mine.map(what).collect::<Vec<_>>().join(" "));
        }
        let runs = |pending: &&PendingUpdate| {
            node.stacks.iter().any(|one| Some(&one.stack) == pending.stack.as_ref())
        };
        let others: Vec<_> = node.pending.iter().filter(|pending| !runs(pending)).map(what).collect();
        if node.stacks.is_empty() || !others.is_empty() {
            line(Default::default(), others.join(" "));
        }
    }
    text
}

fn of_node(node: &InventoryNode) -> Vec<String> {
    let at = |at: Option<backstay_types::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let mut fields = vec![
        node.name.to_string(),
        node.id.to_string(),
        state(node),
        labels(node),
        node.joined_at.to_string(),
        at(node.revoked_at),
        at(node.last_seen_at),
    ];
    fields.extend(match &node.facts {
        Some(facts) => [
            facts.hostname.clone(),
            facts.os.clone(),
            facts.arch.clone(),
            facts.model.clone(),
            facts.cpus.to_string(),
            facts.memory_bytes.to_string(),
            facts.disk_total_bytes.to_string(),
            facts.disk_free_bytes.to_string(),
            facts.agent_version.clone(),
        ],
        None => Default::default(),
    });
    fields
}

fn of_stack(one: &InventoryStack) -> [String; 5] {
    [
        one.stack.to_string(),
        one.commit.as_ref().map(ToString::to_string).unwrap_or_default(),
        one.tree.map(|tree| tree.to_string()).unwrap_or_default(),
        one.since.map(|at| at.to_string()).unwrap_or_default(),
        words::health(one.health).plain().to_owned(),
    ]
}

/// A field of RFC 4180. What a table program would take for a formula is made text: machines name themselves.
fn quoted(field: &str) -> String {
    let text = match field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{field}"),
        false => field.to_owned(),
    };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_no_formula() {
        assert_eq!(quoted("pi-7"), "pi-7");
        assert_eq!(quoted("a, \"b\"\n"), "\"a, \"\"b\"\"\n\"");
        assert_eq!(quoted("=HYPERLINK(1,2)"), "\"'=HYPERLINK(1,2)\"");
    }
}
