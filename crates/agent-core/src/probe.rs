//! When a probe is asked, and what its answers amount to.

use std::time::Duration;

use backstay_manifest::{Probe, ProbeKind};

/// How soon a cheap question is asked again after a bad answer; twice as late each time.
const EAGER: Duration = Duration::from_millis(50);
/// Containers are asked about at least so often: it costs next to nothing, and their engine has a pace of its own.
const CONTAINERS: Duration = Duration::from_millis(200);

/// One probe on its way to an answer. Times are monotonic, from the start of the stack.
///
/// After a bad answer a cheap question is asked again sooner than the probe's interval at first, since most
/// stacks are up within a second and nobody should wait longer than that for them.
#[derive(Debug, Clone)]
pub struct ProbeRun {
    every: Duration,
    eager: Option<Duration>,
    longest: Duration,
    successes: u32,
    within: Duration,
    next: Duration,
    good: u32,
    last_error: Option<String>,
}

/// What to do next about a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeStep {
    /// Ask it at this time.
    AskAt(Duration),
    /// Enough good answers in a row.
    Healthy,
    /// Time is up.
    Unhealthy {
        /// The last bad answer.
        reason: String,
    },
}

impl ProbeRun {
    /// A probe that has not been asked.
    pub fn new(probe: &Probe) -> Self {
        let (eager, longest) = match probe.kind {
            ProbeKind::Container => (Some(EAGER), probe.every.min(CONTAINERS)),
            ProbeKind::Http { .. } | ProbeKind::Tcp { .. } => (Some(EAGER), probe.every),
            ProbeKind::Command { .. } | ProbeKind::Systemd { .. } | ProbeKind::Log { .. } => {
                (None, probe.every)
            }
        };
        Self {
            every: probe.every,
            eager,
            longest,
            successes: probe.successes.max(1),
            within: probe.within,
            next: probe.start_grace,
            good: 0,
            last_error: None,
        }
    }

    /// What to do, at `now`.
    pub fn step(&self, now: Duration) -> ProbeStep {
        if self.good >= self.successes {
            return ProbeStep::Healthy;
        }
        // What could only be asked after the end is not waited for.
        if now >= self.within || self.next >= self.within {
            let reason = self.last_error.clone().unwrap_or_else(|| "it was not asked in time".to_owned());
            return ProbeStep::Unhealthy { reason };
        }
        ProbeStep::AskAt(self.next.max(now))
    }

    /// Takes an answer that came at `now`.
    pub fn answer(&mut self, now: Duration, answer: Result<(), String>) {
        let pause = match answer {
            Ok(()) => {
                self.good += 1;
                self.every
            }
            Err(reason) => {
                self.good = 0;
                self.last_error = Some(reason);
                self.after_bad()
            }
        };
        self.next = now.saturating_add(pause);
    }

    fn after_bad(&mut self) -> Duration {
        let Some(eager) = self.eager else { return self.longest };
        self.eager = Some(eager.saturating_mul(2));
        eager.min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probe() -> Probe {
        let kind = ProbeKind::Command { argv: vec!["true".into()] };
        let ms = Duration::from_millis;
        Probe { every: ms(100), successes: 3, within: ms(1000), start_grace: ms(200), ..Probe::new(kind) }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn waits_for_the_grace_then_wants_successes_in_a_row() {
        let mut run = ProbeRun::new(&probe());
        assert_eq!(run.step(ms(0)), ProbeStep::AskAt(ms(200)));
        run.answer(ms(200), Ok(()));
        run.answer(ms(300), Ok(()));
        run.answer(ms(400), Err("refused".into()));
        assert_eq!(run.step(ms(400)), ProbeStep::AskAt(ms(500)));
        for at in [500, 600] {
            run.answer(ms(at), Ok(()));
            assert!(matches!(run.step(ms(at)), ProbeStep::AskAt(_)));
        }
        run.answer(ms(700), Ok(()));
        assert_eq!(run.step(ms(700)), ProbeStep::Healthy);
    }

    #[test]
    fn gives_up_when_time_is_up_and_says_the_last_answer() {
        let mut run = ProbeRun::new(&probe());
        run.answer(ms(950), Err("status 503".into()));
        assert_eq!(run.step(ms(960)), ProbeStep::Unhealthy { reason: "status 503".into() });
    }

    #[test]
    fn a_cheap_question_is_soon_asked_again() {
        let kind = ProbeKind::Tcp { address: "127.0.0.1:1".into() };
        let mut run = ProbeRun::new(&Probe { kind, start_grace: ms(0), ..probe() });
        let mut asked = Vec::new();
        let mut now = ms(0);
        while let ProbeStep::AskAt(at) = run.step(now) {
            asked.push(at.as_millis());
            now = at;
            run.answer(now, Err("refused".into()));
        }
        assert_eq!(asked, [0, 50, 150, 250, 350, 450, 550, 650, 750, 850, 950]);
    }

    proptest! {
        #[test]
        fn always_ends_and_never_asks_outside_its_time(answers in prop::collection::vec(any::<bool>(), 0..64)) {
            let probe = probe();
            let mut run = ProbeRun::new(&probe);
            let mut now = Duration::ZERO;
            let mut row = 0;
            let mut answers = answers.into_iter().chain(std::iter::repeat(false));
            loop {
                match run.step(now) {
                    ProbeStep::AskAt(at) => {
                        prop_assert!(at >= now && at >= probe.start_grace && at < probe.within);
                        now = at;
                        let good = answers.next().unwrap();
                        row = if good { row + 1 } else { 0 };
                        run.answer(now, if good { Ok(()) } else { Err("no".into()) });
                    }
                    ProbeStep::Healthy => { prop_assert_eq!(row, probe.successes); break }
                    ProbeStep::Unhealthy { .. } => { prop_assert!(row < probe.successes); break }
                }
            }
        }
    }
}
