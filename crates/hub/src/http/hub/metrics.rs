//! `GET /metrics`

use backstay_api::{Text, v1::GetMetrics};
use http::{HeaderValue, header};

use super::levels::levels;
use crate::{
    http::{ApiError, Call, Reply},
    metrics::MEDIA_TYPE,
};

/// Figures for Prometheus.
pub(crate) async fn metrics(call: Call<GetMetrics>) -> Result<Reply<Text>, ApiError> {
    let text = call.app.metrics.render(&levels(&call.app).await?);
    Ok(Reply::from(Text(text)).header(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)))
}
