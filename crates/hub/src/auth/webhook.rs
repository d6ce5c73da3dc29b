//! Webhooks: the sender is verified over the raw bytes, before anything is parsed.

use backstay_ingest::{Incoming, Source, verify};
use backstay_store::tokens;
use backstay_types::{Secret, TokenId};
use http::HeaderMap;

use super::Caller;
use crate::{app::App, http::ApiError};

/// A verified delivery's sender.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    /// The source.
    pub(crate) source: Source,
    /// All headers, as the adapters want them.
    pub(crate) headers: Vec<(String, String)>,
}

/// The sender, when one of the source's secrets fits.
///
/// # Errors
/// 404 for a source that there is not; what `ingest` says otherwise.
pub(crate) async fn webhook(
    app: &App,
    parameters: &[(String, String)],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Caller, ApiError> {
    let name = parameters.iter().find(|(key, _)| key == "source").map(|(_, value)| value.as_str());
    let name = name.unwrap_or_default();
    let known = || Source::ALL.map(Source::name).join(", ");
    let source = Source::from_name(name).ok_or_else(|| {
        ApiError::missing("webhook source", name).with_hint(format!("known are: {}", known()))
    })?;
    let headers = pairs(headers);
    let incoming = Incoming { headers: &headers, body };
    let now = app.world.now();
    let secrets = secrets(app, source).await?;
    verify(source.scheme_of(&incoming), &secrets, &incoming, now).map_err(|refused| {
        let error = ApiError::new(refused.code(), refused.to_string());
        match refused {
            backstay_ingest::Refused::NoSecret => error
                .with_hint(format!("`backstay tokens create {0} --webhook {0}` makes one", source.name())),
            _ => error,
        }
    })?;
    Ok(Caller::Webhook(Delivered { source, headers }))
}

/// The row that a webhook's secret is sealed for.
pub(crate) fn sealing_context(id: TokenId) -> String {
    format!("webhook token {id}")
}

/// The secrets of a source that are valid now.
///
/// # Errors
/// When they cannot be read or opened.
pub(crate) async fn secrets(app: &App, source: Source) -> Result<Vec<Secret>, ApiError> {
    let kept = tokens::of_source(&mut app.store.read(), source.name(), app.world.now()).await?;
    let sealed = kept.into_iter().filter_map(|(token, secret)| Some((token.id, secret.sealed?)));
    sealed
        .map(|(id, sealed)| app.keys.open(&sealed, &sealing_context(id)).map_err(ApiError::internal))
        .collect()
}

/// Headers as text; one that is not text is nothing that an adapter could use.
fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect()
}
