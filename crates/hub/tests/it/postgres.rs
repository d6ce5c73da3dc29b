//! Several hubs on one PostgreSQL database.

use std::time::{Duration, Instant};

use backstay_api::{
    Empty, Role,
    agent::CheckInRequest,
    v1::{
        CreateJoinToken, EventsQuery, FollowEvents, GetHub, GetNode, ListNodes, NodePath, RevokeToken,
        TokenKind, TokenPath,
    },
};
use backstay_client::{Client, ClientError};
use backstay_testkit::{Database, PostgresServer};
use backstay_types::{ErrorCode, NodeState, Secret};

use serde_json::Value;

use crate::harness::{TestHub, hello};

const QUIET: Duration = Duration::from_secs(20);

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
    // It was woken: nothing else ends the hold of 20 s.
    assert!(late < Duration::from_secs(10), "{late:?}");
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
    let deadline = Instant::now() + Duration::from_secs(60);
    while state(&one).await != NodeState::Online {
        assert!(Instant::now() < deadline, "one hub does not hear what nodes tell the other");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    one.hub.stop().await;
    two.hub.stop().await;
}

async fn hub_view(client: &Client) -> Result<Value, ErrorCode> {
    let answer = client.call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await;
    answer.map(|view| serde_json::to_value(view).unwrap()).map_err(|error| code(&error))
}

fn code(error: &ClientError) -> ErrorCode {
    error.problem().map_or_else(|| panic!("{error}"), |problem| problem.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_is_told_again_to_the_same_alone_while_the_database_is_away() {
    let Some(server) = PostgresServer::require() else { return };
    let hub = TestHub::with(|settings| settings.hub.database_url = Some(Secret::new(server.url()))).await;
    let viewer = hub.create_token(TokenKind::Api { role: Role::Viewer }).await;
    let late = hub.create_token(TokenKind::Api { role: Role::Viewer }).await;
    let gone = hub.create_token(TokenKind::Api { role: Role::Viewer }).await;
    let (gone_id, gone) = (gone.token.id, hub.client(Some(gone.secret)));
    hub_view(&gone).await.unwrap();
    let path = TokenPath { token: gone_id };
    hub.admin().call::<RevokeToken>(&path, &Empty {}, &Empty {}).await.unwrap();
    // What the tail tells of the tokens has to be over: it forgets.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reader = hub.client(Some(viewer.secret.clone()));
    let told = hub_view(&reader).await.unwrap();
    let mut events =
        reader.follow::<FollowEvents>(&Empty {}, &EventsQuery::default(), &Empty {}, QUIET).await.unwrap();

    server.stop();
    let again = hub_view(&reader).await.unwrap();
    assert_eq!(again, told);
    assert!(reader.as_of().is_some());
    let asked = Instant::now();
    for _ in 0..20 {
        hub_view(&reader).await.unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(12), "few wait for the database: {:?}", asked.elapsed());
    assert_eq!(hub_view(&hub.client(Some(late.secret))).await, Err(ErrorCode::BS7002), "never asked before");
    assert_eq!(hub_view(&gone).await, Err(ErrorCode::BS7002), "shut out since");
    let other = reader.call::<ListNodes>(&Empty {}, &Default::default(), &Empty {}).await.unwrap_err();
    assert_eq!(code(&other), ErrorCode::BS7002, "something else");
    let change = hub.admin().call::<CreateJoinToken>(&Empty {}, &Empty {}, &Default::default()).await;
    assert_eq!(code(&change.unwrap_err()), ErrorCode::BS7002, "a change");

    server.start();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // Each time another client: it remembers that it was given something old.
        let client = hub.client(Some(viewer.secret.clone()));
        hub_view(&client).await.unwrap();
        if client.as_of().is_none() {
            break;
        }
        assert!(Instant::now() < deadline, "the database is back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    hub.admin().call::<CreateJoinToken>(&Empty {}, &Empty {}, &Default::default()).await.unwrap();
    let client = hub.client(Some(viewer.secret));
    hub_view(&client).await.unwrap();
    assert!(client.as_of().is_none(), "after a change nothing old is told");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = tokio::time::timeout(QUIET, events.next()).await;
        let event = event.unwrap().unwrap().unwrap();
        if event.name == "database" {
            seen.push(event.data.contains("away_since"));
        }
    }
    assert_eq!(seen, [true, false], "who follows events is told of both");
    hub.hub.stop().await;
}
