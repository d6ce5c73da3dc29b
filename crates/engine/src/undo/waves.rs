//! Who gets what an undo goes back to in waves only, told before it is done.

use std::collections::{HashMap, HashSet};

use backstay_plan::StackFacts;
use backstay_types::{NodeMove, NodeName, Release, ReleaseId};

use super::target::Undone;
use crate::{Engine, EngineError, reconcile::Loaded};

impl Engine {
    /// Says how many of these moves wait for their wave: their target has not proved itself, and they are of nodes that
    /// neither run what is undone nor ran the target before. Nothing when none does.
    pub(super) async fn in_waves(
        &self,
        loaded: &Loaded,
        (row, facts): (usize, &StackFacts),
        target: Option<&Release>,
        undone: Undone<'_>,
        moved: &[NodeMove],
    ) -> Result<Option<String>, EngineError> {
        if facts.strategy.waves.is_empty() || moved.is_empty() {
            return Ok(None);
        }
        let mut read = self.inner.store.read();
        let environment = facts.within.environment();
        let (unproven, begun) = match target {
            None => Default::default(),
            Some(target) => match self.unproven(&mut read, target, environment, None).await? {
                None => return Ok(None),
                Some(stands) => stands,
            },
        };
        let names: HashSet<&NodeName> = moved.iter().map(|one| &one.node).collect();
        let mut leaves: HashMap<ReleaseId, bool> = HashMap::new();
        let mut waiting = 0;
        for (at, node) in loaded.snapshot.nodes.iter().enumerate().filter(|(_, n)| names.contains(n.name())) {
            let mut at_once = unproven.ran.contains(&node.id);
            for release in loaded.snapshot.past.of(row, at).told() {
                let known = leaves.get(&release).copied();
                let known = match (known, loaded.releases.get(&release)) {
                    (Some(known), _) => known,
                    (None, None) => false,
                    (None, Some(release)) => {
                        let proved =
                            begun && self.unproven(&mut read, release, environment, None).await?.is_none();
                        !proved && self.has_any(release, undone).await?
                    }
                };
                leaves.insert(release, known);
                at_once |= known;
            }
            waiting += usize::from(!at_once);
        }
        let (stack, of) = (&facts.name, moved.len());
        Ok((waiting > 0).then(|| {
            format!(
                "{stack}: {waiting} of {of} nodes get it in waves, as [rollout] in fleet.toml has them: this content has \
                 not run on all of them yet"
            )
        }))
    }
}
