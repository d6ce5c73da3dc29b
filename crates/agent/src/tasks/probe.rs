//! Asking a probe once.

use std::{collections::BTreeMap, process::Stdio};

use backstay_agent_core::Prepared;
use backstay_manifest::{LogPattern, Probe, ProbeKind, Variables, interpolate::expand};
use backstay_types::{Secret, StackName, TreeDigest};
use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{net::TcpStream, process::Command, time::timeout};
use url::Url;

use crate::{
    child,
    disk::Layout,
    runtime::{LogsWanted, Runtimes},
    step::read_rendered,
};

/// So many lines of a log are searched.
const LOG_LINES: usize = 10_000;

/// Asks the probes of one stack.
#[derive(Debug)]
pub(crate) struct Asker<'a> {
    layout: &'a Layout,
    stack: &'a StackName,
    tree: TreeDigest,
    prepared: &'a Prepared,
    variables: BTreeMap<String, Secret>,
    scope: Variables,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(
        layout: &'a Layout,
        stack: &'a StackName,
        tree: TreeDigest,
        prepared: &'a Prepared,
    ) -> Self {
        let variables = read_rendered(layout, stack, tree);
        let scope = Variables::complete(variables.clone());
        Self { layout, stack, tree, prepared, variables, scope }
    }

    /// Asks once; an error says what the answer was.
    pub(crate) async fn ask(&self, probe: &Probe) -> Result<(), String> {
        let asked = async {
            match &probe.kind {
                ProbeKind::Container => self.containers().await,
                ProbeKind::Http { url, status } => http(&self.expand(url)?, *status).await,
                ProbeKind::Tcp { address } => {
                    let address = self.expand(address)?;
                    TcpStream::connect(&address).await.map(drop).map_err(|error| error.to_string())
                }
                ProbeKind::Command { argv } => self.command(argv).await,
                ProbeKind::Systemd { unit } => systemd(&self.expand(unit)?).await,
                ProbeKind::Log { pattern, service } => self.log(pattern, service.as_deref()).await,
            }
        };
        let late = || format!("no answer within {}", backstay_manifest::format_duration(probe.timeout));
        timeout(probe.timeout, asked).await.unwrap_or_else(|_| Err(late()))
    }

    fn expand(&self, text: &str) -> Result<String, String> {
        expand(text, &self.scope).map_err(|error| error.to_string())
    }

    async fn containers(&self) -> Result<(), String> {
        let runtime = Runtimes::new(&self.prepared.runtime).map_err(|failed| failed.reason)?;
        let containers = runtime
            .observe(self.layout, self.stack, self.prepared)
            .await
            .map_err(|error| error.to_string())?;
        for name in self.prepared.services.keys() {
            let mut mine = containers.iter().filter(|c| &c.service == name).peekable();
            if mine.peek().is_none() {
                return Err(format!("`{name}` has no container"));
            }
            for container in mine {
                match container.health.as_deref() {
                    _ if !container.running => return Err(format!("`{name}` does not run")),
                    None | Some("healthy") => {}
                    Some(health) => return Err(format!("`{name}` is {health}")),
                }
            }
        }
        Ok(())
    }

    async fn command(&self, argv: &[String]) -> Result<(), String> {
        let argv = argv.iter().map(|part| self.expand(part)).collect::<Result<Vec<_>, _>>()?;
        let (program, arguments) = argv.split_first().ok_or("there is no command")?;
        let dir = self.layout.release(self.stack, self.tree);
        let program = if program.contains('/') { dir.join(program) } else { program.into() };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&dir).env_clear().env("PATH", child::PATH);
        command.envs(self.variables.iter().map(|(name, value)| (name, value.expose())));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let mut running = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
        let _group = Group(running.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        match running.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("it ended with {status}")),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn log(&self, pattern: &LogPattern, service: Option<&str>) -> Result<(), String> {
        let runtime = Runtimes::new(&self.prepared.runtime).map_err(|failed| failed.reason)?;
        let wanted = LogsWanted { service, lines: LOG_LINES, since_start: true };
        let lines = runtime.logs(self.layout, self.stack, self.prepared, wanted).await;
        let lines = lines.map_err(|error| error.to_string())?;
        let found = lines.iter().any(|line| pattern.matches(&line.text));
        if found { Ok(()) } else { Err("it was not logged".to_owned()) }
    }
}

/// Kills what a command left behind.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Asks systemd by its own command: a unit that is loading or reloading is told apart from one that failed.
async fn systemd(unit: &str) -> Result<(), String> {
    // It comes from a value of the node.
    if unit.starts_with('-') {
        return Err(format!("`{unit}` is not the name of a unit"));
    }
    let mut command = Command::new("systemctl");
    command.args(["is-active", unit]).env_clear().envs(child::environment()).env("LC_ALL", "C");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| format!("systemctl: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("not active");
    Err(format!("`{unit}` is {first}"))
}

async fn http(url: &str, wanted: Option<u16>) -> Result<(), String> {
    let url = Url::parse(url).map_err(|error| format!("`{url}`: {error}"))?;
    let status = match url.scheme() {
        "http" => plain_http(&url).await?,
        _ => https(url.clone()).await?,
    };
    let good = wanted.map_or((200..400).contains(&status), |wanted| status == wanted);
    if good { Ok(()) } else { Err(format!("status {status}")) }
}

/// A GET with the system's certificates; slower to set up, so only where it is needed.
async fn https(url: Url) -> Result<u16, String> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
    let response = client.map_err(|error| error.to_string())?.get(url).send().await;
    response.map(|response| response.status().as_u16()).map_err(|error| error.without_url().to_string())
}

/// A GET over a connection of its own: what keeps answering on an old one may no longer accept new ones.
async fn plain_http(url: &Url) -> Result<u16, String> {
    let host = url.host_str().ok_or("the address has no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    let stream =
        TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path)
        .header("host", format!("{host}:{port}"))
        .header("user-agent", concat!("backstay-agent/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string());
    connection.abort();
    response.map(|response| response.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_unit_that_is_not_active_is_named() {
        // With systemd or without: there is no such unit.
        let said = systemd("backstay-not-there.service").await.unwrap_err();
        assert!(said.contains("backstay-not-there.service") || said.starts_with("systemctl: "), "{said}");
        assert!(systemd("--version").await.is_err(), "an option is no unit");
    }
}
