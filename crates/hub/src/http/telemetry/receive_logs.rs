//! `POST /otlp/v1/logs` and `POST /loki/api/v1/push`: what senders of logs bring.
//!
//! As for metrics: the protocols are OpenTelemetry's (OTLP/HTTP) and Loki's, and first it is looked who sends.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::post,
};
use backstay_telemetry::{
    ingest::{inflate, otlp::Encoding, otlp::failure},
    logs::{
        Field, LogsStored,
        ingest::{IncomingLogs, loki, otlp},
    },
};
use backstay_types::ErrorCode;
use http::{StatusCode, header};

use super::receive::{
    BODY, UNPACKED, id_of, is_packed, named, otlp_failure, room, sender, unpack, written, wrong_media,
};
use crate::{
    app::App,
    auth::Caller,
    http::{ApiError, input},
};

/// The routes.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/otlp/v1/logs", post(take_otlp))
        .route("/loki/api/v1/push", post(take_loki))
        .with_state(app)
}

fn encoding_of(request: &Request) -> Option<Encoding> {
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Encoding::of_media_type(media.unwrap_or_default())
}

async fn take_otlp(State(app): State<Arc<App>>, request: Request) -> Response {
    let encoding = encoding_of(&request);
    let (id, known) = (id_of(&request), encoding.unwrap_or(Encoding::Json));
    let answered = take(&app, request, |bytes, packed| {
        let encoding = encoding.ok_or_else(wrong_media)?;
        Ok(Box::new(move || {
            let bytes = if packed { inflate(&bytes, UNPACKED)? } else { bytes };
            otlp::read(&bytes, encoding)
        }))
    });
    let answered = match answered.await {
        Ok((rejected, message)) => written(StatusCode::OK, known, otlp::answer(known, rejected, message)),
        // What OTLP repeats by itself is 429 and 503.
        Err(error) if error.problem().status == 429 => {
            let detail = format!("{}: {}", error.problem().code, error.problem().detail);
            let plain = error.into_response(&id);
            let mut response = written(plain.status(), known, failure(known, 8, &detail));
            if let Some(wait) = plain.headers().get(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
            }
            response
        }
        Err(error) => otlp_failure(error, known, &id),
    };
    named("OtlpLogs", answered)
}

async fn take_loki(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = id_of(&request);
    let encoding = encoding_of(&request);
    let answered = take(&app, request, |bytes, packed| {
        Ok(match encoding.ok_or_else(wrong_media)? {
            Encoding::Protobuf => Box::new(move || loki::read_protobuf(&bytes, UNPACKED)),
            Encoding::Json => Box::new(move || {
                let bytes = if packed { inflate(&bytes, UNPACKED)? } else { bytes };
                loki::read_json(&bytes)
            }),
        })
    });
    let answered = match answered.await {
        Ok((_, None)) => StatusCode::NO_CONTENT.into_response(),
        // The rest is stored. Loki's senders drop what they get this answer for, which is right.
        Ok((_, Some(message))) => ApiError::new(ErrorCode::BS0036, message).into_response(&id),
        Err(error) => error.into_response(&id),
    };
    named("LokiPush", answered)
}

type Read = Box<dyn FnOnce() -> Result<IncomingLogs, backstay_telemetry::ingest::Unreadable> + Send>;

/// Takes a request: how many lines were rejected, and why.
async fn take(
    app: &App,
    request: Request,
    reader: impl FnOnce(Vec<u8>, bool) -> Result<Read, ApiError>,
) -> Result<(u64, Option<String>), ApiError> {
    let (parts, body) = request.into_parts();
    let caller = sender(app, &parts.headers).await?;
    app.telemetry.logs.store()?;
    // Loki's protobuf is packed with Snappy, and senders may say so.
    let snappy = parts.headers.get(header::CONTENT_ENCODING).is_some_and(|value| value == "snappy");
    let packed = !snappy && is_packed(&parts.headers)?;
    let _room = room(app).await?;
    let bytes = input::read(&parts.headers, body, BODY).await?;
    let mut incoming = unpack(reader(bytes.to_vec(), packed)?).await?;
    let who = enrich(&mut incoming, &caller);
    let unreadable = incoming.rejected.clone();
    let stored = app.telemetry.logs.take(incoming, &who).await?;
    let LogsStored { too_old, too_new, .. } = stored;
    let refused: Vec<_> = stored.message().into_iter().chain(unreadable.message()).collect();
    Ok((too_old + too_new + unreadable.count, (!refused.is_empty()).then(|| refused.join("; "))))
}

/// What a node sends carries its name: that is known here, whatever the sender says. Gives the sender's name.
fn enrich(incoming: &mut IncomingLogs, caller: &Caller) -> String {
    match caller {
        Caller::Node(node) => {
            incoming.set_all(Field::Node, &node.name.to_string());
            format!("node {}", node.name)
        }
        Caller::User { name, .. } => name.clone(),
        Caller::Anyone | Caller::Webhook(_) => "a sender".to_owned(),
    }
}
