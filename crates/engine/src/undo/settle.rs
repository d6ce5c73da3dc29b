//! Watching undos through: verified when every node in the plan runs the wanted tree, healthy.

use std::collections::HashMap;

use backstay_store::{deployments, nodes, releases, undos};
use backstay_types::{Cause, Event, NodeMove, RolloutKind, Undo, UndoState};

use super::act::undo_refs;
use crate::{Engine, EngineError};

/// Where a node of an undo stands.
enum Standing {
    Waiting,
    There,
    Failed(String),
}

impl Engine {
    /// Ends the undos whose nodes have all arrived, or failed.
    pub(crate) async fn settle_undos(&self) -> Result<(), EngineError> {
        let open = undos::open(&mut self.inner.store.read()).await?;
        for undo in open.into_iter().filter(|u| u.state == UndoState::RollingOut) {
            if let Some(state) = self.outcome(&undo).await? {
                let mut tx = self.inner.store.begin().await?;
                // Its plan may have learnt of a push meanwhile.
                let Some(undo) = undos::get(&mut tx, undo.id).await? else { continue };
                if undo.state != UndoState::RollingOut {
                    continue;
                }
                undos::update(&mut tx, undo.id, &undo.state, &state, &undo.plan, self.inner.world.now())
                    .await?;
                tx.record(Event::UndoStateChanged { state }, undo_refs(&undo))?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// The final state of an undo, once it has one.
    async fn outcome(&self, undo: &Undo) -> Result<Option<UndoState>, EngineError> {
        let mut failures = Vec::new();
        for place in &undo.plan.nodes {
            match self.place(undo, place).await? {
                Standing::Waiting => return Ok(None),
                Standing::There => {}
                Standing::Failed(reason) => failures.push(format!("{}: {reason}", place.node)),
            }
        }
        Ok(Some(match failures.is_empty() {
            true => UndoState::Verified,
            false => UndoState::Failed { reason: failures.join("; ") },
        }))
    }

    async fn place(&self, undo: &Undo, place: &NodeMove) -> Result<Standing, EngineError> {
        let mut read = self.inner.store.read();
        let node = nodes::by_name(&mut read, &place.node).await?.filter(|n| n.revoked_at.is_none());
        let Some(node) = node else { return Ok(Standing::There) };
        let Some(latest) = deployments::latest(&mut read, node.id, &place.stack).await? else {
            return Ok(Standing::Waiting);
        };
        let trees: HashMap<_, _> =
            releases::many(&mut read, &[latest.release]).await?.into_iter().map(|r| (r.id, r.tree)).collect();
        let rollout = backstay_store::rollouts::get(&mut read, latest.rollout).await?;
        let removal = rollout.as_ref().is_some_and(|r| r.kind == RolloutKind::Removal);
        let on_target = !removal && trees.get(&latest.release) == Some(&place.to);
        if !latest.state.is_final() {
            return Ok(Standing::Waiting);
        }
        if on_target {
            return Ok(match &latest.state {
                backstay_types::DeploymentState::Succeeded => Standing::There,
                backstay_types::DeploymentState::RolledBack { reason, .. }
                | backstay_types::DeploymentState::Failed { reason, .. }
                | backstay_types::DeploymentState::Broken { reason, .. } => Standing::Failed(reason.clone()),
                _ => Standing::Waiting,
            });
        }
        // Something newer came after the undo and took the node along: the undo is part of what it runs.
        let newer = rollout.is_some_and(|r| {
            r.created_at > undo.created_at && !matches!(r.cause, Cause::Undo { undo: id } if id == undo.id)
        });
        Ok(if newer { Standing::There } else { Standing::Waiting })
    }
}
