//! `POST /agent/v1/reports`: each report is taken once, and acknowledged once durable.

use backstay_api::agent::{ReportsResponse, SendReports};

use crate::http::{ApiError, Call};

/// The most reports in one request.
const MAX: usize = 500;

/// Takes reports.
pub(crate) async fn send_reports(call: Call<SendReports>) -> Result<ReportsResponse, ApiError> {
    let Call { app, caller, body, .. } = call;
    if body.reports.len() > MAX {
        let message = format!("{} are too many: expected at most {MAX}", body.reports.len());
        return Err(ApiError::invalid("reports", message));
    }
    let accepted = app.engine.take_reports(caller.node()?, body.reports).await?;
    app.metrics.reported(accepted.len());
    Ok(ReportsResponse { accepted })
}
