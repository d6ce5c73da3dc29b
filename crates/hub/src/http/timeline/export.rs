//! `GET /api/v1/ledger`

use backstay_api::v1::{ExportLedger, LedgerExport, LedgerRow};
use backstay_store::ledger::{self, ChainRow};

use crate::http::{ApiError, Call};

const DEFAULT: u32 = 1000;
const MOST: u32 = 5000;

/// The ledger as it is chained, oldest first, for checking it away from the hub.
pub(crate) async fn export(call: Call<ExportLedger>) -> Result<LedgerExport, ApiError> {
    let limit = call.query.limit.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("{limit} is out of range: expected 1 to {MOST}")));
    }
    let mut store = call.app.store.read();
    let head = ledger::head(&mut store).await?.seq;
    let rows = ledger::chain_rows(&mut store, call.query.after.unwrap_or_default(), limit).await?;
    Ok(LedgerExport { rows: rows.into_iter().map(row).collect(), head })
}

fn row(row: ChainRow) -> LedgerRow {
    let ChainRow { seq, id, at, kind, refs, body_hash, body, hash } = row;
    let (salt, body) = body.unzip();
    let salt = salt.map(|salt| salt.iter().map(|byte| format!("{byte:02x}")).collect());
    LedgerRow { seq, id, at, kind, refs, body_hash, salt, body, hash }
}
