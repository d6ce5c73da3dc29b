//! What people, assistants and the Git host do.

use std::io;

use backstay_engine::WantedUndo;
use backstay_store::{constraints, rollouts, undos};
use backstay_types::{
    ConversationId, Effect, Id as _, LeaveSafeMode, Meaning, PushState, UndoScope, UndoSelector,
};
use uuid::Builder;

use super::Sim;
use crate::{
    content::{Kind, part_name, part_text},
    hub::{Failed, Parts},
    invariant::Planted,
    truth::Push,
    upstream::Edit,
};

impl Sim {
    /// Somebody pushes a change, in a conversation of its own.
    pub(super) fn push(&mut self, place: usize, kind: Kind, stack: usize, part: usize) -> io::Result<()> {
        let number = place + 1;
        let stack = self.stacks[stack.min(self.stacks.len() - 1)].clone();
        let path = format!("stacks/{stack}/{}", part_name(part));
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.chance.any().to_be_bytes());
        let at = self.cx.clock(0);
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let conversation =
            ConversationId::from_uuid(Builder::from_unix_timestamp_millis(millis, &random).into_uuid());
        let message = format!("Change {number}\n\nBackstay-Conversation: {conversation}\n");
        let commit = self.upstream.push(&message, &[(path, Edit::Text(part_text(kind, number)))], at)?;
        self.cx.say("git", format_args!("push {number} of {stack}: {} in part {part}", kind.word()));
        self.cx.truth.pushes.insert(number, Push { commit, conversation, stack, forbidden: false });
        self.sync()
    }

    /// Pushes files, or takes them away.
    pub(super) fn commit(&mut self, message: &str, edits: &[(String, Edit)]) -> io::Result<()> {
        self.upstream.push(message, edits, self.cx.clock(0))?;
        self.cx.say("git", format_args!("{message}"));
        self.sync()
    }

    /// The hub fetches, as after a webhook or at a poll.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(repository) = self.hub.repository.filter(|_| self.hub.is_up()) else { return Ok(()) };
        let now = self.hub_clock();
        let synced = self.hub.call(now, async |parts: Parts| {
            let repository = parts.engine.sync_repository(repository).await?;
            parts.engine.push_pending(repository.id).await?;
            Ok(repository.health)
        });
        if let Some(health) = self.answered(synced)? {
            self.cx.say("hub", format_args!("fetches: {}", word(&health)));
        }
        self.hub.has_recorded();
        self.settle()?;
        self.look_after(super::LOOK_SOON);
        Ok(())
    }

    /// The conversation of a push is undone for everyone.
    pub(super) fn undo(&mut self, number: usize) -> io::Result<()> {
        let Some(push) = self.cx.truth.pushes.get(&number).cloned() else { return Ok(()) };
        let want = WantedUndo {
            selector: UndoSelector::Conversation {
                conversation: push.conversation,
                meaning: Meaning::OnlyIts,
            },
            scope: UndoScope::default(),
            reason: format!("push {number}"),
            include_guesses: Vec::new(),
            resolutions: Default::default(),
            with_data: false,
            without_data: Vec::new(),
            shared_data: Vec::new(),
            confirm: Vec::new(),
        };
        let now = self.hub_clock();
        // The push runs beside it; waiting for its end keeps one seed one run.
        let done = self.hub.call(now, async |parts: Parts| {
            let undo = parts.engine.create_undo(want, "operator").await?;
            for _ in 0..2000 {
                let now = undos::get(&mut parts.store.read(), undo.id).await?;
                let open = |part: &backstay_types::RepositoryUndo| {
                    part.commit.is_some() && part.push == PushState::NotYet
                };
                if !now.is_some_and(|undo| undo.plan.repositories.iter().any(open)) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Ok(undo)
        });
        match done {
            Ok(undo) => {
                self.cx.say("operator", format_args!("undoes push {number}: {}", word(&undo.state)));
                self.cx.truth.undos.push(undo.id);
                let conflicted = undo.plan.repositories.iter().any(|part| !part.conflicts.is_empty());
                if let Some(push) = self.cx.truth.pushes.get_mut(&number) {
                    push.forbidden |= !conflicted;
                }
            }
            Err(Failed::Down) => self.hub_died(),
            // Not on the branch yet, nothing left to undo, or one that only a person could sort out.
            Err(Failed::Error(error)) => {
                self.cx.say("operator", format_args!("may not undo push {number}: {error}"));
            }
        }
        self.hub.has_recorded();
        self.settle()?;
        self.look_after(super::LOOK_SOON);
        Ok(())
    }

    /// A push is held.
    pub(super) fn hold(&mut self, number: usize) -> io::Result<()> {
        let Some(push) = self.cx.truth.pushes.get(&number).cloned() else { return Ok(()) };
        let Some(repository) = self.hub.repository else { return Ok(()) };
        let (now, commit) = (self.hub_clock(), push.commit);
        let held = self.hub.call(now, async |parts: Parts| {
            parts.engine.hold_commit(repository, commit, "held", None, "operator").await
        });
        match held {
            Ok(_) => {
                self.cx.say("operator", format_args!("holds push {number}"));
                if let Some(push) = self.cx.truth.pushes.get_mut(&number) {
                    push.forbidden = true;
                }
            }
            Err(Failed::Down) => self.hub_died(),
            Err(Failed::Error(error)) => {
                self.cx.say("operator", format_args!("may not hold push {number}: {error}"));
            }
        }
        self.look_if_recorded();
        Ok(())
    }

    /// Pauses every rollout that runs, or has them go on.
    pub(super) fn pause(&mut self, paused: bool) -> io::Result<()> {
        // What was decided before is known before.
        self.settle()?;
        self.paused.clear();
        let (now, ignores) = (self.hub_clock(), self.cx.has(Planted::IgnoresPause));
        let done = self.hub.call(now, async |parts: Parts| {
            let running = rollouts::running(&mut parts.store.read()).await?;
            let mut changed = Vec::new();
            for rollout in running.iter().filter(|rollout| rollout.paused.is_some() != paused) {
                parts.engine.pause_rollout(rollout.id, paused, "operator's wish", "operator").await?;
                if paused && ignores {
                    parts.engine.pause_rollout(rollout.id, false, "planted", "planted").await?;
                }
                changed.push(rollout.id);
            }
            Ok(changed)
        });
        if let Some(changed) = self.answered(done)? {
            self.cx.say("operator", format_args!("pauses ({paused}) {} rollouts", changed.len()));
            if paused {
                self.paused = changed.into_iter().map(|rollout| (rollout, self.cx.now)).collect();
            }
        }
        self.look_if_recorded();
        Ok(())
    }

    /// Stops everything, or lifts the stop.
    pub(super) fn stop(&mut self, stopped: bool) -> io::Result<()> {
        // What was decided before is known before.
        self.settle()?;
        self.stopped = None;
        let (now, ignores) = (self.hub_clock(), self.cx.has(Planted::IgnoresStop));
        let done = self.hub.call(now, async |parts: Parts| {
            parts.engine.set_emergency_stop(stopped, "operator's wish", "operator").await?;
            if stopped && ignores {
                parts.engine.set_emergency_stop(false, "planted", "planted").await?;
            }
            Ok(())
        });
        if self.answered(done)?.is_some() {
            self.cx.say("operator", format_args!("stops everything: {stopped}"));
            self.stopped = stopped.then_some(self.cx.now);
        }
        self.look_if_recorded();
        Ok(())
    }

    /// An operator leads nodes out of safe mode, once all is calm.
    pub(super) fn lead_out(&mut self) -> io::Result<()> {
        let inside = |node: &crate::node::Node| {
            let mode = node.disk.files().journal.safety.safe_mode.as_ref()?;
            Some((node.id, node.who(), mode.id))
        };
        let inside: Vec<_> = self.nodes.iter().filter_map(inside).collect();
        for (node, name, safe_mode) in inside {
            self.cx.say("operator", format_args!("leads {name} out of safe mode"));
            let word =
                LeaveSafeMode { safe_mode, by: "operator".to_owned(), reason: "all is calm".to_owned() };
            let now = self.hub_clock();
            let led = self.hub.call(now, async |parts: Parts| parts.engine.leave_safe_mode(node, word).await);
            self.answered(led)?;
        }
        self.look_if_recorded();
        Ok(())
    }

    /// For a bug that is planted: what was held or banned is forgotten.
    pub(super) fn forget_holds(&mut self) -> io::Result<()> {
        let now = self.hub_clock();
        let done = self.hub.call(now, async |parts: Parts| {
            for constraint in constraints::in_force(&mut parts.store.read(), now).await? {
                if matches!(constraint.effect, Effect::Hold { .. } | Effect::Ban { .. }) {
                    parts.engine.lift(constraint.id, "planted", "planted").await?;
                }
            }
            Ok(())
        });
        self.answered(done)?;
        Ok(())
    }

    /// For a bug that is planted: gates open by themselves.
    pub(super) fn open_gates(&mut self) -> io::Result<()> {
        let now = self.hub_clock();
        let done = self.hub.call(now, async |parts: Parts| {
            for rollout in rollouts::running(&mut parts.store.read()).await? {
                let last = rollout.strategy.waves.len().saturating_sub(1);
                if usize::try_from(rollout.wave).unwrap_or(usize::MAX) < last {
                    parts.engine.promote_rollout(rollout.id, rollout.wave, "planted", "planted").await?;
                }
            }
            Ok(())
        });
        self.answered(done)?;
        Ok(())
    }
}

/// The word of a state that is written as an object with a tag.
pub(super) fn word<T: serde::Serialize>(state: &T) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(serde_json::Value::Object(map)) => {
            map.values().find_map(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        }
        _ => String::new(),
    }
}
