//! `backstay why`: blame for what runs.

use backstay_api::{
    Empty,
    v1::{GetWhy, Why as Answer, WhyQuery},
};
use backstay_types::StackName;
use clap::Args;

use super::{Outcome, done, timeline};
use crate::{
    context::Context,
    error::CliError,
    ids,
    ui::{Frame, style, words},
    views::{
        event::{self, Names},
        fields::{Fields, heading, section},
    },
};

/// Which conversation put this into production, when, in which deployment, and what happened after.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// A node and a stack, with a file of the stack and a line if you like
    #[arg(value_name = "NODE/STACK[/FILE[:LINE]]")]
    what: String,
}

impl Why {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let query = parse(&self.what)?;
        let api = cx.api()?;
        let why = api.call::<GetWhy>(Empty {}, query.clone(), Empty {}).await?;
        let names = timeline::names(&api).await?;
        cx.ui.data(&why, || view(&why, &query, &names, &cx.frame()))?;
        done()
    }
}

/// So much of what happened after is shown; --json has all of it.
const MOST: usize = 10;

fn parse(text: &str) -> Result<WhyQuery, CliError> {
    let wrong = || {
        CliError::argument(format!(
            "`{text}` is not a place: expected NODE/STACK, NODE/STACK/FILE or NODE/STACK/FILE:LINE"
        ))
    };
    let mut parts = text.splitn(3, '/');
    let node = parts.next().filter(|node| !node.is_empty()).ok_or_else(wrong)?.to_owned();
    let stack: StackName = parts.next().ok_or_else(wrong)?.parse().map_err(|e| wrong().with_source(e))?;
    let Some(rest) = parts.next() else { return Ok(WhyQuery { node, stack, file: None, line: None }) };
    // A file's name may hold a colon itself: only digits after the last one are a line.
    let split = rest.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse::<u32>().ok()?)));
    let (file, line) = split.map_or((rest, None), |(file, line)| (file, Some(line)));
    if file.is_empty() || line == Some(0) {
        return Err(wrong());
    }
    Ok(WhyQuery { node, stack, file: Some(file.to_owned()), line })
}

fn view(why: &Answer, query: &WhyQuery, names: &Names, frame: &Frame) -> String {
    let (bold, dim, name) = (style::BOLD, style::DIM, style::NAME);
    let mut text = heading(&place(why, query));
    if let Some(line) = &why.text {
        text.push_str(&format!("  {dim}│{dim:#} {bold}{}{bold:#}\n\n", line.trim_end()));
    }
    let mut fields = Fields::default();
    for conversation in &why.conversations {
        let link = why.change.links.iter().find(|link| link.conversation == conversation.id);
        let known = link.map(|link| format!(" ({})", event::link(link.source))).unwrap_or_default();
        let title = conversation.title.as_deref().map(|title| format!("\n\"{title}\"")).unwrap_or_default();
        let id = conversation.id;
        fields.add("conversation", format!("{name}{id}{name:#} in {}{known}{title}", conversation.tool));
    }
    if why.conversations.is_empty() {
        fields.add("conversation", "none is known: the commit names none");
    }
    let change = &why.change;
    fields.add("commit", format!("{} {}", change.commit.short(), change.subject));
    fields.add("by", format!("{}, {}", change.author.name, frame.exactly(change.authored_at)));
    if let Some(deployment) = &why.deployment {
        let at = deployment.finished_at.or(deployment.started_at).unwrap_or(deployment.created_at);
        let state = words::deployment(&deployment.state).text();
        fields.add(
            "came with",
            format!("deployment {} {}, {state}", ids::short(deployment.id), frame.exactly(at)),
        );
    }
    if let Some(removed) = &why.removed {
        let (at, rollout) = (frame.exactly(removed.at), ids::short(removed.rollout));
        fields.add(
            "taken away",
            format!("{at} by rollout {rollout}: {}; it does not run any more", removed.reason),
        );
    }
    fields.add(
        if why.removed.is_some() { "ran last" } else { "runs now" },
        format!("release {} (commit {})", why.release.tree.short(), why.release.commit.short()),
    );
    if let Some(one) = &why.decommissioning {
        let since = frame.exactly(one.since);
        fields.add("leaves", format!("the node is being taken out, {since} by {}: {}", one.by, one.reason));
    }
    text.push_str(&fields.render());
    if !why.after.is_empty() {
        text.push_str(&section("What happened after"));
        why.after.iter().take(MOST).for_each(|entry| text.push_str(&event::line(entry, names, frame)));
        let more = why.after.len().saturating_sub(MOST);
        if more > 0 {
            let (node, stack) = (&why.node, &why.stack);
            text.push_str(&format!(
                "{dim}and {more} more: backstay timeline --node {node} --stack {stack}{dim:#}\n"
            ));
        }
    }
    if let Some(conversation) = why.conversations.first() {
        let id = ids::short(conversation.id);
        text.push_str(&format!(
            "\n{dim}To take back what it changed:{dim:#} backstay rollback --conversation {id}\n"
        ));
    }
    text
}

fn place(why: &Answer, query: &WhyQuery) -> String {
    let file = query.file.as_deref().map(|file| format!("/{file}")).unwrap_or_default();
    let line = query.line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}/{}{file}{line}", why.node, why.stack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_places() {
        let parts = |text: &str| {
            let query = parse(text).unwrap();
            (query.node, query.stack.to_string(), query.file, query.line)
        };
        assert_eq!(parts("web-1/shop"), ("web-1".into(), "shop".into(), None, None));
        let file = |file: &str| Some(file.to_owned());
        assert_eq!(parts("n/s/config/a.conf"), ("n".into(), "s".into(), file("config/a.conf"), None));
        assert_eq!(parts("n/s/compose.yaml:12"), ("n".into(), "s".into(), file("compose.yaml"), Some(12)));
        assert_eq!(parts("n/s/a:b"), ("n".into(), "s".into(), file("a:b"), None));
    }

    #[test]
    fn refuses_what_is_not_a_place() {
        for text in ["", "n", "/s", "n/", "n/S", "n/s/", "n/s/:3", "n/s/f:0"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
