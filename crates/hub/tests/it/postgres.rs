//! Several hubs on one PostgreSQL database.

use std::time::{Duration, Instant};

use backstay_api::{
    Empty,
    agent::CheckInRequest,
    v1::{GetHub, GetNode, NodePath, TokenKind},
};
use backstay_testkit::Database;
use backstay_types::{NodeState, Secret};

use crate::harness::{TestHub, hello};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_hub_decides_wakes_who_waits_at_the_other() {
    let Some(database) = Database::require() else { return };
    let one = TestHub::with(|settings| settings.hub.database_url = Some(Secret::new(database.url()))).await;
    let two = one.beside().await;
    let view = two.admin().call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(view.database, "postgres");
    let agent = two.join("web-1").await;
    agent.say_hello().await;
    let waiting = async {
        let answer = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(20_000) }).await;
        (answer, Instant::now())
    };
    let push = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        one.repository().await;
        Instant::now()
    };
    let ((answer, woken), pushed) = tokio::join!(waiting, push);
    assert!(answer.statement.is_some());
    let late = woken.saturating_duration_since(pushed);
    assert!(late < Duration::from_secs(2), "{late:?}");
    // A secret that one has sealed, the other opens.
    one.create_token(TokenKind::Webhook { source: "claude-code".into() }).await;
    let url = format!("{}/hooks/claude-code", two.hub.url());
    let refused = crate::harness::http().post(url).bearer_auth("wrong").body("{}").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 401);
    let path = NodePath { node: "web-1".into() };
    let state =
        async |hub: &TestHub| hub.admin().call::<GetNode>(&path, &Empty {}, &Empty {}).await.unwrap().state;
    assert_eq!(state(&two).await, NodeState::Online);
    // The other hub hears of it with the next flushes.
    let deadline = Instant::now() + Duration::from_secs(20);
    while state(&one).await != NodeState::Online {
        assert!(Instant::now() < deadline, "one hub does not hear what nodes tell the other");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    one.hub.stop().await;
    two.hub.stop().await;
}
