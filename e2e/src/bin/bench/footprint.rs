//! What an agent costs its machine when it has two stacks and nothing to do.

use std::{env, fs, path::PathBuf, thread::sleep, time::Duration};

use backstay_e2e::Fleet;
use backstay_testkit::Docker;

use crate::{
    figures::Figures,
    procfs::{cpu_seconds, peak_mb, rss_mb},
    proxy::Proxy,
    stack::{self, MISSING, Proof},
};

/// Resident megabytes after so many quiet minutes that follow five deployments, with check-ins each minute.
pub(crate) fn measure(minutes: f64) -> Result<Figures, String> {
    let docker = Docker::require().ok_or(MISSING)?;
    let builder = Fleet::of(0).as_shipped();
    let builder =
        builder.hub_setting("BACKSTAY_POLL_HOLD", "30s").hub_setting("BACKSTAY_POLL_INTERVAL", "30s");
    let mut fleet = builder.hub_setting("BACKSTAY_POLL_JITTER", "0s").start().ok_or(MISSING)?;
    let proxy = Proxy::start(fleet.hub.url().trim_start_matches("http://")).map_err(|e| e.to_string())?;
    fleet.join("alpha", &proxy.url(), Some(docker));
    let node = &fleet.nodes[0];
    stack::images(node);
    let side = backstay_testkit::Port::take();
    let (web, side) = (node.port().to_string(), side.number().to_string());
    stack::write(&fleet.tree, "web", "web:v1", &web, Proof::Health);
    stack::write(&fleet.tree, "side", "web:v1", &side, Proof::Health);
    fleet.commit("Add web and side", None);
    fleet.follow();
    fleet.settle();
    for (stack, image, port) in [("web", "web:v2", &web), ("side", "web:v2", &side), ("web", "web:v1", &web)]
    {
        stack::write(&fleet.tree, stack, image, port, Proof::Health);
        let commit = fleet.commit(&format!("Run {image}"), None);
        fleet.deployed(&commit);
    }
    let deployments =
        fleet.api.deployments("alpha", "web").len() + fleet.api.deployments("alpha", "side").len();
    let pid = node.pid().ok_or("the agent has ended")?;
    eprintln!("{deployments} deployments are done; quiet for {minutes} min");
    // What a deployment leaves to do is over.
    sleep(Duration::from_secs(5));
    let (bytes, cpu, quiet) = (proxy.bytes(), cpu_seconds(pid)?, Duration::from_secs_f64(minutes * 60.0));
    sleep(quiet);
    let (bytes, cpu) = (proxy.bytes() - bytes, cpu_seconds(pid)? - cpu);
    let seconds = quiet.as_secs_f64();
    let figures = Figures { value: rss_mb(pid)?, baseline: None, ..Figures::default() };
    Ok(figures
        .with("peak_mb", peak_mb(pid)?)
        .with("cpu_percent", cpu / seconds * 100.0)
        .with("mb_a_day", bytes as f64 / seconds * 86_400.0 / 1e6)
        .with("binary_mb", binary_mb()?)
        .with("deployments", deployments as f64)
        .with("minutes", minutes))
}

/// The agent's program as it lies on disk.
fn binary_mb() -> Result<f64, String> {
    let dir = env::var_os("BACKSTAY_BIN_DIR").ok_or("BACKSTAY_BIN_DIR says where the programs are")?;
    let path = PathBuf::from(dir).join("backstay-agent");
    let size = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    Ok(size as f64 / 1e6)
}
