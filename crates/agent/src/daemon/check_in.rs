//! Asking the hub, over and over: held while nothing changes, spread by chance, patient when it is away.

use std::time::{Duration, Instant};

use backstay_agent_core::{Input, Reach};
use backstay_api::{
    Empty,
    agent::{Cadence, CheckIn as Endpoint, CheckInRequest, CheckInResponse},
    statement::SignedStatement,
};
use backstay_client::{Client, ClientError};
use backstay_types::{HostFacts, HostFigures, NodeId, NodeSafety, ObservedStack, Timestamp, World};
use ed25519_dalek::VerifyingKey;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout},
};

use super::{Contact, Event, View, elsewhere::Elsewhere};
use crate::{backup::Handle, minimal::Local};

/// Until the hub says otherwise.
const CADENCE: Cadence = Cadence { hold_ms: 55_000, interval_ms: 5_000, jitter_ms: 5_000 };
/// How long the core may take to deal with a statement.
const LONGEST: Duration = Duration::from_secs(60);
/// How often to have the hub's time, signed.
const ASK_TIME: Duration = Duration::from_secs(15 * 60);
/// What is seen may change several times in a row; it is told once.
const SETTLE: Duration = Duration::from_millis(500);
/// A hub that does not answer is asked again within this time, where the hub's own jitter is less.
const FIRST_TRY: Duration = Duration::from_secs(1);
/// After a statement that was not taken; asking again at once would only bring it again.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// With whom, and as whom.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) hub: Client,
    pub(crate) key: VerifyingKey,
    pub(crate) node: NodeId,
    pub(crate) world: World,
    pub(crate) contact: Contact,
    pub(crate) local: Local,
    /// Who does what the hub wants done about backups; simulated agents have nobody.
    pub(crate) backups: Option<Handle>,
}

/// The loop's state.
#[derive(Debug)]
pub(crate) struct CheckIn {
    with: Asking,
    events: mpsc::Sender<Event>,
    view: watch::Receiver<View>,
    cadence: Cadence,
    /// Whether the hub has answered since this agent was started.
    known: bool,
    facts: HostFacts,
    /// The node's clock minus the hub's, in milliseconds, as the last answer showed it.
    clock_offset: Option<i64>,
    /// When the figures that the hub has were measured.
    measured: Option<Instant>,
    /// Statements while the hub is away.
    elsewhere: Elsewhere,
    told_facts: Option<HostFacts>,
    told: Option<Vec<ObservedStack>>,
    told_safety: Option<NodeSafety>,
    failures: u32,
    /// When the hub's signed time was last had.
    timed: Option<Instant>,
    /// Whether the core knows that the hub is silent, or might.
    silence_told: bool,
    /// How far away the hub was last found to be.
    reach: Reach,
}

/// What is told of the machine.
pub(crate) trait Host {
    /// What changes slowly.
    async fn facts(&mut self) -> HostFacts;

    /// How often figures are wanted.
    fn figures_every(&self) -> Duration {
        Duration::from_secs(3600)
    }

    /// How long the hub may be away before statements are looked for elsewhere; none when there is nowhere else.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Statements from elsewhere, each with where it is from. Nothing of them is believed yet.
    async fn statements(&mut self, _endpoints: &[String]) -> Vec<(String, SignedStatement)> {
        Vec::new()
    }

    /// What changes all the time; none when there is nothing to measure.
    fn figures(&mut self, _observed: &[ObservedStack], _clock_offset: Option<i64>) -> Option<HostFigures> {
        None
    }
}

/// How a check-in ended.
enum Turn {
    /// At once again.
    Again,
    /// After a pause.
    Pause(Duration),
    /// Nobody listens any more.
    Over,
}

impl CheckIn {
    pub(crate) fn new(with: Asking, events: mpsc::Sender<Event>, view: watch::Receiver<View>) -> Self {
        let elsewhere = Elsewhere::new(with.node);
        Self {
            with,
            events,
            view,
            cadence: CADENCE,
            known: false,
            facts: HostFacts::default(),
            clock_offset: None,
            measured: None,
            elsewhere,
            told_facts: None,
            told: None,
            told_safety: None,
            failures: 0,
            timed: None,
            // It may have been silent when this agent was started.
            silence_told: true,
            reach: Reach::Near,
        }
    }

    /// Asks until nobody listens.
    pub(crate) async fn run(mut self, mut host: impl Host) {
        let mut turns = 0u32;
        loop {
            if turns.is_multiple_of(30) {
                self.facts = host.facts().await;
            }
            turns = turns.wrapping_add(1);
            let pause = match self.turn(&mut host).await {
                Turn::Over => return,
                Turn::Again => Duration::ZERO,
                Turn::Pause(pause) => pause,
            };
            sleep(pause).await;
        }
    }

    async fn turn(&mut self, host: &mut impl Host) -> Turn {
        let view = self.view.borrow_and_update().clone();
        let facts = (self.told_facts.as_ref() != Some(&self.facts)).then(|| self.facts.clone());
        let observed = (self.told.as_ref() != Some(&view.observed)).then(|| view.observed.clone());
        let safety = self.with.local.complete(&view.safety);
        let untold = (self.told_safety.as_ref() != Some(&safety)).then(|| safety.clone());
        let nonce = self.nonce();
        let hold = Duration::from_millis(self.cadence.hold_ms);
        let figures = self
            .measured
            .is_none_or(|at| at.elapsed() >= host.figures_every())
            .then(|| host.figures(&view.observed, self.clock_offset));
        let measured = figures.is_some().then(Instant::now);
        let request = CheckInRequest {
            have: view.have,
            hold_ms: self.cadence.hold_ms,
            observed,
            facts,
            figures: figures.flatten(),
            safety: untold,
            nonce: nonce.clone(),
        };
        let asked = {
            let hub = self.with.hub.clone();
            async move { hub.call_held::<Endpoint>(&Empty {}, &Empty {}, &request, hold).await }
        };
        let response = tokio::select! {
            response = asked => response,
            changed = worth_telling(&mut self.view, &view) => {
                return if changed { Turn::Again } else { Turn::Over };
            }
        };
        match response {
            Ok(response) => {
                self.failures = 0;
                self.elsewhere.hub_answered();
                self.told = Some(view.observed.clone());
                self.told_facts = Some(self.facts.clone());
                self.measured = measured.or(self.measured);
                self.clock_offset = offset(self.with.world.now(), response.now);
                self.told_safety = Some(safety);
                self.with.contact.heard();
                if !self.heard(&response, nonce.as_deref()).await {
                    return Turn::Over;
                }
                // With the time it answered at once, and did not wait for news.
                match self.answered(response, &view).await {
                    Turn::Pause(_) if nonce.is_some() => Turn::Again,
                    turn => turn,
                }
            }
            Err(error) => {
                let pause = match self.failed(&error).await {
                    // Looking elsewhere is not to wait for the hub's sake.
                    Turn::Pause(pause) => Turn::Pause(host.patience().map_or(pause, |p| pause.min(p))),
                    turn => turn,
                };
                if self.look_elsewhere(host).await { pause } else { Turn::Over }
            }
        }
    }

    /// Random text, when it is time to know the hub's time for certain again.
    fn nonce(&self) -> Option<String> {
        let due = self.timed.is_none_or(|at| at.elapsed() > ASK_TIME);
        due.then(|| self.with.world.random::<16>().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Tells the core that the hub answered, where that is news. False when nobody listens.
    async fn heard(&mut self, response: &CheckInResponse, nonce: Option<&str>) -> bool {
        let time = response.time.as_ref().zip(nonce);
        let time = time.and_then(|(time, nonce)| time.open(&self.with.key, self.with.node, nonce));
        if let Some((time, backups)) = time.zip(self.with.backups.as_ref()) {
            backups.clock.heard(self.with.world.now(), time);
        }
        if nonce.is_some() {
            // Also when it did not say: a hub that cannot is not asked each time.
            self.timed = Some(Instant::now());
        }
        if time.is_none() && !self.silence_told {
            return true;
        }
        self.silence_told = false;
        self.reach = Reach::Near;
        self.events.send(Event::Input(Input::Heard { time })).await.is_ok()
    }

    /// Reads statements from elsewhere, when the hub has been away for long enough. False when nobody listens.
    async fn look_elsewhere(&mut self, host: &mut impl Host) -> bool {
        if !host.patience().is_some_and(|patience| self.elsewhere.is_due(patience)) {
            return true;
        }
        let view = self.view.borrow().clone();
        let found = host.statements(&view.endpoints).await;
        for input in self.elsewhere.judge(found, &self.with.key, view.have.as_ref()) {
            let (done, dealt_with) = oneshot::channel();
            if self.events.send(Event::Statement(input, done)).await.is_err() {
                return false;
            }
            let _ = timeout(LONGEST, dealt_with).await;
        }
        true
    }

    async fn answered(&mut self, response: CheckInResponse, view: &View) -> Turn {
        self.cadence = response.cadence;
        self.known = true;
        if let Some(backups) = self.with.backups.as_ref().filter(|_| response.backup) {
            backups.due.notify_one();
        }
        if response.resend {
            self.told = None;
            self.told_facts = None;
            self.told_safety = None;
        }
        let mut again = response.resend || !response.requests.is_empty();
        for request in response.requests {
            if self.events.send(Event::Question(request)).await.is_err() {
                return Turn::Over;
            }
        }
        if let Some(signed) = response.statement {
            let input = match signed.open(&self.with.key) {
                Ok(statement) => Input::Statement(Box::new(statement)),
                Err(error) => Input::Unreadable { reason: error.to_string() },
            };
            let (done, dealt_with) = oneshot::channel();
            if self.events.send(Event::Statement(input, done)).await.is_err() {
                return Turn::Over;
            }
            // The next question must name it, if it was taken.
            let _ = timeout(LONGEST, dealt_with).await;
            if self.view.borrow().have == view.have {
                return Turn::Pause(self.interval().max(AFTER_REFUSAL));
            }
            again = true;
        }
        if again { Turn::Again } else { Turn::Pause(self.interval()) }
    }

    fn interval(&self) -> Duration {
        let jitter = random_below(&self.with.world, self.cadence.jitter_ms.saturating_add(1));
        Duration::from_millis(self.cadence.interval_ms.saturating_add(jitter))
    }

    async fn failed(&mut self, error: &ClientError) -> Turn {
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_power_of_two() {
            tracing::warn!(%error, failures = self.failures, "the hub does not answer; what runs keeps running");
        }
        let (silent, reach) = (self.with.contact.silent(), self.with.contact.reach());
        if reach > self.reach {
            tracing::warn!(reach = reach.word(), "no hub; it is asked less often");
        }
        self.reach = reach;
        self.timed = None;
        // What counts as an outage the core decides; while it lasts it is told again and again.
        self.silence_told |= reach > Reach::Near;
        if self.events.send(Event::Input(Input::Silence { silent })).await.is_err() {
            return Turn::Over;
        }
        let longest = soon(silent, self.cadence).min(reach.longest_pause());
        // One that was just started may only wait for its machine's network, and nobody else does with it.
        Turn::Pause(if self.known {
            pause(&self.with.world, self.failures, longest, self.cadence)
        } else {
            backoff(&self.with.world, self.failures, longest)
        })
    }
}

/// How soon a hub is asked again that has been silent for so long: within the pause between two check-ins and half of
/// what one is held, ten seconds of that at most, or within half of the silence. A hub that was started again waits for
/// two such times before it calls a node offline. Shorter ones would bring a fleet back all at once.
fn soon(silent: Duration, cadence: Cadence) -> Duration {
    let Cadence { hold_ms, interval_ms, jitter_ms } = cadence;
    let round = interval_ms.saturating_add(jitter_ms).saturating_add((hold_ms / 2).min(10_000));
    Duration::from_millis(round).max(silent / 2)
}

/// The pause after so many failures in a row. All agents lose a hub that ends at the same moment: their first try is
/// within what the hub spreads them by, each later one in the last two thirds of `longest`. With shorter pauses among them
/// those that had just failed would be many at any moment, and with only long ones all would come at the end.
fn pause(world: &World, failures: u32, longest: Duration, cadence: Cadence) -> Duration {
    let millis = |of: Duration| u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
    if failures <= 1 {
        let first = Duration::from_millis(cadence.jitter_ms).max(FIRST_TRY);
        return Duration::from_millis(random_below(world, millis(first.min(longest))));
    }
    let least = longest / 3;
    least.saturating_add(Duration::from_millis(random_below(world, millis(longest - least))))
}

/// How far a clock is before another, in milliseconds.
fn offset(ours: Timestamp, theirs: Timestamp) -> Option<i64> {
    i64::try_from(ours.duration_since(theirs).as_millis()).ok()
}

/// Ends when something is seen that the hub should know before the hold ends: true. False when nobody looks any more.
async fn worth_telling(view: &mut watch::Receiver<View>, told: &View) -> bool {
    loop {
        let changed = view.wait_for(|now| now.settled && differs(now, told)).await.is_ok();
        if !changed {
            return false;
        }
        sleep(SETTLE).await;
        if differs(&view.borrow(), told) {
            return true;
        }
    }
}

fn differs(now: &View, told: &View) -> bool {
    now.observed != told.observed || now.safety != told.safety
}

/// A pause after failures: anything up to a bound that doubles, so that a fleet comes back spread out.
pub(crate) fn backoff(world: &World, failures: u32, longest: Duration) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let bound = Duration::from_millis(500).saturating_mul(1 << failures.min(16)).min(longest);
    let bound = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random_below(world, bound))
}

fn random_below(world: &World, bound: u64) -> u64 {
    u64::from_le_bytes(world.random::<8>()) % bound.max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use backstay_types::{FixedClock, SeededEntropy, Timestamp};

    use super::*;

    #[test]
    fn pauses_are_spread_and_bounded() {
        let world =
            World::new(Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH)), Arc::new(SeededEntropy::new(1)));
        let longest = Duration::from_secs(60);
        assert_eq!(backoff(&world, 0, longest), Duration::ZERO);
        let pauses: Vec<_> = (0..200).map(|_| backoff(&world, 3, longest)).collect();
        assert!(pauses.iter().all(|pause| *pause < Duration::from_secs(4)));
        assert!(pauses.iter().any(|pause| *pause < Duration::from_secs(1)));
        assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(3)));
        assert!((0..200).all(|n| backoff(&world, n, longest) < longest));
    }

    #[test]
    fn a_hub_that_was_away_for_a_moment_is_asked_as_soon_as_it_would_have_been() {
        let soon = |silent| soon(Duration::from_secs(silent), CADENCE).as_millis();
        assert_eq!([soon(0), soon(12), soon(40)], [20_000, 20_000, 20_000]);
        assert_eq!([soon(50), soon(240)], [25_000, 120_000]);
    }

    /// When each of a fleet is back, in seconds after a hub came back that was away for so many.
    fn returns(agents: usize, away: u64, cadence: Cadence) -> Vec<u64> {
        let world =
            World::new(Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH)), Arc::new(SeededEntropy::new(1)));
        let away = Duration::from_secs(away);
        let agent = || {
            let (mut at, mut failures) = (Duration::ZERO, 1);
            loop {
                at += pause(&world, failures, soon(at, cadence), cadence);
                failures += 1;
                if at >= away {
                    return (at - away).as_secs();
                }
            }
        };
        (0..agents).map(|_| agent()).collect()
    }

    #[test]
    fn a_fleet_that_lost_its_hub_at_one_moment_comes_back_spread_out_and_in_time() {
        // Ten thousand that ask every 31 s: 320 a second as long as nothing happens.
        let cadence = Cadence { hold_ms: 20_000, interval_ms: 10_000, jitter_ms: 2_000 };
        for away in [3, 10, 30, 120] {
            let mut seconds = std::collections::BTreeMap::<u64, usize>::new();
            for at in returns(10_000, away, cadence) {
                *seconds.entry(at).or_default() += 1;
            }
            let (busiest, last) = (*seconds.values().max().unwrap(), *seconds.keys().last().unwrap());
            assert!(busiest < 850, "{busiest} in one second after {away} s");
            assert!(last <= away.max(31) / 2 + 22, "the last is back {last} s after {away} s");
        }
    }
}
