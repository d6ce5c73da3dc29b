//! What saving and restoring need of the agent: where things are, what runs, and how the repository is reached.

use std::{io, path::Path, sync::Arc, time::Duration};

use backstay_agent_core::{Committed, Journal, Phase};
use backstay_types::{
    Secret, StackName, Timestamp, TreeDigest,
    backup::{
        BackupOrder, BackupReason, RestoreWork, SaveWork, SnapshotTags,
        job::{Repository, Target},
    },
};
use tokio::sync::Mutex;

use super::{BackupError, DataPlan, Program, asked::HubClock, exec::Scene, still::Thing, store::Store};
use crate::{
    Identity,
    disk::{JournalDb, Layout},
    runtime,
    step::{Records, Reply, Work, read_rendered},
    tasks::Machine,
};

/// Reading a manifest takes no longer.
const READ: Duration = Duration::from_secs(120);

/// What saving and restoring need of the agent.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(super) machine: Machine,
    pub(super) identity: Identity,
    pub(super) store: Store,
    pub(super) program: Program,
    /// Held by whoever makes data ready for a deployment, or does something with it.
    pub(super) exchanging: Arc<Mutex<()>>,
    pub(super) clock: HubClock,
}

impl Desk {
    pub(super) fn layout(&self) -> &Layout {
        &self.machine.layout
    }

    pub(super) fn nice(&self) -> u32 {
        self.machine.settings.backup_nice
    }

    pub(super) fn margin(&self) -> u64 {
        self.machine.settings.disk_margin_bytes
    }

    pub(super) fn node_name(&self) -> String {
        self.identity.name.to_string()
    }

    /// What the agent knows durably, as it is now.
    pub(super) fn journal(&self) -> Result<Journal, BackupError> {
        let read = JournalDb::read(&self.layout().journal());
        read.map(|(journal, _)| journal).map_err(|error| BackupError::Prepare(error.to_string()))
    }

    pub(super) fn committed(&self, stack: &StackName) -> Result<Committed, BackupError> {
        let mut journal = self.journal()?;
        let committed = journal.stacks.remove(stack).and_then(|record| record.committed);
        committed.ok_or_else(|| BackupError::RunsNot(stack.clone()))
    }

    /// What is to run first of a stack of which nothing ran before: what its deployment has made ready.
    pub(super) fn first(&self, stack: &StackName) -> Result<Option<Committed>, BackupError> {
        let journal = self.journal()?;
        let runs = journal.stacks.get(stack).is_some_and(|record| record.committed.is_some());
        let operation = journal.operation.filter(|operation| !runs && operation.target.stack == *stack);
        Ok(operation.and_then(|operation| match operation.phase {
            Phase::Saving(saving) => Some(Committed {
                tree: operation.target.tree,
                deployment: Some(operation.target.deployment),
                target: Some(operation.target),
                prepared: Some(saving.prepared),
                containers: Vec::new(),
                at: operation.started_at,
            }),
            _ => None,
        }))
    }

    pub(super) fn processes(&self, stack: &StackName) -> io::Result<Vec<Thing>> {
        let groups = runtime::process::groups(self.layout(), stack)?;
        Ok(groups.into_iter().map(|(group, started)| Thing::Frozen { group, started }).collect())
    }

    pub(super) fn units(&self, stack: &StackName) -> Vec<String> {
        let prepared = self.committed(stack).ok().and_then(|committed| committed.prepared);
        let units = prepared.into_iter().flat_map(|prepared| prepared.services.into_keys());
        units.filter(|unit| unit.ends_with(".service") || !unit.contains('.')).collect()
    }

    /// What a release has of data.
    pub(super) async fn plan(&self, stack: &StackName, tree: TreeDigest) -> Result<DataPlan, BackupError> {
        self.machine.data(stack, tree).await.map_err(BackupError::Prepare)
    }

    pub(super) fn scene(&self, stack: &StackName, tree: TreeDigest) -> Scene {
        let mut variables = read_rendered(self.layout(), stack, tree);
        let secret = |text: &str| backstay_types::Secret::new(text);
        variables.insert("BACKSTAY_STACK".to_owned(), secret(stack.as_str()));
        variables.insert("BACKSTAY_NODE".to_owned(), secret(self.identity.name.as_str()));
        let state = self.layout().state(stack).display().to_string();
        variables.insert("BACKSTAY_STATE_DIR".to_owned(), secret(&state));
        Scene { dir: self.layout().release(stack, tree), variables }
    }

    /// The node's repository, through the hub.
    pub(super) fn repository(&self, order: &BackupOrder) -> Repository {
        let cache = self.layout().backups().join("cache");
        super::bound(&cache, self.machine.settings.backup_cache_bytes);
        self.at("repository", &order.password, &cache)
    }

    /// The repository that data is put back from: the node's own, or another one's that the hub lends for this job.
    pub(super) fn source(&self, order: &BackupOrder, work: &RestoreWork) -> Repository {
        match (&order.other_password, work.of_node) {
            (Some(password), Some(_)) => {
                self.at(&format!("backups/{}/repository", order.job), password, &self.layout().lent_cache())
            }
            _ => self.repository(order),
        }
    }

    fn at(&self, place: &str, password: &Secret, cache: &Path) -> Repository {
        let hub = self.identity.hub.trim_end_matches('/');
        Repository {
            target: Target::Rest {
                url: format!("{hub}/agent/v1/{place}/"),
                credential: self.identity.credential.clone(),
                ca_file: self.machine.settings.ca_file.as_ref().map(|path| path.display().to_string()),
            },
            password: password.clone(),
            cache: Some(cache.display().to_string()),
        }
    }

    pub(super) fn bytes_per_second(&self, order: &BackupOrder) -> Option<u64> {
        let own = Some(self.machine.settings.backup_bytes_per_second).filter(|bytes| *bytes > 0);
        own.into_iter().chain(order.bytes_per_second).min()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now(self.machine.world.now())
    }

    /// What a snapshot says of itself.
    pub(super) fn tags(
        &self,
        stack: &StackName,
        tree: TreeDigest,
        reason: BackupReason,
        save: &SaveWork,
    ) -> SnapshotTags {
        SnapshotTags {
            node: Some(self.identity.node),
            node_name: Some(self.identity.name.clone()),
            stack: Some(stack.clone()),
            tree: Some(tree),
            deployment: save.deployment,
            conversation: save.conversation,
            reason,
        }
    }
}

impl Machine {
    /// What a release has of data, as a child reads it.
    pub(crate) async fn data(&self, stack: &StackName, tree: TreeDigest) -> Result<DataPlan, String> {
        let mut records = Records::new(self.world.clone());
        let work = Work::Data { stack: stack.clone(), tree };
        match self.child(work, backstay_types::Step::Snapshot, READ, &mut records).await {
            Ok(Reply::Data(plan)) => Ok(*plan),
            Ok(_) => Err("a child of the agent answered something else than it was asked".to_owned()),
            Err(failed) => Err(failed.reason),
        }
    }
}
