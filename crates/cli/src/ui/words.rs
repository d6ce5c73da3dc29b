//! States in words and colours, the same everywhere.

use backstay_api::v1::BackupHealth;
use backstay_types::{
    DeploymentState, Drift, DriftPart, DriftState, FailureKind, HealthLevel, NodeState, PushState,
    ReleaseStanding, RepositoryHealth, RolloutState, SshState, StackHealth, Step, UndoState,
    backup::{BackupJobState, BackupPhase, BackupReason, BackupTaskKind, Proof},
};

use super::{Cell, style};

/// What follows from how well a fleet is.
pub(crate) fn fleet_level(level: HealthLevel) -> &'static str {
    match level {
        HealthLevel::Well => "well again",
        HealthLevel::Warned => "not well, rollouts go slower",
        HealthLevel::Halted => "not well, rollouts are paused",
        HealthLevel::Stopped => "not well, everything was stopped and goes back to the last good",
    }
}

/// A deployment's state.
pub(crate) fn deployment(state: &DeploymentState) -> Cell {
    match state {
        DeploymentState::Pending => Cell::styled("waiting", style::DIM),
        DeploymentState::Running { step: at } => Cell::styled(format!("running: {}", step(*at)), style::WARN),
        DeploymentState::Succeeded => Cell::styled("succeeded", style::GOOD),
        DeploymentState::RolledBack { .. } => Cell::styled("rolled back", style::BAD),
        DeploymentState::Failed { .. } => Cell::styled("failed", style::BAD),
        DeploymentState::Broken { .. } => Cell::styled("BROKEN", style::BAD),
        DeploymentState::Superseded => Cell::styled("superseded", style::DIM),
    }
}

/// A deployment's state as a sentence's end, with step and reason where it failed.
pub(crate) fn deployment_sentence(state: &DeploymentState) -> String {
    let at =
        |at: Step, kind: FailureKind, reason: &str| format!("at {} ({}): {reason}", step(at), failure(kind));
    match state {
        DeploymentState::Pending => "waits for its turn".to_owned(),
        DeploymentState::Running { step: now } => format!("is at {}", step(*now)),
        DeploymentState::Succeeded => "runs, healthy".to_owned(),
        DeploymentState::RolledBack { step, failure, reason } => {
            format!("failed {}; the node went back to what it ran before", at(*step, *failure, reason))
        }
        DeploymentState::Failed { step, failure, reason } => {
            format!("failed {}; what ran before still runs", at(*step, *failure, reason))
        }
        DeploymentState::Broken { step, failure, reason } => {
            format!(
                "failed {}; the way back failed too: the node needs a person",
                at(*step, *failure, reason)
            )
        }
        DeploymentState::Superseded => "was overtaken by something newer".to_owned(),
    }
}

/// What becomes of a departure.
pub(crate) fn drift(state: DriftState) -> Cell {
    match state {
        DriftState::Healing => Cell::styled("being put right", style::WARN),
        DriftState::Left => Cell::styled("left as it is", style::DIM),
        DriftState::Escalated => Cell::styled("NEEDS A PERSON", style::BAD),
    }
}

/// What departed.
pub(crate) fn drifted(drift: &Drift) -> String {
    let part = match drift.part {
        DriftPart::Running => "what runs",
        DriftPart::WayBack => "the way back",
        DriftPart::File => "file",
        DriftPart::Stray => "stray file",
        DriftPart::PreviousFile => "file of the previous release",
        DriftPart::Mount => "mounted file",
        DriftPart::Image => "image of",
        DriftPart::Container => "container",
    };
    if drift.name.is_empty() { part.to_owned() } else { format!("{part} {}", drift.name) }
}

/// A step's name.
pub(crate) fn step(step: Step) -> &'static str {
    match step {
        Step::Fetch => "fetch",
        Step::Verify => "verify",
        Step::Stage => "stage",
        Step::Validate => "validate",
        Step::Snapshot => "snapshot",
        Step::Activate => "activate",
        Step::Probe => "probe",
        Step::Bake => "bake",
        Step::Commit => "commit",
        Step::Return => "return",
    }
}

/// A kind of failure.
pub(crate) fn failure(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unavailable => "content not available",
        FailureKind::Mismatch => "content does not match what was signed",
        FailureKind::DiskFull => "not enough disk space",
        FailureKind::Invalid => "not valid on this node",
        FailureKind::Start => "did not start",
        FailureKind::Unhealthy => "not healthy",
        FailureKind::Interrupted => "interrupted twice",
        FailureKind::Node => "the node itself",
        FailureKind::Other => "other",
    }
}

/// A node's state.
pub(crate) fn node(state: NodeState) -> Cell {
    match state {
        NodeState::Joined => Cell::styled("joined", style::DIM),
        NodeState::Online => Cell::styled("online", style::GOOD),
        NodeState::Offline => Cell::styled("offline", style::BAD),
        NodeState::Unknown => Cell::styled("unknown", style::DIM),
        NodeState::Revoked => Cell::styled("revoked", style::DIM),
    }
}

/// Whether one gets in by SSH.
pub(crate) fn ssh(state: SshState) -> &'static str {
    match state {
        SshState::Unknown => "not known",
        SshState::Absent => "no server on the machine",
        SshState::Listening => "listens",
        SshState::Silent => "the server does not listen: nobody gets in",
    }
}

/// A stack's health.
pub(crate) fn health(health: StackHealth) -> Cell {
    match health {
        StackHealth::Healthy => Cell::styled("healthy", style::GOOD),
        StackHealth::Deploying => Cell::styled("deploying", style::WARN),
        StackHealth::Degraded => Cell::styled("degraded", style::BAD),
        StackHealth::Down => Cell::styled("down", style::BAD),
        StackHealth::Unknown => Cell::styled("unknown", style::DIM),
    }
}

/// A rollout's state.
pub(crate) fn rollout(state: RolloutState) -> Cell {
    match state {
        RolloutState::Running => Cell::styled("running", style::WARN),
        RolloutState::Succeeded => Cell::styled("succeeded", style::GOOD),
        RolloutState::Halted => Cell::styled("halted", style::BAD),
        RolloutState::Superseded => Cell::styled("superseded", style::DIM),
    }
}

/// A mirror's state.
pub(crate) fn repository(health: &RepositoryHealth) -> Cell {
    match health {
        RepositoryHealth::New => Cell::styled("not fetched yet", style::DIM),
        RepositoryHealth::Ok => Cell::styled("ok", style::GOOD),
        RepositoryHealth::Unreachable { code, .. } => {
            Cell::styled(format!("unreachable ({code})"), style::BAD)
        }
        RepositoryHealth::Invalid { code, .. } => Cell::styled(format!("invalid ({code})"), style::BAD),
        RepositoryHealth::Rewritten { .. } => Cell::styled("rewritten upstream", style::BAD),
    }
}

/// What a person should read about a mirror that is not well.
pub(crate) fn repository_detail(health: &RepositoryHealth) -> Option<String> {
    match health {
        RepositoryHealth::New | RepositoryHealth::Ok => None,
        RepositoryHealth::Unreachable { code, message } | RepositoryHealth::Invalid { code, message } => {
            Some(format!("{message} ({code})"))
        }
        RepositoryHealth::Rewritten { found } => {
            Some(format!("the branch no longer contains what is deployed; upstream is at {found}"))
        }
    }
}

/// Whether a release may be planned.
pub(crate) fn standing(standing: &ReleaseStanding) -> Cell {
    match standing {
        ReleaseStanding::Eligible => Cell::from("eligible"),
        ReleaseStanding::Held { reason } => Cell::styled(format!("held: {reason}"), style::WARN),
        ReleaseStanding::Banned { reason } => Cell::styled(format!("banned: {reason}"), style::BAD),
    }
}

/// Where an undo stands.
pub(crate) fn undo(state: &UndoState) -> Cell {
    match state {
        UndoState::Planned => Cell::styled("planned", style::DIM),
        UndoState::Conflicted => Cell::styled("conflicted", style::BAD),
        UndoState::RollingOut => Cell::styled("rolling out", style::WARN),
        UndoState::Verified => Cell::styled("verified", style::GOOD),
        UndoState::Failed { reason } => Cell::styled(format!("failed: {reason}"), style::BAD),
    }
}

/// What became of a push.
pub(crate) fn push(push: &PushState) -> String {
    match push {
        PushState::NotYet => "not pushed yet".to_owned(),
        PushState::Done => "pushed".to_owned(),
        PushState::AwaitingMerge { branch: Some(branch), reason, .. } => {
            format!("pushed as branch {branch}, waits to be merged ({reason})")
        }
        PushState::AwaitingMerge { branch: None, reason, .. } => format!("not pushed yet: {reason}"),
    }
}

/// How far a snapshot is proven, in a word.
pub(crate) fn proof(proof: Proof) -> Cell {
    match proof {
        Proof::Created => Cell::styled("created", style::WARN),
        Proof::Matched => Cell::styled("matched", style::WARN),
        Proof::Verified => Cell::styled("verified", style::GOOD),
        Proof::Replicated => Cell::styled("replicated", style::GOOD),
        Proof::Drilled => Cell::styled("drilled", style::GOOD),
    }
}

/// How far a snapshot is proven, as a sentence's end.
pub(crate) fn proof_sentence(proof: Proof) -> &'static str {
    match proof {
        Proof::Created => "written; nobody has looked at it yet",
        Proof::Matched => "holds what was to be saved; not read back at the target yet",
        Proof::Verified => "all its data was read back at the target and is right",
        Proof::Replicated => "read back at the target, and at the second one",
        Proof::Drilled => "restored to scratch, compared and tried",
    }
}

/// How a node's backups stand.
pub(crate) fn backups(state: BackupHealth) -> Cell {
    match state {
        BackupHealth::Damaged => Cell::styled("DAMAGED", style::BAD),
        BackupHealth::Failed => Cell::styled("failed", style::BAD),
        BackupHealth::Full => Cell::styled("no room", style::BAD),
        BackupHealth::Late => Cell::styled("late", style::BAD),
        BackupHealth::Unproven => Cell::styled("not proven yet", style::WARN),
        BackupHealth::Never => Cell::styled("none yet", style::WARN),
        BackupHealth::Good => Cell::styled("good", style::GOOD),
        BackupHealth::Nothing => Cell::styled("nothing to save", style::DIM),
    }
}

/// How a job about backups stands.
pub(crate) fn backup_job(state: BackupJobState) -> Cell {
    match state {
        BackupJobState::Queued => Cell::styled("waits", style::DIM),
        BackupJobState::Running => Cell::styled("runs", style::WARN),
        BackupJobState::Done => Cell::styled("done", style::GOOD),
        BackupJobState::Failed => Cell::styled("failed", style::BAD),
        BackupJobState::Cancelled => Cell::styled("cancelled", style::DIM),
    }
}

/// What a job about backups does.
pub(crate) fn backup_task(task: BackupTaskKind) -> &'static str {
    match task {
        BackupTaskKind::Save => "backup",
        BackupTaskKind::Restore => "restore",
        BackupTaskKind::Drill => "drill",
        BackupTaskKind::Verify => "verify",
        BackupTaskKind::Check => "check",
        BackupTaskKind::Prune => "prune",
        BackupTaskKind::Files => "files",
    }
}

/// What a node does about backups at the moment.
pub(crate) fn backup_phase(phase: BackupPhase) -> &'static str {
    match phase {
        BackupPhase::Waiting => "waits for something else to end",
        BackupPhase::Preparing => "makes the data ready",
        BackupPhase::Saving => "saves",
        BackupPhase::Verifying => "reads back",
        BackupPhase::Safety => "makes the safety snapshot",
        BackupPhase::Stopping => "stops the stack",
        BackupPhase::Restoring => "puts data back",
        BackupPhase::Starting => "starts the stack and probes it",
        BackupPhase::Comparing => "compares what was restored",
        BackupPhase::Clearing => "takes away what it made",
    }
}

/// Why a snapshot was made.
pub(crate) fn backup_reason(reason: BackupReason) -> &'static str {
    match reason {
        BackupReason::Schedule => "schedule",
        BackupReason::Manual => "by hand",
        BackupReason::Deployment => "before a deployment",
        BackupReason::Rollback => "before a way back",
        BackupReason::Safety => "before a restore",
        BackupReason::Migration => "for a move",
    }
}

/// An amount of data: `812 B`, `4.2 KiB`, `1.5 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut amount, mut unit) = (bytes as f64 / 1024.0, UNITS[0]);
    for larger in &UNITS[1..] {
        // 1023.95 would be shown as 1024.0.
        if amount < 1023.95 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    format!("{amount:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_at_most_four_digits_before_the_point() {
        let shown = [0, 1023, 1024, 1_048_524, 1_048_525, 5 << 30, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1023.9 KiB", "1.0 MiB", "5.0 GiB", "16384.0 PiB"]);
    }
}
