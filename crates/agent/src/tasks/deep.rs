//! Deep looks, and putting right what they found.

use std::collections::BTreeSet;

use backstay_agent_core::{Committed, Finding, StackRecord};
use backstay_types::{DriftPart, StackName, Step};

use super::{LONG, Machine};
use crate::{
    disk::check_space,
    step::{Fail, Failed, Records, Reply, Work},
};

impl Machine {
    /// Compares everything of a stack with what it should be.
    pub(super) async fn compare(
        &self,
        stack: &StackName,
        record: &StackRecord,
        records: &mut Records,
    ) -> Result<Vec<Finding>, Failed> {
        let work = Work::Compare {
            stack: stack.clone(),
            record: Box::new(record.clone()),
            bytes_per_second: self.settings.deep_check_bytes_per_second,
        };
        match self.child(work, Step::Verify, LONG * 4, records).await? {
            Reply::Found(found) => Ok(found),
            _ => Err(super::odd(Step::Verify)),
        }
    }

    /// Puts right what was found, then looks whether it is.
    pub(super) async fn mend(
        &self,
        stack: &StackName,
        record: &StackRecord,
        found: &[Finding],
        records: &mut Records,
    ) -> Result<Vec<Finding>, Failed> {
        let has = |part| found.iter().any(|finding| finding.part == part);
        if let Some(committed) = record.committed.as_ref().filter(|_| has(DriftPart::File)) {
            self.repair(stack, committed, records).await?;
        }
        if let Some(previous) = record.previous.as_ref().filter(|_| has(DriftPart::PreviousFile)) {
            self.repair(stack, previous, records).await?;
        }
        if let Some(committed) = &record.committed {
            if has(DriftPart::Image) {
                let again = Committed { prepared: None, ..committed.clone() };
                self.prepared(stack, &again, records).await?;
            }
            let services: BTreeSet<_> =
                found.iter().flat_map(|finding| finding.services.iter().cloned()).collect();
            if let Some(prepared) = committed.prepared.as_ref().filter(|_| !services.is_empty()) {
                let work = Work::Recreate {
                    stack: stack.clone(),
                    committed: Box::new(committed.clone()),
                    services: services.into_iter().collect(),
                };
                self.child(work, Step::Return, LONG, records).await?;
                self.probe(stack, committed.tree, prepared, Step::Return).await?;
            }
        }
        self.compare(stack, record, records).await
    }

    /// Brings a release's files back as they were signed.
    async fn repair(
        &self,
        stack: &StackName,
        committed: &Committed,
        records: &mut Records,
    ) -> Result<(), Failed> {
        let Some(target) = &committed.target else {
            return Err(Fail::other(Step::Fetch, "nobody said where this release comes from"));
        };
        let margin = self.settings.disk_margin_bytes;
        check_space(self.layout.data(), target.bytes, margin)
            .map_err(|reason| Fail::of(Step::Fetch, backstay_types::FailureKind::DiskFull, reason))?;
        let failed = match self.download(target).await {
            Ok(_) => {
                let (deployment, tree) = (target.deployment, committed.tree);
                let work = Work::Repair { stack: stack.clone(), deployment, tree };
                match self.child(work, Step::Stage, LONG, records).await {
                    Ok(_) => return Ok(()),
                    Err(failed) => failed,
                }
            }
            Err(failed) => failed,
        };
        // Git gives the release as a whole, which takes the folder's place.
        self.fetch_from_git(target, &failed, records).await
    }
}
