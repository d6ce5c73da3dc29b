//! Whether containers are set up as they were rendered: what Compose would make of the release now, against what the
//! engine shows. Pure; names are told, values never.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Says what its container was made from.
const HASH: &str = "com.docker.compose.config-hash";
/// Set by the engine or by Compose itself.
const OWN_VARIABLES: [&str; 2] = ["PATH", "HOSTNAME"];

/// A service as it should be.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// The service as `docker compose config --format json` renders it.
    pub(super) service: &'a Value,
    /// The whole of it, for the names of volumes.
    pub(super) document: &'a Value,
    /// Its hash by `docker compose config --hash`.
    pub(super) hash: &'a str,
    /// The image, as the engine shows it.
    pub(super) image: &'a Value,
}

/// How a container, as the engine shows it, differs from its service.
pub(super) fn differences(expected: &Expected<'_>, container: &Value) -> Vec<String> {
    let mut found = Vec::new();
    environment(expected, container, &mut found);
    mounts(expected, container, &mut found);
    ports(expected, container, &mut found);
    limits(expected, container, &mut found);
    if found.is_empty() && container["Config"]["Labels"][HASH].as_str() != Some(expected.hash) {
        found.push("it was made from another configuration".to_owned());
    }
    found
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn variables(list: &Value) -> BTreeMap<&str, &str> {
    items(list).iter().filter_map(|entry| entry.as_str()?.split_once('=')).collect()
}

fn environment(expected: &Expected<'_>, container: &Value, found: &mut Vec<String>) {
    let (has, image) = (variables(&container["Config"]["Env"]), variables(&expected.image["Config"]["Env"]));
    let empty = serde_json::Map::new();
    let wants = expected.service["environment"].as_object().unwrap_or(&empty);
    for (name, value) in wants {
        // Without a value it is taken from the shell of whoever started it, which was cleared.
        if value.is_null() {
            continue;
        }
        match has.get(name.as_str()) {
            None => found.push(format!("variable {name} is missing")),
            Some(is) if *is != text(value) => found.push(format!("variable {name} has another value")),
            Some(_) => {}
        }
    }
    for (name, value) in has {
        let known = wants.contains_key(name) || OWN_VARIABLES.contains(&name);
        if !known && image.get(name) != Some(&value) {
            found.push(format!("variable {name} was added"));
        }
    }
}

fn mounts(expected: &Expected<'_>, container: &Value, found: &mut Vec<String>) {
    let has: BTreeMap<&str, &Value> = items(&container["Mounts"])
        .iter()
        .filter_map(|mount| Some((mount["Destination"].as_str()?, mount)))
        .collect();
    let mut known = BTreeSet::new();
    for wanted in items(&expected.service["volumes"]) {
        let (Some(kind), Some(target)) = (wanted["type"].as_str(), wanted["target"].as_str()) else {
            continue;
        };
        known.insert(target);
        if !matches!(kind, "bind" | "volume") {
            continue;
        }
        let Some(mount) = has.get(target) else {
            found.push(format!("the mount at {target} is missing"));
            continue;
        };
        let source = wanted["source"].as_str().unwrap_or_default();
        let (is, should) = match kind {
            "bind" => (mount["Source"].as_str(), Some(source)),
            // An anonymous one has a name of the engine's own.
            _ if source.is_empty() => (None, None),
            _ => (mount["Name"].as_str(), expected.document["volumes"][source]["name"].as_str()),
        };
        if mount["Type"] != kind || is != should {
            found.push(format!("another place is mounted at {target}"));
        }
        let read_only = wanted["read_only"].as_bool().unwrap_or(false);
        if mount["RW"].as_bool() == Some(read_only) {
            let how = if read_only { "writable" } else { "read-only" };
            found.push(format!("the mount at {target} is {how}"));
        }
    }
    for (kind, base) in [("configs", "/"), ("secrets", "/run/secrets/")] {
        for wanted in items(&expected.service[kind]) {
            let target = wanted["target"].as_str().or_else(|| wanted["source"].as_str()).unwrap_or_default();
            known.insert(target);
            if !target.starts_with('/') && has.contains_key(format!("{base}{target}").as_str()) {
                let at = has.keys().find(|at| **at == format!("{base}{target}"));
                known.extend(at.copied());
            }
        }
    }
    for (target, mount) in &has {
        if mount["Type"] == "bind" && !known.contains(target) {
            found.push(format!("a mount at {target} was added"));
        }
    }
}

/// `80/tcp`, the address and the port of the host; both empty when the engine chooses.
type Port = (String, String, String);

fn ports(expected: &Expected<'_>, container: &Value, found: &mut Vec<String>) {
    let host = |address: String| if address == "0.0.0.0" { String::new() } else { address };
    let mut wants: BTreeSet<Port> = BTreeSet::new();
    for port in items(&expected.service["ports"]) {
        let protocol = port["protocol"].as_str().unwrap_or("tcp");
        let published = text(&port["published"]);
        if published.contains('-') {
            // One of a range: which one is the engine's choice.
            return;
        }
        wants.insert((
            format!("{}/{protocol}", text(&port["target"])),
            host(text(&port["host_ip"])),
            published,
        ));
    }
    let mut has: BTreeSet<Port> = BTreeSet::new();
    for (target, bindings) in container["HostConfig"]["PortBindings"].as_object().into_iter().flatten() {
        for binding in items(bindings) {
            let published = text(&binding["HostPort"]);
            let published = if published == "0" { String::new() } else { published };
            has.insert((target.clone(), host(text(&binding["HostIp"])), published));
        }
    }
    let show = |(target, host, published): &Port| match (host.is_empty(), published.is_empty()) {
        (true, true) => target.clone(),
        (true, false) => format!("{published}:{target}"),
        _ => format!("{host}:{published}:{target}"),
    };
    found.extend(wants.difference(&has).map(|port| format!("port {} is not published", show(port))));
    found.extend(has.difference(&wants).map(|port| format!("port {} was published", show(port))));
}

/// What can be changed while a container runs, and what gives it power over the host.
fn limits(expected: &Expected<'_>, container: &Value, found: &mut Vec<String>) {
    let (service, host) = (expected.service, &container["HostConfig"]);
    let limit = &service["deploy"]["resources"]["limits"];
    let number = |value: &Value| text(value).parse::<f64>().unwrap_or_default();
    let first = |one: &Value, other: &Value| if one.is_null() { number(other) } else { number(one) };
    let memory = first(&service["mem_limit"], &limit["memory"]);
    if memory != number(&host["Memory"]) {
        found.push(format!("its memory limit is {} bytes instead of {memory}", number(&host["Memory"])));
    }
    let cpus = first(&service["cpus"], &limit["cpus"]);
    let has = number(&host["NanoCpus"]) / 1e9;
    if (cpus - has).abs() > 1e-6 {
        found.push(format!("it may use {has} processors instead of {cpus} (0: no limit)"));
    }
    let word = |text: String| if text.is_empty() || text == "no" { "no".to_owned() } else { text };
    let restart = word(text(&service["restart"]));
    let restart = restart.split(':').next().unwrap_or("no");
    let has = word(text(&host["RestartPolicy"]["Name"]));
    // Without a word of its own, another part of the file may have set it.
    if !service["restart"].is_null() && has != restart {
        found.push(format!("its restart policy is `{has}` instead of `{restart}`"));
    }
    let privileged = service["privileged"].as_bool().unwrap_or(false);
    if host["Privileged"].as_bool().is_some_and(|is| is != privileged) {
        let how = if privileged { "not privileged any more" } else { "privileged" };
        found.push(format!("it is {how}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "services": { "web": {
                "environment": { "MODE": "prod", "PASSWORD": "hunter2", "FROM_SHELL": null },
                "volumes": [
                    { "type": "bind", "source": "/srv/mounts/abc/conf", "target": "/etc/conf", "read_only": true },
                    { "type": "volume", "source": "data", "target": "/data" },
                    { "type": "tmpfs", "target": "/tmp" },
                ],
                "configs": [{ "source": "extra", "target": "/etc/extra" }],
                "secrets": [{ "source": "key" }],
                "ports": [{ "mode": "ingress", "host_ip": "127.0.0.1", "target": 80, "published": "8080", "protocol": "tcp" }],
                "restart": "unless-stopped", "mem_limit": "268435456", "cpus": 0.5,
            } },
            "volumes": { "data": { "name": "shop_data" } },
        })
    }

    fn image() -> Value {
        json!({ "Config": { "Env": ["PATH=/bin", "VERSION=1"] } })
    }

    fn container() -> Value {
        json!({
            "Config": {
                "Env": ["PATH=/bin", "VERSION=1", "MODE=prod", "PASSWORD=hunter2"],
                "Labels": { "com.docker.compose.config-hash": "abc" },
            },
            "Mounts": [
                { "Type": "bind", "Source": "/srv/mounts/abc/conf", "Destination": "/etc/conf", "RW": false },
                { "Type": "volume", "Name": "shop_data", "Destination": "/data", "RW": true },
                { "Type": "bind", "Source": "/x", "Destination": "/etc/extra", "RW": false },
                { "Type": "bind", "Source": "/y", "Destination": "/run/secrets/key", "RW": false },
                { "Type": "volume", "Name": "0123", "Destination": "/var/cache", "RW": true },
            ],
            "HostConfig": {
                "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }] },
                "Memory": 268_435_456u64, "NanoCpus": 500_000_000u64, "Privileged": false,
                "RestartPolicy": { "Name": "unless-stopped" },
            },
        })
    }

    fn found(container: &Value) -> Vec<String> {
        let (document, image) = (document(), image());
        let service = &document["services"]["web"];
        differences(&Expected { service, document: &document, hash: "abc", image: &image }, container)
    }

    #[test]
    fn a_container_as_it_was_rendered_does_not_differ() {
        assert_eq!(found(&container()), Vec::<String>::new());
    }

    #[test]
    fn what_differs_is_named_and_no_value_is_told() {
        let cases: [(&str, Value, &str); 9] = [
            (
                "/Config/Env",
                json!(["PATH=/bin", "MODE=prod", "PASSWORD=s3same"]),
                "variable PASSWORD has another value",
            ),
            (
                "/Config/Env",
                json!(["MODE=prod", "PASSWORD=hunter2", "LD_PRELOAD=/x"]),
                "variable LD_PRELOAD was added",
            ),
            ("/Config/Env", json!(["PASSWORD=hunter2"]), "variable MODE is missing"),
            ("/Mounts/0/Source", json!("/etc"), "another place is mounted at /etc/conf"),
            ("/Mounts/0/RW", json!(true), "the mount at /etc/conf is writable"),
            (
                "/Mounts/4",
                json!({ "Type": "bind", "Source": "/", "Destination": "/host" }),
                "a mount at /host was added",
            ),
            ("/HostConfig/PortBindings", json!({}), "port 127.0.0.1:8080:80/tcp is not published"),
            ("/HostConfig/Memory", json!(0), "its memory limit is 0 bytes instead of 268435456"),
            ("/HostConfig/Privileged", json!(true), "it is privileged"),
        ];
        for (at, value, expected) in cases {
            let mut container = container();
            *container.pointer_mut(at).unwrap() = value;
            let found = found(&container);
            assert_eq!(found, [expected], "{at}");
            assert!(!found[0].contains("hunter2") && !found[0].contains("s3same"));
        }
        let mut other = container();
        other["Config"]["Labels"] = json!({});
        assert_eq!(found(&other), ["it was made from another configuration"]);
    }
}
