//! `/agent/v1/repository/…`: a node's own repository, by restic's REST protocol (version 2), append-only.
//!
//! It is no endpoint of the API: the protocol is restic's. A node shows its credential (as a bearer, or as the password
//! of basic authentication, which restic itself sends) and reaches its own repository and no other. It may read, and
//! write files that are not there, each named by its SHA-256. It may delete locks. Nothing else is ever changed by it:
//! who steals a node's credential can add to its backups, and cannot take any away.
//!
//! `/agent/v1/backups/{job}/repository/…` is another node's, from which the job puts data back: it is only read, by the
//! node whose job that is, and only while the job runs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
    routing::any,
};
use backstay_api::Role;
use backstay_objects::{ObjectError, ObjectName, Objects, Put};
use backstay_types::{Digest, ErrorCode, NodeId};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    auth,
    backups::{For, Place, TargetError, folder_of, room},
    http::{
        ApiError,
        gate::{RequestId, RouteName},
    },
};

const PREFIX: &str = "/agent/v1/repository/";
const V2: &str = "application/vnd.x.restic.rest.v2";
/// The largest pack; rustic's and restic's have 4 to 128 MiB as a rule.
const LARGEST_PACK: u64 = 1 << 30;
/// The largest of all other files.
const LARGEST: u64 = 256 << 20;
/// After so many bytes that came in it is looked again whether there is room for as many.
const EACH: u64 = 16 << 20;
/// How long nothing of a body may arrive.
const IDLE: Duration = Duration::from_secs(60);
/// How long a request without a body may take until its answer begins.
const ANSWER: Duration = Duration::from_secs(120);

/// The routes.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/agent/v1/repository", any(serve))
        .route("/agent/v1/repository/", any(serve))
        .route("/agent/v1/repository/{*path}", any(serve))
        .route("/agent/v1/backups/{job}/repository", any(serve_lent))
        .route("/agent/v1/backups/{job}/repository/", any(serve_lent))
        .route("/agent/v1/backups/{job}/repository/{*path}", any(serve_lent))
        .with_state(app)
}

async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    finished("Repository", id_of(&request), answer(&app, request, None).await)
}

async fn serve_lent(State(app): State<Arc<App>>, Path(lent): Path<Lent>, request: Request) -> Response {
    finished("LentRepository", id_of(&request), answer(&app, request, Some(&lent.job)).await)
}

/// Which job another node's repository is read for.
#[derive(Deserialize)]
struct Lent {
    job: String,
}

fn id_of(request: &Request) -> RequestId {
    request.extensions().get::<RequestId>().cloned().unwrap_or_default()
}

fn finished(route: &'static str, id: RequestId, answered: Result<Response, ApiError>) -> Response {
    let mut response = answered.unwrap_or_else(|error| error.into_response(&id));
    response.extensions_mut().insert(RouteName(route));
    response
}

/// The node whose repository is lent for a job.
async fn lender(app: &App, node: NodeId, job: &str) -> Result<NodeId, ApiError> {
    let lent = match job.parse() {
        Ok(job) => app.engine.repository_lent(node, job).await?,
        Err(_) => None,
    };
    lent.ok_or_else(|| {
        let detail = "expected a job of this node that runs and puts another node's data back";
        ApiError::new(ErrorCode::BS9051, detail)
    })
}

async fn answer(app: &Arc<App>, request: Request, lent_for: Option<&str>) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    // First who it is: nobody else learns anything.
    let caller = auth::caller(app, Role::Agent, &auth::as_bearer(&parts.headers), false).await?;
    let node = caller.node()?;
    let whose = match lent_for {
        None => node,
        Some(job) => lender(app, node, job).await?,
    };
    let Some(place) = &app.backups.place else {
        return Err(ApiError::new(ErrorCode::BS9011, "backups are not set up at this hub"));
    };
    let path = match lent_for {
        None => parts.uri.path().strip_prefix(PREFIX.trim_end_matches('/')),
        Some(job) => parts.uri.path().strip_prefix(&format!("/agent/v1/backups/{job}/repository")),
    };
    let path = path.unwrap_or("/-");
    let what = What::read(path).ok_or_else(|| ApiError::missing("file of a repository", path))?;
    let asked = Asked { app, place, node, whose, what, headers: parts.headers };
    match parts.method {
        Method::GET | Method::HEAD => {
            let head = parts.method == Method::HEAD;
            let read = tokio::time::timeout(ANSWER, asked.read(head)).await;
            read.map_err(|_| ApiError::new(ErrorCode::BS7008, format!("no answer within {ANSWER:?}")))?
        }
        Method::POST | Method::DELETE if lent_for.is_some() => {
            let detail = "another node's repository is only read";
            Err(ApiError::new(ErrorCode::BS9051, detail))
        }
        Method::POST => asked.write(body.into_data_stream()).await,
        Method::DELETE => asked.delete().await,
        other => Err(ApiError::new(ErrorCode::BS4012, format!("a repository does not take {other}"))),
    }
}

/// Kinds of files, as restic lays them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Keys,
    Locks,
    Snapshots,
    Index,
}

impl Kind {
    const ALL: [(&'static str, Self); 5] = [
        ("data", Self::Data),
        ("keys", Self::Keys),
        ("locks", Self::Locks),
        ("snapshots", Self::Snapshots),
        ("index", Self::Index),
    ];

    fn read(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("data", |(name, _)| *name)
    }

    /// Whether a node may add one. The hub alone makes repositories and says which passwords open them.
    fn is_added_by_nodes(self) -> bool {
        self != Self::Keys
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Repository,
    Config,
    List(Kind),
    File(Kind, Digest),
}

impl What {
    fn read(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            [""] => Some(Self::Repository),
            ["config"] => Some(Self::Config),
            [kind] => Some(Self::List(Kind::read(kind)?)),
            // In the one way in which it is written.
            [kind, name] => {
                let digest: Digest = name.parse().ok()?;
                (digest.to_string() == *name).then_some(Self::File(Kind::read(kind)?, digest))
            }
            _ => None,
        }
    }

    /// Its file, below the repository's folder. Packs lie in folders by their first two digits.
    fn file(self, folder: &ObjectName) -> Result<ObjectName, ObjectError> {
        match self {
            Self::Config => folder.join("config"),
            Self::File(Kind::Data, name) => {
                let name = name.to_string();
                folder.join(&format!("data/{}/{name}", &name[..2]))
            }
            Self::File(kind, name) => folder.join(&format!("{}/{name}", kind.name())),
            Self::List(kind) => folder.join(kind.name()),
            Self::Repository => Ok(folder.clone()),
        }
    }
}

#[derive(Serialize)]
struct ListedFile {
    name: String,
    size: u64,
}

/// A request of a node.
struct Asked<'a> {
    app: &'a Arc<App>,
    place: &'a Place,
    node: NodeId,
    /// Whose repository.
    whose: NodeId,
    what: What,
    headers: HeaderMap,
}

impl Asked<'_> {
    fn objects(&self) -> &Objects {
        self.place.objects()
    }

    fn file(&self) -> Result<ObjectName, ApiError> {
        let folder = folder_of(Some(self.whose)).map_err(failed)?;
        self.what.file(&folder).map_err(failed)
    }

    async fn read(&self, head: bool) -> Result<Response, ApiError> {
        match self.what {
            What::Repository => Err(ApiError::missing("file of a repository", "/")),
            What::List(kind) => self.list(kind).await,
            What::Config | What::File(..) => {
                let name = self.file()?;
                let size = self.objects().size(&name).await.map_err(failed)?;
                if size.is_none() && self.what == What::Config {
                    // Where it was made, that is the hub's to mend.
                    self.app.engine.suspect_repository(Some(self.whose)).await?;
                    self.app.backups.wake.notify_one();
                }
                let size = size.ok_or_else(|| ApiError::missing("file", name.as_str()))?;
                if head {
                    return Ok(([(header::CONTENT_LENGTH, size)], ()).into_response());
                }
                self.content(&name, size).await
            }
        }
    }

    async fn list(&self, kind: Kind) -> Result<Response, ApiError> {
        let name = self.file()?;
        let listed = match kind {
            Kind::Data => self.objects().list_below(&name).await,
            _ => self.objects().list(&name).await,
        };
        let mut listed = listed.map_err(failed)?;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        let sizes = self.headers.get(header::ACCEPT).is_some_and(|accept| accept == V2);
        let (media, text) = if sizes {
            let files: Vec<_> =
                listed.into_iter().map(|file| ListedFile { name: file.name, size: file.bytes }).collect();
            (V2, serde_json::to_vec(&files))
        } else {
            let names: Vec<_> = listed.into_iter().map(|file| file.name).collect();
            ("application/vnd.x.restic.rest.v1", serde_json::to_vec(&names))
        };
        let text = text.map_err(ApiError::internal)?;
        Ok(([(header::CONTENT_TYPE, media)], text).into_response())
    }

    async fn content(&self, name: &ObjectName, size: u64) -> Result<Response, ApiError> {
        let range = match self.headers.get(header::RANGE) {
            None => None,
            Some(value) => {
                let range = value.to_str().ok().and_then(|text| range(text, size));
                Some(range.ok_or_else(|| {
                    ApiError::invalid("range", format!("expected `bytes=FROM-TO` within {size} bytes"))
                })?)
            }
        };
        let (from, to) = range.unwrap_or((0, size));
        let stream = self.objects().read(name, from, to).await.map_err(failed)?;
        let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let mut response = (status, Body::from_stream(stream)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if range.is_some() {
            let text = format!("bytes {from}-{}/{size}", to.saturating_sub(1));
            headers.insert(header::CONTENT_RANGE, HeaderValue::from_str(&text).map_err(ApiError::internal)?);
        }
        Ok(response)
    }

    async fn write(&self, body: BodyDataStream) -> Result<Response, ApiError> {
        let (kind, digest) = match self.what {
            // As restic makes a repository: the hub has made it.
            What::Repository => return Ok(StatusCode::OK.into_response()),
            What::File(kind, digest) if kind.is_added_by_nodes() => (kind, digest),
            What::File(kind, _) => return Err(self.refused("add", kind.name()).await),
            What::Config => return Err(self.refused("write", "config").await),
            What::List(kind) => return Err(self.refused("write", kind.name()).await),
        };
        let name = self.file()?;
        self.place.is_known(self.app, false, For::Write).await.map_err(not_known)?;
        if let Some(size) = self.objects().size(&name).await.map_err(failed)? {
            // A writer that had no answer writes the same again: nothing is changed, and that is no attempt to.
            let same = self.length().is_none_or(|length| length == size);
            return if same {
                Ok(StatusCode::OK.into_response())
            } else {
                Err(self.refused("overwrite", name.as_str()).await)
            };
        }
        let most = if kind == Kind::Data { LARGEST_PACK } else { LARGEST };
        if self.length().is_some_and(|length| length > most) {
            return Err(failed(ObjectError::TooLarge(most)));
        }
        // One node that sends much takes no room of the others, nor of the hub itself.
        let own = self.app.backups.rooms.of(self.node).await;
        let room = self.place.uploads.acquire().await.map_err(ApiError::internal)?;
        let data_dir = &self.place.data_dir;
        room::check(data_dir, self.length().unwrap_or(EACH))
            .map_err(|source| failed(ObjectError::Full { place: data_dir.display().to_string(), source }))?;
        let content = in_room(data_dir.clone(), with_ends(body));
        let spooled = self.place.spool.take(content, most, Some(digest)).await.map_err(failed)?;
        let bytes = spooled.bytes;
        let put = self.objects().put_new(&name, spooled).await.map_err(failed)?;
        drop((room, own));
        if put == Put::Written {
            self.app.metrics.repository_written(bytes);
            self.app.backups.growth.add(self.node, bytes);
        }
        Ok(StatusCode::OK.into_response())
    }

    async fn delete(&self) -> Result<Response, ApiError> {
        match self.what {
            What::File(Kind::Locks, _) => {
                self.objects().delete(&self.file()?).await.map_err(failed)?;
                Ok(StatusCode::OK.into_response())
            }
            _ => {
                let name = self.file().map_or_else(|_| "the repository".to_owned(), |name| name.to_string());
                Err(self.refused("delete", &name).await)
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// What a node may not do: counted, and recorded now and then.
    async fn refused(&self, verb: &str, what: &str) -> ApiError {
        self.app.metrics.repository_refused();
        if let Some(times) = self.app.backups.refusals.count(self.node) {
            tracing::warn!(node = %self.node, verb, what, times, "a node tried to change its backups");
            let noted = self.app.engine.note_refused_write(self.node, &format!("{verb} {what}"), times).await;
            if let Err(error) = noted {
                tracing::warn!(%error, "that could not be recorded");
            }
        }
        ApiError::new(
            ErrorCode::BS9013,
            format!("a repository only takes new files: a node may not {verb} {what}"),
        )
        .with_hint("only the hub forgets and prunes: `backstay backup prune NODE`")
    }
}

/// A body that ends with an error when nothing of it arrives for long.
fn with_ends(body: BodyDataStream) -> impl Stream<Item = Result<Bytes, String>> + Unpin {
    let pieces = futures_util::stream::unfold(Some(body), |body| async {
        let mut body = body?;
        match tokio::time::timeout(IDLE, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(body))),
            Ok(Some(Err(error))) => Some((Err(error.to_string()), None)),
            Err(_) => Some((Err(format!("nothing arrived for {IDLE:?}")), None)),
        }
    });
    Box::pin(pieces)
}

/// The same pieces, as long as there is room for more.
fn in_room(
    place: PathBuf,
    pieces: impl Stream<Item = Result<Bytes, String>> + Unpin,
) -> impl Stream<Item = Result<Bytes, String>> + Unpin {
    let mut since = 0;
    pieces.map(move |piece| {
        let piece = piece?;
        since += piece.len() as u64;
        if since >= EACH {
            since = 0;
            room::check(&place, EACH).map_err(|error| error.to_string())?;
        }
        Ok(piece)
    })
}

/// `bytes=FROM-TO`, `bytes=FROM-` or `bytes=-LAST` within a file; the end is behind the last byte.
fn range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (from, to) = match (from, to) {
        ("", last) => (size.saturating_sub(number(last)?), size),
        (from, "") => (number(from)?, size),
        (from, to) => (number(from)?, number(to)?.saturating_add(1).min(size)),
    };
    (from < to && to <= size).then_some((from, to))
}

fn not_known(error: TargetError) -> ApiError {
    match error {
        TargetError::Unknown(why) => ApiError::new(ErrorCode::BS9071, why),
        TargetError::Objects(error) => failed(error),
        TargetError::Hub(error) => error.into(),
    }
}

fn failed(error: ObjectError) -> ApiError {
    let text = error.to_string();
    match error {
        ObjectError::Missing(name) => ApiError::missing("file", &name),
        ObjectError::Name(_) => ApiError::new(ErrorCode::BS4004, text),
        ObjectError::Digest { .. } => ApiError::new(ErrorCode::BS9014, text),
        ObjectError::TooLarge(_) => ApiError::new(ErrorCode::BS4006, text),
        ObjectError::CutOff(_) => ApiError::new(ErrorCode::BS4014, text),
        ObjectError::Full { .. } => ApiError::new(ErrorCode::BS9015, text)
            .with_hint("make room at the hub's backup target; nothing that is there was touched"),
        ObjectError::Io { .. } | ObjectError::Refused { .. } | ObjectError::Store { .. } => {
            tracing::error!(error = text, "the backup target failed");
            ApiError::new(ErrorCode::BS9016, "the backup target cannot be used; the hub's log says why")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_within_the_file_or_refused() {
        for (text, means) in [
            ("bytes=0-0", Some((0, 1))),
            ("bytes=2-", Some((2, 10))),
            ("bytes=-3", Some((7, 10))),
            ("bytes=-30", Some((0, 10))),
            ("bytes=2-300", Some((2, 10))),
            ("bytes=10-", None),
            ("bytes=5-4", None),
            ("bytes=-0", None),
            ("bytes=0-1,3-4", None),
            ("bytes=+1-2", None),
            ("items=0-1", None),
            ("bytes=", None),
        ] {
            assert_eq!(range(text, 10), means, "{text}");
        }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        let name = Digest::of(b"x").to_string();
        assert_eq!(What::read("/config"), Some(What::Config));
        assert_eq!(What::read("/data/"), Some(What::List(Kind::Data)));
        assert_eq!(What::read(&format!("/data/{name}")), Some(What::File(Kind::Data, Digest::of(b"x"))));
        assert_eq!(What::read("/"), Some(What::Repository));
        let upper = name.to_ascii_uppercase();
        for path in [
            "/data/..",
            "/../nodes",
            "/x",
            "/data/x",
            "/config/x",
            "//data/ab/x",
            "/recovery/hub.age",
            &format!("/data/{upper}"),
            &format!("/data/ab/{name}"),
            "/data/%2e%2e",
        ] {
            assert_eq!(What::read(path), None, "{path}");
        }
    }
}
