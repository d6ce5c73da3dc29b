//! Builds what is measured as it is shipped, and runs the benchmark.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::Figures;
use crate::metadata::Workspace;

/// Builds the programs and measures.
///
/// # Errors
/// When something cannot be built or the benchmark could not measure.
pub(super) fn measure(name: &str, minutes: Option<f64>, mb: Option<u64>) -> Result<Figures, String> {
    let workspace = Workspace::read()?;
    let target = workspace.target.clone();
    // What is pure needs none of the programs.
    if name == "rollout-plan" {
        cargo(&workspace.root, &["build", "--release", "--package", "backstay-plan", "--example", name])?;
        return figures(&mut Command::new(target.join("release/examples").join(name)));
    }
    if matches!(name, "metrics-ingest" | "log-ingest" | "log-query") {
        cargo(
            &workspace.root,
            &["build", "--release", "--package", "backstay-telemetry", "--example", name],
        )?;
        let mut command = Command::new(target.join("release/examples").join(name));
        command.args(mb.into_iter().flat_map(|mb| ["--mb".to_owned(), mb.to_string()]));
        // The disk is part of what is measured: not in memory.
        command.current_dir(&target);
        return figures(&mut command);
    }
    if name == "backup" {
        let package = ["build", "--release", "--package", "backstay-backup"];
        cargo(&workspace.root, &[&package[..], &["--bins", "--example", "backup-bench"]].concat())?;
        let mut command = Command::new(target.join("release/examples/backup-bench"));
        command.arg(target.join("release/backstay-backup"));
        command.args(mb.into_iter().flat_map(|mb| ["--mb".to_owned(), mb.to_string()]));
        return figures(&mut command);
    }
    if name == "page" {
        page(&workspace.root)?;
    }
    cargo(&workspace.root, &["build", "--release", "--package", "backstay-cli", "--bins"])?;
    cargo(&workspace.root, &["build", "--profile", "agent", "--package", "backstay-agent", "--bins"])?;
    cargo(&workspace.root, &["build", "--release", "--package", "backstay-backup", "--bins"])?;
    cargo(&workspace.root, &["build", "--release", "--package", "backstay-e2e", "--bin", "backstay-bench"])?;
    let programs = together(&target)?;
    let mut command = Command::new(target.join("release/backstay-bench"));
    command.arg(name).current_dir(&workspace.root).env("BACKSTAY_BIN_DIR", programs);
    if let Some(minutes) = minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    command.args(mb.into_iter().flat_map(|mb| ["--mb".to_owned(), mb.to_string()]));
    figures(&mut command)
}

/// What a measuring program prints.
fn figures(command: &mut Command) -> Result<Figures, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("measuring ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|error| format!("{error} in `{last}`"))
}

/// The programs in one folder, as they lie beside each other on a machine.
fn together(target: &Path) -> Result<PathBuf, String> {
    let dir = target.join("bench");
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for (from, name) in [("release", "backstay"), ("release", "backstay-backup"), ("agent", "backstay-agent")]
    {
        let (from, to) = (target.join(from).join(name), dir.join(name));
        fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(dir)
}

/// Builds the page, which the next build takes into the program.
fn page(root: &Path) -> Result<(), String> {
    match Command::new("scripts/page").current_dir(root).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("scripts/page ended with {status}")),
        Err(error) => Err(format!("scripts/page: {error}")),
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status =
        Command::new(cargo).args(arguments).arg("--locked").arg("--quiet").current_dir(root).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {} ended with {status}", arguments.join(" "))),
        Err(error) => Err(format!("cargo: {error}")),
    }
}
