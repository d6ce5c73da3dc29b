//! The last answers, for when the database is away: what someone was told last, they are told again, with the time that
//! it is of. Nothing can be checked against the database then. An answer is given to the credential alone that got it,
//! until that would have run out, and none over anything by which someone may have been shut out since.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse as _, Response},
};
use backstay_api::{AS_OF, Endpoint, Media, Method, Role};
use backstay_types::{Digest, Timestamp};
use http::{HeaderValue, header, request::Parts};
use lru::LruCache;

use crate::{app::App, auth};

/// How many bytes of answers are kept.
const MOST_BYTES: usize = 16 << 20;
/// A single answer that is larger is not kept.
const LARGEST: usize = 1 << 20;
/// How many answers are kept.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// While the database is away, how often someone who could be given a kept answer waits for it instead.
const TRY: Duration = Duration::from_secs(2);

/// Who asked for what, and how often someone had been shut out by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(Digest);

/// What was answered.
#[derive(Debug, Clone)]
struct Answer {
    at: Timestamp,
    /// When the credential runs out.
    until: Option<Timestamp>,
    body: Bytes,
}

/// The answers that were given last.
#[derive(Debug)]
pub(crate) struct Kept(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    answers: LruCache<Key, Answer>,
    bytes: usize,
    /// How often everything was forgotten.
    forgotten: u64,
    /// While the database is away: when someone waits for it again.
    next_try: Option<Instant>,
}

impl Default for Kept {
    fn default() -> Self {
        Self(Mutex::new(Inner { answers: LruCache::new(MOST), bytes: 0, forgotten: 0, next_try: None }))
    }
}

impl Key {
    /// Under what an answer is kept; none where nothing is: for what changes something, for agents, for streams, and
    /// for what another site's page asks for.
    pub(crate) fn of<E: Endpoint>(app: &App, parts: &Parts) -> Option<Self> {
        let ours = |by_cookie: bool| {
            let public = app.settings.hub.public_url.as_ref();
            !by_cookie || auth::origin::check(public, &parts.headers, auth::origin::Need::NotOther).is_ok()
        };
        let forgotten = app.kept.lock().forgotten;
        Self::when::<E>(parts, app.sign_in.ends() + forgotten, ours)
    }

    fn when<E: Endpoint>(parts: &Parts, ends: u64, ours: impl Fn(bool) -> bool) -> Option<Self> {
        let reads = E::METHOD == Method::Get && Media::of::<E::Response>() == Media::Json;
        let person = !matches!(E::ROLE, Role::Agent | Role::Webhook) && E::PATH.starts_with("/api/v1/");
        if !reads || !person {
            return None;
        }
        let (by_cookie, shown) = auth::shown(&parts.headers)?;
        let target = parts.uri.path_and_query()?.as_str().as_bytes();
        let mut text = Vec::with_capacity(32 + target.len() + shown.expose().len());
        text.extend_from_slice(&ends.to_be_bytes());
        text.push(u8::from(by_cookie));
        text.extend_from_slice(&(target.len() as u64).to_be_bytes());
        text.extend_from_slice(target);
        text.extend_from_slice(shown.expose().as_bytes());
        ours(by_cookie).then(|| Self(Digest::of(&text)))
    }
}

impl Kept {
    /// Keeps an answer to a credential that is good until then.
    pub(crate) fn keep(&self, key: Key, body: Bytes, at: Timestamp, until: Option<Timestamp>) {
        let mut inner = self.lock();
        inner.remove(key);
        if body.len() > LARGEST {
            return;
        }
        inner.bytes += body.len();
        if let Some((_, other)) = inner.answers.push(key, Answer { at, until, body }) {
            inner.bytes -= other.body.len();
        }
        while inner.bytes > MOST_BYTES {
            let Some((_, oldest)) = inner.answers.pop_lru() else { break };
            inner.bytes -= oldest.body.len();
        }
    }

    /// Notes that the database is away; whether that is news.
    pub(crate) fn lost(&self) -> bool {
        self.lock().next_try.replace(Instant::now() + TRY).is_none()
    }

    /// Notes that the database answers; whether that is news.
    pub(crate) fn found(&self) -> bool {
        self.lock().next_try.take().is_some()
    }

    /// The kept answer while the database is known to be away: only now and then one of those who ask waits for it.
    pub(crate) fn at_once(&self, key: Key, now: Timestamp) -> Option<Response> {
        {
            let mut inner = self.lock();
            let (next, asked) = (inner.next_try?, Instant::now());
            if asked >= next {
                inner.next_try = Some(asked + TRY);
                return None;
            }
        }
        self.last(key, now)
    }

    /// The kept answer.
    pub(crate) fn last(&self, key: Key, now: Timestamp) -> Option<Response> {
        let found = self.lock().answers.get(&key).cloned();
        let Answer { at, body, .. } = found.filter(|answer| answer.until.is_none_or(|until| now < until))?;
        let mut response = Body::from(body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Media::Json.content_type()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
        headers.insert(header::AGE, age.as_secs().into());
        headers.insert(AS_OF, HeaderValue::from_str(&at.to_string()).ok()?);
        Some(response)
    }

    /// Forgets one answer: it was refused since.
    pub(crate) fn refused(&self, key: Key) {
        self.lock().remove(key);
    }

    /// Forgets everything, and what is on its way: someone may have been shut out.
    pub(crate) fn forget(&self) {
        let mut inner = self.lock();
        inner.answers.clear();
        inner.bytes = 0;
        inner.forgotten += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, key: Key) {
        if let Some(old) = self.answers.pop(&key) {
            self.bytes -= old.body.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use backstay_api::v1::{CreateToken, FollowEvents, GetOverview, ListNodes};
    use http::HeaderName;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn parts(uri: &str, name: HeaderName, credential: &str) -> Parts {
        let request = http::Request::builder().uri(uri).header(name, credential).body(()).unwrap();
        request.into_parts().0
    }

    fn key_after(ends: u64, uri: &str, token: &str) -> Key {
        Key::when::<ListNodes>(&parts(uri, header::AUTHORIZATION, token), ends, |_| true).unwrap()
    }

    fn key(uri: &str, token: &str) -> Key {
        key_after(0, uri, token)
    }

    fn body() -> Bytes {
        Bytes::from_static(b"{}")
    }

    #[test]
    fn an_answer_is_for_the_one_who_got_it_and_says_how_old_it_is() {
        let kept = Kept::default();
        let (mine, other) = (key("/nodes?limit=1", "Bearer a"), key("/nodes?limit=1", "Bearer b"));
        kept.keep(mine, body(), at(100), None);
        let response = kept.last(mine, at(160)).unwrap();
        assert_eq!(response.headers()[header::AGE], "60");
        assert_eq!(response.headers()[AS_OF], "1970-01-01T00:01:40Z");
        assert!(kept.last(other, at(160)).is_none());
        assert!(kept.last(key("/nodes?limit=2", "Bearer a"), at(160)).is_none());
        assert!(
            kept.last(key_after(1, "/nodes?limit=1", "Bearer a"), at(160)).is_none(),
            "someone was shut out"
        );
        kept.refused(mine);
        assert!(kept.last(mine, at(160)).is_none());
    }

    #[test]
    fn a_credential_that_has_run_out_gets_nothing() {
        let kept = Kept::default();
        let mine = key("/nodes", "Bearer a");
        kept.keep(mine, body(), at(100), Some(at(200)));
        assert!(kept.last(mine, at(199)).is_some());
        assert!(kept.last(mine, at(200)).is_none());
    }

    #[test]
    fn nobody_waits_for_a_database_that_is_away_but_one_now_and_then() {
        let kept = Kept::default();
        let mine = key("/nodes", "Bearer a");
        kept.keep(mine, body(), at(100), None);
        assert!(kept.at_once(mine, at(101)).is_none(), "it is not away");
        assert!(kept.lost(), "news");
        assert!(!kept.lost(), "no news");
        assert!(kept.at_once(mine, at(101)).is_some());
        kept.lock().next_try = Some(Instant::now());
        assert!(kept.at_once(mine, at(101)).is_none(), "this one tries");
        assert!(kept.at_once(mine, at(101)).is_some(), "others do not meanwhile");
        assert!(kept.found(), "news");
        assert!(!kept.found(), "no news");
        assert!(kept.at_once(mine, at(101)).is_none(), "it is back");
    }

    #[test]
    fn only_what_people_read_on_our_own_page_is_kept() {
        let session = format!("{}=bss.x.y", backstay_api::SESSION_COOKIE);
        let cookie = parts("/x", header::COOKIE, &session);
        let token = parts("/x", header::AUTHORIZATION, "Bearer y");
        let nobody = parts("/x", header::COOKIE, "other=y");
        let theirs = |by_cookie: bool| !by_cookie;
        let ours = |_| true;
        let (a, b) =
            (Key::when::<GetOverview>(&cookie, 0, ours), Key::when::<GetOverview>(&token, 0, theirs));
        assert!(a.is_some() && b.is_some() && a != b);
        assert!(Key::when::<GetOverview>(&cookie, 0, theirs).is_none(), "another site's page asks");
        assert!(Key::when::<GetOverview>(&nobody, 0, ours).is_none(), "nobody's");
        assert!(Key::when::<CreateToken>(&token, 0, ours).is_none());
        assert!(Key::when::<FollowEvents>(&token, 0, ours).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let kept = Kept::default();
        let body = Bytes::from(vec![0; LARGEST]);
        for number in 0..40 {
            kept.keep(key(&format!("/nodes?limit={number}"), "Bearer a"), body.clone(), at(1), None);
        }
        assert_eq!(kept.lock().bytes, MOST_BYTES);
        assert_eq!(kept.lock().answers.len(), MOST_BYTES / LARGEST);
        kept.keep(key("/nodes?limit=39", "Bearer a"), Bytes::from(vec![0; LARGEST + 1]), at(2), None);
        assert_eq!(kept.lock().bytes, MOST_BYTES - LARGEST);
        for number in 0..2 * MOST.get() {
            kept.keep(
                key(&format!("/nodes?limit={number}"), "Bearer b"),
                Bytes::from_static(b"x"),
                at(3),
                None,
            );
        }
        assert_eq!(kept.lock().answers.len(), MOST.get());
        assert_eq!(kept.lock().bytes, MOST.get());
        kept.forget();
        assert_eq!(kept.lock().bytes, 0);
        assert_eq!(kept.lock().answers.len(), 0);
    }
}
