//! Whether a stack is healthy, and stays so.

use std::time::{Duration, Instant};

use backstay_agent_core::{Prepared, ProbeRun, ProbeStep};
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
    pub(super) async fn probe(
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
        // A pattern was logged once; that is not asked again.
        let probes: Vec<_> =
            prepared.probes.iter().filter(|probe| !matches!(probe.kind, ProbeKind::Log { .. })).collect();
        let pace = probes.iter().map(|probe| probe.every).min().unwrap_or(STAY_UP);
        let mut bad = 0;
        while since.elapsed() < prepared.bake {
            sleep(pace.min(prepared.bake.saturating_sub(since.elapsed()))).await;
            self.check_loop(stack, prepared).await.map_err(fail)?;
            let mut answer = Ok(());
            for probe in &probes {
                answer =
                    answer.and(asker.ask(probe).await.map_err(|e| format!("{}: {e}", probe.kind.describe())));
            }
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
