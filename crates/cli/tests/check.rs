//! `backstay check`.

use crate::support::Place;

const COMPOSE: &str =
    "services:\n  web:\n    image: web:1.2\n    healthcheck:\n      test: [\"CMD\", \"true\"]\n";

#[test]
fn a_good_repository_passes_with_and_without_json() {
    let place = Place::new();
    place.write("fleet/stacks/web/compose.yaml", COMPOSE);
    place.write("fleet/stacks/shop/docker-compose.yml", COMPOSE);
    let ran = place.backstay(&["check", "fleet"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("It can be deployed. 2 stacks: shop, web"), "{}", ran.out);
    let ran = place.backstay(&["--json", "check", "fleet"]);
    let findings: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(findings["ok"], true);
    assert_eq!(findings["stacks"][1], "web");
}

#[test]
fn what_is_wrong_fails_and_is_named() {
    let place = Place::new();
    place.write("fleet/stacks/web/compose.yaml", COMPOSE);
    place.write("fleet/stacks/web/stack.toml", "runtme = \"compose\"\n");
    let ran = place.backstay(&["check", "fleet"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("error[BS1002] stacks/web/stack.toml:1:1"), "{}", ran.out);
    assert!(ran.out.contains("`runtime`"), "{}", ran.out);
    assert!(ran.out.contains("Nothing would change on any node"), "{}", ran.out);
}

#[test]
fn a_channel_that_is_not_there_fails_and_names_its_line_and_the_nearest() {
    let place = Place::new();
    place.write("fleet/stacks/web/compose.yaml", COMPOSE);
    let fleet =
        "[[assign]]\nstack = \"web\"\nnodes = \"\"\nchannel = \"stabel\"\n[[channel]]\nname = \"stable\"\n";
    place.write("fleet/fleet.toml", fleet);
    let ran = place.backstay(&["check", "fleet"]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.out.contains("error[BS1004] fleet.toml:4:11 assign.channel"), "{}", ran.out);
    assert!(ran.out.contains("no channel is called `stabel`"), "{}", ran.out);
    assert!(ran.out.contains("did you mean `stable`?"), "{}", ran.out);
    place.write("fleet/fleet.toml", &fleet.replace("stabel", "stable"));
    assert_eq!(place.backstay(&["check", "--strict", "fleet"]).code, 0);
}

#[test]
fn a_parts_channel_beside_environments_is_warned_of_with_its_line() {
    let place = Place::new();
    place.write("fleet/stacks/web/compose.yaml", COMPOSE);
    place.write("fleet/stacks/web/rules/a.toml", "a = 1\n");
    let part = "[[part]]\nname = \"rules\"\npaths = [\"rules/**\"]\nchannel = \"policy\"\n";
    place.write("fleet/stacks/web/stack.toml", &format!("schema = 4\n\n{part}"));
    let channel = "[[channel]]\nname = \"policy\"\n";
    place.write("fleet/fleet.toml", &format!("{channel}[[environment]]\nname = \"prod\"\nnodes = \"\"\n"));
    let ran = place.backstay(&["check", "fleet"]);
    assert_eq!(ran.code, 0, "it is deployed all the same: {}", ran.out);
    assert!(ran.out.contains("warning[BS1209] stacks/web/stack.toml:3 part.channel"), "{}", ran.out);
    assert!(ran.out.contains("a stack goes through them as a whole"), "{}", ran.out);
    let ran = place.backstay(&["--json", "check", "--strict", "fleet"]);
    let findings: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &findings["problems"][0]["code"]), (1, &"BS1209".into()));
    assert_eq!(findings["problems"][0]["line"], 3);
    place.write("fleet/fleet.toml", channel);
    assert_eq!(place.backstay(&["check", "--strict", "fleet"]).code, 0);
}

#[test]
fn warnings_fail_only_when_strict() {
    let place = Place::new();
    place.write("fleet/stacks/web/compose.yaml", &COMPOSE.replace("web:1.2", "web:latest"));
    assert_eq!(place.backstay(&["check", "fleet"]).code, 0);
    let ran = place.backstay(&["check", "--strict", "fleet"]);
    assert!(ran.code == 1 && ran.out.contains("warning[BS1202]"), "{}", ran.out);
}

#[test]
fn a_folder_that_is_not_there_or_holds_nothing_is_an_error() {
    let place = Place::new();
    let ran = place.backstay(&["check", "nowhere"]);
    assert!(ran.code == 1 && ran.err.contains("error[BS8004]"), "{}", ran.err);
    place.write("empty/README", "nothing\n");
    let ran = place.backstay(&["check", "empty"]);
    assert!(ran.code == 1 && ran.out.contains("error[BS1008]"), "{}", ran.out);
}

#[test]
fn links_and_odd_names_are_refused() {
    let place = Place::new();
    place.write("fleet/stacks/web/compose.yaml", COMPOSE);
    std::os::unix::fs::symlink("/etc/passwd", place.path("fleet/stacks/web/passwd")).unwrap();
    let ran = place.backstay(&["check", "fleet"]);
    assert!(ran.code == 1 && ran.out.contains("stacks/web/passwd"), "{}", ran.out);
    assert!(!ran.out.contains("root:"), "{}", ran.out);
}
