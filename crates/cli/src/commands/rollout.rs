//! `backstay rollout`: steer one that runs, and see why it is where it is.

use backstay_api::{
    Empty,
    v1::{
        AbortRollout, GetRollout, OverrideRollout, PauseRollout, PromoteRequest, PromoteRollout,
        ResumeRollout, RolloutPath, RolloutReason, RolloutView, TimelineQuery,
    },
};
use backstay_types::{LedgerEntry, RolloutState};
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
}

/// A rollout with its decisions, as `--json` prints it.
#[derive(Debug, serde::Serialize)]
struct Explained {
    #[serde(flatten)]
    view: RolloutView,
    decisions: Vec<LedgerEntry>,
}

impl Rollout {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let view = match self {
            Self::Explain(command) => return explain(&api, &command.rollout, cx).await,
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

async fn explain(api: &Api, text: &str, cx: &Context) -> Outcome {
    let rollout = lookup::rollout(api, text).await?;
    let view = api.call::<GetRollout>(RolloutPath { rollout }, Empty {}, Empty {}).await?;
    let filter = TimelineQuery { rollout: Some(rollout), ..TimelineQuery::default() };
    let mut decisions = timeline::newest(api, &filter, 10_000).await?;
    // What nodes did with it stands in `backstay rollouts ID`.
    decisions.retain(|entry| entry.refs.deployment.is_none());
    let names = timeline::names(api).await?;
    let explained = Explained { view, decisions };
    cx.ui.data(&explained, || view_explained(&explained, &names, &cx.frame()))?;
    done()
}

fn view_explained(explained: &Explained, names: &Names, frame: &Frame) -> String {
    let (view, rollout) = (&explained.view, &explained.view.rollout);
    let mut text = rollouts::view_fields(view, frame);
    if rollout.state == RolloutState::Running {
        text.push_str(&section("Rules"));
        let soak = rollout.strategy.soak_seconds;
        text.push_str(&format!("  a wave is watched for {soak} s before the next begins\n"));
        text.push_str(&format!("  any failure among the first {} stops it\n", rollout.strategy.min_sample));
        for rule in &rollout.strategy.stop {
            text.push_str(&format!("  after that it stops when {rule}\n"));
        }
    }
    text.push_str(&section("Decisions"));
    for entry in &explained.decisions {
        text.push_str(&event::line(entry, names, frame));
        text.push('\n');
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
