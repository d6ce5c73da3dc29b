//! The engine's API over its socket, version 1.41: cheaper than its command line, and it tells more.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_api::agent::LogLine;
use backstay_types::{Container, ImageId, StackName, Timestamp, TreeDigest};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::UnixStream, time::timeout};

use crate::runtime::{
    LogsWanted,
    follow::{Cursor, NewLines, Place, new_since},
};

const VERSION: &str = "/v1.41";
const ANSWER: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// A container may have long to stop.
const LONGEST_STOP: Duration = Duration::from_secs(10 * 60);
/// Says for which stack an image is held.
const HOLD: &str = "dev.backstay.hold";
/// Says for which tree.
const HOLD_TREE: &str = "dev.backstay.hold.tree";

/// A container that was created to hold an image for a release.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The container.
    pub(crate) id: String,
    /// The image.
    pub(crate) image: String,
    /// The release's tree.
    pub(crate) tree: String,
}

/// A path of the host that a container mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BoundMount {
    /// The container's service.
    pub(super) service: String,
    /// Where it is in the container.
    pub(super) target: String,
    /// Where it is on the host.
    pub(super) source: String,
}

/// A container that mounts a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounting {
    /// Its name.
    pub(crate) name: String,
    /// The volume.
    pub(crate) volume: String,
    /// The Compose project that it is of.
    pub(crate) project: Option<String>,
    /// The stack that it says that it is of, and the folder that it was made from.
    pub(crate) stack: Option<(String, PathBuf)>,
    /// Whether it runs.
    pub(crate) running: bool,
}

/// A container engine.
#[derive(Debug)]
pub(crate) struct Engine {
    socket: Option<PathBuf>,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, or the usual one.
    pub(crate) fn new() -> Self {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        Self { socket: host.strip_prefix("unix://").map(PathBuf::from) }
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> bool {
        let asked = timeout(Duration::from_secs(2), self.ask(Method::GET, "/_ping", None)).await;
        asked.is_ok_and(|answer| answer.is_ok())
    }

    /// The containers of a Compose project, stopped ones too.
    pub(crate) async fn containers(&self, project: &str) -> io::Result<Vec<Container>> {
        let filter = json!({ "label": [format!("com.docker.compose.project={project}")] });
        let list = self.json(&list_path(&filter)).await?;
        let mut containers: Vec<_> = items(&list)
            .filter(|item| label(item, "com.docker.compose.oneoff") != Some("True"))
            .map(container)
            .collect();
        containers.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        Ok(containers)
    }

    /// The Compose projects in which containers of a stack are, stopped ones too, that were made from releases in a folder.
    pub(super) async fn projects_of(&self, stack: &str, releases: &Path) -> io::Result<BTreeSet<String>> {
        let filter = json!({ "label": [format!("dev.backstay.stack={stack}")] });
        let list = self.json(&list_path(&filter)).await?;
        // Another agent beside this one may have a stack with the same name.
        let mine = items(&list).filter(|item| {
            let dir = label(item, "com.docker.compose.project.working_dir");
            dir.is_some_and(|dir| Path::new(dir).starts_with(releases))
        });
        Ok(mine.filter_map(|item| label(item, "com.docker.compose.project").map(str::to_owned)).collect())
    }

    /// What the containers of a Compose project mount from the host, stopped ones too.
    pub(super) async fn mounts(&self, project: &str) -> io::Result<Vec<BoundMount>> {
        let filter = json!({ "label": [format!("com.docker.compose.project={project}")] });
        let list = self.json(&list_path(&filter)).await?;
        Ok(items(&list).flat_map(bound_mounts).collect())
    }

    /// All that is known of the containers of a Compose project, each with its service. Those that are gone by then are
    /// left out.
    pub(super) async fn inspect_all(&self, project: &str) -> io::Result<Vec<(String, Value)>> {
        let mut all = Vec::new();
        for container in self.containers(project).await? {
            let (status, body) =
                self.ask(Method::GET, &format!("/containers/{}/json", container.id), None).await?;
            match status {
                StatusCode::NOT_FOUND => {}
                status if status.is_success() => {
                    all.push((container.service, serde_json::from_slice(&body)?))
                }
                status => return Err(refused(status, &body)),
            }
        }
        Ok(all)
    }

    /// All that is known of a local image; none when it is not here.
    pub(super) async fn inspect_image(&self, reference: &str) -> io::Result<Option<Value>> {
        let (status, body) =
            self.ask(Method::GET, &format!("/images/{}/json", encoded(reference)), None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(serde_json::from_slice(&body)?)),
            status => Err(refused(status, &body)),
        }
    }

    /// The id of a local image.
    pub(crate) async fn image(&self, reference: &str) -> io::Result<Option<ImageId>> {
        let (status, body) =
            self.ask(Method::GET, &format!("/images/{}/json", encoded(reference)), None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let image: Value = serde_json::from_slice(&body)?;
                let id = image["Id"].as_str().ok_or_else(|| malformed("an image without an id"))?;
                Ok(Some(ImageId(id.to_owned())))
            }
            status => Err(refused(status, &body)),
        }
    }

    /// Keeps images from being pruned, by containers that are created and never started.
    pub(crate) async fn hold<'a>(
        &self,
        stack: &StackName,
        tree: TreeDigest,
        images: impl Iterator<Item = &'a ImageId>,
    ) -> io::Result<()> {
        let filter = json!({ "label": [format!("{HOLD}={stack}"), format!("{HOLD_TREE}={tree}")] });
        let list = self.json(&list_path(&filter)).await?;
        let mut held: Vec<String> =
            items(&list).filter_map(|item| item["ImageID"].as_str()).map(str::to_owned).collect();
        for image in images {
            if held.contains(&image.0) {
                continue;
            }
            let body = json!({
                "Image": image.0, "Entrypoint": ["/hold"], "Cmd": [], "Healthcheck": { "Test": ["NONE"] },
                "Labels": { HOLD: stack.as_str(), HOLD_TREE: tree.to_string() },
                "HostConfig": { "NetworkMode": "none" },
            });
            let (status, body) = self.ask(Method::POST, "/containers/create", Some(&body)).await?;
            if !status.is_success() {
                return Err(refused(status, &body));
            }
            held.push(image.0.clone());
        }
        Ok(())
    }

    /// The containers that hold images for a stack.
    pub(crate) async fn holders(&self, stack: &StackName) -> io::Result<Vec<Holder>> {
        let list = self.json(&list_path(&json!({ "label": [format!("{HOLD}={stack}")] }))).await?;
        let holder = |item: &Value| {
            Some(Holder {
                id: item["Id"].as_str()?.to_owned(),
                image: item["ImageID"].as_str()?.to_owned(),
                tree: label(item, HOLD_TREE)?.to_owned(),
            })
        };
        Ok(items(&list).filter_map(holder).collect())
    }

    /// Removes an image that no container uses and that came from a registry. Others stay: they could not be had again.
    pub(crate) async fn remove_image(&self, id: &str) -> io::Result<()> {
        let image = self.json(&format!("/images/{id}/json")).await?;
        if image["RepoDigests"].as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        // The engine refuses while a container uses it or it has several names.
        let (status, body) = self.ask(Method::DELETE, &format!("/images/{id}"), None).await?;
        if status.is_success() || status == StatusCode::CONFLICT {
            Ok(())
        } else {
            Err(refused(status, &body))
        }
    }

    /// What a container does, as the engine calls it: `running`, `paused`, `exited`; none when it is not there.
    pub(crate) async fn state(&self, id: &str) -> io::Result<Option<String>> {
        let (status, body) =
            self.ask(Method::GET, &format!("/containers/{}/json", encoded(id)), None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let item: Value = serde_json::from_slice(&body)?;
                Ok(item["State"]["Status"].as_str().map(str::to_owned))
            }
            status => Err(refused(status, &body)),
        }
    }

    /// Has a container do something: `pause`, `unpause`, `start`, or `stop`, for which it has as long as it says itself.
    pub(crate) async fn tell(&self, id: &str, what: &str) -> io::Result<()> {
        let path = format!("/containers/{}/{what}", encoded(id));
        let told = timeout(LONGEST_STOP, self.ask_patiently(Method::POST, &path, None)).await;
        let late = || Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not {what} in time")));
        let (status, body) = told.unwrap_or_else(|_| late())?;
        // Not modified: it does so already.
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            Ok(())
        } else {
            Err(refused(status, &body))
        }
    }

    /// Where a volume's content is on this machine; none when it is not there. Refused where it cannot be told, or is
    /// there only while a container uses it.
    pub(crate) async fn volume(&self, name: &str) -> io::Result<Option<PathBuf>> {
        let (status, body) = self.ask(Method::GET, &format!("/volumes/{}", encoded(name)), None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let item: Value = serde_json::from_slice(&body)?;
                content_of(name, &item).map(Some)
            }
            status => Err(refused(status, &body)),
        }
    }

    /// The containers that mount some volumes, stopped ones too.
    pub(crate) async fn mounting(&self, volumes: &BTreeSet<String>) -> io::Result<Vec<Mounting>> {
        if volumes.is_empty() {
            return Ok(Vec::new());
        }
        let list = self.json(&list_path(&json!({ "volume": volumes }))).await?;
        Ok(items(&list).flat_map(|item| mounting(item, volumes)).collect())
    }

    /// Takes away all containers, networks and volumes with a label. Gives how many there were.
    pub(super) async fn purge(&self, label: &str) -> io::Result<usize> {
        let filter = json!({ "label": [label] });
        let mut gone = 0;
        for item in items(&self.json(&list_path(&filter)).await?) {
            let id = item["Id"].as_str().unwrap_or_default();
            gone += self.delete(&format!("/containers/{id}?force=1&v=1")).await?;
        }
        let filter = encoded(&filter.to_string());
        for item in items(&self.json(&format!("/networks?filters={filter}")).await?) {
            gone += self.delete(&format!("/networks/{}", item["Id"].as_str().unwrap_or_default())).await?;
        }
        for item in items(&self.json(&format!("/volumes?filters={filter}")).await?["Volumes"]) {
            let name = encoded(item["Name"].as_str().unwrap_or_default());
            gone += self.delete(&format!("/volumes/{name}?force=1")).await?;
        }
        Ok(gone)
    }

    /// Deletes what is there; the same when it is not.
    async fn delete(&self, path: &str) -> io::Result<usize> {
        let (status, body) = self.ask(Method::DELETE, path, None).await?;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            Ok(1)
        } else {
            Err(refused(status, &body))
        }
    }

    /// The address of each service of a project that has one.
    pub(super) async fn addresses(&self, project: &str) -> io::Result<BTreeMap<String, IpAddr>> {
        let filter = json!({ "label": [format!("com.docker.compose.project={project}")] });
        let list = self.json(&list_path(&filter)).await?;
        let address = |item: &Value| {
            let networks = item["NetworkSettings"]["Networks"].as_object()?;
            let found = networks.values().find_map(|network| network["IPAddress"].as_str()?.parse().ok())?;
            Some((label(item, "com.docker.compose.service")?.to_owned(), found))
        };
        Ok(items(&list).filter_map(address).collect())
    }

    /// Removes a container that does not run.
    pub(crate) async fn remove(&self, id: &str) -> io::Result<()> {
        let (status, body) = self.ask(Method::DELETE, &format!("/containers/{id}"), None).await?;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            Ok(())
        } else {
            Err(refused(status, &body))
        }
    }

    /// The last log lines of a project's services.
    pub(crate) async fn logs(&self, project: &str, wanted: LogsWanted<'_>) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        for container in self.containers(project).await? {
            if wanted.service.is_some_and(|service| service != container.service) {
                continue;
            }
            let since = if wanted.since_start { self.started(&container.id).await? } else { 0 };
            let path = format!(
                "/containers/{}/logs?stdout=1&stderr=1&timestamps=1&since={since}&tail={}",
                container.id, wanted.lines
            );
            let (status, body) = self.ask(Method::GET, &path, None).await?;
            if status.is_success() {
                lines.extend(log_lines(&container.service, &body));
            }
        }
        Ok(lines)
    }

    /// What a project's containers have logged since a place; the last lines when there is none.
    pub(crate) async fn new_logs(
        &self,
        project: &str,
        after: Option<&Cursor>,
        most: usize,
    ) -> io::Result<NewLines> {
        let mut new = NewLines::default();
        for container in self.containers(project).await? {
            let place = match after.and_then(|after| after.0.get(&container.id)) {
                Some(Place::Time { at, lines }) => Some((*at, *lines)),
                _ => None,
            };
            let since = place.map_or_else(|| "0".to_owned(), |(at, _)| since(at));
            let path = format!(
                "/containers/{}/logs?stdout=1&stderr=1&timestamps=1&since={since}&tail=",
                container.id
            );
            // Only who begins wants the last ones; a container that came later is new from its start.
            let tail = if after.is_none() { most.to_string() } else { "all".to_owned() };
            let (status, body) = match self.ask(Method::GET, &format!("{path}{tail}"), None).await {
                Err(_) if after.is_some() => {
                    new.dropped = true;
                    self.ask(Method::GET, &format!("{path}{most}"), None).await?
                }
                answer => answer?,
            };
            if status.is_success() {
                let (lines, place) = new_since(log_lines(&container.service, &body), place, most);
                new.lines.extend(lines);
                let (at, lines) = place.unwrap_or((Timestamp::UNIX_EPOCH, 0));
                new.cursor.0.insert(container.id, Place::Time { at, lines });
            }
        }
        new.lines.sort_by_key(|line| line.at);
        Ok(new)
    }

    /// When a container was last started, in seconds since the epoch.
    async fn started(&self, id: &str) -> io::Result<i64> {
        let item = self.json(&format!("/containers/{id}/json")).await?;
        let at =
            item["State"]["StartedAt"].as_str().and_then(|at| at.parse::<backstay_types::Timestamp>().ok());
        Ok(at.map_or(0, backstay_types::Timestamp::as_second))
    }

    async fn json(&self, path: &str) -> io::Result<Value> {
        let (status, body) = self.ask(Method::GET, path, None).await?;
        if status.is_success() { Ok(serde_json::from_slice(&body)?) } else { Err(refused(status, &body)) }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> io::Result<(StatusCode, Bytes)> {
        timeout(PATIENCE, self.ask_patiently(method, path, body))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")))
    }

    async fn ask_patiently(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<(StatusCode, Bytes)> {
        let other = |error: hyper::Error| io::Error::other(error);
        let socket = self.socket.as_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "DOCKER_HOST must be a socket, unix://…")
        })?;
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", socket.display())))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{VERSION}{path}"))
            .header("host", "docker")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(io::Error::other)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(other)?;
            let status = response.status();
            let body =
                Limited::new(response.into_body(), ANSWER).collect().await.map_err(io::Error::other)?;
            Ok((status, body.to_bytes()))
        };
        // The connection works only while it is polled; it ends when the exchange does.
        tokio::select! {
            answer = exchange => answer,
            ended = async { let _ = connection.await; std::future::pending::<()>().await } => { let () = ended; Err(io::ErrorKind::UnexpectedEof.into()) }
        }
    }
}

/// A time as the engine reads it, to the nanosecond.
fn since(at: Timestamp) -> String {
    format!("{}.{:09}", at.as_second(), at.subsec_nanosecond())
}

fn list_path(filter: &Value) -> String {
    format!("/containers/json?all=1&filters={}", encoded(&filter.to_string()))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn label<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item["Labels"][name].as_str()
}

fn container(item: &Value) -> Container {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = item["Status"].as_str().unwrap_or_default();
    let health = [("(healthy)", "healthy"), ("(unhealthy)", "unhealthy"), ("(health: starting)", "starting")];
    let health = health.iter().find(|(mark, _)| status.contains(mark)).map(|(_, word)| (*word).to_owned());
    Container {
        service: label(item, "com.docker.compose.service").unwrap_or_default().to_owned(),
        id: text(&item["Id"]),
        name: text(&item["Names"][0]).trim_start_matches('/').to_owned(),
        image: ImageId(text(&item["ImageID"])),
        running: item["State"].as_str() == Some("running"),
        health,
        deployment: label(item, "dev.backstay.deployment").and_then(|id| id.parse().ok()),
    }
}

/// Which of some volumes a container mounts.
fn mounting(item: &Value, volumes: &BTreeSet<String>) -> Vec<Mounting> {
    let name = item["Names"][0].as_str().unwrap_or_default().trim_start_matches('/');
    let dir = label(item, "com.docker.compose.project.working_dir");
    let mounted = items(&item["Mounts"]).filter_map(|mount| mount["Name"].as_str());
    // The engine takes a folder in the container for a volume's name too.
    let meant = mounted.filter(|volume| volumes.contains(*volume));
    meant
        .map(|volume| Mounting {
            name: name.to_owned(),
            volume: volume.to_owned(),
            project: label(item, "com.docker.compose.project").map(str::to_owned),
            stack: label(item, "dev.backstay.stack").map(str::to_owned).zip(dir.map(PathBuf::from)),
            running: matches!(item["State"].as_str(), Some("running" | "paused" | "restarting")),
        })
        .collect()
}

fn bound_mounts(item: &Value) -> Vec<BoundMount> {
    let service = label(item, "com.docker.compose.service").unwrap_or_default();
    let bound = items(&item["Mounts"]).filter(|mount| mount["Type"] == "bind");
    bound
        .filter_map(|mount| {
            Some(BoundMount {
                service: service.to_owned(),
                target: mount["Destination"].as_str()?.to_owned(),
                source: mount["Source"].as_str()?.to_owned(),
            })
        })
        .collect()
}

/// Splits a log as the engine sends it: frames of 8 bytes' head, or plain text from a terminal.
fn log_lines(service: &str, body: &[u8]) -> Vec<LogLine> {
    let text = unframed(body);
    let line = |line: &str| {
        let (at, text) = match line.split_once(' ') {
            Some((at, text)) => match at.parse() {
                Ok(at) => (Some(at), text),
                Err(_) => (None, line),
            },
            None => (None, line),
        };
        LogLine { service: service.to_owned(), at, text: text.trim_end_matches('\r').to_owned() }
    };
    String::from_utf8_lossy(&text).lines().map(line).collect()
}

fn unframed(body: &[u8]) -> Vec<u8> {
    let mut rest = body;
    let mut text = Vec::with_capacity(body.len());
    while let [0..=2, 0, 0, 0, a, b, c, d, tail @ ..] = rest {
        let len = (u32::from_be_bytes([*a, *b, *c, *d]) as usize).min(tail.len());
        text.extend_from_slice(&tail[..len]);
        rest = &tail[len..];
    }
    text.extend_from_slice(rest);
    text
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn refused(status: StatusCode, body: &[u8]) -> io::Error {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.as_ref().and_then(|said| said["message"].as_str()).unwrap_or_default();
    io::Error::other(format!("status {status}: {said}"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Where a volume's content is. Its mount point shows it at any time only when nothing has to be mounted there first: one
/// that is bound to a folder has it in that folder, and of others (NFS, tmpfs, plug-ins) nobody knows while no container
/// runs.
fn content_of(name: &str, item: &Value) -> io::Result<PathBuf> {
    let refuse =
        |why: String| Err(io::Error::other(format!("volume `{name}` {why}: save it by a `command` item")));
    let option = |key: &str| item["Options"][key].as_str().filter(|value| !value.is_empty());
    let mountpoint = item["Mountpoint"].as_str().filter(|path| !path.is_empty()).map(PathBuf::from);
    match item["Driver"].as_str() {
        Some("local") | None => {}
        Some(driver) => {
            return refuse(format!("has the driver `{driver}`, of which it is not known where data is"));
        }
    }
    let is_bound = option("o").is_some_and(|o| o.split(',').any(|word| word == "bind" || word == "rbind"));
    match (option("device"), is_bound) {
        (Some(device), true) if device.starts_with('/') => Ok(PathBuf::from(device)),
        (Some(device), _) => refuse(format!("is mounted from `{device}` only while a container uses it")),
        (None, _) => match mountpoint {
            Some(path) => Ok(path),
            None => refuse("has no mount point".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framed_and_plain_logs_are_read() {
        let mut body = vec![1, 0, 0, 0, 0, 0, 0, 35];
        body.extend_from_slice(b"2026-11-20T10:00:00.000000000Z hi!\n");
        body.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 6]);
        body.extend_from_slice(b"plain\n");
        let lines = log_lines("web", &body);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].text.as_str(), lines[0].at.is_some()), ("hi!", true));
        assert_eq!((lines[1].text.as_str(), lines[1].at), ("plain", None));
    }

    #[test]
    fn a_container_is_read_from_a_listing() {
        let item = json!({
            "Id": "abc", "Names": ["/shop-web-1"], "ImageID": "sha256:1", "State": "running",
            "Status": "Up 2 seconds (health: starting)",
            "Labels": { "com.docker.compose.service": "web", "dev.backstay.deployment": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b" },
        });
        let container = container(&item);
        assert_eq!((container.service.as_str(), container.name.as_str()), ("web", "shop-web-1"));
        assert_eq!(container.health.as_deref(), Some("starting"));
        assert!(container.running && container.deployment.is_some());
    }

    #[test]
    fn a_volumes_content_is_where_it_is_at_any_time() {
        let at = |options: Value| {
            content_of("v", &json!({ "Driver": "local", "Mountpoint": "/d/v/_data", "Options": options }))
                .map_err(|error| error.to_string())
        };
        assert_eq!(at(Value::Null), Ok("/d/v/_data".into()));
        assert_eq!(at(json!({})), Ok("/d/v/_data".into()));
        assert_eq!(at(json!({ "o": "size=1g" })), Ok("/d/v/_data".into()));
        let bound = json!({ "type": "none", "o": "rw,bind", "device": "/srv/photos" });
        assert_eq!(at(bound), Ok("/srv/photos".into()));
        let nfs = json!({ "type": "nfs", "o": "addr=10.0.0.1,rw", "device": ":/export" });
        assert!(at(nfs).unwrap_err().contains("`:/export` only while"));
        assert!(at(json!({ "type": "tmpfs", "device": "tmpfs" })).is_err());
        let other = json!({ "Driver": "rclone", "Mountpoint": "/x" });
        assert!(content_of("v", &other).unwrap_err().to_string().contains("rclone"));
    }
}
