//! What keeps a node safe, by the real hub and real agents together: safe mode and both ways out of it, what departs,
//! and the agents' own update.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::PathBuf, process::Command};

use backstay_api::{Empty, v1};
use backstay_e2e::{
    Fleet, FleetBuilder, Node, REPOSITORY,
    stacks::{conf, set_line, write_process_stack},
};
use backstay_testkit::{eventually, eventually_within, run};
use backstay_types::{AgentUpdateState, DriftPart, DriftState, SafeMode};
use serde_json::Value;

const HEALTHZ: &str = "stacks/web/www/healthz";
const LONG: std::time::Duration = std::time::Duration::from_secs(90);

/// A fleet at rest whose stack is given up on soon when it is not healthy.
fn hasty(builder: FleetBuilder) -> Option<Fleet> {
    let fleet = builder.start()?;
    write_process_stack(&fleet.tree);
    let manifest = fleet.tree.read("stacks/web/stack.toml").replace("within = \"5s\"", "within = \"1s\"");
    fleet.tree.write("stacks/web/stack.toml", &manifest);
    Some(fleet.following("Add web"))
}

fn safe_mode(fleet: &Fleet) -> Option<SafeMode> {
    fleet.api.node("alpha").safety.safe_mode
}

/// Three releases that are not healthy, one after the other; gives the safe mode that they lead to.
fn three_failures(fleet: &Fleet, first: usize) -> SafeMode {
    for number in first..first + 3 {
        let _ = fs::remove_file(fleet.tree.dir().join(HEALTHZ));
        set_line(&fleet.tree, number, "bad");
        let commit = fleet.commit(&format!("Break it, {number}"), None);
        eventually_within(LONG, "it to be tried and taken back", || {
            let tip = fleet.api.sync(REPOSITORY).tip.map(|tip| tip.to_string());
            let all = fleet.api.deployments("alpha", "web");
            let last = all.first().filter(|last| last.commit.to_string() == commit);
            match last.map(|last| last.deployment.state.word()) {
                Some("rolled_back") => Ok(()),
                other => Err(format!("{other:?} at {tip:?}")),
            }
        });
    }
    eventually("safe mode to be known", || safe_mode(fleet).ok_or_else(|| "there is none".to_owned()))
}

#[test]
fn three_failures_lead_to_safe_mode_and_a_person_or_a_good_release_leads_out() {
    let builder = Fleet::of(1).agent_setting("BACKSTAY_AGENT_FAILURE_PAUSE", "100ms");
    let Some(fleet) = hasty(builder) else { return };
    let good = fleet.running_tree(&fleet.nodes[0]);

    let mode = three_failures(&fleet, 1);
    assert!(mode.reason().contains("3 updates in a row failed"), "{}", mode.reason());
    assert_eq!(fleet.running_tree(&fleet.nodes[0]), good);
    fleet.serves(&fleet.nodes[0], &conf(&[]));
    let shown = fleet.cli.run(&["nodes", "show", "alpha"]);
    assert!(shown.contains("safe mode") && shown.contains("3 updates in a row failed"), "{shown}");

    fleet.cli.run(&["nodes", "leave-safe-mode", "alpha", "--reason", "looked at it"]);
    eventually("it to leave", || safe_mode(&fleet).map_or(Ok(()), |mode| Err(mode.reason())));
    fleet.serves(&fleet.nodes[0], &conf(&[]));

    // It counts anew; this time a release that does well leads out.
    let again = three_failures(&fleet, 4);
    assert_ne!(again.id, mode.id);
    fleet.tree.write(HEALTHZ, "ok\n");
    set_line(&fleet.tree, 7, "good");
    fleet.deployed(&fleet.commit("Mend it", None));
    eventually("it to leave", || safe_mode(&fleet).map_or(Ok(()), |mode| Err(mode.reason())));
    let text = fleet.nodes[0].get("app.conf").unwrap();
    assert!(text.contains("good"), "{text}");
    let kinds = ledger_kinds(&fleet);
    for kind in ["safe_mode_entered", "safe_mode_left"] {
        assert_eq!(kinds.iter().filter(|known| *known == kind).count(), 2, "{kinds:?}");
    }
}

/// The kinds of all that the ledger has.
fn ledger_kinds(fleet: &Fleet) -> Vec<String> {
    let text = fleet.cli.run(&["audit", "export"]);
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter_map(|row| row["kind"].as_str().map(str::to_owned)).collect()
}

/// The folder of what a node runs.
fn release(fleet: &Fleet, node: &Node) -> PathBuf {
    node.data().join("stacks/web/releases").join(fleet.running_tree(node).to_string())
}

fn drift(fleet: &Fleet) -> Vec<v1::DriftView> {
    let all = fleet.api.call::<v1::ListDrift>(&Empty {}, &v1::DriftQuery::default(), &Empty {});
    all.items
}

#[test]
fn what_departs_is_put_right_and_listed_and_in_the_end_needs_a_person() {
    let builder = Fleet::of(1)
        .agent_setting("BACKSTAY_AGENT_DEEP_CHECK_EVERY", "1s")
        .agent_setting("BACKSTAY_AGENT_DRIFT_HEALS", "2");
    let Some(fleet) = hasty(builder) else { return };
    let node = &fleet.nodes[0];
    let folder = release(&fleet, node);
    fs::write(folder.join("www/app.conf"), "somebody was here\n").unwrap();
    fs::write(folder.join("www/stray"), "mine\n").unwrap();
    fleet.serves(node, &conf(&[]));
    eventually("what is not of the release to be listed", || {
        let found = drift(&fleet);
        let stray =
            found.iter().any(|one| one.drift.part == DriftPart::Stray && one.drift.name == "www/stray");
        if stray { Ok(()) } else { Err(format!("{found:?}")) }
    });
    eventually("that it was put right to be recorded", || {
        let kinds = ledger_kinds(&fleet);
        if kinds.iter().any(|kind| kind.starts_with("drift")) { Ok(()) } else { Err(format!("{kinds:?}")) }
    });
    assert!(fleet.cli.run(&["drift"]).contains("www/stray"));

    // What comes back again and again is left as it is. It makes the stack unwell: safe mode, and the reason is known.
    let healthz = folder.join("www/healthz");
    let given_up = eventually_within(LONG, "it to be given up", || {
        let found = drift(&fleet);
        let given_up = found.iter().find(|one| one.drift.state == DriftState::Escalated);
        if given_up.is_none() && healthz.exists() {
            fs::remove_file(&healthz).unwrap();
        }
        given_up.cloned().ok_or_else(|| format!("{found:?}"))
    });
    assert_eq!((given_up.drift.name.as_str(), given_up.drift.heals), ("www/healthz", 2));
    let text = fleet.cli.run(&["drift", "alpha"]);
    assert!(text.contains("NEEDS A PERSON") && text.contains("www/healthz"), "{text}");
    let mode = eventually("safe mode", || safe_mode(&fleet).ok_or_else(|| "there is none".to_owned()));
    assert!(mode.reason().contains("www/healthz") && mode.reason().contains("404"), "{}", mode.reason());
    assert_eq!(node.get("app.conf").as_deref(), Ok(conf(&[]).as_str()), "what runs keeps running");

    // Somebody looks at it and says so: it is put right anew.
    fleet.cli.run(&["nodes", "leave-safe-mode", "alpha", "--reason", "the script is gone"]);
    eventually("it to be put right", || node.get("healthz").map(drop));
    eventually("it to leave", || safe_mode(&fleet).map_or(Ok(()), |mode| Err(mode.reason())));
    eventually("nothing else to depart", || {
        let found = drift(&fleet);
        let strays = found.iter().all(|one| one.drift.part == DriftPart::Stray);
        if strays { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// This agent, made another program: without what is in it for debuggers, which would be too large to upload.
fn another_agent(fleet: &Fleet) -> PathBuf {
    let path = fleet.dir().join("backstay-agent-another");
    run(Command::new("strip").arg("-o").arg(&path).arg(fleet.nodes[0].agent_program()));
    path
}

/// What a node's agent runs from.
fn program_of(node: &Node) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{}/exe", node.pid()?)).ok()
}

fn agents(fleet: &Fleet) -> v1::AgentsView {
    fleet.api.call::<v1::GetAgents>(&Empty {}, &Empty {}, &Empty {})
}

#[test]
fn agents_update_themselves_by_the_loader_in_two_waves() {
    let Some(fleet) = Fleet::of(3).loaded().start() else { return };
    let fleet = fleet.with_process_stack();
    let before: Vec<_> = fleet.nodes.iter().map(|node| program_of(node).unwrap()).collect();
    let another = another_agent(&fleet);
    let update = ["agents", "update", "--as", "9.9.9", "--waves", "33,100", "--soak", "4s", "--to"];
    fleet.cli.run(&[&update[..], &[another.to_str().unwrap()]].concat());

    // One of three is in the first wave; the others wait while it is watched.
    let moved = || {
        fleet
            .nodes
            .iter()
            .zip(&before)
            .filter(|(node, was)| program_of(node).is_some_and(|is| is != **was))
            .count()
    };
    eventually_within(LONG, "the first wave", || {
        let view = agents(&fleet);
        if moved() >= 1 && view.updated >= 1 { Ok(()) } else { Err(format!("{view:?}")) }
    });
    assert_eq!(moved(), 1, "the second wave waits");
    eventually_within(LONG, "the update to end", || match agents(&fleet).update {
        Some(update) if update.state == AgentUpdateState::Done => Ok(()),
        other => Err(format!("{other:?}")),
    });
    eventually_within(LONG, "the last to have moved", || match moved() {
        3 => Ok(()),
        some => Err(format!("{some} of 3 have")),
    });
    for node in &fleet.nodes {
        let program = program_of(node).unwrap();
        assert!(program.starts_with(node.data().parent().unwrap().join("agents")), "{}", program.display());
        assert_eq!(fs::read(&program).unwrap(), fs::read(&another).unwrap());
        fleet.serves(node, &conf(&[]));
    }
    let listed: Value = fleet.cli.json(&["agents", "list"]);
    assert!(listed.to_string().contains("9.9.9"), "{listed:#}");

    // They still do their work.
    let someone = fleet.api.conversation("session-a");
    fleet.change(someone, 2, "A2");
    fleet.all_serve(&conf(&[(2, "A2")]));
}
