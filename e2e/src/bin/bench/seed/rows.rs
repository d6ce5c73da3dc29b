//! Rows of the database, made of what a history says.

use backstay_store::{nodes::SoftState, stacks};
use backstay_types::{
    Cause, Container, ConversationId, Deployment, DeploymentId, DeploymentState, Digest, FailureKind,
    ImageId, ObservedStack, Rollout, RolloutId, RolloutKind, RolloutState, StackHealth, StackName, Step,
    StepOutcome, StepRecord, Timestamp, ToolEvent, ToolEventKind, TreeDigest, World,
};

use super::{
    after,
    fleet::facts,
    history::{self, Outcome, RolloutEnd},
    write::{Writer, commit_id, tree},
};

const VERBS: [&str; 8] = [
    "Raise the memory of",
    "Pin the image of",
    "Log less in",
    "Probe sooner in",
    "Rename the volume of",
    "Retry in",
    "Cache in",
    "Close the port of",
];
const STEPS: [Step; 8] = [
    Step::Fetch,
    Step::Verify,
    Step::Stage,
    Step::Validate,
    Step::Activate,
    Step::Probe,
    Step::Bake,
    Step::Commit,
];
/// So long after the end nodes that answer count as heard from: nobody checks in.
const HEARD_FOR: i64 = 2 * 3_600_000;

/// The tool of a conversation.
pub(super) fn tool(conversation: usize) -> &'static str {
    if conversation.is_multiple_of(3) { "openclaw" } else { "claude-code" }
}

/// Its title.
pub(super) fn title(conversation: usize) -> String {
    format!("{} the service ({conversation})", VERBS[conversation % VERBS.len()])
}

/// The first line of a commit.
pub(super) fn subject(commit: usize, stack: Option<&StackName>) -> String {
    match stack {
        Some(stack) => format!("{} {stack}", VERBS[commit % VERBS.len()]),
        None => format!("Write down what was decided ({commit})"),
    }
}

/// What a conversation's tool reported.
pub(super) fn tool_events(place: usize, id: ConversationId, at: Timestamp, world: &World) -> Vec<ToolEvent> {
    let event = |number: i64| ToolEvent {
        id: world.mint(),
        conversation: Some(id),
        delivery: world.mint(),
        at: after(at, number * 20_000),
        kind: match number {
            0 => ToolEventKind::SessionStarted,
            4 => ToolEventKind::ToolCallFailed,
            7 => ToolEventKind::TurnEnded,
            _ => ToolEventKind::ToolCall,
        },
        summary: format!("Bash: make check in service {}", place % 97),
        commits: Vec::new(),
    };
    (0..8).map(event).collect()
}

/// A rollout as it is at the end.
pub(super) fn rollout(writer: &Writer<'_>, place: usize, id: RolloutId, at: Timestamp) -> Rollout {
    let told = &writer.history.rollouts[place];
    let finished = writer.history.deployments[told.deployments.clone()].iter().map(|one| one.finished).max();
    let (state, reason) = rollout_end(told.end);
    Rollout {
        id,
        stack: writer.fleet.stacks[told.stack].name.clone(),
        release: writer.releases[place].expect("a release goes before its rollout"),
        kind: RolloutKind::Update,
        cause: Cause::Change { repository: writer.fleet.repository.id, commit: commit_id(place) },
        state,
        max_updating: None,
        strategy: backstay_types::RolloutStrategy::default(),
        cuts: Vec::new(),
        wave: 0,
        paused: None,
        overridden: None,
        environment: None,
        branch: None,
        part: None,
        reason: reason.to_owned(),
        created_at: at,
        finished_at: finished.filter(|_| state != RolloutState::Running).map(|at| after(writer.since, at)),
    }
}

/// How a rollout stands, and why.
pub(super) fn rollout_end(end: RolloutEnd) -> (RolloutState, &'static str) {
    match end {
        RolloutEnd::Succeeded => (RolloutState::Succeeded, "every node runs it"),
        RolloutEnd::Halted => (RolloutState::Halted, "a node failed"),
        RolloutEnd::Running => (RolloutState::Running, "a newer commit"),
    }
}

/// A deployment as it is at the end.
pub(super) fn deployment(
    writer: &Writer<'_>,
    place: usize,
    id: DeploymentId,
    previous: Option<TreeDigest>,
) -> Deployment {
    let told = writer.history.deployments[place];
    let rollout = told.rollout;
    let state = state(told.outcome, reason(told.node));
    let time = |at| after(writer.since, at);
    let has_begun = told.outcome != Outcome::Pending;
    Deployment {
        id,
        node: writer.fleet.nodes[told.node].id,
        stack: writer.fleet.stacks[writer.history.rollouts[rollout].stack].name.clone(),
        release: writer.releases[rollout].expect("a release goes before its deployments"),
        rollout: writer.rollouts[rollout].expect("a rollout goes before its deployments"),
        previous,
        created_at: time(told.planned),
        started_at: has_begun.then(|| time(told.started)),
        finished_at: state.is_final().then(|| time(told.finished)),
        state,
        containers: Vec::new(),
        data: None,
    }
}

/// A state in the hub's own words.
pub(super) fn state(outcome: Outcome, reason: String) -> DeploymentState {
    match outcome {
        Outcome::Pending => DeploymentState::Pending,
        Outcome::Running => DeploymentState::Running { step: Step::Activate },
        Outcome::Succeeded => DeploymentState::Succeeded,
        Outcome::RolledBack => {
            DeploymentState::RolledBack { step: Step::Probe, failure: FailureKind::Unhealthy, reason }
        }
        Outcome::Failed => {
            DeploymentState::Failed { step: Step::Validate, failure: FailureKind::Invalid, reason }
        }
        Outcome::DiskFull => {
            let reason = "12 MB are free, 620 MB are needed".to_owned();
            DeploymentState::Failed { step: Step::Stage, failure: FailureKind::DiskFull, reason }
        }
    }
}

/// Why a deployment on a node failed.
pub(super) fn reason(node: usize) -> String {
    format!("web: http://127.0.0.1:{}/healthz answered 503 for 30s", 8000 + node % 100)
}

/// The steps of a deployment that has ended.
pub(super) fn steps(told: history::Deployment, since: Timestamp) -> Vec<StepRecord> {
    let failed = match told.outcome {
        Outcome::RolledBack => Some(Step::Probe),
        Outcome::Failed => Some(Step::Validate),
        Outcome::DiskFull => Some(Step::Stage),
        _ => None,
    };
    let reached =
        failed.and_then(|step| STEPS.iter().position(|one| *one == step)).unwrap_or(STEPS.len() - 1);
    let millis = (told.finished - told.started) / (reached as i64 + 1);
    let record = |(number, step): (usize, &Step)| StepRecord {
        step: *step,
        started_at: after(since, told.started + millis * number as i64),
        millis: u64::try_from(millis).unwrap_or(0),
        outcome: if Some(*step) == failed { StepOutcome::Failed } else { StepOutcome::Done },
        detail: if Some(*step) == failed { reason(told.node) } else { String::new() },
    };
    STEPS[..=reached].iter().enumerate().map(record).collect()
}

/// A stack as its branch has it at the end.
pub(super) fn stack(writer: &Writer<'_>, place: usize, now: Timestamp) -> stacks::Stack {
    let stack = &writer.fleet.stacks[place];
    let last = writer.history.rollouts.iter().rposition(|rollout| rollout.stack == place);
    let last = last.expect("every stack has a release");
    // What the engine keeps with a stack; see `StackRecord` there.
    let record =
        serde_json::json!({ "commit": commit_id(last), "undo": null, "max_updating": null, "schema": 1 });
    stacks::Stack {
        name: stack.name.clone(),
        repository: writer.fleet.repository.id,
        path: format!("stacks/{}", stack.name),
        release: writer.releases[last],
        assignment: serde_json::json!([stack.selector]).to_string(),
        manifest: record.to_string(),
        present: true,
        updated_at: now,
    }
}

/// What nodes said last.
pub(super) fn soft(writer: &Writer<'_>, now: Timestamp) -> Vec<SoftState> {
    let places = (0..writer.fleet.nodes.len()).filter(|&node| !writer.fleet.is_silent(node));
    let said = |place: usize| {
        let node = &writer.fleet.nodes[place];
        let away = place % 83 == 7;
        SoftState {
            node: node.id,
            last_seen_at: after(now, if away { -HEARD_FOR } else { HEARD_FOR }),
            facts: Some(facts(node)),
            observed: Some(observed(writer, place)),
            safety: None,
        }
    };
    places.map(said).collect()
}

fn observed(writer: &Writer<'_>, node: usize) -> Vec<ObservedStack> {
    let stacks =
        writer.fleet.stacks.iter().enumerate().filter(|(_, stack)| stack.nodes.binary_search(&node).is_ok());
    let look = |(place, stack): (usize, &super::fleet::Stack)| {
        let (current, previous) = writer.running(place, node)?;
        let tree_of = |number: usize| tree(writer.history.deployments[number].rollout);
        let health = match node % 131 {
            _ if writer.is_deploying(place, node) => StackHealth::Deploying,
            3 => StackHealth::Degraded,
            77 => StackHealth::Down,
            _ => StackHealth::Healthy,
        };
        Some(ObservedStack {
            stack: stack.name.clone(),
            current: Some(tree_of(current)),
            previous: previous.map(tree_of),
            deployment: writer.deployments[current],
            health,
            detail: if health == StackHealth::Healthy { String::new() } else { reason(node) },
            can_return: previous.is_some(),
            drift: Vec::new(),
            figures: Default::default(),
            containers: vec![container(&stack.name, node, writer.deployments[current])],
        })
    };
    stacks.filter_map(look).collect()
}

fn container(stack: &StackName, node: usize, deployment: Option<DeploymentId>) -> Container {
    let id = Digest::of(format!("{stack} {node}").as_bytes()).to_string();
    Container {
        service: "web".to_owned(),
        name: format!("{stack}-web-1"),
        image: ImageId(id.clone()),
        id: id.trim_start_matches("sha256:").to_owned(),
        running: true,
        health: Some("healthy".to_owned()),
        deployment,
    }
}
