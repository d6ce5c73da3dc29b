use std::collections::BTreeMap;

use backstay_types::{Digest, Secret, tree::Mode};
use proptest::prelude::*;

use super::*;
use crate::{Parts, code};

const FILE: &str = "stacks/web/compose.yaml";

fn node(pairs: &[(&str, &str)]) -> Variables {
    Variables::complete(pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect())
}

fn parse(text: &str) -> Result<Compose, Vec<Problem>> {
    Compose::parse(FILE, text.as_bytes(), &node(&[]))
}

fn tree(files: &[(&str, &str)]) -> Vec<TreeEntry> {
    let entry = |(path, content): &(&str, &str)| TreeEntry {
        path: (*path).to_owned(),
        mode: Mode::File,
        content: Digest::of(content.as_bytes()),
        len: content.len() as u64,
    };
    files.iter().map(entry).collect()
}

const FULL: &str = r"
name: shop
x-logging: &logging
  labels: { team: shop }
services:
  web:
    <<: *logging
    image: nginx:${TAG:-1.27}
    ports: ['8080:80', { published: 443, target: 443 }]
    depends_on: { db: { condition: service_healthy } }
    volumes:
      - ./config/nginx.conf:/etc/nginx/nginx.conf:ro
      - ./html:/usr/share/nginx/html:ro,z
      - ./data:/data
      - cache:/cache
      - /srv/big:/big
      - type: bind
        source: ./config
        target: /config
        read_only: true
        bind: { propagation: rprivate }
    configs: [app]
    secrets: [{ source: key, target: k }]
    env_file: [.env, { path: extra.env, required: false }]
  db:
    build: .
    healthcheck: { test: [CMD, 'true'] }
    labels: ['a=b', c]
    profiles: [debug]
configs:
  app: { file: ./config/app.json }
secrets:
  key: { file: ./secrets/key }
volumes:
  cache: { name: shared-cache }
";

fn full_tree() -> Vec<TreeEntry> {
    tree(&[
        ("compose.yaml", FULL),
        ("config/nginx.conf", "n"),
        ("config/app.json", "{}"),
        ("html/index.html", "hi"),
        ("data/.gitkeep", ""),
        ("extra.env", "A=1"),
    ])
}

#[test]
fn reads_what_must_be_known() {
    let compose = parse(FULL).unwrap();
    let web = &compose.services["web"];
    assert_eq!(compose.name.as_deref(), Some("shop"));
    assert_eq!(web.image.as_ref().unwrap().value, "nginx:1.27");
    assert_eq!(web.ports, ["8080:80", "443:443/tcp"]);
    assert_eq!(web.depends_on, ["db"]);
    assert_eq!(web.labels["team"], "shop");
    assert_eq!(web.volumes, [("cache".to_owned(), "/cache".to_owned())]);
    assert_eq!(web.binds.len(), 5);
    assert_eq!(web.env_files.iter().map(|f| f.required).collect::<Vec<_>>(), [true, false]);
    let db = &compose.services["db"];
    assert!(db.build && db.healthcheck && db.image.is_none());
    assert_eq!((db.labels["a"].as_str(), db.labels["c"].as_str()), ("b", ""));
    assert_eq!(compose.volumes["cache"].as_deref(), Some("shared-cache"));
}

#[test]
fn tells_tracked_from_state() {
    let compose = parse(FULL).unwrap();
    let plan = classify(&compose, &full_tree(), &Parts::default()).unwrap();
    assert_eq!(plan.state, ["data", "secrets/key"]);
    let paths: Vec<_> = plan.tracked.iter().map(|mount| mount.path.as_str()).collect();
    assert_eq!(paths, ["config/nginx.conf", "html", "config", "config/app.json"]);
    assert_eq!(plan.tracked[0].files, [("config/nginx.conf".to_owned(), "nginx.conf".to_owned())]);
    assert!(plan.tracked[0].source("/m").ends_with("/nginx.conf"));
    assert_eq!(plan.tracked[1].source("/m"), format!("/m/{}", plan.tracked[1].digest));
}

#[test]
fn a_mount_changes_only_with_its_own_content() {
    let compose = parse(FULL).unwrap();
    let before = classify(&compose, &full_tree(), &Parts::default()).unwrap();
    let mut changed = full_tree();
    changed[3].content = Digest::of(b"other");
    let after = classify(&compose, &changed, &Parts::default()).unwrap();
    let differ: Vec<_> =
        before.tracked.iter().zip(&after.tracked).map(|(a, b)| a.digest != b.digest).collect();
    assert_eq!(differ, [false, true, false, false]);
}

#[test]
fn tracked_and_writable_is_refused() {
    let compose = parse("services:\n  web:\n    image: a:1\n    volumes:\n      - ./conf:/conf\n").unwrap();
    let problem = classify(&compose, &tree(&[("conf/x", "1")]), &Parts::default()).unwrap_err().remove(0);
    assert_eq!((problem.code, problem.line, problem.column), (code::WRITABLE_TRACKED, Some(5), Some(9)));
    assert!(problem.hint.unwrap().contains("./conf:/conf:ro"));
    assert!(
        classify(&compose, &tree(&[("config/x", "1")]), &Parts::default()).is_ok(),
        "a longer name is another folder"
    );
}

#[test]
fn paths_that_leave_the_folder_are_refused() {
    for source in ["../x", "./a/../../x", "./a\\b"] {
        let text = format!("services:\n  web:\n    image: a:1\n    volumes: ['{source}:/x:ro']\n");
        let problem = classify(&parse(&text).unwrap(), &[], &Parts::default()).unwrap_err().remove(0);
        assert_eq!(problem.code, code::OUTSIDE_STACK, "{source}");
    }
    assert_eq!(normalise("./a/../b//c/."), Some("b/c".to_owned()));
}

#[test]
fn unknown_variables_wait_for_the_node() {
    let text = b"services:\n  web:\n    image: 'a:${TAG}'\n    volumes: ['${DIR}/x:/x', './$DIR:/y']\n";
    let hub = Compose::parse(FILE, text, &Variables::partial(BTreeMap::new())).unwrap();
    assert_eq!(hub.services["web"].image.as_ref().unwrap().value, "a:${TAG}");
    assert!(classify(&hub, &[], &Parts::default()).unwrap().state.is_empty());
    let on_node = Compose::parse(FILE, text, &node(&[("TAG", "2"), ("DIR", "./d")])).unwrap();
    assert_eq!(classify(&on_node, &[], &Parts::default()).unwrap().state, ["d", "d/x"]);
}

#[test]
fn the_override_maps_everything_and_is_stable() {
    let compose = parse(FULL).unwrap();
    let plan = classify(&compose, &full_tree(), &Parts::default()).unwrap();
    let overlay = ServiceOverlay {
        image: Some("sha256:1".to_owned()),
        labels: BTreeMap::from([("dev.backstay.stack".to_owned(), "we$b".to_owned())]),
        environment: BTreeMap::from([("BACKSTAY_NODE".to_owned(), "n1".to_owned())]),
    };
    let input = OverrideInput {
        live: "/live".to_owned(),
        mounts: "/m".to_owned(),
        state: "/s".to_owned(),
        env_file: None,
        services: BTreeMap::from([
            ("web".to_owned(), overlay),
            ("gone".to_owned(), ServiceOverlay::default()),
        ]),
    };
    let text = override_document(&compose, &plan, &input);
    assert_eq!(text, override_document(&compose, &plan, &input));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let web = &json["services"]["web"];
    assert_eq!(web["image"], "sha256:1");
    assert_eq!(web["labels"]["dev.backstay.stack"], "we$$b", "Compose reads `$` here too");
    let volume = |at: usize| web["volumes"][at].clone();
    assert_eq!(volume(0)["source"], plan.tracked[0].source("/m"));
    assert_eq!(volume(0)["read_only"], true);
    assert_eq!(volume(1)["bind"]["selinux"], "z");
    assert_eq!(volume(2)["source"], "/s/data");
    assert_eq!(volume(2).get("read_only"), None);
    assert_eq!(volume(3)["bind"]["propagation"], "rprivate");
    let created: Vec<_> = (0..4).map(|at| volume(at)["bind"]["create_host_path"] == true).collect();
    assert_eq!(
        created,
        [false, false, true, false],
        "what is missing from Git must not become an empty folder"
    );
    assert_eq!(web["volumes"].as_array().unwrap().len(), 4, "absolute binds and volumes are left alone");
    assert_eq!(json["secrets"]["key"]["file"], "/s/secrets/key");
    assert_eq!(json["configs"]["app"]["file"], plan.tracked[3].source("/m"));
    assert!(json["services"].get("gone").is_none() && json["services"].get("db").is_none());
}

#[test]
fn an_env_file_outside_git_is_replaced() {
    let compose = parse(FULL).unwrap();
    let plan = classify(&compose, &full_tree(), &Parts::default()).unwrap();
    let input =
        OverrideInput { env_file: Some("/etc/backstay/env/web.env".to_owned()), ..OverrideInput::default() };
    let text = override_document(&compose, &plan, &input);
    let expected = r#""env_file": !override [{"path":"/etc/backstay/env/web.env","required":true},{"path":"extra.env","required":false}]"#;
    assert!(text.contains(expected), "{text}");
    assert!(yaml::parse("override", text.as_bytes()).is_ok(), "{text}");
}

#[test]
fn extends_within_the_file_is_followed() {
    let text = "services:\n  base:\n    image: a:1\n    volumes: ['./d:/d']\n    healthcheck: {test: [CMD, x]}\n  web:\n    extends: {service: base}\n    volumes: ['./e:/d']\n    healthcheck: {disable: true}\n  away:\n    extends: {file: other.yaml, service: x}\n";
    let compose = parse(text).unwrap();
    let web = &compose.services["web"];
    assert_eq!((web.binds.len(), web.binds[0].source.as_str(), web.healthcheck), (1, "./e", false));
    assert_eq!(compose.includes[0].value, "other.yaml");
    let circle = "services:\n  a: {extends: b}\n  b: {extends: a}\n";
    assert!(parse(circle).unwrap_err().iter().any(|p| p.message.contains("circle")));
}

#[test]
fn wrong_shapes_name_the_place() {
    for (text, line, field, part) in [
        ("- a\n", 1, "", "found a list"),
        ("services: {}\n", 1, "services", "at least one service"),
        ("services:\n  web: 3\n", 2, "services.web", "expected a map"),
        ("services:\n  web: {}\n", 2, "services.web", "`image` or `build`"),
        ("services:\n  web: {image: [a]}\n", 2, "services.web.image", "found a list"),
        (
            "services:\n  web:\n    image: a\n    volumes: [{source: x}]\n",
            4,
            "services.web.volumes",
            "`target`",
        ),
        (
            "services:\n  web:\n    image: a\n    volumes: ['a:b:c:d']\n",
            4,
            "services.web.volumes",
            "SOURCE:TARGET",
        ),
        ("name: Bad Name\nservices: {a: {image: x}}\n", 1, "name", "a-z"),
        ("servics:\n  web: {}\n", 2, "servics", "unknown key"),
    ] {
        let problems = parse(text).unwrap_err();
        let problem = problems
            .iter()
            .find(|p| p.field.as_deref().unwrap_or("") == field)
            .unwrap_or_else(|| panic!("{problems:?}"));
        assert_eq!(problem.line, Some(line), "{problem}");
        assert!(problem.message.contains(part), "{problem}");
    }
    let problem = parse("services:\n  web: {image: '${TAG:?set it}'}\n").unwrap_err().remove(0);
    assert_eq!((problem.code, problem.line), (code::INTERPOLATION, Some(2)));
}

#[test]
fn project_names_follow_the_order() {
    let named = parse("name: shop\nservices: {a: {image: x}}\n").unwrap();
    let plain = parse("services: {a: {image: x}}\n").unwrap();
    let stack = "web.eu".parse().unwrap();
    assert_eq!(named.project_name(Some("said"), &stack), "said");
    assert_eq!(named.project_name(None, &stack), "shop");
    assert_eq!(plain.project_name(None, &stack), "web-eu");
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[a-z: \n\\-\\[\\]{}&*<$./]{0,100}") {
        for input in [bytes.as_slice(), text.as_bytes(), format!("services:\n  a:\n    image: x\n    volumes: {text}\n").as_bytes()] {
            if let Ok(compose) = Compose::parse(FILE, input, &node(&[]))
                && let Ok(plan) = classify(&compose, &full_tree(), &Parts::default())
            {
                let _ = override_document(&compose, &plan, &OverrideInput::default());
            }
        }
    }

    #[test]
    fn what_is_mapped_stays_inside(source in "\\.{1,2}(/[a-z.]{0,3}){0,4}") {
        let text = format!("services:\n  a:\n    image: x\n    volumes: ['{source}:/x:ro']\n");
        if let Ok(plan) = classify(&parse(&text).unwrap(), &full_tree(), &Parts::default()) {
            for path in &plan.state {
                prop_assert!(path.is_empty() || backstay_types::tree::check_path(path).is_ok(), "{}", path);
            }
        }
    }
}
