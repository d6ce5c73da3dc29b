//! From arguments to a request.

use backstay_api::v1::{SelectorRequest, UndoRequest};
use backstay_types::{Meaning, Timestamp, UndoId, UndoScope, UndoSelector};
use jiff::Zoned;

use super::Rollback;
use crate::{api::Api, error::CliError, lookup, time};

/// What is asked of the hub.
pub(super) async fn request(
    command: &Rollback,
    id: UndoId,
    api: &Api,
    now: &Zoned,
) -> Result<UndoRequest, CliError> {
    let nodes = match (&command.scope.node, &command.scope.nodes) {
        (Some(name), _) => Some(format!("name={name}")),
        (None, selector) => selector.clone(),
    };
    Ok(UndoRequest {
        id: Some(id),
        selector: selector(command, api, now).await?,
        scope: UndoScope { nodes, stack: command.scope.stack.clone(), part: command.scope.part.clone() },
        reason: command.manner.reason.clone(),
        include_guesses: command.conflicts.guesses.clone(),
        with_data: command.data.with_data,
        without_data: command.data.without.clone(),
        shared_data: command.data.shared.clone(),
        confirm: command.data.confirm.clone(),
    })
}

async fn selector(command: &Rollback, api: &Api, now: &Zoned) -> Result<SelectorRequest, CliError> {
    let selector = if let Some(text) = &command.conversation {
        let meaning = if command.before { Meaning::Before } else { Meaning::OnlyIts };
        UndoSelector::Conversation { conversation: lookup::conversation(api, text).await?, meaning }
    } else if let Some(text) = &command.deployment {
        UndoSelector::Deployment { deployment: lookup::deployment(api, text).await? }
    } else if let Some(text) = &command.undo {
        UndoSelector::Undo { undo: lookup::undo(api, text).await? }
    } else if let Some(text) = &command.to {
        match target(text, now)? {
            Target::Time(to) => UndoSelector::Time { to, exact: command.scope.exact },
            Target::Commit(_) if command.scope.exact => {
                return Err(CliError::argument(format!("--exact needs a time, and `{text}` is a commit")));
            }
            Target::Commit(to_commit) => return Ok(SelectorRequest::Commit { to_commit }),
        }
    } else {
        UndoSelector::Last
    };
    Ok(SelectorRequest::Exact(selector))
}

/// What `--to` names.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Time(Timestamp),
    Commit(String),
}

/// `sha:` and `time:` in front say which it is; without, whatever it can be.
fn target(text: &str, now: &Zoned) -> Result<Target, CliError> {
    if let Some(text) = text.strip_prefix("time:") {
        return Ok(Target::Time(time::past(text, now)?));
    }
    if let Some(sha) = text.strip_prefix("sha:") {
        return if is_sha(sha) {
            Ok(Target::Commit(sha.to_ascii_lowercase()))
        } else {
            Err(neither(text, None))
        };
    }
    if is_sha(text) && time::parse_length(text).is_ok() {
        let message =
            format!("`{text}` may be a commit or a length of time: say `sha:{text}` or `time:{text}`");
        return Err(CliError::argument(message));
    }
    match time::past(text, now) {
        Ok(at) => Ok(Target::Time(at)),
        Err(_) if is_sha(text) => Ok(Target::Commit(text.to_ascii_lowercase())),
        Err(error) => Err(neither(text, Some(error))),
    }
}

fn is_sha(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit())
}

fn neither(text: &str, time: Option<CliError>) -> CliError {
    let error = CliError::argument(format!("`{text}` is neither a time nor a commit"))
        .hint("a commit is 4 to 64 hexadecimal digits; a time is 2026-11-20T14:00:00Z, `2h ago` or `yesterday 14:00`");
    match time {
        Some(time) => error.with_source(time),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Target> {
        target(text, &"2026-11-21T15:30:00+01:00[Europe/Berlin]".parse().unwrap()).ok()
    }

    #[test]
    fn a_target_is_a_time_or_a_commit() {
        let time = |text: &str| Some(Target::Time(text.parse().unwrap()));
        let commit = |text: &str| Some(Target::Commit(text.to_owned()));
        assert_eq!(read("2h ago"), time("2026-11-21T12:30:00Z"));
        assert_eq!(read("2h"), time("2026-11-21T12:30:00Z"));
        assert_eq!(read("time:120d"), time("2026-07-24T14:30:00Z"));
        assert_eq!(read("sha:120d"), commit("120d"));
        assert_eq!(read("2026-11-20"), time("2026-11-19T23:00:00Z"));
        assert_eq!(read("time:yesterday"), time("2026-11-19T23:00:00Z"));
        assert_eq!(read("DEADBEEF"), commit("deadbeef"));
        assert_eq!(read("20261120"), commit("20261120"));
        assert_eq!(read("sha:20261120"), commit("20261120"));
        for text in
            ["", "120d", "in 2h", "tomorrow", "HEAD~1", "main", "abc", "sha:x", "time:deadbeef", "$(reboot)"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
