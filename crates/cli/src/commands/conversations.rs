//! `backstay conversations`: what assistants were asked, and what came of it.

use backstay_api::{
    Empty,
    v1::{
        ConversationDetail, ConversationPath, ConversationView, GetConversation, ListConversations, Paging,
    },
};
use clap::{Args, Subcommand};

use super::{Outcome, done};
use crate::{
    context::Context,
    ids, lookup,
    ui::{Cell, Frame, Table, count, style, words},
    views::{
        event,
        fields::{Fields, heading, section},
    },
};

/// Tool events that are shown without `--events`.
const SHOWN_EVENTS: usize = 10;

/// Conversations.
#[derive(Debug, Subcommand)]
pub(crate) enum Conversations {
    /// Conversations, the one heard from last first
    List(List),
    /// One conversation: what it said, what it changed, where that went
    Show(Show),
}

/// Options of `conversations list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The most to show
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// Options of `conversations show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its id, or a tool's own as `tool/kind/value`
    conversation: String,
    /// All tool events, not only the last
    #[arg(long)]
    events: bool,
}

impl Conversations {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        match self {
            Self::List(command) => {
                let paging = Paging { limit: Some(command.limit), cursor: None };
                let page = api.call::<ListConversations>(Empty {}, paging, Empty {}).await?;
                cx.ui.data(&page.items, || view_list(&page.items, &cx.frame()))?;
            }
            Self::Show(command) => {
                let id = lookup::conversation(&api, &command.conversation).await?;
                let path = ConversationPath { conversation: id.to_string() };
                let detail = api.call::<GetConversation>(path, Empty {}, Empty {}).await?;
                let shown = if command.events { usize::MAX } else { SHOWN_EVENTS };
                cx.ui.data(&detail, || view_one(&detail, shown, &cx.frame()))?;
            }
        }
        done()
    }
}

fn view_list(conversations: &[ConversationView], frame: &Frame) -> String {
    if conversations.is_empty() {
        return "No conversations yet. `backstay track install` lets commits and assistants name theirs.\n"
            .to_owned();
    }
    let mut table = Table::new(["ID", "TOOL", "LAST HEARD", "COMMITS", "DEPLOYED", "FAILED", "", "~TITLE"]);
    for view in conversations {
        let conversation = &view.conversation;
        let failed = Cell::styled(
            view.failures.to_string(),
            if view.failures > 0 { style::BAD } else { style::PLAIN },
        );
        table.row([
            Cell::styled(ids::short(conversation.id), style::NAME),
            conversation.tool.clone().into(),
            frame.when(conversation.last_seen_at).into(),
            view.changes.to_string().into(),
            view.deployments.to_string().into(),
            failed,
            if view.undone { Cell::styled("undone", style::WARN) } else { "".into() },
            conversation.title.clone().unwrap_or_default().into(),
        ]);
    }
    frame.table(&table)
}

fn view_one(detail: &ConversationDetail, shown: usize, frame: &Frame) -> String {
    let conversation = &detail.view.conversation;
    let mut text = heading(&format!("Conversation {}", conversation.id));
    let mut fields = Fields::default();
    fields.add("tool", conversation.tool.clone());
    fields.maybe("title", conversation.title.as_deref());
    fields.add("first heard", frame.exactly(conversation.first_seen_at));
    fields.add("last heard", frame.exactly(conversation.last_seen_at));
    fields.maybe("ended", conversation.ended_at.map(|at| frame.exactly(at)));
    let known = conversation.foreign_ids.iter().map(|id| format!("{}/{}/{}", id.tool, id.kind, id.value));
    fields.maybe("known as", Some(known.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty()));
    if detail.view.undone {
        fields.add("undone", "yes, all that it changed");
    }
    text.push_str(&fields.render());
    text.push_str(&commits(detail, frame));
    text.push_str(&deployed(detail, frame));
    text.push_str(&undos(detail, frame));
    text.push_str(&events(detail, shown, frame));
    text
}

fn commits(detail: &ConversationDetail, frame: &Frame) -> String {
    let id = detail.view.conversation.id;
    let mut table = Table::new(["  COMMIT", "WRITTEN", "STACKS", "KNOWN", "~SUBJECT"]);
    for change in &detail.commits {
        let link = change.links.iter().find(|link| link.conversation == id);
        let known = link.map_or("", |link| event::link(link.source));
        let style =
            if link.is_some_and(|link| !link.source.is_certain()) { style::WARN } else { style::PLAIN };
        table.row([
            format!("  {}", change.commit.short()).into(),
            frame.when(change.authored_at).into(),
            change.stacks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ").into(),
            Cell::styled(known, style),
            change.subject.clone().into(),
        ]);
    }
    titled("Commits", &table, frame)
}

fn deployed(detail: &ConversationDetail, frame: &Frame) -> String {
    let mut table = Table::new(["  DEPLOYMENT", "STACK", "STATE", "~WHEN"]);
    for one in &detail.deployed {
        table.row([
            format!("  {}", ids::short(one.id)).into(),
            one.stack.to_string().into(),
            words::deployment(&one.state),
            frame.when(one.finished_at.or(one.started_at).unwrap_or(one.created_at)).into(),
        ]);
    }
    titled("Deployments", &table, frame)
}

fn undos(detail: &ConversationDetail, frame: &Frame) -> String {
    let mut table = Table::new(["  UNDO", "STATE", "~WHEN"]);
    for one in &detail.undos {
        let id = format!("  {}", ids::short(one.id));
        table.row([id.into(), words::undo(&one.state), frame.when(one.created_at).into()]);
    }
    titled("Undos", &table, frame)
}

fn events(detail: &ConversationDetail, shown: usize, frame: &Frame) -> String {
    let skipped = detail.events.len().saturating_sub(shown);
    let mut table = Table::new(["  WHEN", "~WHAT"]);
    for one in &detail.events[skipped..] {
        table.row([format!("  {}", frame.when(one.at)).into(), one.summary.clone().into()]);
    }
    let mut text = titled("Events", &table, frame);
    if skipped > 0 {
        text.push_str(&format!("  {} before these: --events shows them\n", count(skipped, "event")));
    }
    text
}

fn titled(title: &str, table: &Table, frame: &Frame) -> String {
    if table.is_empty() { String::new() } else { format!("{}{}", section(title), frame.table(table)) }
}
