//! Answers that go on: server-sent events (HTML Living Standard, section 9.2).
//!
//! Such an answer is not cut by the route's time limit, which is for the handler alone. It ends when what
//! it tells of ends, when its reader goes away, and when the hub stops; a reader comes again by itself.

use std::{convert::Infallible, fmt::Write as _, pin::Pin, time::Duration};

use axum::body::Body;
use backstay_api::{Events, v1::TimelineEntry};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{ApiError, Reply};

/// How often a stream without news gives a sign of life, so that readers and proxies see a broken one.
const ALIVE: Duration = Duration::from_secs(15);
/// Proxies must pass each event on, not collect them.
const NO_BUFFER: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// An event on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerEvent(String);

impl ServerEvent {
    /// An event that says `data` as JSON, which has no line ends of its own.
    ///
    /// # Errors
    /// When `data` cannot be written.
    pub(crate) fn json<T: Serialize + ?Sized>(data: &T) -> Result<Self, ApiError> {
        let data = serde_json::to_string(data).map_err(ApiError::internal)?;
        Ok(Self(format!("data: {data}\n")))
    }

    /// With a name; the plain ones have none.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        let _ = writeln!(self.0, "event: {name}");
        self
    }

    /// With its position, from which a reader that comes again goes on (`Last-Event-ID`). It has no line ends.
    pub(crate) fn at(mut self, position: u64) -> Self {
        let _ = writeln!(self.0, "id: {position}");
        self
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.0.push('\n');
        self.0.into_bytes()
    }
}

/// A ledger entry, at its position.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn entry(entry: &TimelineEntry) -> Result<ServerEvent, ApiError> {
    Ok(ServerEvent::json(entry)?.named("entry").at(entry.entry.seq))
}

/// The answer that passes on `events` until they end or `stopping` is set. The first sign of life goes out
/// at once, so that the reader knows that it is heard.
pub(crate) fn reply(
    stopping: CancellationToken,
    events: impl Stream<Item = ServerEvent> + Send + 'static,
) -> Reply<Events> {
    let bytes = frames(events, ALIVE).take_until(stopping.cancelled_owned());
    let (name, value) = NO_BUFFER;
    Reply::raw(Body::from_stream(bytes.map(Ok::<_, Infallible>))).header(name, value)
}

fn frames(
    events: impl Stream<Item = ServerEvent> + Send + 'static,
    alive: Duration,
) -> Pin<Box<dyn Stream<Item = Vec<u8>> + Send>> {
    let events = Box::pin(events);
    let later = stream::unfold(events, move |mut events| async move {
        match tokio::time::timeout(alive, events.next()).await {
            Ok(Some(event)) => Some((event.into_bytes(), events)),
            Ok(None) => None,
            Err(_) => Some((b":\n\n".to_vec(), events)),
        }
    });
    Box::pin(stream::once(async { b":\n\n".to_vec() }).chain(later))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::time::sleep;

    use super::*;
    use crate::http::call::Content;

    fn event(data: &str) -> ServerEvent {
        ServerEvent::json(data).unwrap()
    }

    #[tokio::test]
    async fn silence_is_filled_with_signs_of_life_and_no_event_is_lost_to_them() {
        let slow = stream::iter(["a\nb", "c"]).then(|data| async move {
            sleep(Duration::from_millis(120)).await;
            event(data)
        });
        let frames: Vec<_> = frames(slow, Duration::from_millis(50)).collect().await;
        let text: Vec<_> = frames.iter().map(|frame| String::from_utf8_lossy(frame)).collect();
        assert_eq!(text[0], ":\n\n");
        let said: Vec<_> = text.iter().filter(|frame| !frame.starts_with(':')).collect();
        assert_eq!(said, ["data: \"a\\nb\"\n\n", "data: \"c\"\n\n"]);
        assert!(text.len() - said.len() >= 3, "{text:?}");
    }

    #[tokio::test]
    async fn it_ends_when_the_hub_stops() {
        let stopping = CancellationToken::new();
        let endless = stream::once(async { event("first").named("gap").at(7) }).chain(stream::pending());
        let Content::Raw(mut body) = reply(stopping.clone(), endless).content else { panic!("not raw") };
        let mut next = async || body.frame().await.map(|frame| frame.unwrap().into_data().unwrap());
        assert_eq!(next().await.unwrap().as_ref(), b":\n\n");
        assert_eq!(next().await.unwrap().as_ref(), b"data: \"first\"\nevent: gap\nid: 7\n\n");
        stopping.cancel();
        assert_eq!(next().await, None);
    }
}
