//! Lines that the hub keeps.

use backstay_api::{
    Empty,
    v1::{LogLevel, LogSearch, SearchLogs, StoredLine, TailLogs},
};
use backstay_client::ServerEvent;
use backstay_types::ErrorCode;
use clap::Args;

use super::{PAUSE, plain};
use crate::{
    commands::{Outcome, done},
    context::Context,
    error::CliError,
    time,
    ui::{Frame, style},
};

/// What does not go with a node's own log.
pub(super) const OPTIONS: [&str; 10] =
    ["node", "stack", "release", "deployment", "conversation", "trace", "level", "grep", "since", "until"];

/// Which of the lines that the hub keeps.
#[derive(Debug, Default, Args)]
pub(crate) struct Chosen {
    /// Only of this node
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,
    /// Only of this stack
    #[arg(long, value_name = "NAME")]
    pub(super) stack: Option<String>,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,
    /// Only of this release
    #[arg(long, value_name = "ID")]
    pub(super) release: Option<String>,
    /// Only of this deployment
    #[arg(long, value_name = "ID")]
    pub(super) deployment: Option<String>,
    /// Only of this conversation: its id here, or the one that its tool gave it
    #[arg(long, value_name = "ID")]
    pub(super) conversation: Option<String>,
    /// Only of this trace
    #[arg(long, value_name = "ID")]
    pub(super) trace: Option<String>,
    /// Only as severe as this, or more
    #[arg(long, value_parser = level, value_name = "LEVEL")]
    pub(super) level: Option<LogLevel>,
    /// Only with this in their text, letter by letter
    #[arg(long, value_name = "TEXT")]
    pub(super) grep: Option<String>,
    /// From this time on, such as `2h ago` or `yesterday 14:00`
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

impl Chosen {
    /// As the hub is asked.
    pub(in crate::commands) fn search(self, frame: &Frame) -> Result<LogSearch, CliError> {
        let past = |text: Option<String>| text.map(|text| time::past(&text, &frame.now)).transpose();
        Ok(LogSearch {
            node: self.node,
            stack: self.stack,
            service: self.service,
            release: self.release,
            deployment: self.deployment,
            conversation: self.conversation,
            trace: self.trace,
            level: self.level,
            text: self.grep,
            from: past(self.since)?,
            to: past(self.until)?,
            ..LogSearch::default()
        })
    }
}

fn level(text: &str) -> Result<LogLevel, String> {
    serde_json::from_value(text.to_ascii_lowercase().into())
        .map_err(|_| "expected unknown, trace, debug, info, warn, error or fatal".to_owned())
}

/// Shows the last lines that fit, oldest first, and with `follow` all that come.
pub(super) async fn run(chosen: Chosen, lines: u32, follow: bool, cx: &Context) -> Outcome {
    let mut search = chosen.search(&cx.frame())?;
    if follow {
        search.limit = Some(lines);
        return tail(search, cx).await;
    }
    let api = cx.api()?;
    let mut found: Vec<StoredLine> = Vec::new();
    loop {
        let left = lines.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        if left == 0 {
            break;
        }
        search.limit = Some(left.min(1000));
        let page = api.call::<SearchLogs>(Empty {}, search.clone(), Empty {}).await?;
        found.extend(page.items);
        search.cursor = page.next;
        if search.cursor.is_none() {
            break;
        }
    }
    found.reverse();
    cx.ui.data(&found, || found.iter().map(|line| view(line, &cx.frame())).collect())?;
    if found.is_empty() && !cx.ui.json {
        cx.ui.note("No lines. Look with `backstay telemetry status` whether logs come in.");
    }
    done()
}

/// Shows lines as they come. A hub that is away is waited for.
async fn tail(mut search: LogSearch, cx: &Context) -> Outcome {
    let api = cx.api()?;
    let mut stream = api.follow::<TailLogs>(&Empty {}, &search, &Empty {}).await?;
    loop {
        match stream.next().await {
            Ok(Some(event)) => show(&event, cx)?,
            Ok(None) | Err(_) => {
                cx.ui.note("The hub ended the stream; asking again. Lines may be missing here.");
                // What was there before has been shown.
                search.limit = None;
                stream = loop {
                    tokio::time::sleep(PAUSE).await;
                    match api.follow::<TailLogs>(&Empty {}, &search, &Empty {}).await {
                        Err(error) if error.code() == ErrorCode::BS8001 => {}
                        answered => break answered?,
                    }
                };
            }
        }
    }
}

fn show(event: &ServerEvent, cx: &Context) -> Result<(), CliError> {
    match event.name.as_str() {
        "gap" => cx.ui.note("Some lines are left out here."),
        "message" => {
            let line: StoredLine = serde_json::from_str(&event.data).map_err(|e| {
                CliError::new(ErrorCode::BS8013, "an event of the hub cannot be understood").with_source(e)
            })?;
            if cx.ui.json {
                cx.ui.json_line(&line)?;
            } else {
                cx.ui.out(&view(&line, &cx.frame()));
            }
        }
        // Of a later version.
        _ => {}
    }
    Ok(())
}

fn view(line: &StoredLine, frame: &Frame) -> String {
    let (dim, name) = (style::DIM, style::NAME);
    let at = line.time.to_zoned(frame.now.time_zone().clone()).strftime("%m-%d %H:%M:%S");
    let (word, colour) = match line.level {
        LogLevel::Unknown => ("     ", style::DIM),
        LogLevel::Trace => ("TRACE", style::DIM),
        LogLevel::Debug => ("DEBUG", style::DIM),
        LogLevel::Info => ("INFO ", style::GOOD),
        LogLevel::Warn => ("WARN ", style::WARN),
        LogLevel::Error => ("ERROR", style::BAD),
        LogLevel::Fatal => ("FATAL", style::BAD),
    };
    let place: Vec<_> =
        [&line.node, &line.stack, &line.service].into_iter().flatten().map(|p| plain(p)).collect();
    let text = plain(&line.text);
    format!("{dim}{at}{dim:#} {colour}{word}{colour:#} {name}{}{name:#}  {text}\n", place.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_how_severe_and_where_and_cannot_write_on_the_terminal() {
        let line: StoredLine = serde_json::from_value(serde_json::json!({
            "time": "2026-11-21T15:00:00Z", "observed": "2026-11-21T15:00:00Z", "level": "warn", "severity": 13,
            "node": "web-1", "service": "shop", "text": "slow\u{1b}[2J\u{7}",
        }))
        .unwrap();
        let frame = Frame { now: "2026-11-21T15:00:00+00:00[UTC]".parse().unwrap(), width: None };
        let text = anstream::adapter::strip_str(&view(&line, &frame)).to_string();
        assert_eq!(text, "11-21 15:00:00 WARN  web-1/shop  slow\n");
        assert_eq!(level("ERROR").unwrap(), LogLevel::Error);
        assert!(level("loud").is_err());
    }
}
