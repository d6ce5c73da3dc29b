//! `GET /api/v1/webhooks`

use std::time::Duration;

use backstay_api::v1::{ListWebhooks, Page, Webhook};
use backstay_ingest::Source;
use backstay_store::{deliveries, figures, tokens};

use super::list_deliveries::view;
use crate::http::{ApiError, Call, paging};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The sources of webhooks, with what came from each.
pub(crate) async fn list_webhooks(call: Call<ListWebhooks>) -> Result<Page<Webhook>, ApiError> {
    let mut store = call.app.store.read();
    let now = call.app.world.now();
    let counted = figures::deliveries_since(&mut store, now - DAY).await?;
    let mut found = Vec::new();
    for source in Source::ALL.map(Source::name) {
        let filter = deliveries::Filter { source: Some(source.to_owned()), unrecognised: false };
        let figures = counted.iter().find(|one| one.source == source);
        found.push(Webhook {
            source: source.to_owned(),
            path: format!("/hooks/{source}"),
            secrets: tokens::of_source(&mut store, source, now).await?.len() as u64,
            last: deliveries::list(&mut store, &filter, None, 1).await?.pop().map(view),
            deliveries: figures.map_or(0, |one| one.deliveries),
            unrecognised: figures.map_or(0, |one| one.unrecognised),
        });
    }
    Ok(paging::whole(found))
}
