//! Whether a stack is healthy, and stays so.

use std::time::{Duration, Instant};

use backstay_agent_core::{Prepared, ProbeRun, ProbeStep, StackRecord};
use backstay_manifest::{Probe, ProbeKind};
use backstay_types::{Container, FailureKind, StackName, Step, TreeDigest};
use tokio::time::sleep;

use super::{Machine, probe};
use crate::{
    runtime::{Runtimes, process, systemd},
    step::{Fail, Failed},
};

/// Processes without any probe must at least stay up so long.
const STAY_UP: Duration = Duration::from_secs(1);
/// So many bad rounds in a row end a watch.
const BAD_ROUNDS: u32 = 3;
/// A process that was started again so often since it was deployed is in a loop.
const RESTARTS: u32 = 3;

impl Machine {
    /// Asks all probes until each is content. Returns what runs then.
    pub(crate) async fn probe(
        &self,
        stack: &StackName,
        tree: TreeDigest,
        prepared: &Prepared,
        step: Step,
    ) -> Result<Vec<Container>, Failed> {
        let since = Instant::now();
        let fail = |reason: String| Fail::of(step, FailureKind::Unhealthy, reason);
        let asker = probe::Asker::new(&self.layout, stack, tree, prepared);
        let mut probes: Vec<(&Probe, ProbeRun)> =
            prepared.probes.iter().map(|probe| (probe, ProbeRun::new(probe))).collect();
        let stay = (prepared.probes.is_empty()).then_some(STAY_UP);
        loop {
            self.check_loop(stack, prepared).await.map_err(fail)?;
            let mut next = stay
                .filter(|stay| since.elapsed() < *stay)
                .map(|_| since.elapsed() + Duration::from_millis(100));
            for (probe, run) in &mut probes {
                match run.step(since.elapsed()) {
                    ProbeStep::Healthy => {}
                    ProbeStep::Unhealthy { reason } => {
                        let within = backstay_manifest::format_duration(probe.within);
                        let text =
                            format!("{}: not healthy within {within}: {reason}", probe.kind.describe());
                        return Err(fail(text));
                    }
                    ProbeStep::AskAt(at) if at <= since.elapsed() => {
                        let answer = asker.ask(probe).await;
                        run.answer(since.elapsed(), answer);
                        next = Some(Duration::ZERO);
                    }
                    ProbeStep::AskAt(at) => next = Some(next.map_or(at, |next| next.min(at))),
                }
            }
            match next {
                None => break,
                Some(at) => sleep(at.saturating_sub(since.elapsed())).await,
            }
        }
        let containers = self.running(stack, prepared, step).await?;
        if stay.is_some()
            && let Some(stopped) = containers.iter().find(|c| is_down(c))
        {
            return Err(fail(format!("`{}` did not stay up", stopped.service)));
        }
        Ok(containers)
    }

    /// Asks all probes at their pace for as long as the stack is to be watched.
    pub(super) async fn bake(
        &self,
        stack: &StackName,
        tree: TreeDigest,
        prepared: &Prepared,
    ) -> Result<Vec<Container>, Failed> {
        let since = Instant::now();
        let fail = |reason: String| Fail::of(Step::Bake, FailureKind::Unhealthy, reason);
        let asker = probe::Asker::new(&self.layout, stack, tree, prepared);
        let probes = lasting(prepared);
        let pace = pace_of(&probes);
        let mut bad = 0;
        while since.elapsed() < prepared.bake {
            sleep(pace.min(prepared.bake.saturating_sub(since.elapsed()))).await;
            self.check_loop(stack, prepared).await.map_err(fail)?;
            let answer = ask_all(&asker, &probes).await;
            let containers = self.running(stack, prepared, Step::Bake).await?;
            let stopped = containers.iter().find(|c| probes.is_empty() && is_down(c));
            let answer = answer.and(stopped.map_or(Ok(()), |c| Err(format!("`{}` does not run", c.service))));
            match answer {
                Ok(()) => bad = 0,
                Err(reason) if bad + 1 >= BAD_ROUNDS => {
                    return Err(fail(format!("while it was watched: {reason}")));
                }
                Err(_) => bad += 1,
            }
        }
        self.running(stack, prepared, Step::Bake).await
    }

    /// Asks what runs whether it is well: at the pace of its probes, until a round is good or [`BAD_ROUNDS`] were bad. Its
    /// probes decide where it has any; else whether its services run.
    pub(super) async fn is_well(
        &self,
        stack: &StackName,
        record: &StackRecord,
    ) -> Result<Result<(), String>, Failed> {
        let Some((tree, prepared)) =
            record.committed.as_ref().and_then(|c| Some((c.tree, c.prepared.as_ref()?)))
        else {
            // Found here without a journal: nobody knows what it should say.
            return Ok(Ok(()));
        };
        let asker = probe::Asker::new(&self.layout, stack, tree, prepared);
        let probes = lasting(prepared);
        let mut bad = 0;
        loop {
            let answer = if probes.is_empty() {
                all_run(prepared, &self.running(stack, prepared, Step::Probe).await?)
            } else {
                ask_all(&asker, &probes).await
            };
            bad += 1;
            if answer.is_ok() || bad >= BAD_ROUNDS {
                return Ok(answer);
            }
            sleep(pace_of(&probes)).await;
        }
    }

    async fn check_loop(&self, stack: &StackName, prepared: &Prepared) -> Result<(), String> {
        let restarts = match prepared.runtime.as_str() {
            "process" => process::restarts(&self.layout, stack),
            "systemd" => systemd::restarts(prepared).await,
            _ => return Ok(()),
        };
        match restarts {
            0..RESTARTS => Ok(()),
            n => Err(format!("its processes ended and were started again {n} times")),
        }
    }

    async fn running(
        &self,
        stack: &StackName,
        prepared: &Prepared,
        step: Step,
    ) -> Result<Vec<Container>, Failed> {
        let runtime = Runtimes::new(&prepared.runtime)?;
        let containers = runtime.observe(&self.layout, stack, prepared).await;
        containers.map_err(|error| Fail::other(step, format!("what runs cannot be told: {error}")))
    }
}

/// Probes that can be asked again: a pattern was logged once.
fn lasting(prepared: &Prepared) -> Vec<&Probe> {
    prepared.probes.iter().filter(|probe| !matches!(probe.kind, ProbeKind::Log { .. })).collect()
}

fn pace_of(probes: &[&Probe]) -> Duration {
    probes.iter().map(|probe| probe.every).min().unwrap_or(STAY_UP)
}

/// Asks each probe once; gives the first bad answer.
async fn ask_all(asker: &probe::Asker<'_>, probes: &[&Probe]) -> Result<(), String> {
    let mut answer = Ok(());
    for probe in probes {
        answer = answer.and(asker.ask(probe).await.map_err(|e| format!("{}: {e}", probe.kind.describe())));
    }
    answer
}

/// Whether every service is there and runs.
fn all_run(prepared: &Prepared, containers: &[Container]) -> Result<(), String> {
    let mut services = prepared.services.keys();
    let runs = |name: &String| containers.iter().any(|c| &c.service == name && !is_down(c));
    services.find(|name| !runs(name)).map_or(Ok(()), |name| Err(format!("`{name}` does not run")))
}

/// Whether it does not run and was meant to.
fn is_down(container: &Container) -> bool {
    !container.running && container.health.as_deref() != Some("completed")
}

/// What was asked, for the deployment's record.
pub(super) fn describe(prepared: &Prepared) -> String {
    match prepared.probes.as_slice() {
        [] => "it stays up".to_owned(),
        probes => probes.iter().map(|probe| probe.kind.describe()).collect::<Vec<_>>().join(", "),
    }
}
