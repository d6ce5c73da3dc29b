//! From `git push` to healthy, announced by a webhook.

use std::{thread::sleep, time::Duration};

use backstay_api::{
    Empty,
    v1::{CreateToken, CreateTokenRequest, TokenKind},
};
use backstay_e2e::Fleet;
use backstay_testkit::http;
use backstay_types::DeploymentState;

use crate::{
    figures::{Figures, median, timed},
    hand::Hand,
    stack::{self, Proof, runs},
};

const ROUNDS: usize = 7;

/// In milliseconds; the baseline is `git push` and `docker compose up --detach --wait` on the same engine.
pub(crate) fn measure() -> Result<Figures, String> {
    let fleet = stack::fleet_of_one(Proof::Health)?;
    let node = &fleet.nodes[0];
    let kind = TokenKind::Webhook { source: "gitlab".to_owned() };
    let request = CreateTokenRequest { name: "bench".to_owned(), kind, expires_in_seconds: None };
    let secret = fleet.api.call::<CreateToken>(&Empty {}, &Empty {}, &request).secret;
    let hand = Hand::start(node.docker(), fleet.dir());
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let image = if round % 2 == 0 { "web:v2" } else { "web:v1" };
        stack::write(&fleet.tree, "web", image, &node.port().to_string(), Proof::Health);
        // A tree that was there before would be known by the commit that first carried it.
        fleet.tree.write("stacks/web/README.md", &format!("Round {round}.\n"));
        let before = fleet.tree.head();
        let commit = fleet.commit_here(&format!("Run {image}"), None);
        let (done, took) = timed(|| {
            fleet.tree.push();
            announce(&fleet, secret.expose(), &before, &commit, round)?;
            wait(&fleet, &commit)
        });
        done?;
        runs(node, image)?;
        ours.push(took);
        hand.change(image);
        let ((), took) = timed(|| {
            hand.push();
            hand.up();
        });
        by_hand.push(took);
        eprintln!("round {}: push {:.0} ms, by hand {:.0} ms", round + 1, ours[round], by_hand[round]);
    }
    let figures = Figures { value: median(&ours), baseline: Some(median(&by_hand)), ..Figures::default() };
    Ok(figures
        .with("over_baseline_ms", median(&ours) - median(&by_hand))
        .with_all("rounds_ms", &ours)
        .with_all("baseline_rounds_ms", &by_hand))
}

/// What a GitLab sends when it has taken a push.
fn announce(fleet: &Fleet, secret: &str, before: &str, commit: &str, round: usize) -> Result<(), String> {
    let body = serde_json::json!({
        "object_kind": "push", "ref": "refs/heads/main", "before": before, "after": commit,
        "project": { "git_http_url": fleet.url() },
    });
    let key = format!("push-{round}");
    let headers = [
        ("content-type", "application/json"),
        ("x-gitlab-event", "Push Hook"),
        ("x-gitlab-event-uuid", key.as_str()),
        ("x-gitlab-token", secret),
    ];
    let url = format!("{}/hooks/gitlab", fleet.hub.url());
    let response = http::send("POST", &url, &headers, body.to_string().as_bytes());
    let response = response.map_err(|error| error.to_string())?;
    if response.status < 300 { Ok(()) } else { Err(format!("{}: {}", response.status, response.body)) }
}

/// Waits until the commit's deployment has succeeded.
fn wait(fleet: &Fleet, commit: &str) -> Result<(), String> {
    for _ in 0..6000 {
        let newest = fleet.api.deployments(fleet.nodes[0].name(), "web").into_iter().next();
        match newest.filter(|found| found.commit.to_string() == commit).map(|found| found.deployment.state) {
            Some(DeploymentState::Succeeded) => return Ok(()),
            Some(state) if state.is_final() => {
                return Err(format!("the deployment ended otherwise: {state:?}"));
            }
            _ => sleep(Duration::from_millis(5)),
        }
    }
    Err("the commit was not deployed within 30 s".to_owned())
}
