//! Maintenance windows as they are now.

use backstay_manifest::Window;
use backstay_store::{nodes, stacks};
use backstay_types::{RepositoryId, StackName, Timestamp};

use crate::{Engine, EngineError, sync::StackRecord};

/// A window of a repository, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowSeen {
    /// The repository whose `fleet.toml` has it.
    pub repository: RepositoryId,
    /// The window.
    pub window: Window,
    /// The stacks that it is for.
    pub stacks: Vec<StackName>,
    /// How many nodes it is for.
    pub nodes: u64,
    /// Whether it is open.
    pub open: bool,
    /// When it closes, or opens; none when that is years away.
    pub changes_at: Option<Timestamp>,
}

impl Engine {
    /// All windows, those that change soonest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn windows(&self) -> Result<Vec<WindowSeen>, EngineError> {
        let now = self.inner.world.now();
        let mut read = self.inner.store.read();
        let there = nodes::active(&mut read).await?;
        let mut seen: Vec<WindowSeen> = Vec::new();
        for stack in stacks::list(&mut read).await?.into_iter().filter(|stack| stack.present) {
            let Ok(record) = serde_json::from_str::<StackRecord>(&stack.manifest) else { continue };
            for window in record.windows {
                let same = |one: &&mut WindowSeen| one.repository == stack.repository && one.window == window;
                if let Some(known) = seen.iter_mut().find(same) {
                    known.stacks.push(stack.name.clone());
                    continue;
                }
                let mine = there.iter().filter(|node| window.nodes.matches(&node.name, &node.labels));
                seen.push(WindowSeen {
                    repository: stack.repository,
                    stacks: vec![stack.name.clone()],
                    nodes: mine.count() as u64,
                    open: window.is_open(now),
                    changes_at: window.changes_at(now),
                    window,
                });
            }
        }
        seen.sort_by_key(|one| one.changes_at.unwrap_or(Timestamp::MAX));
        Ok(seen)
    }
}
