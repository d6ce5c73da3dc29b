//! Commands that print what is saved, or fill a folder; in a service or beside it.

use std::{fs, fs::File, path::Path, time::Duration};

use backstay_manifest::CommandSource;

use super::{DUMP, container, inside};
use crate::backup::{
    BackupError,
    exec::{HOOK, Run, Scene, output},
};

/// Has a command print into a file of a folder, or fill the folder.
pub(in crate::backup) async fn command(
    scene: &Scene,
    project: &str,
    item: &str,
    source: &CommandSource,
    folder: &Path,
) -> Result<(), BackupError> {
    let mut run = run_of(project, item, source, &source.command, folder).await?;
    if !source.folder {
        run.stdout = Some(output(&folder.join("output"))?);
    }
    scene.run(run).await.map(drop)
}

/// Gives a command back what it printed, or the folder that it filled.
pub(in crate::backup) async fn restore_command(
    scene: &Scene,
    project: &str,
    item: &str,
    source: &CommandSource,
    folder: &Path,
) -> Result<(), BackupError> {
    let mut run = run_of(project, item, source, &source.restore, folder).await?;
    if !source.folder {
        let file = folder.join("output");
        run.stdin = Some(File::open(&file).map_err(BackupError::restore(file.display()))?);
    }
    scene.run(run).await.map(drop)
}

/// A command of an item, told its folder; one that prints or reads runs in its service, where it has one.
async fn run_of<'a>(
    project: &str,
    item: &'a str,
    source: &CommandSource,
    argv: &[String],
    folder: &Path,
) -> Result<Run<'a>, BackupError> {
    let mut run = Run { limit: DUMP, ..Run::new(item, argv.to_vec()) };
    if source.folder {
        run.variables.push(("BACKSTAY_FOLDER", folder.display().to_string()));
    } else if let Some(service) = &source.service {
        run.argv = [inside(&container(project, service).await?), argv.to_vec()].concat();
    }
    Ok(run)
}

/// A folder inside a container, for what a program there makes.
pub(super) struct Inside<'a> {
    scene: &'a Scene,
    item: &'a str,
    /// What runs a program there.
    before: Vec<String>,
    pub(super) folder: String,
}

impl<'a> Inside<'a> {
    pub(super) async fn new(
        scene: &'a Scene,
        item: &'a str,
        before: Vec<String>,
    ) -> Result<Self, BackupError> {
        let inside = Self { scene, item, before, folder: String::new() };
        let made = inside.run(HOOK, ["mktemp", "-d"].map(str::to_owned).to_vec()).await?;
        let folder = String::from_utf8_lossy(&made).trim().to_owned();
        if !folder.starts_with('/') || folder.contains(['\n', ':']) {
            return Err(BackupError::Prepare(format!("{item}: the service made no folder for its backup")));
        }
        Ok(Self { folder, ..inside })
    }

    async fn run(&self, limit: Duration, argv: Vec<String>) -> Result<Vec<u8>, BackupError> {
        let argv = [self.before.clone(), argv].concat();
        self.scene.run(Run { limit, ..Run::new(self.item, argv) }).await
    }

    pub(super) async fn copy_to(&self, folder: &Path) -> Result<(), BackupError> {
        let container = self.before.last().map_or("", String::as_str);
        let from = format!("{container}:{}/.", self.folder);
        let argv = ["docker", "cp", &from, &folder.display().to_string()].map(str::to_owned);
        let copy = Run { limit: DUMP, ..Run::new(self.item, argv.to_vec()) };
        self.scene.run(copy).await.map(drop)
    }

    /// Takes it away, whatever was made in it.
    pub(super) async fn remove(self) {
        let _ = self.run(HOOK, ["rm", "-rf", &self.folder].map(str::to_owned).to_vec()).await;
    }
}

/// OpenClaw's own backup, which is safe while it runs, and which it verifies.
pub(in crate::backup) async fn openclaw(
    scene: &Scene,
    project: &str,
    item: &str,
    service: Option<&str>,
    folder: &Path,
) -> Result<(), BackupError> {
    let create =
        |to: &str| ["openclaw", "backup", "create", "--output", to, "--verify"].map(str::to_owned).to_vec();
    let Some(service) = service else {
        return scene
            .run(Run { limit: DUMP, ..Run::new(item, create(&folder.display().to_string())) })
            .await
            .map(drop);
    };
    let inside = Inside::new(scene, item, inside(&container(project, service).await?)).await?;
    let copied = match inside.run(DUMP, create(&inside.folder)).await {
        Ok(_) => inside.copy_to(folder).await,
        Err(error) => Err(error),
    };
    inside.remove().await;
    copied?;
    // A backup that says that it is well and holds nothing is none.
    let holds = fs::read_dir(folder).map_err(BackupError::io(folder.display()))?.next().is_some();
    if holds { Ok(()) } else { Err(BackupError::Prepare(format!("{item}: its backup is empty"))) }
}
