//! `POST /agent/v1/check-in`: what to run. Writes nothing; what it learns goes into memory.

use std::{sync::Arc, time::Duration};

use backstay_api::{
    agent::{Cadence, CheckIn, CheckInResponse, Have},
    time::{HubTime, LONGEST_NONCE},
};
use backstay_config::PollSettings;
use backstay_types::{HostFacts, NodeId, network_of};
use tokio::time::{Instant, sleep_until};

use crate::{
    app::App,
    auth::tries,
    http::{ApiError, Call},
};

/// Answers at once when there is news or a question, else when there is, else when the hold ends.
pub(crate) fn check_in(
    call: Call<CheckIn>,
) -> impl Future<Output = Result<CheckInResponse, ApiError>> + Send {
    answer(hear(call))
}

/// A check-in whose news were taken in, and what is needed to answer it. There is one of these for each node: nothing else
/// of the request is kept while nothing happens.
struct Heard {
    app: Arc<App>,
    node: NodeId,
    have: Option<Have>,
    nonce: Option<String>,
    hold: Duration,
    /// The hub lacks what the node said before.
    resend: bool,
}

fn hear(call: Call<CheckIn>) -> Result<Heard, ApiError> {
    let Call { app, caller, body, headers, peer, .. } = call;
    let node = caller.node()?;
    let from = tries::address(&app.settings.hub.trusted_proxies, peer, &headers);
    let seen_from = from.map(network_of).unwrap_or_default();
    let facts = body.facts.map(|facts| HostFacts { seen_from, ..facts });
    let resend = app.live.heard(node, app.world.now(), facts, body.observed, body.safety);
    if let Some(figures) = body.figures {
        app.live.measured(node, app.world.now(), figures);
    }
    let hold = Duration::from_millis(body.hold_ms).min(app.hold());
    Ok(Heard { app, node, have: body.have, nonce: body.nonce, hold, resend })
}

async fn answer(heard: Result<Heard, ApiError>) -> Result<CheckInResponse, ApiError> {
    let Heard { app, node, have, nonce, hold, resend } = heard?;
    // Who must say again what it runs is not held: until it has, the hub knows less than it should.
    // Nor is who asks for the time: it is to know it now.
    let at_once = resend || nonce.is_some() || hold.is_zero();
    let deadline = Instant::now() + hold;
    let waiter = app.waiters.join(node);
    let _held = app.live.hold(node);
    let (statement, requests, backup) = loop {
        let woken = waiter.woken();
        // What waits for the database is not kept either.
        let statement = Box::pin(app.engine.news(node, have.as_ref())).await?;
        let requests = app.questions.take(node);
        let ends = at_once || app.stopping.is_cancelled();
        let backup = app.backups.hints.tell(node);
        if statement.is_some() || !requests.is_empty() || backup || ends {
            break (statement, requests, backup);
        }
        tokio::select! {
            () = woken => {}
            // Nobody said that there is news: the database need not be asked again.
            () = sleep_until(deadline) => break (None, app.questions.take(node), false),
            () = app.stopping.cancelled() => {}
        }
    };
    let outcome = match (&statement, requests.is_empty()) {
        (Some(_), _) => "changed",
        (None, false) => "asked",
        (None, true) if backup => "backup",
        (None, true) => "unchanged",
    };
    app.metrics.checked_in(outcome);
    let cadence = cadence(&app.settings.poll);
    let (now, key) = (app.world.now(), &app.keys.signing);
    let nonce = nonce.filter(|nonce| nonce.len() <= LONGEST_NONCE);
    let time = nonce.map(|nonce| HubTime { node, nonce, now }.sign(key));
    Ok(CheckInResponse { now, statement, requests, resend, cadence, time, backup })
}

fn cadence(poll: &PollSettings) -> Cadence {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Cadence { hold_ms: millis(poll.hold), interval_ms: millis(poll.interval), jitter_ms: millis(poll.jitter) }
}
