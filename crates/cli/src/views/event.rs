//! Entries of the ledger as sentences.

mod backup;
mod moves;

use std::collections::BTreeMap;

use backstay_types::{
    AgentOutcome, AgentUpdateState, CommitId, Effect, Event, LedgerEntry, LinkSource, NodeId, PushState,
    Refs, RepositoryHealth, RepositoryId, RolloutState, StackName, UndoState, UserChange,
};

use crate::{
    ids,
    lookup::name_of,
    ui::{Frame, style, words},
};

/// Names for the ids in entries.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Of nodes.
    pub(crate) nodes: BTreeMap<NodeId, String>,
    /// Of repositories.
    pub(crate) repositories: BTreeMap<RepositoryId, String>,
}

impl Names {
    fn node(&self, refs: &Refs) -> String {
        let id = refs.node;
        id.map_or_else(
            || "a node".to_owned(),
            |id| self.nodes.get(&id).cloned().unwrap_or_else(|| ids::short(id)),
        )
    }

    fn repository(&self, refs: &Refs) -> String {
        refs.repository.map_or_else(|| "a repository".to_owned(), |id| name_of(&self.repositories, id))
    }
}

/// An entry as a line: position, time, what happened, and whose doing it was.
pub(crate) fn line(entry: &LedgerEntry, names: &Names, frame: &Frame) -> String {
    let (dim, name) = (style::DIM, style::NAME);
    let (mark, sentence) = match &entry.event {
        Some(event) => (mark(event), sentence(event, &entry.refs, names)),
        None => (style::DIM, format!("{} (its text was erased)", entry.kind)),
    };
    let local = entry.at.to_zoned(frame.now.time_zone().clone());
    let format = if local.date() == frame.now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    let whose =
        entry.refs.conversation.map(|id| format!("  {name}{}{name:#}", ids::short(id))).unwrap_or_default();
    format!("{dim}{:>5}  {}{dim:#}  {mark}●{mark:#} {sentence}{whose}\n", entry.seq, local.strftime(format))
}

/// Whose data it is.
fn saved(refs: &Refs, names: &Names) -> String {
    if refs.node.is_some() { names.node(refs) } else { "the hub".to_owned() }
}

fn mark(event: &Event) -> anstyle::Style {
    match event {
        Event::DeploymentFinished { state, .. } if state.is_failure() => style::BAD,
        Event::DeploymentFinished { .. } => style::GOOD,
        Event::RolloutStateChanged { state: RolloutState::Halted, .. }
        | Event::UndoStateChanged { state: UndoState::Failed { .. } | UndoState::Conflicted } => style::BAD,
        Event::UndoStateChanged { state: UndoState::Verified }
        | Event::RolloutStateChanged { state: RolloutState::Succeeded, .. } => style::GOOD,
        Event::SafeModeEntered { .. } => style::BAD,
        Event::SafeModeLeft { .. } => style::GOOD,
        Event::RepositoryHealthChanged { health } | Event::BranchChanged { health, .. }
            if !matches!(health, RepositoryHealth::Ok) =>
        {
            style::WARN
        }
        Event::AgentUpdateChanged { state: AgentUpdateState::Halted, .. }
        | Event::AgentUpdated { outcome: AgentOutcome::Failed { .. }, .. } => style::BAD,
        Event::DriftReported { .. }
        | Event::ConstraintSet { .. }
        | Event::UndoRequested { .. }
        | Event::RepositoryWarned { .. } => style::WARN,
        _ => style::DIM,
    }
}

/// What happened, as a sentence without its end.
pub(crate) fn sentence(event: &Event, refs: &Refs, names: &Names) -> String {
    let stack = refs.stack.as_ref().map_or("a stack", |stack| stack.as_str());
    let commit = refs.commit.as_ref().map_or("a commit", CommitId::short);
    let node = || names.node(refs);
    match event {
        Event::ConversationOpened { tool } => format!("a conversation in {tool} began"),
        Event::ConversationClosed { reason, tool_events, .. } => {
            format!("the conversation ended ({reason}) after {tool_events} events")
        }
        Event::RepositoryAdded { name } => format!("repository {name} was added"),
        Event::RepositoryHealthChanged { health } => repository(&names.repository(refs), health),
        Event::BranchChanged { branch, tip, health: RepositoryHealth::Ok } => {
            format!("{stack}: branch {branch} is at {}", tip.short())
        }
        Event::BranchChanged { branch, health, .. } => {
            format!("{stack}: {}", repository(&format!("branch {branch}"), health))
        }
        Event::RepositoryWarned { warnings, new } => {
            let first = warnings.first().map(ToString::to_string).unwrap_or_default();
            let more = new.saturating_sub(1);
            let more = if more == 0 { String::new() } else { format!(", and {more} more") };
            format!("repository {}: a warning: {first}{more}", names.repository(refs))
        }
        Event::ChangeSeen { subject, author } => format!("commit {commit} by {author}: {subject}"),
        Event::ChangeLinked { source } => {
            format!("commit {commit} belongs to a conversation ({})", link(*source))
        }
        Event::ReleaseCreated { tree } => format!("{stack}: release {}", tree.short()),
        Event::NodeJoined { name } => format!("node {name} joined"),
        Event::NodeLabelled { set, removed, reason, by } => {
            let set = set.iter().map(|(key, value)| format!("{key}={value}"));
            let labels: Vec<_> = set.chain(removed.iter().map(|key| format!("{key}-"))).collect();
            let why = reason.as_deref().map(because).unwrap_or_default();
            format!("{}: labels changed by {by}: {}{why}", node(), labels.join(" "))
        }
        Event::NodeDecommissioned { kept_running, reason, by } => {
            let what =
                if *kept_running { "; what it ran keeps running" } else { ", and runs nothing any more" };
            format!("{}: taken out of the fleet by {by}{what}{}", node(), because(reason))
        }
        Event::NodeRevoked { name } => format!("node {name} was revoked"),
        Event::RolloutStarted { reason } => format!("{stack}: rollout began: {reason}"),
        Event::RolloutStateChanged { state, reason } => {
            format!("{stack}: rollout {}{}", rollout(*state), because(reason))
        }
        Event::RolloutWaveOpened { wave, reason } => {
            format!("{stack}: wave {wave} of the rollout began{}", because(reason))
        }
        Event::ReleasePromoted { environment, reason, by, forced } => {
            let how = if *forced { "was forced into" } else { "was let into" };
            format!("{stack}: release {commit} {how} {environment} by {by}{}", because(reason))
        }
        Event::RolloutAnalysed { findings, .. } => {
            format!("{stack}: looked at what failed: {}", findings.join("; "))
        }
        Event::RolloutPaused { paused, reason, by } => {
            let done = if *paused { "paused" } else { "let go on" };
            format!("{stack}: rollout {done} by {by}{}", because(reason))
        }
        Event::RolloutOverridden { reason, by } => {
            format!("{stack}: rollout let go on in spite of freezes and windows by {by}{}", because(reason))
        }
        Event::FleetHealthChanged { level, reason, .. } => {
            format!("the fleet: {}: {reason}", words::fleet_level(*level))
        }
        Event::EmergencyStopSet { stopped, reason, by } => {
            let done = if *stopped { "everything was stopped" } else { "the emergency stop was lifted" };
            format!("{done} by {by}{}", because(reason))
        }
        Event::DesiredChanged { generation, .. } => {
            format!("{}: what it should run, version {generation}", node())
        }
        Event::DeploymentStarted => format!("{}: deployment of {stack} began", node()),
        Event::DeploymentFinished { state, .. } => {
            format!("{}: {stack} {}", node(), words::deployment_sentence(state))
        }
        Event::DriftReported { detail } => format!("{}: {stack} drifted: {detail}", node()),
        Event::SafeModeEntered { reason } => format!("{}: in safe mode, for {stack}: {reason}", node()),
        Event::SafeModeLeaveAsked { reason, by } => {
            format!("{}: may leave safe mode, said {by}{}", node(), because(reason))
        }
        Event::SafeModeLeft { reason } => format!("{}: left safe mode: {reason}", node()),
        Event::NodeWasCutOff { from, to, detail } => {
            let seconds = u64::try_from(to.duration_since(*from).as_secs()).unwrap_or(0);
            format!(
                "{}: had no hub for {}; {detail}",
                node(),
                backstay_manifest::format_duration(std::time::Duration::from_secs(seconds))
            )
        }
        Event::ConstraintSet { effect, reason, by } => {
            format!("{} by {by}{}", constraint(effect), because(reason))
        }
        Event::ConstraintLifted { reason, by } => {
            format!("a constraint was lifted by {by}{}", because(reason))
        }
        Event::UndoRequested { by, reason } => format!("undo asked for by {by}{}", because(reason)),
        Event::UndoStateChanged { state } => format!("undo {}", undo(state)),
        Event::UndoPushed { push } => {
            format!("undo commit {commit} in {}: {}", names.repository(refs), push_words(push))
        }
        Event::AgentKept { detail, by } => format!("{detail}, by {by}"),
        Event::AgentUpdateChanged { version, state, wave, reason, by, .. } => {
            let done = match state {
                AgentUpdateState::Running => format!("goes out, wave {wave}"),
                AgentUpdateState::Halted => "was stopped".to_owned(),
                AgentUpdateState::Done => "is asked for everywhere".to_owned(),
            };
            format!("agent {version} {done}, by {by}{}", because(reason))
        }
        Event::AgentUpdated { version, outcome } => match outcome {
            AgentOutcome::Updated => format!("{}: runs agent {version} now", node()),
            AgentOutcome::Failed { reason } => {
                format!("{}: agent {version} failed, the one before runs{}", node(), because(reason))
            }
            AgentOutcome::Left { reason } => {
                format!("{}: agent {version} was not tried{}", node(), because(reason))
            }
        },
        Event::BackupMade { .. }
        | Event::BackupFailed { .. }
        | Event::BackupVerified { .. }
        | Event::BackupRepositoryChecked { .. }
        | Event::BackupsPruned { .. }
        | Event::BackupWriteRefused { .. } => format!("{}: {}", saved(refs, names), backup::sentence(event)),
        Event::RestoreAsked { .. }
        | Event::RestoreFinished { .. }
        | Event::DrillAsked { .. }
        | Event::DrillFinished { .. }
        | Event::SnapshotHeld { .. }
        | Event::BackupCancelled { .. }
        | Event::RecoveryKeySet { .. }
        | Event::BackupTargetAccepted { .. }
        | Event::HubRestored { .. } => backup::sentence(event),
        Event::MigrationStarted { .. } | Event::MigrationMoved { .. } | Event::MigrationCancelled { .. } => {
            moves::sentence(event)
        }
        Event::TokenChanged { detail } => format!("token: {detail}"),
        Event::UserChanged { name, change, by } => format!("user {name}: {} by {by}", user_words(change)),
    }
}

fn user_words(change: &UserChange) -> String {
    match change {
        UserChange::Created { role } => format!("made, as {role},"),
        UserChange::RoleChanged { from, to } => format!("{from} before, {to} now,"),
        UserChange::Disabled => "disabled".to_owned(),
        UserChange::Enabled => "let in again".to_owned(),
        UserChange::LinkMade => "given a link".to_owned(),
        UserChange::PasswordSet => "password set".to_owned(),
        UserChange::SignedOut => "signed out everywhere".to_owned(),
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn repository(name: &str, health: &RepositoryHealth) -> String {
    match words::repository_detail(health) {
        Some(detail) => format!("repository {name}: {detail}; nothing changes on any node"),
        None if *health == RepositoryHealth::Ok => format!("repository {name} was read whole"),
        None => format!("repository {name} has not been fetched yet"),
    }
}

fn rollout(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Running => "goes on",
        RolloutState::Succeeded => "succeeded",
        RolloutState::Halted => "halted",
        RolloutState::Superseded => "was overtaken",
    }
}

fn constraint(effect: &Effect) -> String {
    match effect {
        Effect::Pin { stack, .. } => format!("{stack} pinned"),
        Effect::Follow { stack, branch } => format!("{stack}: some nodes follow branch {branch}"),
        Effect::Hold { commit, .. } => format!("commit {} held", commit.short()),
        Effect::Ban { stack, tree } => format!("{stack}: release {} banned", tree.short()),
        Effect::Freeze { stack } => format!("{} frozen", of(stack.as_ref())),
        Effect::UpdatesOff { stack } => {
            format!("updates of {} turned off for some nodes", of(stack.as_ref()))
        }
        Effect::Maintenance => "maintenance of some nodes begun".to_owned(),
        Effect::Decommission => "a node is being taken out of the fleet".to_owned(),
        Effect::RunsHere { stack, .. } => format!("{stack} is moved to a node"),
        Effect::RunsNot { stack } => format!("{stack} is moved away from a node"),
    }
}

fn of(stack: Option<&StackName>) -> &str {
    stack.map_or("everything", |stack| stack.as_str())
}

fn undo(state: &UndoState) -> String {
    match state {
        UndoState::Planned => "planned".to_owned(),
        UndoState::Conflicted => "waits until conflicts are resolved".to_owned(),
        UndoState::RollingOut => "is rolling out".to_owned(),
        UndoState::Verified => "verified: every node is healthy on the wanted release".to_owned(),
        UndoState::Failed { reason } => format!("failed: {reason}"),
    }
}

fn push_words(push: &PushState) -> String {
    words::push(push)
}

/// How a link is known, in words.
pub(crate) fn link(source: LinkSource) -> &'static str {
    match source {
        LinkSource::Trailer => "by its trailer",
        LinkSource::ForeignTrailer => "by another tool's trailer",
        LinkSource::Note => "by a git-ai note",
        LinkSource::Event => "the tool named it",
        LinkSource::Derived => "same diff as one of its commits",
        LinkSource::Guess => "a guess by author and time",
    }
}
