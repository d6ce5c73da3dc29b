//! A release's folder: unpacked beside its place, made durable, then renamed into it.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use backstay_types::{
    DeploymentId, FailureKind, StackName, Step, TreeDigest,
    tree::{self, TreeError},
};

use super::{Context, Fail, Failed, Records};
use crate::{
    crash::crash_point,
    disk::{FolderSink, hash_folder, remove_dir, sync_dir},
};

/// Whether the release is here, whole.
pub(super) fn verify(cx: &Context, stack: &StackName, tree: TreeDigest) -> Result<bool, Failed> {
    let dir = cx.layout.release(stack, tree);
    if !dir.is_dir() {
        return Ok(false);
    }
    Ok(hash_folder(&dir).is_ok_and(|found| found == tree))
}

/// Unpacks the pack of a deployment into the release's folder.
pub(super) fn unpack(
    cx: &Context,
    stack: &StackName,
    deployment: DeploymentId,
    tree: TreeDigest,
    records: &mut Records,
) -> Result<(), Failed> {
    let path = cx.layout.pack(stack, deployment);
    place(cx, stack, deployment, tree, records, |sink| {
        let pack = io::BufReader::with_capacity(64 << 10, File::open(&path)?);
        tree::unpack(pack, tree, sink)
    })?;
    fs::remove_file(&path).map_err(Fail::io(Step::Stage, "the pack cannot be removed"))
}

/// Fills a folder with `fill`, which has to see to the digest, and gives it the release's name.
pub(super) fn place(
    cx: &Context,
    stack: &StackName,
    deployment: DeploymentId,
    tree: TreeDigest,
    records: &mut Records,
    fill: impl FnOnce(&mut FolderSink) -> Result<(), TreeError>,
) -> Result<(), Failed> {
    let (growing, release) = (cx.layout.growing(stack, deployment), cx.layout.release(stack, tree));
    let started = records.start();
    let mut sink = new_folder(&growing).map_err(Fail::io(Step::Verify, growing.display()))?;
    fill(&mut sink).map_err(tree_failed)?;
    records.done(started, Step::Verify, format!("tree {}", tree.short()));
    crash_point("stage.unpacked");
    let started = records.start();
    settle(sink, &growing, &release).map_err(Fail::io(Step::Stage, release.display()))?;
    records.done(started, Step::Stage, "");
    Ok(())
}

fn new_folder(growing: &Path) -> io::Result<FolderSink> {
    remove_dir(growing)?;
    fs::create_dir_all(growing)?;
    FolderSink::new(growing)
}

fn settle(sink: FolderSink, growing: &Path, release: &Path) -> io::Result<()> {
    sink.sync()?;
    crash_point("stage.synced");
    // One that is there has been found to be something else.
    remove_dir(release)?;
    fs::rename(growing, release)?;
    crash_point("stage.renamed");
    for dir in release.ancestors().skip(1).take(3) {
        sync_dir(dir)?;
    }
    crash_point("stage.placed");
    Ok(())
}

fn tree_failed(error: TreeError) -> Failed {
    match error {
        TreeError::Damaged(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::Other
            ) =>
        {
            Fail::io(Step::Verify, "the release cannot be written")(error)
        }
        error => Fail::of(Step::Verify, FailureKind::Mismatch, error),
    }
}
