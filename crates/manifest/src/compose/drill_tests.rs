use core::net::{IpAddr, Ipv4Addr};

use super::*;

fn input() -> DrillInput {
    DrillInput {
        project: "shop-drill-1".to_owned(),
        volumes: "/scratch/volumes".to_owned(),
        host: "/scratch/host".to_owned(),
        saved: vec!["/data/stacks/shop/state".to_owned(), "/srv/photos/2026".to_owned()],
        tracked: vec!["/data/stacks/shop/mounts".to_owned()],
        labels: BTreeMap::from([("dev.backstay.drill".to_owned(), "/scratch".to_owned())]),
    }
}

fn kind(path: &str) -> HostPath {
    match path {
        "/var/run/docker.sock" => HostPath::Other,
        "/etc/localtime" => HostPath::File,
        "/gone" => HostPath::Absent,
        _ => HostPath::Folder,
    }
}

fn made(services: Value) -> Result<(Value, DrillDocument), String> {
    let rendered = json!({
        "name": "shop", "services": services,
        "networks": { "default": { "name": "shop_default", "ipam": {} }, "proxy": { "external": true, "name": "proxy" } },
        "volumes": { "data": { "name": "shop_data" }, "old": { "external": true, "name": "old" } },
    });
    let document = drill_document(&rendered, &input(), &kind)?;
    Ok((serde_json::from_str(&document.text).unwrap(), document))
}

#[test]
fn all_that_reaches_beyond_the_project_is_replaced() {
    let bind = |source: &str, read_only: bool| json!({ "type": "bind", "source": source, "target": "/x", "read_only": read_only });
    let (text, document) = made(json!({
        "web": {
            "image": "sha256:1", "container_name": "web", "hostname": "web", "restart": "always",
            "labels": { "traefik.enable": "true", "dev.backstay.stack": "shop" },
            "logging": { "driver": "gelf" }, "deploy": { "replicas": 3 }, "build": { "context": "/x" },
            "ports": [
                { "mode": "ingress", "host_ip": "127.0.0.1", "target": 80, "published": "8080", "protocol": "tcp" },
                { "mode": "ingress", "target": 53, "published": "53", "protocol": "udp" },
            ],
            "networks": { "default": { "aliases": ["www"], "ipv4_address": "10.0.0.3" }, "proxy": null },
            "volumes": [
                { "type": "volume", "source": "data", "target": "/data" },
                bind("/data/stacks/shop/state/files", false),
                bind("/data/stacks/shop/mounts/abc/conf", false),
                bind("/srv", false),
                bind("/srv/photos/2026/may", false),
                bind("/opt/cache", false),
                bind("/opt/fonts", true),
                bind("/etc/localtime", false),
                bind("/gone", true),
            ],
        },
        "side": { "image": "sha256:2", "network_mode": "service:web", "ports": [{ "target": 81, "published": "8081" }] },
        "alone": { "image": "sha256:3", "network_mode": "none" },
    }))
    .unwrap();
    let web = &text["services"]["web"];
    for gone in ["container_name", "logging", "deploy", "build", "ports"] {
        assert!(web[gone].is_null(), "{gone}: {web}");
    }
    assert_eq!((&web["restart"], &web["hostname"]), (&json!("no"), &json!("web")));
    assert_eq!(web["labels"], json!({ "dev.backstay.drill": "/scratch" }), "nobody finds it by its labels");
    assert_eq!(web["networks"], json!({ "default": { "aliases": ["www"] }, "proxy": null }));
    let inner = json!({ "internal": true, "labels": { "dev.backstay.drill": "/scratch" } });
    assert_eq!(
        text["networks"],
        json!({ "default": inner, "proxy": inner }),
        "no way out, and nobody else's"
    );
    assert_eq!(text["volumes"]["old"]["driver_opts"]["device"], "/scratch/volumes/old");
    assert!(text["volumes"]["data"]["name"].is_null() && text["volumes"]["old"]["external"].is_null());
    let mounts = web["volumes"].as_array().unwrap();
    let seen: Vec<_> = mounts
        .iter()
        .map(|one| (one["source"].as_str().unwrap(), one["read_only"].as_bool().unwrap_or_default()))
        .collect();
    assert_eq!(
        seen,
        [
            ("data", false),
            ("/scratch/host/data/stacks/shop/state/files", false),
            ("/data/stacks/shop/mounts/abc/conf", true),
            ("/scratch/host/srv", false),
            ("/scratch/host/srv/photos/2026/may", false),
            ("/scratch/host/opt/cache", false),
            ("/opt/fonts", true),
            ("/etc/localtime", true),
            ("/scratch/host/gone", true),
        ]
    );
    assert!(document.folders.contains(&"/scratch/host/opt/cache".to_owned()));
    let port = |published, target, address: &str| DrillPort {
        service: "web".to_owned(),
        published,
        target,
        address: address.to_owned(),
    };
    assert_eq!(document.ports, [port(8081, 81, ""), port(8080, 80, "127.0.0.1")]);
    assert_eq!(text["services"]["alone"]["network_mode"], "none");
    assert!(text["services"]["alone"]["networks"].is_null());
}

#[test]
fn what_cannot_be_cut_off_is_not_started() {
    for (service, says) in [
        (json!({ "network_mode": "host" }), "`host`"),
        (json!({ "network_mode": "container:other" }), "`container:other`"),
        (json!({ "privileged": true }), "`privileged`"),
        (json!({ "pid": "host" }), "`pid`"),
        (json!({ "devices": [{ "source": "/dev/ttyUSB0" }] }), "`devices`"),
        (json!({ "cap_add": ["NET_ADMIN", "CAP_SYS_ADMIN"] }), "CAP_SYS_ADMIN"),
        (json!({ "use_api_socket": true }), "`use_api_socket`"),
        (
            json!({ "volumes": [{ "type": "bind", "source": "/var/run/docker.sock", "read_only": true }] }),
            "reaches others",
        ),
        (json!({ "volumes": [{ "type": "bind", "source": "/run/", "read_only": true }] }), "others listen"),
        (json!({ "volumes": [{ "type": "npipe", "source": "x" }] }), "`npipe`"),
    ] {
        let error = made(json!({ "web": service })).unwrap_err();
        assert!(error.contains(says) && error.contains("`web`"), "{service}: {error}");
    }
    let harmless = json!({ "privileged": false, "devices": [], "cap_add": ["NET_ADMIN"], "ipc": "private" });
    assert!(made(json!({ "web": harmless })).is_ok());
    let rendered = json!({ "services": {}, "secrets": { "key": { "external": true, "name": "key" } } });
    assert!(drill_document(&rendered, &input(), &kind).unwrap_err().contains("`key`"));
}

#[test]
fn probes_ask_what_was_started_and_nothing_else() {
    let ip = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 2));
    let find = |host: &str, port: u16| (host == "127.0.0.1" && port == 8080).then_some((ip, 80));
    let http = |url: &str| drill_probe(&ProbeKind::Http { url: url.to_owned(), status: Some(204) }, &find);
    assert_eq!(
        http("http://127.0.0.1:8080/health?a=b").unwrap(),
        ProbeKind::Http { url: "http://172.18.0.2/health?a=b".to_owned(), status: Some(204) }
    );
    assert!(http("http://127.0.0.1:9090/").unwrap_err().contains("publishes"), "another stack's");
    assert!(http("http://shop.example/").is_err() && http("https://127.0.0.1:8080/").is_err());
    let tcp = |address: &str| drill_probe(&ProbeKind::Tcp { address: address.to_owned() }, &find);
    assert_eq!(tcp("127.0.0.1:8080").unwrap(), ProbeKind::Tcp { address: "172.18.0.2:80".to_owned() });
    assert!(tcp("db:5432").is_err());
    assert!(drill_probe(&ProbeKind::Command { argv: vec!["x".to_owned()] }, &find).is_err());
    assert_eq!(drill_probe(&ProbeKind::Container, &find), Ok(ProbeKind::Container));
}
