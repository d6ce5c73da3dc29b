//! Looking at what runs, and putting right what departed.

use std::collections::BTreeMap;

use backstay_agent_core::{Committed, Links, Seen, StackRecord};
use backstay_types::{Container, Figures, StackName, Step};

use super::Machine;
use crate::{
    backup::Errand,
    disk::read_links,
    runtime::Runtimes,
    step::{Fail, Failed, Records},
};

/// What is to be put right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) runtime: bool,
    pub(super) release: bool,
    pub(super) previous: bool,
}

impl Machine {
    /// Looks at stacks, lightly.
    pub(super) async fn check(&self, stacks: BTreeMap<StackName, Box<StackRecord>>) -> Vec<Seen> {
        let mut all = Vec::new();
        for (stack, record) in stacks {
            all.push(self.look(&stack, &record).await);
        }
        all
    }

    async fn look(&self, stack: &StackName, record: &StackRecord) -> Seen {
        let links = read_links(&self.layout.stack(stack));
        let containers = match &record.committed {
            Some(committed) => self.containers(stack, committed).await,
            None => Ok(Vec::new()),
        };
        let here = |committed: &Committed| self.layout.release(stack, committed.tree).is_dir();
        let previous = match &record.previous {
            Some(previous) => here(previous) && self.can_run(previous).await,
            None => false,
        };
        Seen {
            stack: stack.clone(),
            links: links.as_ref().map_or_else(|_| Links::default(), |links| *links),
            containers: match (containers, links) {
                (Err(why), _) => Err(why),
                (_, Err(error)) => Err(format!("the links cannot be read: {error}")),
                (Ok(containers), Ok(_)) => Ok(containers),
            },
            release: record.committed.as_ref().is_some_and(here),
            previous,
            figures: match record.committed.as_ref().and_then(|c| Some((c.tree, c.prepared.as_ref()?))) {
                Some((tree, prepared)) => {
                    super::figures::figures(&self.layout, stack, tree, &prepared.figures).await
                }
                None => Figures::default(),
            },
        }
    }

    async fn containers(&self, stack: &StackName, committed: &Committed) -> Result<Vec<Container>, String> {
        let prepared = match &committed.prepared {
            Some(prepared) => prepared.clone(),
            // Found here without a journal: it has to be read first.
            None => {
                let mut records = Records::new(self.world.clone());
                self.prepared(stack, committed, &mut records).await.map_err(|failed| failed.reason)?
            }
        };
        let runtime = Runtimes::new(&prepared.runtime).map_err(|failed| failed.reason)?;
        runtime.observe(&self.layout, stack, &prepared).await.map_err(|error| error.to_string())
    }

    async fn can_run(&self, committed: &Committed) -> bool {
        let Some(prepared) = &committed.prepared else { return true };
        let Ok(runtime) = Runtimes::new(&prepared.runtime) else { return false };
        // Not being told is not being gone.
        runtime.can_run(prepared).await.unwrap_or(true)
    }

    /// Puts right what departed, then looks again.
    pub(super) async fn heal(
        &self,
        stack: &StackName,
        record: &StackRecord,
        wanted: Wanted,
        records: &mut Records,
    ) -> Result<Seen, Failed> {
        if wanted.release
            && let Some(committed) = &record.committed
        {
            self.bring_back(committed, records).await?;
        }
        if wanted.runtime
            && let Some(committed) = &record.committed
        {
            // What an undo left half-way is put back before anything runs on it.
            self.errand(Errand::Settle(stack.clone()), Step::Return).await?;
            let prepared = self.prepared(stack, committed, records).await?;
            if !self.can_run(committed).await {
                // Its images were taken; where they come from they may come again.
                let again = Committed { prepared: None, ..committed.clone() };
                self.prepared(stack, &again, records).await?;
            }
            self.up((stack, committed.tree), None, &prepared, Step::Return, records).await?;
            self.probe(stack, committed.tree, &prepared, Step::Return).await?;
        }
        if wanted.previous
            && let Some(previous) = &record.previous
        {
            self.bring_back(previous, records).await?;
        }
        Ok(self.look(stack, record).await)
    }

    /// Brings a release's files and images here again.
    async fn bring_back(&self, committed: &Committed, records: &mut Records) -> Result<(), Failed> {
        let Some(target) = &committed.target else {
            return Err(Fail::other(Step::Fetch, "nobody said where this release comes from"));
        };
        self.fetch(target, records).await?;
        if committed.prepared.is_some() {
            let again = Committed { prepared: None, ..committed.clone() };
            self.prepared(&target.stack, &again, records).await?;
        }
        Ok(())
    }
}
