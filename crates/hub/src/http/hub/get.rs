//! `GET /api/v1/hub`

use backstay_api::{
    statement::key_fingerprint,
    v1::{GetHub, HubView},
};
use backstay_store::{hub_state, ledger};

use super::levels::nodes_by_state;
use crate::http::{ApiError, Call};

/// The hub: version, key, figures.
pub(crate) async fn get(call: Call<GetHub>) -> Result<HubView, ApiError> {
    let app = call.app;
    let mut store = app.store.read();
    Ok(HubView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        database: app.store.backend().as_str().to_owned(),
        key_fingerprint: key_fingerprint(&app.keys.signing.verifying_key()).to_string(),
        ssh_public_key: app.engine.ssh_public_key(),
        epoch: hub_state::epoch(&mut store).await?,
        started_at: app.started_at,
        ledger: ledger::head(&mut store).await?,
        nodes: nodes_by_state(&app, &mut store).await?,
    })
}
