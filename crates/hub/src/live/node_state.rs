//! Whether a node is heard from: pure, so that nobody is shown offline falsely.

use std::time::Duration;

use backstay_types::{NodeState, Timestamp};

/// The longest that an agent waits before it asks again for a hub that was away.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// What the hub knows of its own rhythm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// When this hub started; before that it heard nobody.
    pub(crate) started_at: Timestamp,
    /// How long a check-in is held.
    pub(crate) hold: Duration,
    /// How long an agent waits between check-ins, random part included.
    pub(crate) interval: Duration,
}

impl Rhythm {
    /// How long a node may be silent. Two intervals: one lost request is nothing.
    pub(crate) fn patience(self) -> Duration {
        self.interval * 2 + self.hold
    }

    /// How long after its start the hub cannot know whether a node is there that was heard from at `last_seen_at`.
    /// An agent that was without a hub for long asks less often, a quarter of an hour apart at most.
    fn unknowing(self, last_seen_at: Timestamp) -> Duration {
        let away = Duration::try_from(self.started_at.duration_since(last_seen_at)).unwrap_or_default();
        self.patience() + (away / 2).min(LONGEST_PAUSE)
    }

    /// Whether a node in a state is known to be away: it fell silent, or it has never said a word though the hub has
    /// listened for long enough to hear one.
    pub(crate) fn is_silent(self, state: NodeState, now: Timestamp) -> bool {
        let listened = Duration::try_from(now.duration_since(self.started_at)).unwrap_or_default();
        match state {
            NodeState::Offline => true,
            NodeState::Joined => listened > self.patience(),
            NodeState::Online | NodeState::Unknown | NodeState::Revoked => false,
        }
    }
}

/// The state of a node that was last heard from at `last_seen_at`, and of which a check-in may be `held` right now.
pub(crate) fn node_state(
    revoked: bool,
    last_seen_at: Option<Timestamp>,
    held: bool,
    now: Timestamp,
    rhythm: Rhythm,
) -> NodeState {
    let since = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
    match last_seen_at {
        _ if revoked => NodeState::Revoked,
        _ if held => NodeState::Online,
        None => NodeState::Joined,
        Some(at) if at >= rhythm.started_at && since(at) <= rhythm.patience() => NodeState::Online,
        Some(at) if since(rhythm.started_at) <= rhythm.unknowing(at) => NodeState::Unknown,
        Some(_) => NodeState::Offline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm {
        started_at: Timestamp::constant(1000, 0),
        hold: Duration::from_secs(60),
        interval: Duration::from_secs(30),
    };

    fn state(last_seen: Option<i64>, held: bool, now: i64) -> NodeState {
        let at = |second| Timestamp::from_second(second).unwrap();
        node_state(false, last_seen.map(at), held, at(now), RHYTHM)
    }

    #[test]
    fn silence_counts_from_the_last_word_or_from_the_start() {
        assert_eq!(state(None, false, 9999), NodeState::Joined);
        assert_eq!(state(Some(1001), false, 1121), NodeState::Online);
        assert_eq!(state(Some(1001), false, 1122), NodeState::Offline);
        assert_eq!(state(Some(1001), true, 9999), NodeState::Online);
        // Heard from before the restart only.
        assert_eq!(state(Some(900), false, 1000), NodeState::Unknown);
        assert_eq!(state(Some(900), false, 1120 + 50), NodeState::Unknown);
        assert_eq!(state(Some(900), false, 1121 + 50), NodeState::Offline);
        // The hub was away for hours: agents ask less often then.
        assert_eq!(state(Some(-9000), false, 1120 + 900), NodeState::Unknown);
        assert_eq!(state(Some(-9000), false, 1121 + 900), NodeState::Offline);
        // A clock that went back.
        assert_eq!(state(Some(2000), false, 1500), NodeState::Online);
        assert_eq!(state(Some(900), false, 500), NodeState::Unknown);
        assert_eq!(node_state(true, None, true, RHYTHM.started_at, RHYTHM), NodeState::Revoked);
    }

    #[test]
    fn nobody_is_silent_whom_the_hub_had_no_time_to_hear() {
        let silent = |state, now| RHYTHM.is_silent(state, Timestamp::from_second(now).unwrap());
        // What it heard right before it was killed it has not kept.
        assert!(!silent(NodeState::Joined, 1000) && !silent(NodeState::Joined, 1120));
        assert!(silent(NodeState::Joined, 1121));
        assert!(silent(NodeState::Offline, 1000));
        assert!(
            ![NodeState::Online, NodeState::Unknown, NodeState::Revoked]
                .map(|s| silent(s, 9999))
                .contains(&true)
        );
    }
}
