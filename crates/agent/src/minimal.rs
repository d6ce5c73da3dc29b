//! The minimal stack: always on the disk, run in safe mode. It follows the journal, as the links do.

use std::{
    fs, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backstay_types::{
    NodeSafety, SshState, StackName, TreeDigest,
    tree::{self, Mode, TreeError, TreeFile, TreeSink as _},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    crash::crash_point,
    daemon::View,
    disk::{FolderSink, Layout, SAFE_MODE, hash_folder, private_dir, remove_dir, sync_dir, write_atomic},
    ssh,
    step::Failed,
    tasks::Machine,
};

/// How often to look whether all of it is as it should be.
const EVERY: Duration = Duration::from_secs(60);
/// How soon to try again what did not work.
const AGAIN: Duration = Duration::from_secs(15);

/// What only this machine knows of its safety.
#[derive(Debug, Clone, Default)]
pub(crate) struct Local(Arc<Mutex<Known>>);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    minimal_stack: bool,
    ssh: SshState,
}

impl Local {
    /// Completes what the core says.
    pub(crate) fn complete(&self, safety: &NodeSafety) -> NodeSafety {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut safety = NodeSafety { ssh: known.ssh, ..safety.clone() };
        if let Some(mode) = &mut safety.safe_mode {
            mode.minimal_stack = known.minimal_stack;
        }
        safety
    }

    fn set(&self, known: Known) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

/// The files that the agent carries with it.
pub(crate) fn files() -> Vec<TreeFile> {
    let file = |path: &str, mode, content: &str| TreeFile {
        path: path.to_owned(),
        mode,
        content: content.as_bytes().to_vec(),
    };
    vec![
        file("notice", Mode::Executable, include_str!("../../../stacks/safe-mode/notice")),
        file("stack.toml", Mode::File, include_str!("../../../stacks/safe-mode/stack.toml")),
    ]
}

/// The name that the minimal stack goes by.
pub(crate) fn name() -> Option<StackName> {
    SAFE_MODE.parse().ok()
}

/// Puts the minimal stack where it belongs, unless it is there and whole. What other versions of the agent put there
/// goes. Returns its tree.
pub(crate) fn place(layout: &Layout) -> io::Result<TreeDigest> {
    let stack = name().ok_or(io::ErrorKind::InvalidInput)?;
    let files = files();
    let tree = tree::digest(&files).map_err(io::Error::other)?;
    let (releases, release) = (layout.releases(&stack), layout.release(&stack, tree));
    private_dir(&releases)?;
    if !hash_folder(&release).is_ok_and(|found| found == tree) {
        let growing = releases.join(format!(".tmp-{tree}"));
        remove_dir(&growing)?;
        remove_dir(&release)?;
        private_dir(&growing)?;
        fill(&growing, &files).map_err(io::Error::other)?;
        crash_point("minimal.filled");
        fs::rename(&growing, &release)?;
        sync_dir(&releases)?;
    }
    for entry in fs::read_dir(&releases)? {
        let entry = entry?;
        if entry.file_name().to_str() != Some(&tree.to_string()) {
            remove_dir(&entry.path())?;
        }
    }
    Ok(tree)
}

fn fill(dir: &std::path::Path, files: &[TreeFile]) -> Result<(), TreeError> {
    let mut sink = FolderSink::new(dir)?;
    for file in files {
        sink.file(&file.path, file.mode, file.content.len() as u64, &mut file.content.as_slice())?;
    }
    Ok(sink.sync()?)
}

/// Keeps the minimal stack as the journal says, and an eye on the machine's SSH server. Never ends.
pub(crate) async fn keep(machine: Machine, mut view: watch::Receiver<View>, local: Local) {
    let reason_of = |view: &View| view.safety.safe_mode.as_ref().map(backstay_types::SafeMode::reason);
    loop {
        let reason = reason_of(&view.borrow_and_update());
        let done = follow(&machine, reason.as_deref()).await;
        if let Err(why) = &done {
            tracing::warn!(why, "the minimal stack is not as it should be");
        }
        local.set(Known { minimal_stack: done == Ok(true), ssh: ssh::look() });
        let pause = if done.is_ok() { EVERY } else { AGAIN };
        let changed = view.wait_for(|now| reason_of(now) != reason);
        if timeout(pause, changed).await.is_ok_and(|changed| changed.is_err()) {
            std::future::pending::<()>().await;
        }
    }
}

/// Runs it with a reason, or sees that it does not run. Whether it does.
async fn follow(machine: &Machine, reason: Option<&str>) -> Result<bool, String> {
    let tree = place(&machine.layout).map_err(|error| format!("it cannot be written: {error}"))?;
    let stack = name().ok_or("it has no name")?;
    let failed = |failed: Failed| failed.reason;
    let Some(reason) = reason else {
        machine.stop_minimal(&stack).await.map_err(failed)?;
        return Ok(false);
    };
    let state = machine.layout.state(&stack);
    let text = format!("{reason}\n");
    private_dir(&state)
        .and_then(|()| write_atomic(&state.join("reason"), text.as_bytes(), 0o644))
        .map_err(|error| format!("the reason cannot be written: {error}"))?;
    machine.run_minimal(&stack, tree).await.map_err(failed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_once_and_again_when_it_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), Some(&dir.path().join("run")), dir.path());
        let tree = place(&layout).unwrap();
        let release = layout.release(&name().unwrap(), tree);
        let inode =
            |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let first = inode(&release.join("notice"));
        place(&layout).unwrap();
        assert_eq!(inode(&release.join("notice")), first, "what is whole is left alone");
        for spoil in [
            |dir: &std::path::Path| fs::write(dir.join("notice"), "rm -rf /").unwrap(),
            |dir: &std::path::Path| fs::remove_file(dir.join("stack.toml")).unwrap(),
            |dir: &std::path::Path| fs::write(dir.join("more"), "x").unwrap(),
            |dir: &std::path::Path| fs::remove_dir_all(dir).unwrap(),
        ] {
            spoil(&release);
            fs::create_dir_all(release.with_file_name(".tmp-left")).unwrap();
            assert_eq!(place(&layout).unwrap(), tree);
            assert_eq!(hash_folder(&release).unwrap(), tree);
            assert_eq!(fs::read_dir(release.parent().unwrap()).unwrap().count(), 1);
        }
    }

    #[test]
    fn its_manifest_is_one() {
        let manifest = files().into_iter().find(|file| file.path == "stack.toml").unwrap();
        let manifest =
            backstay_manifest::StackManifest::parse("stack.toml", &manifest.content, None).unwrap();
        assert_eq!(manifest.processes()[0].command, ["./notice"]);
    }
}
