//! Deep looks, and putting right what they found, file by file.

use std::{fs, io};

use backstay_agent_core::{Committed, Finding, StackRecord};
use backstay_types::{DeploymentId, DriftPart, FailureKind, StackName, Step, TreeDigest, tree};

use super::{Context, Fail, Failed, release};
use crate::{
    disk::{
        FolderSink,
        audit::{self, Differing, Gently, How},
        remove_dir, replace_file,
    },
    runtime::Runtimes,
};

/// No more departures of a stack are looked for.
const MOST: usize = 200;

/// Everything of a stack that is not as it should be.
pub(super) async fn compare(
    cx: &mut Context,
    stack: &StackName,
    record: &StackRecord,
    bytes_per_second: u64,
) -> Result<Vec<Finding>, Failed> {
    let mut gently = Gently::new(bytes_per_second);
    let mut found = Vec::new();
    if let Some(committed) = &record.committed {
        files(cx, stack, committed.tree, DriftPart::File, &mut gently, &mut found)?;
        if let Some(prepared) = committed.prepared.as_ref().filter(|_| is_whole(&found)) {
            let runtime = Runtimes::new(&prepared.runtime)?;
            if let Ok(loaded) = release::load(&cx.layout, stack, committed.tree, Step::Probe) {
                loaded.render(cx, Step::Probe)?;
                found.extend(runtime.compare(cx, &loaded, prepared, &mut gently).await?);
            }
        }
    }
    if let Some(previous) = &record.previous {
        files(cx, stack, previous.tree, DriftPart::PreviousFile, &mut gently, &mut found)?;
    }
    found.truncate(MOST);
    Ok(found)
}

/// How containers are to be set up is read from the release's files: while one of these differs, nobody can say.
fn is_whole(found: &[Finding]) -> bool {
    found.iter().all(|finding| finding.part != DriftPart::File)
}

fn files(
    cx: &Context,
    stack: &StackName,
    tree: TreeDigest,
    part: DriftPart,
    gently: &mut Gently,
    found: &mut Vec<Finding>,
) -> Result<(), Failed> {
    let (lists, root) = (cx.layout.lists(stack), cx.layout.release(stack, tree));
    if !root.is_dir() {
        // The light look sees that.
        return Ok(());
    }
    let fail = |error| Fail::io(Step::Verify, "the release")(error);
    let one = |part, name: &str, detail: String| Finding {
        part,
        name: name.to_owned(),
        detail,
        services: Vec::new(),
    };
    match audit::expected(&lists, &root, tree).map_err(fail)? {
        Some(list) => {
            for Differing { path, how } in audit::compare(&root, &list, gently).map_err(fail)? {
                // What lies beside the files of a release that only waits is nobody's concern.
                match (part, &how) {
                    (DriftPart::PreviousFile, How::Stray) => {}
                    (_, How::Stray) => found.push(one(DriftPart::Stray, &path, how.words())),
                    _ => found.push(one(part, &path, how.words())),
                }
            }
        }
        None => {
            let detail =
                "the release is not what was signed, and there is no list of its files here".to_owned();
            found.push(one(part, ".", detail));
        }
    }
    Ok(())
}

/// Puts the files of a release right, from its pack: those that differ are replaced one by one, each as a whole, so
/// that what runs in the folder keeps its place. Strays stay.
pub(super) fn repair(
    cx: &Context,
    stack: &StackName,
    deployment: DeploymentId,
    tree: TreeDigest,
) -> Result<(), Failed> {
    let pack = cx.layout.pack(stack, deployment);
    let (growing, root) = (cx.layout.growing(stack, deployment), cx.layout.release(stack, tree));
    let fail = |error| Fail::io(Step::Stage, growing.display())(error);
    remove_dir(&growing).map_err(fail)?;
    fs::create_dir_all(&growing).map_err(fail)?;
    let mut sink = FolderSink::new(&growing).map_err(fail)?;
    let reader = io::BufReader::with_capacity(64 << 10, fs::File::open(&pack).map_err(fail)?);
    tree::unpack(reader, tree, &mut sink)
        .map_err(|error| Fail::of(Step::Verify, FailureKind::Mismatch, error))?;
    sink.sync().map_err(fail)?;
    let list = crate::disk::list_folder(&growing)
        .map_err(|error| Fail::of(Step::Verify, FailureKind::Mismatch, error))?;
    audit::note(&cx.layout.lists(stack), tree, &list).map_err(fail)?;
    for Differing { path, how } in audit::compare(&root, &list, &mut Gently::new(0)).map_err(fail)? {
        if how != How::Stray {
            replace_file(&growing.join(&path), &root, &path).map_err(fail)?;
            crate::crash::crash_point("repair.replaced");
        }
    }
    let _ = fs::remove_file(&pack);
    remove_dir(&growing).map(drop).map_err(fail)
}

/// Makes services anew, from what was prepared.
pub(super) async fn recreate(
    cx: &mut Context,
    stack: &StackName,
    committed: &Committed,
    services: &[String],
) -> Result<(), Failed> {
    let Some(prepared) = &committed.prepared else { return Ok(()) };
    let loaded = release::load(&cx.layout, stack, committed.tree, Step::Return)?;
    loaded.render(cx, Step::Return)?;
    Runtimes::new(&prepared.runtime)?.recreate(cx, &loaded, prepared, services).await
}
