//! `docker compose`, by arguments, never by a shell's line.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Output, Stdio},
};

use backstay_types::{ErrorCode, FailureKind, Step};
use tokio::process::Command;

use crate::{
    child,
    step::{Context, Fail, Failed, Loaded},
};

/// So much of what it said is repeated, from the end.
const SAID: usize = 2000;

/// Runs one of its commands on a release.
#[expect(clippy::too_many_arguments, reason = "they are one command line")]
pub(super) async fn run(
    cx: &Context,
    release: &Loaded,
    file: &str,
    project: &str,
    overlay: Option<&Path>,
    what: &str,
    services: &[&str],
    step: Step,
) -> Result<(), Failed> {
    let mut command = base(cx, release, file, project, overlay);
    command.arg(if what == "recreate" { "up" } else { what });
    match what {
        // Only these, and anew whatever Compose thinks of them.
        "recreate" => {
            command.args(["--detach", "--pull", "never", "--no-build", "--no-deps", "--force-recreate"])
        }
        // Networks, volumes and containers, and nothing of it runs.
        "create" => command.args(["--pull", "never", "--no-build"]),
        // What is needed was brought here before; nothing may change what was validated.
        "up" => command.args(["--detach", "--pull", "never", "--no-build", "--remove-orphans"]),
        "pull" => command.args(["--quiet", "--policy", "missing"]),
        _ => command.arg("--quiet"),
    };
    command.args(services);
    let output = output(command, step).await?;
    if output.status.success() {
        return Ok(());
    }
    let said = said(&output);
    let kind = match what {
        _ if is_of_engine(&said) => FailureKind::Node,
        "up" | "recreate" | "create" => FailureKind::Start,
        // What the network is to blame for may work later; an image that is not there will not.
        "pull" if is_passing(&said) => FailureKind::Unavailable,
        _ => FailureKind::Invalid,
    };
    Err(Fail::of(step, kind, format!("docker compose {what}: {said}")))
}

/// Whether it is said that the engine itself is not there.
fn is_of_engine(said: &str) -> bool {
    said.contains("Cannot connect to the Docker daemon") || said.contains("Is the docker daemon running")
}

/// Whether a registry's or the network's words are about something that passes.
fn is_passing(said: &str) -> bool {
    const SIGNS: [&str; 17] = [
        "connection refused",
        "connection reset",
        "broken pipe",
        "no such host",
        "server misbehaving",
        "name resolution",
        "network is unreachable",
        "no route to host",
        "i/o timeout",
        "timeout exceeded",
        "tls handshake timeout",
        "deadline exceeded",
        "unexpected eof",
        ": eof",
        "toomanyrequests",
        "server error",
        "service unavailable",
    ];
    let said = said.to_ascii_lowercase();
    SIGNS.iter().any(|sign| said.contains(sign))
}

/// What Compose itself takes for the identity of each service: another hash, another container.
pub(super) async fn config_hashes(
    cx: &Context,
    release: &Loaded,
    file: &str,
    project: &str,
) -> Result<BTreeMap<String, String>, Failed> {
    let overlay = cx.layout.overlay(&release.stack, release.tree);
    let mut command = base(cx, release, file, project, Some(&overlay));
    command.args(["config", "--hash", "*"]);
    let output = output(command, Step::Validate).await?;
    if !output.status.success() {
        let reason = format!("docker compose config: {}", said(&output));
        return Err(Fail::of(Step::Validate, FailureKind::Invalid, reason));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let hashes = text.lines().filter_map(|line| line.trim().split_once(' '));
    Ok(hashes.map(|(name, hash)| (name.to_owned(), hash.trim().to_owned())).collect())
}

/// The release as Compose understands it, all references filled in.
pub(super) async fn rendered(
    cx: &Context,
    release: &Loaded,
    file: &str,
    project: &str,
) -> Result<serde_json::Value, Failed> {
    let overlay = cx.layout.overlay(&release.stack, release.tree);
    let mut command = base(cx, release, file, project, Some(&overlay));
    command.args(["config", "--format", "json"]);
    let output = output(command, Step::Probe).await?;
    if !output.status.success() {
        let reason = format!("docker compose config: {}", said(&output));
        return Err(Fail::of(Step::Probe, FailureKind::Invalid, reason));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Fail::other(Step::Probe, format!("docker compose config: {error}")))
}

/// Starts services of a drill; all when none is named.
pub(super) async fn up_drill(
    project: &str,
    dir: &Path,
    file: &Path,
    env: &Path,
    services: &[String],
) -> Result<(), Failed> {
    let mut command = docker();
    command.args(["compose", "--progress", "plain", "--project-name", project]);
    command.arg("--project-directory").arg(dir).arg("--file").arg(file).arg("--env-file").arg(env);
    command.args(["up", "--detach", "--pull", "never", "--no-build"]).args(services).current_dir(dir);
    let output = output(command, Step::Probe).await?;
    if output.status.success() {
        return Ok(());
    }
    let said = said(&output);
    let kind = if is_of_engine(&said) { FailureKind::Node } else { FailureKind::Start };
    Err(Fail::of(Step::Probe, kind, format!("docker compose up: {said}")))
}

/// Stops a project and removes its containers and networks; volumes stay.
pub(super) async fn down(project: &str) -> Result<(), Failed> {
    let mut command = docker();
    command.args(["compose", "--project-name", project, "down", "--remove-orphans"]);
    let output = output(command, Step::Return).await?;
    if output.status.success() {
        return Ok(());
    }
    let said = said(&output);
    let kind = if is_of_engine(&said) { FailureKind::Node } else { FailureKind::Other };
    Err(Fail::of(Step::Return, kind, format!("docker compose down: {said}")))
}

fn base(cx: &Context, release: &Loaded, file: &str, project: &str, overlay: Option<&Path>) -> Command {
    let mut command = docker();
    command.args(["compose", "--progress", "plain", "--project-name", project]);
    command.arg("--project-directory").arg(&release.dir);
    command.arg("--file").arg(release.dir.join(file));
    if let Some(overlay) = overlay {
        command.arg("--file").arg(overlay);
    }
    command.arg("--env-file").arg(cx.layout.rendered(&release.stack, release.tree));
    command.current_dir(&release.dir);
    command
}

fn docker() -> Command {
    let mut command = Command::new("docker");
    command.env_clear().envs(child::environment()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn output(mut command: Command, step: Step) -> Result<Output, Failed> {
    command.output().await.map_err(|error| {
        let reason = format!("`docker` cannot be started: {error}");
        Fail::coded(step, FailureKind::Node, ErrorCode::BS3007, reason)
    })
}

/// The end of what it said, on one line.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let from = text.char_indices().rev().nth(SAID).map_or(0, |(at, _)| at);
    format!("{} ({})", &text[from..], output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_away_is_nobodys_release() {
        assert!(is_of_engine(
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
        ));
        assert!(!is_of_engine("Container web-1 is unhealthy"));
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        for said in [
            "Error response from daemon: Get \"https://r.example/v2/\": dial tcp 10.0.0.1:443: connect: connection refused",
            "failed to do request: Head \"https://r.example/v2/web/manifests/1\": dial tcp: lookup r.example: no such host",
            "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
            "toomanyrequests: You have reached your pull rate limit",
            "received unexpected HTTP status: 503 Service Unavailable",
            "Get \"https://r.example/v2/\": EOF",
        ] {
            assert!(is_passing(said), "{said}");
        }
        for said in [
            "manifest for web:9 not found: manifest unknown",
            "pull access denied for web, repository does not exist or may require authorization",
            "unauthorized: authentication required",
            "invalid reference format",
        ] {
            assert!(!is_passing(said), "{said}");
        }
    }
}
