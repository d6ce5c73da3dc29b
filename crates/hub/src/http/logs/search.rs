//! `GET /api/v1/logs`

use backstay_api::v1::{LogOrder, Page, SearchLogs, StoredLine};
use backstay_telemetry::logs::Order;

use super::{cursor, cursor_of, query, read, view};
use crate::http::{ApiError, Call, paging};

/// Lines that the hub keeps.
pub(crate) async fn search(call: Call<SearchLogs>) -> Result<Page<StoredLine>, ApiError> {
    let limit = paging::limit(call.query.limit)? as usize;
    let after = call.query.cursor.as_deref().map(cursor).transpose()?;
    let order = match call.query.order.unwrap_or_default() {
        LogOrder::Newest => Order::NewestFirst,
        LogOrder::Oldest => Order::OldestFirst,
    };
    let query = query(&call.app, &call.query).await?;
    let found =
        read(&call.app, move |store, budget| store.search(&query, order, after, limit, budget)).await?;
    let next = found.lines.last().filter(|_| found.more).map(|(key, _)| cursor_of(*key));
    Ok(Page { items: found.lines.iter().map(|(_, record)| view(record)).collect(), next })
}
