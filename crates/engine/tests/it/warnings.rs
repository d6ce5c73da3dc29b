//! What someone should look at in a repository that is followed: told once, kept, and no reason not to deploy.

use std::time::Duration;

use backstay_store::ledger;
use backstay_types::{CommitId, Event, Repository, RepositoryHealth, RepositoryWarning};

use crate::fleet::{COMPOSE, Fleet};

/// Two hours and a bit after the fleet's clock begins.
const UNTIL: &str = "2026-03-01T02:30:00Z";

/// Web can be seen to be well, so that nothing else is worth a look.
fn healthy() -> String {
    COMPOSE.replace("    environment:", "    healthcheck: {test: [CMD, 'true']}\n    environment:")
}

fn pin(stack: &str, commit: &CommitId, until: &str) -> String {
    format!(
        "[[pin]]\nstack = \"{stack}\"\nnodes = \"name=one\"\ncommit = \"{commit}\"\nreason = \"r\"\nuntil = {until}\n"
    )
}

async fn told(fleet: &Fleet) -> Vec<(Vec<RepositoryWarning>, u64)> {
    ledger::seal(&fleet.store, "test").await.unwrap();
    let filter = ledger::Filter::default();
    let all =
        ledger::timeline(&mut fleet.store.read(), &filter, ledger::Window::After(0), 1000).await.unwrap();
    let warned = all.into_iter().filter_map(|entry| match entry.event {
        Some(Event::RepositoryWarned { warnings, new }) => {
            assert_eq!(entry.refs.repository, Some(fleet.repository));
            Some((warnings, new))
        }
        _ => None,
    });
    warned.collect()
}

fn lines(repository: &Repository) -> Vec<String> {
    repository.warnings.iter().map(ToString::to_string).collect()
}

const WAVE: &str =
    "fleet.toml:2: rollout.waves: the wave `ring=sandbox` matches none of 3 nodes and is passed (BS1203)";

#[tokio::test]
async fn warnings_are_kept_and_told_once_and_what_they_are_about_is_deployed() {
    let mut fleet = Fleet::empty().await;
    fleet.work.write("stacks/web/compose.yaml", &healthy());
    fleet.commit("Health", None);
    assert!(fleet.deploy().await.warnings.is_empty());
    let before = told(&fleet).await.len();

    fleet.work.write("fleet.toml", "[rollout]\nwaves = [\"ring=sandbox\", \"100%\"]\n");
    fleet.work.write("stacks/web/compose.yaml", &healthy().replace("blue", "red"));
    fleet.commit("Waves", None);
    let repository = fleet.deploy().await;
    assert_eq!(lines(&repository), [WAVE]);
    assert_eq!(repository.health, RepositoryHealth::Ok);
    fleet.assert_all_run(&["red"], &["blue"]).await;
    let events = told(&fleet).await;
    assert_eq!(events.len(), before + 1);
    assert_eq!(events.last(), Some(&(repository.warnings.clone(), 1)));

    // A line further down, and a node more: still the same warning.
    fleet.work.write("fleet.toml", "# Waves\n[rollout]\nwaves = [\"ring=sandbox\", \"100%\"]\n");
    fleet.commit("Say what it is", None);
    fleet.join("four").await;
    let moved = fleet.deploy().await;
    assert_eq!(lines(&moved), [WAVE.replace(":2:", ":3:").replace("3 nodes", "4 nodes")]);
    assert_eq!(told(&fleet).await.len(), before + 1);

    // What cannot be used at all says nothing about the tip that is deployed.
    fleet.work.write("fleet.toml", "[rolout]\n");
    fleet.commit("Broken", None);
    let broken = fleet.deploy().await;
    assert!(matches!(broken.health, RepositoryHealth::Invalid { .. }));
    assert_eq!(broken.warnings, moved.warnings);

    fleet.join("sandbox").await;
    fleet.work.write("fleet.toml", "[rollout]\nwaves = [\"ring=sandbox\", \"100%\"]\n");
    fleet.commit("Whole again", None);
    assert!(fleet.deploy().await.warnings.is_empty(), "there is such a node now");
}

#[tokio::test]
async fn a_parts_channel_beside_environments_is_warned_of_and_goes_with_them() {
    let mut fleet = Fleet::empty().await;
    fleet.work.write("stacks/web/compose.yaml", &healthy());
    fleet.work.write("stacks/web/rules/text", "1");
    let part = "[[part]]\nname = \"rules\"\npaths = [\"rules\"]\nchannel = \"policy\"\n";
    fleet.work.write("stacks/web/stack.toml", part);
    let channel = "[[channel]]\nname = \"policy\"\n";
    let environments = "[[environment]]\nname = \"prod\"\nnodes = \"\"\n";
    fleet.work.write("fleet.toml", &format!("{channel}{environments}"));
    fleet.commit("Parts beside environments", None);
    let expected = "stacks/web/stack.toml:1: part.channel: the channel `policy` of the part `rules` counts for nothing: the \
                    fleet has environments, and a stack goes through them as a whole (BS1209)";
    let repository = fleet.deploy().await;
    assert_eq!((lines(&repository), &repository.health), (vec![expected.to_owned()], &RepositoryHealth::Ok));
    fleet.work.write("fleet.toml", channel);
    fleet.commit("No environments", None);
    assert!(fleet.deploy().await.warnings.is_empty());
}

#[tokio::test]
async fn what_depends_on_time_is_looked_at_again_every_hour() {
    let mut fleet = Fleet::empty().await;
    fleet.work.write("stacks/web/compose.yaml", &healthy());
    let first = fleet.commit("Health", None);
    fleet.work.write("fleet.toml", &pin("web", &first, UNTIL));
    fleet.commit("Pin it for a while", None);
    assert!(fleet.deploy().await.warnings.is_empty());

    let polling = fleet.polling(Duration::from_millis(50));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runs = tokio::spawn(polling.run(async { drop(stopped.await) }));
    // It was looked over when it began to run; an hour has not passed since.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(fleet.repository().await.warnings.is_empty());
    fleet.clock.set(UNTIL.parse().unwrap());
    let found = loop {
        let repository = fleet.repository().await;
        if !repository.warnings.is_empty() {
            break repository;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(lines(&found), [format!("fleet.toml:1: pin.until: this pin ran out at {UNTIL} (BS1207)")]);
    drop(stop);
    runs.await.unwrap();
}
