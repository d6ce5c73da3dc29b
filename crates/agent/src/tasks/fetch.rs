//! A release's files: here already, or from the hub, or from Git.

use std::{fs, io::Write as _, path::Path, time::Duration};

use backstay_api::{
    Empty,
    agent::{GetPack, PackPath},
    statement::{DesiredStack, SignedStatement},
};
use backstay_client::ClientError;
use backstay_types::{FailureKind, NodeId, Step, tree::MAX_TREE_BYTES};

use super::{LONG, Machine};
use crate::{
    crash::crash_point,
    disk::{check_space, sync_dir},
    step::{Fail, Failed, Records, Reply, Work},
};

/// Reading statements from Git may take so long, over all its endpoints.
const STATEMENTS: Duration = Duration::from_secs(120);
/// Git may take so long, over all its endpoints.
const GIT: Duration = Duration::from_secs(300);
/// A pack holds what its tree holds, and paths.
const LARGEST_PACK: u64 = MAX_TREE_BYTES + (64 << 20);

impl Machine {
    /// Brings the release's folder here.
    pub(super) async fn fetch(&self, target: &DesiredStack, records: &mut Records) -> Result<(), Failed> {
        let (stack, tree) = (target.stack.clone(), target.tree);
        if self.layout.release(&stack, tree).exists() {
            let work = Work::Verify { stack: stack.clone(), tree };
            let started = records.start();
            if let Reply::Verified(true) = self.child(work, Step::Verify, LONG, records).await? {
                records.skipped(Step::Fetch, "it is here already");
                records.done(started, Step::Verify, format!("tree {}", tree.short()));
                return Ok(());
            }
        }
        let started = records.start();
        check_space(self.layout.data(), target.bytes, self.settings.disk_margin_bytes).map_err(|reason| {
            let failed = Fail::of(Step::Fetch, FailureKind::DiskFull, reason);
            records.failed(&failed);
            failed
        })?;
        match self.download(target).await {
            Ok(bytes) => {
                records.done(started, Step::Fetch, format!("{bytes} bytes from the hub"));
                let work = Work::Unpack { stack, deployment: target.deployment, tree };
                match self.child(work, Step::Verify, LONG, records).await {
                    // What the hub gave is damaged: Git may give the right thing.
                    Err(failed) if failed.kind == FailureKind::Mismatch => {
                        self.fetch_from_git(target, &failed, records).await
                    }
                    result => result.map(drop),
                }
            }
            Err(failed) if failed.kind == FailureKind::Unavailable => {
                self.fetch_from_git(target, &failed, records).await
            }
            Err(failed) => {
                records.failed(&failed);
                Err(failed)
            }
        }
    }

    /// The node's statement from each Git endpoint that has one. What cannot be read is logged, and is nothing.
    pub(crate) async fn statements(
        &self,
        node: NodeId,
        endpoints: Vec<String>,
    ) -> Vec<(String, SignedStatement)> {
        if endpoints.is_empty() {
            return Vec::new();
        }
        let work = Work::Statements { node, endpoints, timeout: STATEMENTS };
        let limit = STATEMENTS + Duration::from_secs(30);
        let mut records = Records::new(self.world.clone());
        let found = match self.child(work, Step::Fetch, limit, &mut records).await {
            Ok(Reply::Statements(found)) => found,
            Ok(_) => Vec::new(),
            Err(failed) => {
                tracing::warn!(reason = failed.reason, "statements cannot be read from Git");
                return Vec::new();
            }
        };
        let readable = |(endpoint, found): (String, Result<SignedStatement, String>)| match found {
            Ok(signed) => Some((endpoint, signed)),
            Err(reason) => {
                tracing::info!(endpoint, reason, "no statement from Git");
                None
            }
        };
        found.into_iter().filter_map(readable).collect()
    }

    pub(super) async fn fetch_from_git(
        &self,
        target: &DesiredStack,
        why: &Failed,
        records: &mut Records,
    ) -> Result<(), Failed> {
        tracing::warn!(stack = %target.stack, reason = why.reason, "the hub does not give the release; asking Git");
        let work = Work::Git { target: Box::new(target.clone()), timeout: GIT };
        let result = self.child(work, Step::Fetch, GIT + Duration::from_secs(30), records).await;
        result.map(drop).map_err(|failed| {
            // The hub's own mistake says more than that Git could not help.
            let kind = if failed.kind == FailureKind::Unavailable { why.kind } else { failed.kind };
            let reason = format!("from the hub: {}; from Git: {}", why.reason, failed.reason);
            Failed { step: failed.step, kind, reason }
        })
    }

    /// Streams the pack from the hub to disk. Returns its length.
    pub(super) async fn download(&self, target: &DesiredStack) -> Result<u64, Failed> {
        let path = self.layout.pack(&target.stack, target.deployment);
        if let Some(bytes) = bundled(&self.layout.bundled_pack(target.tree), &path) {
            return Ok(bytes);
        }
        let pack = PackPath { pack: format!("{}.pack", target.tree) };
        let fail = |error| Fail::io(Step::Fetch, path.display())(error);
        let opened = self.hub.download::<GetPack>(&pack, &Empty {}, &Empty {}, LONG, LARGEST_PACK);
        let mut download = self.unless_silent(opened).await?;
        let mut file = create(&path).map_err(fail)?;
        let mut bytes = 0;
        while let Some(chunk) = self.unless_silent(download.chunk()).await? {
            file.write_all(chunk.as_ref()).map_err(fail)?;
            bytes += chunk.as_ref().len() as u64;
        }
        crash_point("fetch.downloaded");
        Ok(bytes)
    }

    /// A slow link may take its time: only a hub that sends nothing is given up.
    async fn unless_silent<T>(
        &self,
        next: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failed> {
        let after = self.settings.fetch_timeout;
        match tokio::time::timeout(after, next).await {
            Ok(result) => result.map_err(hub_failed),
            Err(_) => Err(hub_failed(ClientError::Silent { after })),
        }
    }
}

/// Takes a pack that came by hand; it stays where it is until its release is here. Nothing when there is none.
fn bundled(from: &Path, to: &Path) -> Option<u64> {
    if !from.exists() {
        return None;
    }
    let taken = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        let _ = fs::remove_file(to);
        fs::hard_link(from, to)?;
        fs::metadata(to).map(|meta| meta.len())
    });
    taken.inspect_err(|error| tracing::warn!(%error, "a pack that came by hand cannot be used")).ok()
}

fn create(path: &Path) -> std::io::Result<fs::File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
        for dir in dir.ancestors().take(3) {
            sync_dir(dir)?;
        }
    }
    fs::File::create(path)
}

fn hub_failed(error: ClientError) -> Failed {
    Fail::of(Step::Fetch, FailureKind::Unavailable, error)
}
