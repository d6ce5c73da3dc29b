//! `GET /healthz`, `GET /readyz`

use std::time::Duration;

use backstay_api::v1::{Healthz, Liveness, Readyz};
use backstay_store::figures;
use http::StatusCode;

use crate::{
    app::App,
    http::{ApiError, Call, Reply},
};

/// Longer than this, and entries are not being sealed.
const SEAL_LAG: Duration = Duration::from_secs(15);
/// How long the database may take to answer.
const DATABASE: Duration = Duration::from_secs(3);

/// The process is alive.
pub(crate) async fn healthz(_: Call<Healthz>) -> Result<Liveness, ApiError> {
    Ok(Liveness { ok: true, problems: Vec::new() })
}

/// The hub can serve: database reachable, migrations done, ledger sealing.
pub(crate) async fn readyz(call: Call<Readyz>) -> Result<Reply<Liveness>, ApiError> {
    let problems = problems(&call.app).await;
    let ok = problems.is_empty();
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Reply::from(Liveness { ok, problems }).status(status))
}

async fn problems(app: &App) -> Vec<String> {
    let mut problems = Vec::new();
    if app.stopping.is_cancelled() {
        problems.push("the hub is stopping".to_owned());
    }
    let mut store = app.store.read();
    match tokio::time::timeout(DATABASE, figures::unsealed(&mut store)).await {
        Err(_) => problems.push(format!("the database did not answer within {DATABASE:?}")),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database cannot be read");
            problems.push("the database cannot be read".to_owned());
        }
        Ok(Ok(pending)) => {
            let now = app.world.now();
            let lag = pending.oldest.and_then(|at| Duration::try_from(now.duration_since(at)).ok());
            if let Some(lag) = lag.filter(|lag| *lag > SEAL_LAG) {
                problems.push(format!("ledger entries have waited {} s to be sealed", lag.as_secs()));
            }
        }
    }
    problems
}
