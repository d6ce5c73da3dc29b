//! `backstay rollout`: steer one that runs, and see why it is where it is.

use std::process::ExitCode;

use backstay_api::{
    Empty,
    v1::{
        AbortRollout, DecisionView, DecisionsQuery, GetRollout, GetRolloutDecisions, OverrideRollout,
        PauseRollout, PromoteRequest, PromoteRollout, ResumeRollout, RolloutPath, RolloutReason, RolloutView,
        TimelineQuery,
    },
};
use backstay_types::{DecisionKind, LedgerEntry, RolloutState};
use clap::{Args, Subcommand};

use super::{Outcome, done, rollouts, timeline};
use crate::{
    api::Api,
    context::Context,
    error::CliError,
    lookup,
    ui::{Frame, Table},
    views::{
        event::{self, Names},
        fields::section,
    },
};

/// One rollout.
#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Move nobody new; what is under way comes to its end
    Pause(Steer),
    /// Let a paused one go on
    Resume(Steer),
    /// Open the next wave now, whatever its gate waits for
    Promote(Steer),
    /// Let it go on in spite of freezes and closed windows, from now to its end
    Override(Steer),
    /// End it, and ban its release until something newer is there
    Abort(Steer),
    /// What it waits for, by what rules, and every decision so far with its reason
    Explain(Explain),
}

/// Options of the commands that steer.
#[derive(Debug, Args)]
pub(crate) struct Steer {
    /// The rollout
    rollout: String,
    /// Why
    #[arg(long)]
    reason: String,
}

/// Options of `rollout explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The rollout
    rollout: String,
    /// Make every decision again from what was kept of it, and say whether the same comes out
    #[arg(long)]
    replay: bool,
    /// Show what each decision was made from
    #[arg(long)]
    inputs: bool,
}

/// A rollout with its decisions, as `--json` prints it.
#[derive(Debug, serde::Serialize)]
struct Explained {
    #[serde(flatten)]
    view: RolloutView,
    decisions: Vec<DecisionView>,
    ledger: Vec<LedgerEntry>,
}

impl Rollout {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let view = match self {
            Self::Explain(command) => return explain(&api, &command, cx).await,
            Self::Pause(steer) => {
                let (path, body) = asked(&api, steer).await?;
                api.call::<PauseRollout>(path, Empty {}, body).await?
            }
            Self::Resume(steer) => {
                let (path, body) = asked(&api, steer).await?;
                api.call::<ResumeRollout>(path, Empty {}, body).await?
            }
            Self::Abort(steer) => {
                let (path, body) = asked(&api, steer).await?;
                api.call::<AbortRollout>(path, Empty {}, body).await?
            }
            Self::Override(steer) => {
                let (path, body) = asked(&api, steer).await?;
                api.call::<OverrideRollout>(path, Empty {}, body).await?
            }
            Self::Promote(steer) => {
                let (path, body) = asked(&api, steer).await?;
                let now = api.call::<GetRollout>(path.clone(), Empty {}, Empty {}).await?;
                let body = PromoteRequest { wave: now.rollout.wave, reason: body.reason };
                api.call::<PromoteRollout>(path, Empty {}, body).await?
            }
        };
        cx.ui.data(&view, || rollouts::view_fields(&view, &cx.frame()))?;
        done()
    }
}

async fn asked(api: &Api, steer: Steer) -> Result<(RolloutPath, RolloutReason), CliError> {
    let rollout = lookup::rollout(api, &steer.rollout).await?;
    Ok((RolloutPath { rollout }, RolloutReason { reason: steer.reason }))
}

async fn explain(api: &Api, command: &Explain, cx: &Context) -> Outcome {
    let rollout = lookup::rollout(api, &command.rollout).await?;
    let view = api.call::<GetRollout>(RolloutPath { rollout }, Empty {}, Empty {}).await?;
    let query = DecisionsQuery { replay: command.replay.then_some(true) };
    let decisions =
        api.call::<GetRolloutDecisions>(RolloutPath { rollout }, query, Empty {}).await?.decisions;
    let filter = TimelineQuery { rollout: Some(rollout), ..TimelineQuery::default() };
    let mut ledger = timeline::newest(api, &filter, 10_000).await?;
    // What nodes did with it stands in `backstay rollouts ID`.
    ledger.retain(|entry| entry.refs.deployment.is_none());
    let names = timeline::names(api).await?;
    let other = decisions.iter().filter(|decision| decision.same == Some(false)).count();
    let explained = Explained { view, decisions, ledger };
    cx.ui.data(&explained, || view_explained(&explained, command, &names, &cx.frame()))?;
    // What comes out otherwise was decided by another version, or was changed in the database.
    Ok(if other > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn view_explained(explained: &Explained, command: &Explain, names: &Names, frame: &Frame) -> String {
    let (view, rollout) = (&explained.view, &explained.view.rollout);
    let mut text = rollouts::view_fields(view, frame);
    if rollout.state == RolloutState::Running {
        text.push_str(&section("Rules"));
        let soak = rollout.strategy.soak_seconds;
        text.push_str(&format!("  a wave is watched for {soak} s before the next begins\n"));
        let share = rollout.strategy.min_success_percent;
        if share > 0 && rollout.strategy.waves.len() > 1 {
            text.push_str(&format!(
                "  the next wave begins once {share}% of the nodes in the open ones run it, and {} have tried it \
                 (of fewer than twice that, half)\n",
                rollout.strategy.min_sample
            ));
        }
        text.push_str(&format!("  any failure among the first {} stops it\n", rollout.strategy.min_sample));
        for rule in &rollout.strategy.stop {
            text.push_str(&format!(
                "  after that it stops when {rule}{}\n",
                value_now(view, &rule.to_string())
            ));
        }
    }
    text.push_str(&section("Decisions"));
    for decision in &explained.decisions {
        text.push_str(&view_decision(decision, command.inputs, frame));
    }
    text.push_str(&section("In the ledger"));
    for entry in &explained.ledger {
        text.push_str(&event::line(entry, names, frame));
        text.push('\n');
    }
    text
}

/// What a rule's figure is now, behind the rule.
fn value_now(view: &RolloutView, rule: &str) -> String {
    let mut rules = view.watch.iter().flat_map(|watch| &watch.rules);
    let value = rules.find(|known| known.rule == rule).and_then(|known| known.value);
    value.map(|value| format!(", and now it is {value}")).unwrap_or_default()
}

fn view_decision(view: &DecisionView, inputs: bool, frame: &Frame) -> String {
    let decision = &view.decision;
    let what = match decision.kind {
        DecisionKind::LetIn => "let in",
        DecisionKind::Began => "began",
        DecisionKind::WaveOpened => "next wave",
        DecisionKind::Waits => "waits",
        DecisionKind::Stopped => "stopped",
        DecisionKind::Ended => "ended",
        DecisionKind::Halted => "fleet not well",
        DecisionKind::Paced => "another pace",
        DecisionKind::Paused => "paused",
        DecisionKind::Resumed => "let go on",
        DecisionKind::Promoted => "next wave by hand",
        DecisionKind::Overridden => "in spite of freezes",
        DecisionKind::Aborted => "aborted",
    };
    let by = decision.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let again = match (view.same, &view.came_out) {
        (Some(true), _) => "  [the same again]".to_owned(),
        (Some(false), came_out) => format!("  [now: {}]", came_out.as_deref().unwrap_or("another")),
        (None, _) => String::new(),
    };
    let (number, at) = (decision.number, frame.exactly(decision.at));
    let mut text = format!("  {number:>3}  {at}  {what}{by}: {}{again}\n", decision.reason);
    if inputs && !decision.inputs.is_null() {
        let seen = decision.snapshot.map(|digest| digest.short()).unwrap_or_default();
        text.push_str(&format!("       from {} (all that was seen: {seen})\n", decision.inputs));
    }
    text
}

/// Waves as a table.
pub(super) fn view_waves(view: &RolloutView, frame: &Frame) -> String {
    let mut table = Table::new(["WAVE", "WHO", "NODES", "RUN IT", "FAILED", "STATE"]);
    for (index, wave) in view.waves.iter().enumerate() {
        table.row([
            (index + 1).to_string().into(),
            wave.of.clone().into(),
            wave.nodes.to_string().into(),
            wave.run.to_string().into(),
            wave.failed.to_string().into(),
            if wave.open { "open" } else { "waits" }.into(),
        ]);
    }
    frame.table(&table)
}
