//! `POST /agent/v1/check-in`: what to run. Writes nothing; what it learns goes into memory.

use std::time::Duration;

use backstay_api::{
    agent::{Cadence, CheckIn, CheckInResponse, Have},
    statement::{SignedStatement, Statement},
    time::{HubTime, LONGEST_NONCE},
};
use backstay_config::PollSettings;
use backstay_store::desired::{self, Desired};
use backstay_types::{NodeId, Timestamp};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::time::{Instant, sleep_until};

use crate::{
    app::App,
    http::{ApiError, Call},
};

/// Answers at once when there is news or a question, else when there is, else when the hold ends.
pub(crate) async fn check_in(call: Call<CheckIn>) -> Result<CheckInResponse, ApiError> {
    let Call { app, caller, body, .. } = call;
    let node = caller.node()?;
    let resend = app.live.heard(node, app.world.now(), body.facts, body.observed, body.safety);
    if let Some(figures) = body.figures {
        app.live.measured(node, app.world.now(), figures);
    }
    let hold = Duration::from_millis(body.hold_ms).min(app.hold());
    // Who must say again what it runs is not held: until it has, the hub knows less than it should.
    // Nor is who asks for the time: it is to know it now.
    let at_once = resend || body.nonce.is_some();
    let deadline = Instant::now() + if at_once { Duration::ZERO } else { hold };
    let waiter = app.waiters.join(node);
    let _held = app.live.hold(node);
    loop {
        let woken = waiter.woken();
        let statement = news(&app, node, body.have.as_ref()).await?;
        let requests = app.questions.take(node);
        let outcome = match (&statement, requests.is_empty()) {
            (Some(_), _) => "changed",
            (None, false) => "asked",
            (None, true) => "unchanged",
        };
        if outcome != "unchanged" || Instant::now() >= deadline || app.stopping.is_cancelled() {
            app.metrics.checked_in(outcome);
            let cadence = cadence(&app.settings.poll);
            let (now, key) = (app.world.now(), &app.keys.signing);
            let nonce = body.nonce.filter(|nonce| nonce.len() <= LONGEST_NONCE);
            let time = nonce.map(|nonce| HubTime { node, nonce, now }.sign(key));
            return Ok(CheckInResponse { now, statement, requests, resend, cadence, time });
        }
        tokio::select! {
            () = woken => {}
            () = sleep_until(deadline) => {}
            () = app.stopping.cancelled() => {}
        }
    }
}

fn cadence(poll: &PollSettings) -> Cadence {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Cadence { hold_ms: millis(poll.hold), interval_ms: millis(poll.interval), jitter_ms: millis(poll.jitter) }
}

/// The node's statement, when it is another than the one that the agent has.
async fn news(app: &App, node: NodeId, have: Option<&Have>) -> Result<Option<SignedStatement>, ApiError> {
    let Some(desired) = desired::get(&mut app.store.read(), node).await? else { return Ok(None) };
    let signed: SignedStatement = serde_json::from_str(&desired.statement).map_err(ApiError::internal)?;
    let is_news = have.is_none_or(|have| is_news(&desired, issued_at(&signed), have));
    Ok(is_news.then_some(signed))
}

/// Whether the agent should get it: another statement, or the same one renewed.
fn is_news(desired: &Desired, issued_at: Option<Timestamp>, have: &Have) -> bool {
    let same =
        desired.epoch == have.epoch && desired.generation == have.generation && desired.digest == have.digest;
    !same || issued_at.is_some_and(|issued_at| issued_at > have.issued_at)
}

/// When a statement of our own was signed.
fn issued_at(signed: &SignedStatement) -> Option<Timestamp> {
    let payload = BASE64_STANDARD.decode(&signed.payload).ok()?;
    let statement: Statement = serde_json::from_slice(&payload).ok()?;
    Some(statement.issued_at)
}

#[cfg(test)]
mod tests {
    use backstay_types::{Digest, Id as _};

    use super::*;

    #[test]
    fn another_statement_or_a_renewed_one_is_news() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let desired = Desired {
            node: NodeId::from_uuid(uuid::Uuid::from_u128(1)),
            epoch: 1,
            generation: 5,
            digest: Digest::of(b"a"),
            statement: String::new(),
            updated_at: at(100),
        };
        let have = Have { epoch: 1, generation: 5, digest: Digest::of(b"a"), issued_at: at(100) };
        assert!(!is_news(&desired, Some(at(100)), &have));
        assert!(is_news(&desired, Some(at(101)), &have));
        assert!(!is_news(&desired, Some(at(99)), &have));
        assert!(is_news(&desired, Some(at(100)), &Have { generation: 4, ..have }));
        assert!(is_news(&desired, Some(at(100)), &Have { epoch: 0, ..have }));
        // What an agent holds that this hub never signed is answered with what it did sign.
        assert!(is_news(&desired, Some(at(100)), &Have { generation: 6, ..have }));
        assert!(is_news(&desired, Some(at(100)), &Have { digest: Digest::of(b"b"), ..have }));
    }
}
