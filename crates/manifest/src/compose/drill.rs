//! The document by which a stack is started once more for a drill: with data of scratch, beside the one that runs.
//!
//! What Compose made of the release is taken, and everything in it that reaches beyond the project is replaced or refused:
//! volumes and writable folders become scratch, networks have no way out, ports are not published, labels by which others
//! find services are gone. What cannot be cut off keeps the stack from being started.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use url::Url;

use crate::ProbeKind;

/// What a document is made from.
#[derive(Debug, Clone, Default)]
pub struct DrillInput {
    /// The project's name.
    pub project: String,
    /// A folder; each named volume is a folder of its name in it.
    pub volumes: String,
    /// A folder that stands for the machine's own: `/srv/x` is `srv/x` in it.
    pub host: String,
    /// Absolute paths of the machine with restored data, the stack's state folder among them.
    pub saved: Vec<String>,
    /// Absolute folders with what comes from Git: seen as they are, and never written to.
    pub tracked: Vec<String>,
    /// Labels of all that is made.
    pub labels: BTreeMap<String, String>,
}

/// What a path of the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPath {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A socket, a device or the like: whoever is there would be reached through it.
    Other,
    /// Nothing.
    Absent,
}

/// A stack, ready to be started once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillDocument {
    /// The Compose file: YAML in JSON's syntax.
    pub text: String,
    /// Folders of scratch that must be there.
    pub folders: Vec<String>,
    /// What the stack publishes; the drill publishes none of it.
    pub ports: Vec<DrillPort>,
}

/// A port that a service publishes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DrillPort {
    /// The service; where it shares another one's network, that one.
    pub service: String,
    /// Its port on the machine.
    pub published: u16,
    /// Its port in the container.
    pub target: u16,
    /// The address of the machine that it is published at; empty for all.
    pub address: String,
}

/// Keys of a service that have no place in a drill.
const DROPPED: [&str; 13] = [
    "annotations",
    "build",
    "container_name",
    "deploy",
    "develop",
    "external_links",
    "labels",
    "logging",
    "mac_address",
    "ports",
    "profiles",
    "pull_policy",
    "scale",
];
/// Keys of a service that reach the machine itself, with what is harmless.
const REACHING: [(&str, &[&str]); 13] = [
    ("cgroup", &["private"]),
    ("cgroup_parent", &[]),
    ("device_cgroup_rules", &[]),
    ("devices", &[]),
    ("gpus", &[]),
    ("ipc", &["none", "private", "shareable"]),
    ("pid", &[]),
    ("privileged", &["false"]),
    ("provider", &[]),
    ("use_api_socket", &["false"]),
    ("userns_mode", &[]),
    ("uts", &[]),
    ("volumes_from", &[]),
];
/// Capabilities that reach the machine itself.
const CAPABILITIES: [&str; 8] =
    ["ALL", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_TIME", "BPF"];
/// Folders that hold what others listen at.
const LISTENED: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/var/run"];
/// The same, and folders above them.
const CROWDED: [&str; 7] = ["/", "/dev", "/proc", "/run", "/sys", "/var", "/var/run"];

/// Makes the document of what Compose rendered (`config --format json`).
///
/// # Errors
/// Why the stack cannot be started once more without reaching what is not its own, in words.
pub fn drill_document(
    rendered: &Value,
    input: &DrillInput,
    look: &dyn Fn(&str) -> HostPath,
) -> Result<DrillDocument, String> {
    let mut making = Making { input, look, folders: BTreeSet::new(), networks: BTreeSet::new() };
    let none = Map::new();
    let all = rendered["services"].as_object().unwrap_or(&none);
    let mut services = Map::new();
    for (name, service) in all {
        let service = service.as_object().unwrap_or(&none);
        services.insert(name.clone(), making.service(name, service)?);
    }
    let mut document = json!({ "name": input.project, "services": services });
    let volumes = rendered["volumes"].as_object().unwrap_or(&none);
    let volumes: Map<_, _> = volumes.keys().map(|name| (name.clone(), making.volume(name))).collect();
    let networks = making.networks.iter();
    let networks: Map<_, _> =
        networks.map(|name| (name.clone(), json!({ "internal": true, "labels": input.labels }))).collect();
    for (key, value) in [("volumes", volumes), ("networks", networks)] {
        if !value.is_empty() {
            document[key] = value.into();
        }
    }
    for key in ["secrets", "configs"] {
        if let Some(sources) = rendered[key].as_object().filter(|sources| !sources.is_empty()) {
            document[key] = making.sources(sources)?;
        }
    }
    let ports = ports(all);
    Ok(DrillDocument { text: document.to_string(), folders: making.folders.into_iter().collect(), ports })
}

struct Making<'a> {
    input: &'a DrillInput,
    look: &'a dyn Fn(&str) -> HostPath,
    folders: BTreeSet<String>,
    networks: BTreeSet<String>,
}

impl Making<'_> {
    fn service(&mut self, name: &str, service: &Map<String, Value>) -> Result<Value, String> {
        check(name, service)?;
        let mut made = service.clone();
        for key in DROPPED {
            made.remove(key);
        }
        made.insert("labels".to_owned(), json!(self.input.labels));
        made.insert("restart".to_owned(), "no".into());
        made.insert("stop_grace_period".to_owned(), "1s".into());
        self.network(name, service, &mut made)?;
        if let Some(volumes) = service.get("volumes").and_then(Value::as_array) {
            let mut own = Vec::new();
            for volume in volumes {
                own.push(self.mount(name, volume)?);
            }
            made.insert("volumes".to_owned(), own.into());
        }
        Ok(made.into())
    }

    /// Its own networks, under the names that it knows, without a way out.
    fn network(
        &mut self,
        name: &str,
        service: &Map<String, Value>,
        made: &mut Map<String, Value>,
    ) -> Result<(), String> {
        match service.get("network_mode").and_then(Value::as_str) {
            Some(mode) if mode == "none" || mode.starts_with("service:") => return Ok(()),
            None | Some("bridge" | "default") => {}
            Some(mode) => return Err(format!("service `{name}` has the network of another (`{mode}`)")),
        }
        made.remove("network_mode");
        let none = Map::new();
        let known = service.get("networks").and_then(Value::as_object).unwrap_or(&none);
        let mut own = Map::new();
        for (network, settings) in known {
            let aliases = settings.get("aliases").cloned();
            own.insert(network.clone(), aliases.map_or(Value::Null, |aliases| json!({ "aliases": aliases })));
        }
        if own.is_empty() {
            own.insert("default".to_owned(), Value::Null);
        }
        self.networks.extend(own.keys().cloned());
        made.insert("networks".to_owned(), own.into());
        Ok(())
    }

    fn mount(&mut self, service: &str, mount: &Value) -> Result<Value, String> {
        match mount["type"].as_str().unwrap_or_default() {
            "volume" | "tmpfs" => Ok(mount.clone()),
            "bind" => self.bind(service, mount),
            other => Err(format!("service `{service}` has a mount of the kind `{other}`")),
        }
    }

    fn bind(&mut self, service: &str, mount: &Value) -> Result<Value, String> {
        let source = mount["source"].as_str().unwrap_or_default();
        let read_only = mount["read_only"].as_bool().unwrap_or_default();
        let mut made = mount.clone();
        let Some(object) = made.as_object_mut() else { return Ok(made) };
        if self.input.tracked.iter().any(|folder| is_in(source, folder)) {
            object.insert("read_only".to_owned(), true.into());
            return Ok(made);
        }
        let is_saved = |saved: &String| is_in(source, saved) || is_in(saved, source);
        let kind = (self.look)(source);
        let refused = |what: &str| Err(format!("service `{service}` mounts {source} of the node, {what}"));
        if self.input.saved.iter().any(is_saved) {
            object.insert("source".to_owned(), format!("{}{source}", self.input.host).into());
            return Ok(made);
        }
        match kind {
            HostPath::Other => return refused("through which it reaches others"),
            _ if CROWDED
                .iter()
                .any(|crowded| source.trim_end_matches('/') == crowded.trim_end_matches('/')) =>
            {
                return refused("where others listen");
            }
            HostPath::File => {
                object.insert("read_only".to_owned(), true.into());
            }
            // A socket in it is listened at all the same.
            HostPath::Folder if read_only && LISTENED.iter().any(|folder| is_in(source, folder)) => {
                return refused("where others listen");
            }
            HostPath::Folder if read_only => {}
            // It was not saved: it is there, and empty.
            HostPath::Folder | HostPath::Absent => {
                let own = format!("{}{source}", self.input.host);
                self.folders.insert(own.clone());
                object.insert("source".to_owned(), own.into());
            }
        }
        Ok(made)
    }

    fn volume(&mut self, name: &str) -> Value {
        let device = format!("{}/{name}", self.input.volumes);
        self.folders.insert(device.clone());
        // A volume rather than a mount of the folder: what an image has there comes into an empty one, as it always does.
        json!({
            "driver": "local", "labels": self.input.labels,
            "driver_opts": { "type": "none", "o": "bind", "device": device },
        })
    }

    fn sources(&self, sources: &Map<String, Value>) -> Result<Value, String> {
        let mut made = Map::new();
        for (name, source) in sources {
            if source["external"].as_bool() == Some(true) {
                return Err(format!("`{name}` is kept outside of the stack"));
            }
            let mut own = source.clone();
            if let Some(object) = own.as_object_mut() {
                object.remove("name");
                let file = object.get("file").and_then(Value::as_str).unwrap_or_default().to_owned();
                if self.input.saved.iter().any(|saved| is_in(&file, saved)) {
                    object.insert("file".to_owned(), format!("{}{file}", self.input.host).into());
                }
            }
            made.insert(name.clone(), own);
        }
        Ok(made.into())
    }
}

/// What a service must not have.
fn check(name: &str, service: &Map<String, Value>) -> Result<(), String> {
    for (key, harmless) in REACHING {
        let said = match service.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(list)) if list.is_empty() => continue,
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        if !said.is_empty() && !harmless.contains(&said.as_str()) {
            return Err(format!("service `{name}` reaches the node itself (`{key}`)"));
        }
    }
    let capabilities =
        service.get("cap_add").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for capability in capabilities.iter().filter_map(Value::as_str) {
        let plain = capability.to_ascii_uppercase();
        if CAPABILITIES.contains(&plain.trim_start_matches("CAP_")) {
            return Err(format!("service `{name}` reaches the node itself (`cap_add: {capability}`)"));
        }
    }
    Ok(())
}

/// Whether a path is a folder, or in it.
fn is_in(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn ports(services: &Map<String, Value>) -> Vec<DrillPort> {
    let mut found = Vec::new();
    for (name, service) in services {
        let of = service["network_mode"].as_str().and_then(|mode| mode.strip_prefix("service:"));
        let ports = service["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        for port in ports.iter().filter(|port| port["protocol"].as_str() != Some("udp")) {
            let published = match &port["published"] {
                Value::String(text) => text.parse().ok(),
                other => other.as_u64().and_then(|number| u16::try_from(number).ok()),
            };
            let target = port["target"].as_u64().and_then(|number| u16::try_from(number).ok());
            let Some((published, target)) = published.zip(target) else { continue };
            let address = port["host_ip"].as_str().unwrap_or_default().to_owned();
            found.push(DrillPort { service: of.unwrap_or(name).to_owned(), published, target, address });
        }
    }
    found
}

/// Address and port of what stands for a port of the machine, by the address that a probe asks there.
pub type FindPort<'a> = dyn Fn(&str, u16) -> Option<(core::net::IpAddr, u16)> + 'a;

/// A probe, asked of the drill instead of the stack that runs; an error says why it cannot be. `find` gives address and port
/// of what stands for a port of the machine.
///
/// # Errors
/// Why it cannot be asked, in words.
pub fn drill_probe(kind: &ProbeKind, find: &FindPort<'_>) -> Result<ProbeKind, String> {
    let other = |what: &str| Err(format!("{what} is not a port that the stack publishes"));
    match kind {
        ProbeKind::Container | ProbeKind::Log { .. } => Ok(kind.clone()),
        ProbeKind::Command { .. } => Err("a command would ask the stack that runs".to_owned()),
        ProbeKind::Systemd { .. } => Err("it asks a unit of the node".to_owned()),
        ProbeKind::Tcp { address } => {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
            let found = port.parse().ok().and_then(|port| find(host.trim_matches(['[', ']']), port));
            let Some((ip, port)) = found else { return other(address) };
            Ok(ProbeKind::Tcp { address: core::net::SocketAddr::new(ip, port).to_string() })
        }
        ProbeKind::Http { url, status } => {
            let Ok(mut asked) = Url::parse(url) else { return other(url) };
            if asked.scheme() != "http" {
                return Err("its certificate is for another address".to_owned());
            }
            let host = asked.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let Some((ip, port)) = find(&host, asked.port_or_known_default().unwrap_or(80)) else {
                return other(url);
            };
            if asked.set_ip_host(ip).is_err() || asked.set_port(Some(port)).is_err() {
                return other(url);
            }
            Ok(ProbeKind::Http { url: asked.to_string(), status: *status })
        }
    }
}

#[cfg(test)]
#[path = "drill_tests.rs"]
mod tests;
