//! Guessing is slow: after some failures each further one doubles the wait, for a name and for an address. What
//! is counted lives in the database. It is a back-off and no ban: a minute is the longest wait.

use std::{net::IpAddr, time::Duration};

use backstay_store::sign_in_tries::{self, Tries};
use backstay_types::{Digest, ErrorCode, Timestamp};
use http::HeaderMap;

use crate::{app::App, http::ApiError};

/// After this long without a failure, earlier ones do not count.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(3600);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// Failures of a name that cost nothing.
const FREE_NAME: u32 = 5;
/// Failures from an address that cost nothing: many people may share one.
const FREE_ADDRESS: u32 = 20;

/// A try that was let through. Counted as a failure until it is known to be none: tries at the same time count too.
#[derive(Debug)]
#[must_use]
pub(crate) struct Try {
    name: Digest,
    address: Digest,
}

impl Try {
    /// Lets a try through, and counts it.
    ///
    /// # Errors
    /// BS4008 with the wait when there were too many failures.
    pub(crate) async fn begin(app: &App, name: &str, address: Option<IpAddr>) -> Result<Self, ApiError> {
        let subjects = Self {
            name: Digest::of(format!("name {name}").as_bytes()),
            address: Digest::of(format!("address {}", network(address)).as_bytes()),
        };
        let now = app.world.now();
        let mut tx = app.store.begin().await?;
        // Always in this order, so that two never wait for each other.
        let name = sign_in_tries::lock(&mut tx, subjects.name).await?;
        let address = sign_in_tries::lock(&mut tx, subjects.address).await?;
        let wait = wait(name, FREE_NAME, now).max(wait(address, FREE_ADDRESS, now));
        if !wait.is_zero() {
            return Err(too_many(wait));
        }
        sign_in_tries::set(&mut tx, subjects.name, failed(name, now)).await?;
        sign_in_tries::set(&mut tx, subjects.address, failed(address, now)).await?;
        tx.commit().await?;
        Ok(subjects)
    }

    /// It was right: the name's failures are forgotten. The address's others stay, else who has one account could
    /// guess at the rest.
    pub(crate) async fn succeeded(self, app: &App) -> Result<(), ApiError> {
        let mut tx = app.store.begin().await?;
        sign_in_tries::forget(&mut tx, self.name).await?;
        sign_in_tries::take_back(&mut tx, self.address).await?;
        Ok(tx.commit().await?)
    }

    /// Nothing was tried after all.
    pub(crate) async fn take_back(self, app: &App) -> Result<(), ApiError> {
        let mut tx = app.store.begin().await?;
        sign_in_tries::take_back(&mut tx, self.name).await?;
        sign_in_tries::take_back(&mut tx, self.address).await?;
        Ok(tx.commit().await?)
    }
}

/// The address that a request came from: the connection's, or what a trusted proxy says.
pub(crate) fn address(trusted: &[IpAddr], peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    if !trusted.contains(&peer) {
        return Some(peer);
    }
    let said = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<_> = said.flat_map(|text| text.split(',')).collect();
    let named = hops.iter().rev().map_while(|hop| hop.trim().parse::<IpAddr>().ok());
    let outside = named.map(|ip| ip.to_canonical()).find(|ip| !trusted.contains(ip));
    Some(outside.unwrap_or(peer))
}

fn too_many(wait: Duration) -> ApiError {
    let seconds = wait.as_secs() + 1;
    ApiError::new(ErrorCode::BS4008, format!("too many failures to sign in: wait {seconds} s"))
        .with_hint("a link signs in at once: `backstay open`, or ask an admin for one")
        .retry_after(wait)
}

fn wait(tries: Tries, free: u32, now: Timestamp) -> Duration {
    if tries.failures < free || forgotten(tries, now) {
        return Duration::ZERO;
    }
    let doublings = (tries.failures - free).min(16);
    let whole = Duration::from_secs(1 << doublings).min(LONGEST);
    let passed = Duration::try_from(now.duration_since(tries.last_at)).unwrap_or_default();
    whole.saturating_sub(passed)
}

fn failed(tries: Tries, now: Timestamp) -> Tries {
    let before = if forgotten(tries, now) { 0 } else { tries.failures };
    Tries { failures: before.saturating_add(1), last_at: now }
}

fn forgotten(tries: Tries, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(tries.last_at)).is_ok_and(|passed| passed >= FORGOTTEN)
}

/// Who has one address of IPv6 has all of its /64.
fn network(address: Option<IpAddr>) -> String {
    match address.map(|ip| ip.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn waits_double_up_to_a_minute_and_pass() {
        let waits = |failures| wait(Tries { failures, last_at: at(0) }, 5, at(0)).as_secs();
        let found: Vec<_> = (0..14).map(waits).collect();
        assert_eq!(found, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(waits(u32::MAX), 60);
        let many = Tries { failures: 1000, last_at: at(0) };
        assert_eq!(wait(many, 5, at(59)).as_secs(), 1);
        assert_eq!(wait(many, 5, at(60)), Duration::ZERO);
        assert_eq!(wait(many, 5, at(-500)), LONGEST, "a clock that was put back locks nobody out");
    }

    #[test]
    fn an_hour_of_peace_forgets() {
        let many = Tries { failures: 1000, last_at: at(0) };
        assert_eq!(failed(many, at(3599)).failures, 1001);
        assert_eq!(failed(many, at(3600)), Tries { failures: 1, last_at: at(3600) });
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "9.9.9.9, 8.8.8.8".parse().unwrap());
        headers.append("x-forwarded-for", "10.0.0.2".parse().unwrap());
        let (proxies, near) = ([ip("127.0.0.1"), ip("10.0.0.2")], Some(ip("127.0.0.1")));
        assert_eq!(address(&[], near, &headers), near);
        assert_eq!(
            address(&proxies, near, &headers),
            Some(ip("8.8.8.8")),
            "what stands before may be made up"
        );
        assert_eq!(address(&proxies, Some(ip("7.7.7.7")), &headers), Some(ip("7.7.7.7")));
        assert_eq!(address(&proxies, Some(ip("::ffff:127.0.0.1")), &headers), Some(ip("8.8.8.8")));
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(address(&proxies, near, &headers), near);
        assert_eq!(address(&proxies, None, &headers), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| network(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2:3::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("::ffff:1.2.3.4"), "1.2.3.4");
    }
}
