//! Following logs, with a node that the test plays.

use std::time::{Duration, Instant};

use backstay_api::{
    Empty,
    agent::{Answer, AnswerPath, CheckInRequest, LogLine, Question, SendAnswer},
    v1::{FollowLogs, LogsPath, LogsQuery},
};
use backstay_client::{Client, EventStream};
use backstay_types::ErrorCode;

use crate::harness::{Agent, TestHub, code, hello};

const QUIET: Duration = Duration::from_secs(30);

async fn follow(client: &Client, service: Option<&str>, lines: u32) -> EventStream {
    let path = LogsPath { node: "web-1".into(), stack: "shop".parse().unwrap() };
    let query = LogsQuery { service: service.map(str::to_owned), lines: Some(lines) };
    client.follow::<FollowLogs>(&path, &query, &Empty {}, QUIET).await.unwrap()
}

/// Answers the next question; gives the place that it asked behind.
async fn answer(agent: &Agent, place: &str, dropped: bool, texts: &[(&str, &str)]) -> Option<String> {
    let asked = loop {
        let asked = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(10_000) }).await;
        if !asked.requests.is_empty() {
            break asked;
        }
    };
    let [request] = &asked.requests[..] else { panic!("one question at a time: {asked:?}") };
    let Question::NewLogs { after, .. } = &request.question else { panic!("{request:?}") };
    let line = |(service, text): &(&str, &str)| LogLine {
        service: (*service).into(),
        at: None,
        text: (*text).into(),
    };
    let lines = texts.iter().map(line).collect();
    let answer = Answer::NewLogs { lines, after: place.into(), dropped };
    agent.client.call::<SendAnswer>(&AnswerPath { request: request.id }, &Empty {}, &answer).await.unwrap();
    after.clone()
}

/// The next event: its name, and the text of a line.
async fn next(stream: &mut EventStream) -> (String, String) {
    let event = stream.next().await.unwrap().unwrap();
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
    let said = data["text"].as_str().or(data["code"].as_str()).unwrap_or_default().to_owned();
    (event.name, said)
}

fn line(text: &str) -> (String, String) {
    ("message".to_owned(), text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_share_one_row_of_questions_and_end_with_the_node() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let admin = hub.admin();
    let mut first = follow(&admin, None, 10).await;
    assert_eq!(answer(&agent, "p1", false, &[("web", "one"), ("db", "two")]).await, None);
    assert_eq!((next(&mut first).await, next(&mut first).await), (line("one"), line("two")));
    let mut second = follow(&admin, Some("db"), 10).await;
    assert_eq!(next(&mut second).await, line("two"), "what is there is not asked for again");
    assert_eq!(answer(&agent, "p2", true, &[("web", "three"), ("db", "four")]).await.unwrap(), "p1");
    assert_eq!(next(&mut first).await.0, "gap");
    assert_eq!((next(&mut first).await, next(&mut first).await), (line("three"), line("four")));
    assert_eq!((next(&mut second).await.0, next(&mut second).await), ("gap".to_owned(), line("four")));
    assert_eq!(answer(&agent, "p3", false, &[]).await.unwrap(), "p2");
    hub.clock.advance(Duration::from_secs(3600));
    for stream in [&mut first, &mut second] {
        assert_eq!(next(stream).await, ("problem".to_owned(), "BS4009".to_owned()));
        assert!(stream.next().await.unwrap().is_none(), "it ends");
    }
    let path = LogsPath { node: "nobody".into(), stack: "shop".parse().unwrap() };
    let query = LogsQuery::default();
    assert_eq!(code(admin.follow::<FollowLogs>(&path, &query, &Empty {}, QUIET).await), ErrorCode::BS4004);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_when_nobody_follows_and_a_stop_is_not_held_up() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let admin = hub.admin();
    let mut stream = follow(&admin, None, 0).await;
    answer(&agent, "p1", false, &[("web", "past")]).await;
    answer(&agent, "p2", false, &[("web", "new")]).await;
    assert_eq!(next(&mut stream).await, line("new"));
    drop(stream);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A question that was on its way may be there still; none follows it.
    let quiet = CheckInRequest { observed: None, facts: None, ..hello(500) };
    agent.check_in(quiet.clone()).await;
    assert!(agent.check_in(quiet).await.requests.is_empty());

    let mut stream = follow(&admin, None, 0).await;
    let began = Instant::now();
    hub.hub.stop().await;
    assert!(stream.next().await.unwrap().is_none(), "it ends without a problem: ask again");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
