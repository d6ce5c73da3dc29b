//! `POST /api/v1/webhooks/{source}/test`: over the hub's own socket, so that all that a delivery meets is met.

use std::time::Duration;

use axum::body::Body;
use backstay_api::v1::{DeliveryReceipt, TestWebhook, WebhookTest};
use backstay_ingest::{Source, sample};
use backstay_store::deliveries;
use http::{Request, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    app::App,
    auth,
    http::{ApiError, Call},
};

/// How long the hub's own answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of it is read.
const ANSWER: usize = 64 << 10;

/// Sends this hub a signed delivery.
pub(crate) async fn test_webhook(call: Call<TestWebhook>) -> Result<WebhookTest, ApiError> {
    let Call { app, path, .. } = call;
    let source =
        Source::from_name(&path.source).ok_or_else(|| ApiError::missing("webhook source", &path.source))?;
    let secrets = auth::webhook::secrets(&app, source).await?;
    let Some(secret) = secrets.first() else {
        return Err(ApiError::new(
            backstay_types::ErrorCode::BS6004,
            format!("no secret is set up for {}", path.source),
        )
        .with_hint(format!("`backstay tokens create {0} --webhook {0}` makes one", path.source)));
    };
    let id: backstay_types::DeliveryId = app.world.mint();
    let sent = sample(source, secret, &id.to_string(), app.world.now()).map_err(ApiError::internal)?;
    match timeout(PATIENCE, send(&app, source, sent)).await {
        Ok(Ok((status, body))) => read(&app, status, &body).await,
        Ok(Err(error)) => Ok(failed(format!("the hub's own address does not answer: {error}"))),
        Err(_) => Ok(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn send(
    app: &App,
    source: Source,
    sent: backstay_ingest::Sample,
) -> Result<(u16, Vec<u8>), Box<dyn std::error::Error + Send + Sync>> {
    let address = app.address.get().copied().ok_or("it does not listen yet")?;
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request =
        Request::post(format!("/hooks/{}", source.name())).header(header::HOST, address.to_string());
    for (name, value) in &sent.headers {
        request = request.header(name, value);
    }
    let response = sender.send_request(request.body(Body::from(sent.body))?).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER).collect().await?.to_bytes().to_vec();
    driver.abort();
    Ok((status, body))
}

async fn read(app: &App, status: u16, body: &[u8]) -> Result<WebhookTest, ApiError> {
    let Ok(receipt) = serde_json::from_slice::<DeliveryReceipt>(body) else {
        let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let detail = said["detail"].as_str().unwrap_or("an answer that cannot be understood").to_owned();
        return Ok(WebhookTest { ok: false, status, detail, delivery: None });
    };
    let kept = deliveries::raw(&mut app.store.read(), receipt.delivery).await?;
    let unrecognised = kept.and_then(|raw| raw.delivery.unrecognised);
    let detail = unrecognised.clone().unwrap_or_else(|| "signed, sent, verified and understood".to_owned());
    Ok(WebhookTest { ok: unrecognised.is_none(), status, detail, delivery: Some(receipt.delivery) })
}

fn failed(detail: String) -> WebhookTest {
    WebhookTest { ok: false, status: 0, detail, delivery: None }
}
