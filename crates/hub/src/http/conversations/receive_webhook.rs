//! `POST /hooks/{source}`: verified before it gets here; taken once; kept whether or not it is understood.

use std::sync::Arc;

use backstay_api::v1::{DeliveryReceipt, ReceiveWebhook};
use backstay_engine::{Observation, Observed, Push};
use backstay_ingest::{Incoming, Normalised, What, delivery_key, normalise};
use backstay_store::deliveries::{self, NewDelivery, Received};
use backstay_types::{DeliveryId, Timestamp};

use crate::{
    app::App,
    auth::Caller,
    http::{ApiError, Call},
};

/// Headers that are kept with a delivery: none of them is a credential.
const KEPT: [&str; 12] = [
    "content-type",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "x-github-event",
    "x-github-delivery",
    "x-gitlab-event",
    "x-gitlab-event-uuid",
    "x-gitea-event",
    "x-gitea-delivery",
    "x-forgejo-event",
    "x-forgejo-delivery",
];

/// Takes a delivery.
pub(crate) async fn receive_webhook(call: Call<ReceiveWebhook>) -> Result<DeliveryReceipt, ApiError> {
    let Call { app, caller, body, .. } = call;
    let Caller::Webhook(sender) = caller else { return Err(ApiError::internal("an unverified delivery")) };
    let incoming = Incoming { headers: &sender.headers, body: &body.0 };
    let now = app.world.now();
    let read = Read::from(normalise(sender.source, &incoming), now);
    let kept: Vec<_> = sender.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
    let new = NewDelivery {
        id: app.world.mint(),
        source: sender.source.name(),
        key: &delivery_key(sender.source, &incoming),
        received_at: now,
        headers: &kept,
        body: &body.0,
    };
    let receipt = keep(&app, &new, &read).await?;
    app.metrics.delivered(match (receipt.replay, &read.unrecognised) {
        (true, _) => "replayed",
        (false, Some(_)) => "unrecognised",
        (false, None) => "new",
    });
    if !receipt.replay {
        synchronise(&app, read.pushes());
    }
    Ok(receipt)
}

/// Delivery and events, durable together or not at all.
async fn keep(app: &App, new: &NewDelivery<'_>, read: &Read) -> Result<DeliveryReceipt, ApiError> {
    let mut tx = app.store.begin().await?;
    if let Received::Replay(delivery) = deliveries::receive(&mut tx, new).await? {
        return Ok(DeliveryReceipt { delivery, replay: true });
    }
    let about = app.engine.observe(&mut tx, new.id, &read.observed).await?;
    let events = read.observed.len() as u64;
    deliveries::set_outcome(&mut tx, new.id, events, read.unrecognised.as_deref()).await?;
    tx.commit().await?;
    app.feed.touch([], about);
    let delivery: DeliveryId = new.id;
    Ok(DeliveryReceipt { delivery, replay: false })
}

/// Fetches the repositories that were pushed to, at once; the sender does not wait for it.
fn synchronise(app: &Arc<App>, pushes: Vec<Push>) {
    for push in pushes {
        let engine = app.engine.clone();
        app.tasks.spawn(async move {
            match engine.sync_matching(&push).await {
                Ok(0) => tracing::debug!(urls = ?push.urls, "a push to a repository that is not followed"),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, urls = ?push.urls, "a pushed repository could not be fetched")
                }
            }
        });
    }
}

/// What was read from a delivery.
struct Read {
    observed: Vec<Observation>,
    unrecognised: Option<String>,
}

impl Read {
    fn from(events: Vec<Normalised>, now: Timestamp) -> Self {
        let mut read = Self { observed: Vec::new(), unrecognised: None };
        for event in events {
            let at = event.at.unwrap_or(now);
            match event.what {
                What::Session(session) => {
                    let mut ids = vec![session.conversation.key];
                    let others = session.conversation.resumed_from.into_iter();
                    for id in others.chain(session.conversation.foreign_ids) {
                        if !ids.contains(&id) {
                            ids.push(id);
                        }
                    }
                    let (kind, summary, commits) = (session.kind, session.summary, session.commits);
                    read.observed
                        .push(Observation { ids, what: Observed::Event { kind, at, summary, commits } });
                }
                What::Pushed(pushed) => {
                    let branch = pushed.reference.strip_prefix("refs/heads/").map(str::to_owned);
                    let push = Push { urls: pushed.urls, branch };
                    read.observed.push(Observation { ids: Vec::new(), what: Observed::Push(push) });
                }
                What::Ignored { .. } => {}
                What::Unrecognised { reason } => {
                    let before = read.unrecognised.take();
                    read.unrecognised =
                        Some(before.map_or(reason.clone(), |before| format!("{before}; {reason}")));
                }
            }
        }
        read
    }

    /// Pushes of branches; a tag changes nothing that is deployed.
    fn pushes(self) -> Vec<Push> {
        let pushes = self.observed.into_iter().filter_map(|observation| match observation.what {
            Observed::Push(push) => push.branch.is_some().then_some(push),
            Observed::Event { .. } => None,
        });
        pushes.collect()
    }
}

fn is_kept(name: &str) -> bool {
    name.starts_with("ce-") || KEPT.contains(&name)
}
