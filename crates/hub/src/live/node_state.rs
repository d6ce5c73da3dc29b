//! Whether a node is heard from: pure, so that nobody is shown offline falsely.

use std::time::Duration;

use backstay_types::{NodeState, Timestamp};

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
        Some(_) if since(rhythm.started_at) <= rhythm.patience() => NodeState::Unknown,
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
        assert_eq!(state(Some(900), false, 1120), NodeState::Unknown);
        assert_eq!(state(Some(900), false, 1121), NodeState::Offline);
        // A clock that went back.
        assert_eq!(state(Some(2000), false, 1500), NodeState::Online);
        assert_eq!(state(Some(900), false, 500), NodeState::Unknown);
        assert_eq!(node_state(true, None, true, RHYTHM.started_at, RHYTHM), NodeState::Revoked);
    }
}
