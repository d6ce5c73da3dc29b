//! Waiting until an undo is verified, with each step as it happens.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use backstay_api::{
    Empty,
    v1::{GetUndo, TimelineQuery, UndoPath},
};
use backstay_types::{Cause, ErrorCode, Event, LedgerEntry, RolloutId, Undo, UndoState};

use super::PATIENCE;
use crate::{
    api::Api,
    commands::timeline,
    context::Context,
    error::{CliError, Exit},
    ids,
    ui::Progress,
    views::event::{self, Names},
};

/// Follows the ledger from `from` on until the undo has ended; each of its steps is shown.
///
/// # Errors
/// When the hub refuses, or `limit` is over; the undo goes on then.
pub(super) async fn until_finished(
    undo: Undo,
    from: u64,
    limit: Duration,
    api: &Api,
    cx: &Context,
) -> Result<Undo, CliError> {
    let deadline = Instant::now() + limit;
    let names = timeline::names(api).await?;
    let mut follower = Follower { undo, rollouts: BTreeSet::new(), names, progress: cx.ui.progress() };
    let mut after = from;
    follower.show_present();
    while !is_final(&follower.undo.state) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late(&follower.undo, limit));
        }
        let entries =
            tokio::time::timeout(left, next(api, after)).await.unwrap_or_else(|_| Ok(Vec::new()))?;
        after = entries.last().map_or(after, |entry| entry.seq);
        let mut touched = entries.is_empty();
        for entry in &entries {
            touched |= follower.take(entry, api).await?;
        }
        if touched {
            follower.undo = get(api, &follower.undo).await?.unwrap_or(follower.undo);
            follower.show_present();
        }
    }
    follower.progress.clear();
    Ok(follower.undo)
}

/// Everything is followed and picked here: an undo's deployments are known by their rollout.
async fn next(api: &Api, after: u64) -> Result<Vec<LedgerEntry>, CliError> {
    timeline::next(api, &TimelineQuery::default(), after).await
}

/// The undo as it is now; none while the hub is away.
async fn get(api: &Api, undo: &Undo) -> Result<Option<Undo>, CliError> {
    let call = api.call::<GetUndo>(UndoPath { undo: undo.id }, Empty {}, Empty {});
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(undo)) => Ok(Some(undo)),
        Ok(Err(error)) if error.exit() != Exit::Unreachable => Err(error),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

fn is_final(state: &UndoState) -> bool {
    matches!(state, UndoState::Verified | UndoState::Failed { .. } | UndoState::Conflicted)
}

fn late(undo: &Undo, limit: Duration) -> CliError {
    let id = ids::short(undo.id);
    let detail = format!("undo {id} is not verified on every node after {}s; it goes on", limit.as_secs());
    CliError::new(ErrorCode::BS8009, detail).hint(format!("backstay timeline --undo {id} --follow"))
}

struct Follower {
    undo: Undo,
    rollouts: BTreeSet<RolloutId>,
    names: Names,
    progress: Progress,
}

impl Follower {
    /// Shows an entry when it belongs to this undo; gives whether it did.
    async fn take(&mut self, entry: &LedgerEntry, api: &Api) -> Result<bool, CliError> {
        let ours = entry.refs.undo == Some(self.undo.id) || self.is_our_rollout(entry, api).await?;
        if ours {
            self.rollouts.extend(entry.refs.rollout);
            self.show(entry);
        }
        Ok(ours)
    }

    async fn is_our_rollout(&mut self, entry: &LedgerEntry, api: &Api) -> Result<bool, CliError> {
        let Some(rollout) = entry.refs.rollout else { return Ok(false) };
        if self.rollouts.contains(&rollout) {
            return Ok(true);
        }
        if !matches!(entry.event, Some(Event::RolloutStarted { .. })) {
            return Ok(false);
        }
        let path = backstay_api::v1::RolloutPath { rollout };
        let view = api.call::<backstay_api::v1::GetRollout>(path, Empty {}, Empty {}).await?;
        Ok(view.rollout.cause == Cause::Undo { undo: self.undo.id })
    }

    fn show(&mut self, entry: &LedgerEntry) {
        let Some(event) = &entry.event else { return };
        let sentence = event::sentence(event, &entry.refs, &self.names);
        match event {
            Event::DeploymentFinished { state, .. } if state.is_failure() => self.progress.bad(&sentence),
            Event::UndoStateChanged { state: UndoState::Failed { .. } } => self.progress.bad(&sentence),
            Event::DeploymentFinished { .. }
            | Event::RolloutStarted { .. }
            | Event::RolloutStateChanged { .. }
            | Event::UndoStateChanged { state: UndoState::Verified }
            | Event::UndoPushed { push: backstay_types::PushState::Done } => self.progress.done(&sentence),
            Event::UndoPushed { .. } => self.progress.note(&sentence),
            _ => self.progress.now(&sentence),
        }
    }

    fn show_present(&mut self) {
        match &self.undo.state {
            UndoState::Planned => self.progress.now("making the undo commit"),
            UndoState::RollingOut => self.progress.now("nodes are going back"),
            _ => {}
        }
    }
}
