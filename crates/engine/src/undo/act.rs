//! Making an undo so: commits, holds and pins first in the mirror and the store, nodes at once after that.

use std::sync::Arc;

use backstay_source::{NewCommit, undo_message};
use backstay_store::{StoreError, Tx, constraints, releases, undos};
use backstay_types::{
    CommitId, Constraint, ConstraintOrigin, Effect, Event, Person, Refs, Repository, Scope, Timestamp, Undo,
    UndoId, UndoPlan, UndoRoute, UndoSelector, UndoState,
};

use super::{
    Resolution, WantedUndo,
    compute::{Computed, ComputedPart, PinTarget},
    draft::tip_error,
};
use crate::{
    Engine, EngineError,
    mirrors::blocking,
    sync::{Tip, describe, read_tip},
};

/// How often an undo is computed while others keep moving the branch.
const TRIES: u32 = 10;

impl Engine {
    /// What an undo would come to. Changes nothing.
    ///
    /// # Errors
    /// When it selects nothing, or not exactly, or its result would not be valid.
    pub async fn plan_undo(&self, want: &WantedUndo) -> Result<UndoPlan, EngineError> {
        Ok(self.compute(want).await?.plan)
    }

    /// Undoes. With conflicts the undo stops at `conflicted` and waits for [`Engine::resolve_undo`].
    ///
    /// # Errors
    /// As [`Engine::plan_undo`]; nothing was changed then.
    pub async fn create_undo(&self, want: WantedUndo, by: &str) -> Result<Undo, EngineError> {
        self.create_undo_as(self.inner.world.mint(), want, by).await
    }

    /// As [`Engine::create_undo`], under an id that the caller chose. When there is that undo already, it is
    /// given as it is: it was asked for before, and no answer came.
    ///
    /// # Errors
    /// As [`Engine::create_undo`]; also when that undo is another one.
    pub async fn create_undo_as(&self, id: UndoId, want: WantedUndo, by: &str) -> Result<Undo, EngineError> {
        let _one = self.inner.advancing.lock().await;
        if let Some(undo) = undos::get(&mut self.inner.store.read(), id).await? {
            let same = (&undo.selector, &undo.scope, &undo.reason, undo.plan.with_data)
                == (&want.selector, &want.scope, &want.reason, want.with_data);
            let other = || EngineError::Conflict(format!("there is another undo {id} already"));
            return if same { Ok(undo) } else { Err(other()) };
        }
        let undo = Undo {
            id,
            selector: want.selector.clone(),
            scope: want.scope.clone(),
            by: by.to_owned(),
            reason: want.reason.clone(),
            plan: UndoPlan::default(),
            state: UndoState::Planned,
            created_at: self.inner.world.now(),
            finished_at: None,
        };
        self.compute_and_act(undo, want, None).await
    }

    /// Computes and acts on what is so now. Where upstream moved in between, what was computed is of no use: again.
    async fn compute_and_act(
        &self,
        undo: Undo,
        want: WantedUndo,
        from: Option<UndoState>,
    ) -> Result<Undo, EngineError> {
        let mut tries = 0;
        loop {
            let computed = self.compute(&want).await?;
            tries += 1;
            match self.act(undo.clone(), want.clone(), computed, from.clone()).await {
                Err(EngineError::Store(StoreError::Stale { what: "repository", .. })) if tries < TRIES => {
                    tracing::info!(undo = %undo.id, "the branch moved; computing again");
                }
                done => return done,
            }
        }
    }

    /// What a conflicted undo would come to with these contents. Changes nothing.
    ///
    /// # Errors
    /// As [`Engine::resolve_undo`].
    pub async fn plan_resolved_undo(&self, id: UndoId, by: Resolution) -> Result<UndoPlan, EngineError> {
        let (_, want) = self.resolving(id, by).await?;
        self.plan_undo(&want).await
    }

    /// Goes on with a conflicted undo: gives whole contents for conflicting files, and says what has to be said of the
    /// data of those whom it is for, which is known only now.
    ///
    /// # Errors
    /// When it is not conflicted, a file is not one of those that conflict, or as [`Engine::plan_undo`].
    pub async fn resolve_undo(&self, id: UndoId, by: Resolution) -> Result<Undo, EngineError> {
        let _one = self.inner.advancing.lock().await;
        let (undo, want) = self.resolving(id, by).await?;
        self.compute_and_act(undo, want, Some(UndoState::Conflicted)).await
    }

    /// A conflicted undo, and what is wanted with what was said now.
    async fn resolving(&self, id: UndoId, by: Resolution) -> Result<(Undo, WantedUndo), EngineError> {
        let undo = self.undo(id).await?;
        if undo.state != UndoState::Conflicted {
            return Err(EngineError::Conflict(format!("undo {id} has no conflicts to resolve")));
        }
        Ok((undo, self.request(id).await?.resolved(by)))
    }

    /// Carries a computed undo out. `from` is the state in which it is stored already.
    async fn act(
        &self,
        mut undo: Undo,
        want: WantedUndo,
        computed: Computed,
        from: Option<UndoState>,
    ) -> Result<Undo, EngineError> {
        undo.plan = computed.plan.clone();
        let conflicted = undo.plan.repositories.iter().any(|r| !r.conflicts.is_empty());
        super::data::refuse(&undo.plan)?;
        if conflicted {
            undo.state = UndoState::Conflicted;
            let mut tx = self.inner.store.begin().await?;
            self.keep_undo(&mut tx, &undo, &want, from).await?;
            tx.commit().await?;
            return Ok(undo);
        }
        undo.state = UndoState::RollingOut;
        let mut tips = Vec::new();
        for (at, part) in computed.parts.iter().enumerate() {
            let made = self.commit(&undo, part, at).await?;
            undo.plan.repositories[at].commit = Some(made.tip.commit.clone());
            tips.push(made);
        }
        let mut tx = self.inner.store.begin().await?;
        self.keep_undo(&mut tx, &undo, &want, from).await?;
        for (part, made) in computed.parts.iter().zip(&tips) {
            self.constrain(&mut tx, &undo, part, made).await?;
        }
        if let UndoSelector::Undo { undo: earlier } = undo.selector {
            for constraint in constraints::of_undo(&mut tx, earlier).await? {
                if constraint.lifted_at.is_none() {
                    self.lift_constraint(&mut tx, &constraint, "the undo was undone", &undo.by).await?;
                }
            }
        }
        for (part, made) in computed.parts.iter().zip(&tips) {
            self.apply_tip(&mut tx, &part.part.repository, &made.tip).await?;
        }
        tx.commit().await?;
        self.reconcile().await?;
        self.push_soon(undo.id);
        self.undo(undo.id).await
    }

    async fn keep_undo(
        &self,
        tx: &mut Tx,
        undo: &Undo,
        want: &WantedUndo,
        from: Option<UndoState>,
    ) -> Result<(), EngineError> {
        let request = serde_json::to_string(want).map_err(backstay_store::StoreError::from)?;
        let refs = undo_refs(undo);
        match from {
            None => {
                undos::insert(tx, undo, &request).await?;
                let event = Event::UndoRequested { by: undo.by.clone(), reason: undo.reason.clone() };
                tx.record(event, refs.clone())?;
            }
            Some(from) => {
                undos::set_request(tx, undo.id, &request).await?;
                undos::update(tx, undo.id, &from, &undo.state, &undo.plan, self.inner.world.now()).await?;
            }
        }
        tx.record(Event::UndoStateChanged { state: undo.state.clone() }, refs)?;
        Ok(())
    }

    /// Makes the commit that the branch gets: the result itself, or pins in `fleet.toml`.
    async fn commit(&self, undo: &Undo, part: &ComputedPart, at: usize) -> Result<Made, EngineError> {
        let reverts = undo.plan.repositories[at].commits.clone();
        let subject = subject(&undo.selector);
        let (mirror, result) = (Arc::clone(&part.mirror), part.result.clone());
        let (id, now, tip) = (undo.id, self.inner.world.now(), part.part.tip.clone());
        let body = undo.reason.clone();
        let side = match part.route {
            UndoRoute::Pin => None,
            UndoRoute::Branch | UndoRoute::UndoBranch => {
                let message = undo_message(&subject, &body, id, &reverts);
                let mirror = Arc::clone(&mirror);
                let tip = tip.clone();
                let commit = blocking(move || {
                    let by = committer();
                    let new =
                        NewCommit { draft: &result, parents: &[tip], message: &message, by: &by, at: now };
                    mirror.commit_undo(id, &new)
                });
                Some(commit.await?)
            }
        };
        if part.route == UndoRoute::Branch {
            let commit = side.ok_or(EngineError::Stopping)?;
            let tip = self.read(&part.part.repository, part, commit).await?;
            return Ok(Made { tip, side: None });
        }
        if let Some(side) = &side {
            // The ref of the undo moves on to the commit with the pins; this one must stay too.
            self.keep(&part.mirror, side).await?;
        }
        let pins = pins(part, side.as_ref(), &undo.reason)?;
        let message = undo_message(&format!("{subject} on some nodes"), &body, id, &[]);
        let commit = blocking(move || {
            let old = mirror.try_read(&tip, FLEET)?.unwrap_or_default();
            let old = String::from_utf8_lossy(&old).into_owned();
            let text = backstay_manifest::add_pins(&old, &pins).map_err(|problems| {
                backstay_source::SourceError::Path(format!(
                    "{FLEET} cannot be edited: {}",
                    describe(&problems)
                ))
            })?;
            let draft = mirror.with_file(&tip, FLEET, Some(text.as_bytes()))?;
            let by = committer();
            let new = NewCommit { draft: &draft, parents: &[tip], message: &message, by: &by, at: now };
            mirror.commit_undo(id, &new)
        });
        let tip = self.read(&part.part.repository, part, commit.await?).await?;
        Ok(Made { tip, side })
    }

    async fn read(
        &self,
        repository: &Repository,
        part: &ComputedPart,
        commit: CommitId,
    ) -> Result<Tip, EngineError> {
        let (mirror, repository) = (Arc::clone(&part.mirror), repository.clone());
        let read = tokio::task::spawn_blocking(move || read_tip(&mirror, &repository, &commit)).await;
        read.map_err(|_| EngineError::Stopping)?.map_err(tip_error)
    }

    /// Holds what was taken back for everyone; pins the selected nodes otherwise, under the undo's own name, so that
    /// they stay there even while `fleet.toml` is not upstream.
    async fn constrain(
        &self,
        tx: &mut Tx,
        undo: &Undo,
        part: &ComputedPart,
        made: &Made,
    ) -> Result<(), EngineError> {
        let origin = ConstraintOrigin::Undo { undo: undo.id };
        let reason = if undo.reason.is_empty() { subject(&undo.selector) } else { undo.reason.clone() };
        let repository = &part.part.repository;
        if part.route == UndoRoute::Branch {
            let undone = undo.plan.repositories.iter().filter(|r| r.repository == repository.id);
            for commit in undone.flat_map(|r| &r.commits) {
                // Taken back in one part only, it stands in the others: what holds it there may go on being planned.
                if let (Some(stack), Some(part)) = (&undo.scope.stack, &undo.scope.part) {
                    let parts = releases::parts_of_commit(tx, stack, repository.id, commit).await?;
                    if parts.iter().any(|touched| touched != part) {
                        continue;
                    }
                }
                let hold = self.hold(repository.id, commit.clone(), origin.clone(), &reason, None, &undo.by);
                self.set_constraint(tx, &hold).await?;
            }
            return Ok(());
        }
        let now = self.inner.world.now();
        for target in &part.pins {
            let commit = target.commit.as_ref().or(made.side.as_ref()).ok_or(EngineError::Stopping)?;
            let (stack, path) = (&target.stack, &target.path);
            let release = {
                let (mirror, at, path) = (Arc::clone(&part.mirror), commit.clone(), path.clone());
                let divided = blocking(move || crate::parts::divided_at(&mirror, &at, &path)).await?;
                let whole = (&target.tree, divided.as_ref());
                self.release(tx, repository, stack, &target.path, commit, whole, now).await?
            };
            let scope = Scope::Nodes { selector: target.nodes.to_string() };
            let effect = Effect::Pin { stack: stack.clone(), release: release.id };
            let pin = self.pin(scope, effect, origin.clone(), &reason, &undo.by, now);
            self.set_constraint(tx, &pin).await?;
        }
        Ok(())
    }

    fn pin(
        &self,
        scope: Scope,
        effect: Effect,
        origin: ConstraintOrigin,
        reason: &str,
        by: &str,
        now: Timestamp,
    ) -> Constraint {
        Constraint {
            id: self.inner.world.mint(),
            scope,
            effect,
            reason: reason.to_owned(),
            by: by.to_owned(),
            origin,
            created_at: now,
            from: None,
            until: None,
            lifted_at: None,
        }
    }

    pub(super) async fn undo(&self, id: UndoId) -> Result<Undo, EngineError> {
        let found = undos::get(&mut self.inner.store.read(), id).await?;
        found.ok_or_else(|| EngineError::not_found("undo", id))
    }

    pub(super) async fn request(&self, id: UndoId) -> Result<WantedUndo, EngineError> {
        let request = undos::request(&mut self.inner.store.read(), id).await?;
        let request = request.ok_or_else(|| EngineError::not_found("undo", id))?;
        serde_json::from_str(&request).map_err(|e| backstay_store::StoreError::from(e).into())
    }
}

/// The pins as `fleet.toml` holds them.
fn pins(
    part: &ComputedPart,
    side: Option<&CommitId>,
    reason: &str,
) -> Result<Vec<backstay_manifest::Pin>, EngineError> {
    let pin = |target: &PinTarget| {
        let commit = target.commit.as_ref().or(side).ok_or(EngineError::Stopping)?;
        Ok(backstay_manifest::Pin {
            stack: target.stack.clone(),
            nodes: target.nodes.clone(),
            commit: commit.clone(),
            reason: if reason.is_empty() { "undo".to_owned() } else { reason.to_owned() },
            until: None,
            line: 0,
        })
    };
    part.pins.iter().map(pin).collect()
}

/// The commit that the branch got, and the one that pinned nodes follow.
struct Made {
    tip: Tip,
    side: Option<CommitId>,
}

const FLEET: &str = "fleet.toml";

pub(super) fn committer() -> Person {
    Person { name: "Backstay".to_owned(), email: "backstay@localhost".to_owned() }
}

pub(super) fn undo_refs(undo: &Undo) -> Refs {
    let (conversation, deployment) = match undo.selector {
        UndoSelector::Conversation { conversation, .. } => (Some(conversation), None),
        UndoSelector::Deployment { deployment } => (None, Some(deployment)),
        _ => (None, None),
    };
    Refs { undo: Some(undo.id), conversation, deployment, ..Refs::default() }
}

/// What an undo commit is called.
pub(super) fn subject(selector: &UndoSelector) -> String {
    use backstay_types::Meaning;
    match selector {
        UndoSelector::Conversation { conversation, meaning: Meaning::OnlyIts } => {
            format!("Undo conversation {conversation}")
        }
        UndoSelector::Conversation { conversation, meaning: Meaning::Before } => {
            format!("Return to before conversation {conversation}")
        }
        UndoSelector::Time { to, .. } => format!("Return to {to}"),
        UndoSelector::Commit { to, .. } => format!("Return to {}", to.short()),
        UndoSelector::Deployment { deployment } => format!("Undo deployment {deployment}"),
        UndoSelector::Last => "Undo the last change".to_owned(),
        UndoSelector::Undo { undo } => format!("Undo the undo {undo}"),
    }
}
