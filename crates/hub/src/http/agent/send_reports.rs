//! `POST /agent/v1/reports`: each report is taken once, and acknowledged once durable.

use backstay_api::agent::{Report, ReportBody, ReportsResponse, SendReports};
use backstay_types::DeploymentId;

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
    let about: Vec<_> = body.reports.iter().filter_map(deployment).collect();
    let accepted = app.engine.take_reports(caller.node()?, body.reports).await?;
    app.metrics.reported(accepted.len());
    app.feed.touch(about, []);
    Ok(ReportsResponse { accepted })
}

/// The deployment that a report is about.
fn deployment(report: &Report) -> Option<DeploymentId> {
    match &report.body {
        ReportBody::DeploymentStarted { deployment, .. }
        | ReportBody::StepFinished { deployment, .. }
        | ReportBody::DeploymentFinished { deployment, .. }
        | ReportBody::StackRemoved { deployment, .. } => Some(*deployment),
        ReportBody::Drift { .. }
        | ReportBody::AgentUpdate { .. }
        | ReportBody::StatementRefused { .. }
        | ReportBody::SafeModeEntered { .. }
        | ReportBody::SafeModeLeft { .. }
        | ReportBody::Outage { .. }
        | ReportBody::Unknown => None,
    }
}
