//! `GET /api/v1/deliveries`

use backstay_api::v1::{Delivery, ListDeliveries, Page};
use backstay_store::deliveries::{self, Filter};

use crate::http::{ApiError, Call, paging};

/// Webhook deliveries, newest first; those that could not be understood too.
pub(crate) async fn list_deliveries(call: Call<ListDeliveries>) -> Result<Page<Delivery>, ApiError> {
    let query = call.query;
    let limit = paging::limit(query.limit)?;
    let before = paging::cursor(query.cursor.as_deref())?;
    let filter = Filter { source: query.source, unrecognised: query.unrecognised.unwrap_or_default() };
    let found = deliveries::list(&mut call.app.store.read(), &filter, before, limit + 1).await?;
    let page = paging::page(found, limit, |delivery| delivery.id.to_string());
    Ok(paging::map(page, |items| items.into_iter().map(view).collect()))
}

pub(super) fn view(delivery: deliveries::Delivery) -> Delivery {
    let deliveries::Delivery { id, source, key, received_at, bytes, events, unrecognised } = delivery;
    Delivery { id, source, key, received_at, bytes, events, unrecognised }
}
