//! `backstay logs`: lines that the hub keeps; or, with a stack on a node, the last ones there, asked through the node's own
//! check-in.

mod stored;

use std::time::Duration;

use backstay_api::{
    Empty, Problem,
    agent::LogLine,
    v1::{FollowLogs, GetLogs, Logs as Answer, LogsPath, LogsQuery},
};
use backstay_client::ServerEvent;
use backstay_types::{ErrorCode, StackName};
use clap::Args;

pub(super) use self::stored::Chosen;
use super::{Outcome, done};
use crate::{
    context::Context,
    error::CliError,
    ui::{Frame, style},
};

/// Log lines: those that the hub keeps, or the last ones of a stack on a node.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Ask this node for the log of this stack, instead of searching what the hub keeps
    #[arg(value_name = "NODE/STACK", conflicts_with_all = stored::OPTIONS)]
    what: Option<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// How many lines: the last ones; with NODE/STACK of each service
    #[arg(long, short = 'n', default_value_t = 100)]
    lines: u32,
    /// Go on showing what is logged; with --json one document a line
    #[arg(long, short)]
    follow: bool,
}

/// How long to wait before a hub that went away is asked again.
const PAUSE: Duration = Duration::from_millis(500);

impl Logs {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let Some(what) = &self.what else {
            return stored::run(self.chosen, self.lines, self.follow, cx).await;
        };
        let path = parse(what)?;
        let query = LogsQuery { service: self.chosen.service, lines: Some(self.lines) };
        if self.follow {
            return follow(path, query, cx).await;
        }
        let logs = cx.api()?.call::<GetLogs>(path, query, Empty {}).await?;
        cx.ui.data(&logs, || view(&logs, &cx.frame()))?;
        done()
    }
}

/// Shows lines as they come, until the node cannot be asked any more. A hub that is away is waited for.
async fn follow(path: LogsPath, mut query: LogsQuery, cx: &Context) -> Outcome {
    let api = cx.api()?;
    let mut stream = api.follow::<FollowLogs>(&path, &query, &Empty {}).await?;
    loop {
        match stream.next().await {
            Ok(Some(event)) => show(&event, cx)?,
            Ok(None) | Err(_) => {
                cx.ui.note("The hub ended the stream; asking again. Lines may be missing here.");
                // What was there before has been shown.
                query.lines = Some(0);
                stream = loop {
                    tokio::time::sleep(PAUSE).await;
                    match api.follow::<FollowLogs>(&path, &query, &Empty {}).await {
                        Err(error) if error.code() == ErrorCode::BS8001 => {}
                        answered => break answered?,
                    }
                };
            }
        }
    }
}

fn show(event: &ServerEvent, cx: &Context) -> Result<(), CliError> {
    let wrong =
        |e| CliError::new(ErrorCode::BS8013, "an event of the hub cannot be understood").with_source(e);
    match event.name.as_str() {
        "problem" => {
            let problem: Problem = serde_json::from_str(&event.data).map_err(wrong)?;
            return Err(CliError::from(problem));
        }
        "gap" => cx.ui.note("Some lines are left out here."),
        "message" => {
            let line: LogLine = serde_json::from_str(&event.data).map_err(wrong)?;
            if cx.ui.json {
                cx.ui.json_line(&line)?;
            } else {
                cx.ui.out(&view(&Answer { lines: vec![line] }, &cx.frame()));
            }
        }
        // Of a later version.
        _ => {}
    }
    Ok(())
}

fn parse(text: &str) -> Result<LogsPath, CliError> {
    let wrong = || CliError::argument(format!("`{text}` is not a stack on a node: expected NODE/STACK"));
    let (node, stack) = text.split_once('/').filter(|(node, _)| !node.is_empty()).ok_or_else(wrong)?;
    let stack: StackName = stack.parse().map_err(|e| wrong().with_source(e))?;
    Ok(LogsPath { node: node.to_owned(), stack })
}

/// A log may hold anything: what would move the cursor is taken out.
fn plain(text: &str) -> String {
    let said = anstream::adapter::strip_str(text).to_string();
    said.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

fn view(logs: &Answer, frame: &Frame) -> String {
    let (dim, name) = (style::DIM, style::NAME);
    let width = logs.lines.iter().map(|line| line.service.len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &logs.lines {
        let at = line
            .at
            .map(|at| at.to_zoned(frame.now.time_zone().clone()).strftime("%m-%d %H:%M:%S ").to_string());
        let said = plain(&line.text);
        text.push_str(&format!(
            "{name}{:width$}{name:#}  {dim}{}{dim:#}{said}\n",
            line.service,
            at.unwrap_or_default()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use backstay_api::agent::LogLine;

    use super::*;

    #[test]
    fn a_log_cannot_write_on_the_terminal() {
        let line = LogLine { service: "web".into(), at: None, text: "a\u{1b}[2Jb\u{7}\tc\r".into() };
        let frame = Frame { now: "2026-11-21T15:00:00+00:00[UTC]".parse().unwrap(), width: None };
        let text = view(&Answer { lines: vec![line] }, &frame);
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "web  ab\tc\n");
    }

    #[test]
    fn reads_node_and_stack() {
        assert!(parse("a/b").is_ok());
        for text in ["", "a", "/b", "a/", "a/b/c"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
