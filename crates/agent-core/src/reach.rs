//! How far away the hub is. It changes what is tried, and how often; never what runs.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A class of partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The hub answers, or has only just stopped to.
    Near,
    /// Nothing for five minutes.
    Minutes,
    /// Nothing for an hour.
    Hours,
    /// Nothing for a day.
    Days,
    /// The node is said to have no hub; one is asked for now and then all the same.
    Airgapped,
}

impl Reach {
    /// The class, when the hub has been silent for so long by the monotonic clock. `outage` is when minutes begin.
    pub fn of(silent: Duration, outage: Duration, airgapped: bool) -> Self {
        match silent {
            _ if airgapped => Self::Airgapped,
            silent if silent >= DAY => Self::Days,
            silent if silent >= HOUR => Self::Hours,
            silent if silent >= outage => Self::Minutes,
            _ => Self::Near,
        }
    }

    /// The longest pause between two tries to reach the hub. Any pause up to it is as likely as any other, so that a
    /// fleet comes back spread out.
    pub fn longest_pause(self) -> Duration {
        Duration::from_secs(match self {
            Self::Near => 60,
            Self::Minutes => 2 * 60,
            Self::Hours => 5 * 60,
            Self::Days => 15 * 60,
            Self::Airgapped => 3600,
        })
    }

    /// One word, for logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Days => "days",
            Self::Airgapped => "airgapped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_begin_where_they_should_and_pauses_only_grow() {
        let of = |seconds| Reach::of(Duration::from_secs(seconds), crate::OUTAGE, false);
        assert_eq!([of(0), of(299)], [Reach::Near; 2]);
        assert_eq!([of(300), of(3599)], [Reach::Minutes; 2]);
        assert_eq!([of(3600), of(86_399)], [Reach::Hours; 2]);
        assert_eq!([of(86_400), of(u64::MAX)], [Reach::Days; 2]);
        assert_eq!(Reach::of(Duration::ZERO, crate::OUTAGE, true), Reach::Airgapped);
        let all = [Reach::Near, Reach::Minutes, Reach::Hours, Reach::Days, Reach::Airgapped];
        assert!(all.windows(2).all(|pair| pair[0].longest_pause() < pair[1].longest_pause()));
    }
}
