//! Signing in: links, passwords, sessions, and what ends them.

use std::time::Duration;

use backstay_api::{
    Empty, Method, Role,
    v1::{
        CreateOpenLink, CreateUser, CreateUserRequest, ExportLedger, GetSession, LinkCode, LinkKind,
        ListUsers, LookAtLink, ResetUser, SessionView, SignedInVia, UpdateUser, UpdateUserRequest, UserPath,
    },
};
use backstay_types::{ErrorCode, Event, Secret, UserChange};
use serde_json::{Value, json};

use crate::harness::{Browser, TestHub, code, code_of, http};

const SESSION: &str = "/api/v1/session";

async fn session(browser: &Browser) -> SessionView {
    let (status, view) = browser.send(Method::Get, SESSION, "").await;
    assert_eq!(status, 200, "{view}");
    serde_json::from_value(view).unwrap()
}

fn path(user: &str) -> UserPath {
    UserPath { user: user.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_of_the_machine_opens_the_page_once() {
    let hub = TestHub::start().await;
    let nobody = hub.client(None).call::<GetSession>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert!(!nobody.signed_in && nobody.first_user_needed && nobody.name.is_none());
    let made = hub.admin().call::<CreateOpenLink>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert!(made.link.expose().starts_with(&format!("{}/#/link/bsl.", hub.hub.url())));
    assert!(!format!("{made:?}").contains("bsl."), "links hide from logs");
    let look = LinkCode { code: Secret::new(code_of(&made.link)) };
    let view = hub.client(None).call::<LookAtLink>(&Empty {}, &Empty {}, &look).await.unwrap();
    assert_eq!((view.kind, view.name), (LinkKind::Open, None));
    let (status, browser, _) = Browser::by_link(&hub, code_of(&made.link), json!({})).await;
    assert_eq!(status, 200);
    let view = session(&browser.unwrap()).await;
    assert_eq!(view.name.as_deref(), Some("local owner"));
    assert_eq!((view.role, view.via), (Some(Role::Admin), Some(SignedInVia::Session)));
    let (status, browser, problem) = Browser::by_link(&hub, code_of(&made.link), json!({})).await;
    assert_eq!((status, browser.is_none(), &problem["code"]), (410, true, &json!("BS4017")));
    let token = hub.admin().call::<GetSession>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!((token.via, token.name.as_deref()), (Some(SignedInVia::Token), Some("local admin")));
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_use_one_link_at_once_one_gets_in() {
    let hub = TestHub::start().await;
    let made = hub.admin().call::<CreateOpenLink>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    let tries = (0..16).map(|_| Browser::by_link(&hub, code_of(&made.link), json!({})));
    let found = futures_util::future::join_all(tries).await;
    let mut statuses: Vec<_> = found.iter().map(|(status, ..)| *status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!(statuses[1..].iter().all(|status| *status == 410), "{statuses:?}");
    assert_eq!(found.iter().filter(|(_, browser, _)| browser.is_some()).count(), 1);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_run_out_and_a_new_one_replaces_the_old() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    let open = admin.call::<CreateOpenLink>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    hub.clock.advance(Duration::from_secs(601));
    assert_eq!(Browser::by_link(&hub, code_of(&open.link), json!({})).await.0, 410);
    let request = CreateUserRequest { name: "sam".parse().unwrap(), role: Role::Viewer };
    let first = admin.call::<CreateUser>(&Empty {}, &Empty {}, &request).await.unwrap();
    let second = admin.call::<ResetUser>(&path("sam"), &Empty {}, &Empty {}).await.unwrap();
    let password = json!({ "password": "a long enough one" });
    assert_eq!(Browser::by_link(&hub, code_of(&first.link), password.clone()).await.0, 410);
    // What is wrong with the password does not use the link up.
    for (bad, status) in [(json!({}), 422), (json!({ "password": "short" }), 422)] {
        assert_eq!(Browser::by_link(&hub, code_of(&second.link), bad).await.0, status);
    }
    let (_, _, problem) =
        Browser::by_link(&hub, code_of(&second.link), json!({ "password": "samsamsamsam" })).await;
    assert_eq!(problem["code"], "BS4018");
    assert_eq!(Browser::by_link(&hub, code_of(&second.link), password).await.0, 200);
    let third = admin.call::<ResetUser>(&path("sam"), &Empty {}, &Empty {}).await.unwrap();
    hub.clock.advance(Duration::from_secs(86_401));
    let password = json!({ "password": "another long enough" });
    assert_eq!(Browser::by_link(&hub, code_of(&third.link), password).await.0, 410);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_loopback_the_first_user_is_made_by_a_link() {
    let hub = TestHub::with(|settings| settings.hub.listen = "0.0.0.0:0".parse().unwrap()).await;
    let ask = async || hub.admin().call::<CreateOpenLink>(&Empty {}, &Empty {}, &Empty {}).await;
    let earlier = ask().await.unwrap();
    let made = ask().await.unwrap();
    assert_eq!(made.kind, LinkKind::FirstUser);
    let who = json!({ "name": " Ada ", "password": "twelve or more" });
    assert_eq!(
        Browser::by_link(&hub, code_of(&earlier.link), who.clone()).await.0,
        410,
        "only the newest works"
    );
    for bad in [json!({}), json!({ "name": "ada" }), json!({ "name": "a b", "password": "twelve or more" })] {
        assert_eq!(Browser::by_link(&hub, code_of(&made.link), bad).await.0, 422);
    }
    let (status, browser, _) = Browser::by_link(&hub, code_of(&made.link), who).await;
    assert_eq!(status, 200);
    let view = session(&browser.unwrap()).await;
    assert_eq!((view.name.as_deref(), view.role), (Some("ada"), Some(Role::Admin)));
    assert!(!view.first_user_needed);
    assert_eq!(code(ask().await), ErrorCode::BS4005, "users sign in themselves");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_signs_in_and_its_change_ends_the_other_sessions() {
    let hub = TestHub::start().await;
    let first = hub.user("ada", Role::Operator).await;
    let (status, second, view) = Browser::by_password(&hub, "Ada ", "the password of ada").await;
    assert_eq!((status, &view["name"], &view["role"]), (200, &json!("ada"), &json!("operator")));
    let second = second.unwrap();
    let change = |old: &str, new: &str| json!({ "old": old, "new": new }).to_string();
    let send = async |body: String| second.send(Method::Post, "/api/v1/session/password", &body).await.0;
    assert_eq!(send(change("not the password", "a new and long one")).await, 422);
    assert_eq!(send(change("the password of ada", "short")).await, 422);
    assert!(session(&first).await.signed_in);
    assert_eq!(send(change("the password of ada", "a new and long one")).await, 200);
    assert!(!session(&first).await.signed_in);
    assert!(session(&second).await.signed_in);
    assert_eq!(Browser::by_password(&hub, "ada", "the password of ada").await.0, 401);
    assert_eq!(Browser::by_password(&hub, "ada", "a new and long one").await.0, 200);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_one_session_and_everywhere_ends_all() {
    let hub = TestHub::start().await;
    let first = hub.user("ada", Role::Viewer).await;
    let other = hub.user("bob", Role::Viewer).await;
    let mut browsers = vec![first];
    for _ in 0..2 {
        browsers.push(Browser::by_password(&hub, "ada", "the password of ada").await.1.unwrap());
    }
    assert_eq!(browsers[0].send(Method::Delete, SESSION, "").await.0, 200);
    assert_eq!(browsers[0].send(Method::Get, "/api/v1/hub", "").await.0, 401);
    assert_eq!(browsers[1].send(Method::Get, "/api/v1/hub", "").await.0, 200);
    assert_eq!(browsers[1].send(Method::Post, "/api/v1/session/revoke-all", "").await.0, 200);
    for browser in &browsers {
        assert_eq!(browser.send(Method::Get, "/api/v1/hub", "").await.0, 401);
    }
    assert_eq!(other.send(Method::Get, "/api/v1/hub", "").await.0, 200, "another's session goes on");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_when_idle_and_at_the_end_of_their_life() {
    const DAY: Duration = Duration::from_secs(86_400);
    let hub = TestHub::start().await;
    let (idle, used) = (Browser::open(&hub).await, Browser::open(&hub).await);
    for _ in 0..4 {
        hub.clock.advance(2 * DAY);
        assert!(session(&used).await.signed_in);
    }
    assert!(!session(&idle).await.signed_in);
    for _ in 0..10 {
        hub.clock.advance(2 * DAY);
        assert!(session(&used).await.signed_in);
    }
    hub.clock.advance(2 * DAY);
    assert!(!session(&used).await.signed_in, "30 days have passed");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_is_out_at_once_and_a_role_holds_at_once() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    let ada = hub.user("ada", Role::Admin).await;
    let update = async |request| admin.call::<UpdateUser>(&path("ada"), &Empty {}, &request).await;
    assert_eq!(ada.send(Method::Get, "/api/v1/users", "").await.0, 200);
    let (status, problem) = ada.send(Method::Post, "/api/v1/users/ada", r#"{"disabled":true}"#).await;
    assert_eq!((status, &problem["code"]), (409, &json!("BS4005")), "nobody shuts themselves out");
    assert_eq!(
        ada.send(Method::Post, "/api/v1/session/open", "").await.0,
        403,
        "an owner's link takes a token"
    );

    update(UpdateUserRequest { role: Some(Role::Viewer), disabled: None }).await.unwrap();
    assert_eq!(ada.send(Method::Get, "/api/v1/users", "").await.0, 403);
    assert_eq!(ada.send(Method::Get, "/api/v1/hub", "").await.0, 200);

    let reset = admin.call::<ResetUser>(&path("ada"), &Empty {}, &Empty {}).await.unwrap();
    let off = update(UpdateUserRequest { role: None, disabled: Some(true) }).await.unwrap();
    assert!(off.disabled_at.is_some());
    assert_eq!(ada.send(Method::Get, "/api/v1/hub", "").await.0, 401);
    assert_eq!(Browser::by_password(&hub, "ada", "the password of ada").await.0, 401);
    let password = json!({ "password": "a long enough one" });
    assert_eq!(Browser::by_link(&hub, code_of(&reset.link), password).await.0, 410);
    assert_eq!(code(admin.call::<ResetUser>(&path("ada"), &Empty {}, &Empty {}).await), ErrorCode::BS4005);

    update(UpdateUserRequest { role: None, disabled: Some(false) }).await.unwrap();
    assert_eq!(ada.send(Method::Get, "/api/v1/hub", "").await.0, 401, "what ended stays ended");
    assert_eq!(Browser::by_password(&hub, "ada", "the password of ada").await.0, 200);
    let wrong = UpdateUserRequest { role: Some(Role::Agent), disabled: None };
    assert_eq!(code(update(wrong).await), ErrorCode::BS4007);
    let listed = admin.call::<ListUsers>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().items;
    assert_eq!((listed.len(), listed[0].role, listed[0].disabled_at), (1, Role::Viewer, None));
    let changes = changes(&hub).await;
    let words: Vec<_> = changes.iter().map(|(_, change, _)| change).collect();
    assert_eq!(
        words,
        [
            &UserChange::Created { role: "admin".into() },
            &UserChange::PasswordSet,
            &UserChange::RoleChanged { from: "admin".into(), to: "viewer".into() },
            &UserChange::LinkMade,
            &UserChange::Disabled,
            &UserChange::Enabled,
        ]
    );
    assert!(changes.iter().all(|(name, ..)| name == "ada"));
    assert_eq!((changes[0].2.as_str(), changes[1].2.as_str()), ("local admin", "ada"));
    hub.hub.stop().await;
}

/// What the ledger says of users: name, change, by whom.
async fn changes(hub: &TestHub) -> Vec<(String, UserChange, String)> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    let query = Default::default();
    let export = hub.admin().call::<ExportLedger>(&Empty {}, &query, &Empty {}).await.unwrap();
    let events = export.rows.iter().map(|row| serde_json::from_str(row.body.as_ref().unwrap()).unwrap());
    let found = events.filter_map(|event| match event {
        Event::UserChanged { name, change, by } => Some((name.to_string(), change, by)),
        _ => None,
    });
    found.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_cookie_must_come_from_the_hubs_own_page() {
    let hub = TestHub::start().await;
    let browser = Browser::open(&hub).await;
    let ours = hub.hub.url();
    let other_port = "http://127.0.0.1:1";
    let refused: [&[(&str, &str)]; 7] = [
        &[],
        &[("sec-fetch-site", "same-origin")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", other_port)],
        &[("origin", &ours), ("sec-fetch-site", "cross-site")],
        &[("origin", &ours), ("sec-fetch-site", "same-site")],
    ];
    for headers in refused {
        for (method, path) in [
            (Method::Delete, SESSION),
            (Method::Post, "/api/v1/tokens"),
            (Method::Post, "/api/v1/session/revoke-all"),
        ] {
            let (status, problem) = browser.send_from(method, path, "", headers).await;
            assert_eq!((status, &problem["code"]), (403, &json!("BS4016")), "{path} {headers:?}");
        }
    }
    let read = async |headers| browser.send_from(Method::Get, "/api/v1/hub", "", headers).await.0;
    assert_eq!(
        read(&[("sec-fetch-site", "same-site")]).await,
        403,
        "another port's page reads nothing either"
    );
    assert_eq!(read(&[("sec-fetch-site", "none")]).await, 200);
    assert_eq!(read(&[]).await, 200);
    assert!(session(&browser).await.signed_in);
    // Signing somebody in from elsewhere is refused too.
    for path in [SESSION, "/api/v1/session/link", "/api/v1/session/link/look"] {
        let body = json!({ "name": "x", "password": "y", "code": "z" });
        let request =
            http().post(format!("{ours}{path}")).header("origin", "https://evil.example").json(&body);
        assert_eq!(request.send().await.unwrap().status().as_u16(), 403, "{path}");
    }
    // A token goes along only where a program puts it.
    let token = hub.hub.admin_token().expose();
    let request = http().post(format!("{ours}/api/v1/users")).bearer_auth(token).header("origin", other_port);
    let body = json!({ "name": "ada", "role": "viewer" });
    assert_eq!(request.json(&body).send().await.unwrap().status().as_u16(), 200);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_a_restart_does_not_forget() {
    let hub = TestHub::start().await;
    hub.user("ada", Role::Viewer).await;
    let wrong = async |hub: &TestHub, name: &str| Browser::by_password(hub, name, "not the password").await;
    for _ in 0..5 {
        let (status, _, problem) = wrong(&hub, "ada").await;
        assert_eq!((status, &problem["code"]), (401, &json!("BS4015")));
    }
    let (status, _, problem) = wrong(&hub, "ADA").await;
    assert_eq!((status, &problem["code"]), (429, &json!("BS4008")));
    let hub = hub.restart().await;
    let limited = limited(&hub, "ada").await;
    assert_eq!(limited.status().as_u16(), 429, "the right password has to wait as well");
    let wait: u64 = limited.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(wrong(&hub, "bob").await.0, 401, "others are not held up");
    hub.clock.advance(Duration::from_secs(2));
    let (status, browser, _) = Browser::by_password(&hub, "ada", "the password of ada").await;
    assert_eq!((status, browser.is_some()), (200, true));
    for _ in 0..5 {
        assert_eq!(wrong(&hub, "ada").await.0, 401, "success has forgotten the failures");
    }
    assert_eq!(wrong(&hub, "ada").await.0, 429);
    // A new link from an admin helps at once.
    let link = hub.admin().call::<ResetUser>(&path("ada"), &Empty {}, &Empty {}).await.unwrap().link;
    assert_eq!(Browser::by_link(&hub, code_of(&link), json!({ "password": "something else" })).await.0, 200);
    hub.hub.stop().await;
}

async fn limited(hub: &TestHub, name: &str) -> reqwest::Response {
    let body = json!({ "name": name, "password": format!("the password of {name}") });
    http().post(format!("{}{SESSION}", hub.hub.url())).json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_tries_many_names_is_slowed_down_too() {
    let hub = TestHub::start().await;
    let tries = (0..40).map(|n| {
        let hub = &hub;
        async move { Browser::by_password(hub, &format!("user-{n}"), "not the password").await.0 }
    });
    let statuses = futures_util::future::join_all(tries).await;
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(401), count(429)), (20, 20), "all at once get no further: {statuses:?}");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_and_a_wrong_password_look_the_same() {
    let hub = TestHub::start().await;
    hub.user("ada", Role::Viewer).await;
    let request = CreateUserRequest { name: "new".parse().unwrap(), role: Role::Viewer };
    hub.admin().call::<CreateUser>(&Empty {}, &Empty {}, &request).await.unwrap();
    let mut answers = Vec::new();
    let mut times = Vec::new();
    for name in ["ada", "nobody", "new", "not a name!", "ada", "nobody"] {
        let began = std::time::Instant::now();
        answers.push(Browser::by_password(&hub, name, "not the password").await.2);
        times.push(began.elapsed());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let least = times.iter().min().unwrap();
    assert!(*least > Duration::from_millis(5), "a hash was computed each time: {times:?}");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_session_that_follows_it() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let browser = hub.user("ada", Role::Operator).await;
    let url = format!("{}/api/v1/nodes/web-1/stacks/shop/logs/follow", hub.hub.url());
    let cookie = format!("__Host-backstay={}", browser.cookie.expose());
    let response = http().get(url).header("cookie", cookie).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let reading = tokio::spawn(response.text());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!reading.is_finished());
    let off = UpdateUserRequest { role: None, disabled: Some(true) };
    hub.admin().call::<UpdateUser>(&path("ada"), &Empty {}, &off).await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), reading).await.unwrap().unwrap().unwrap();
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_kept_or_shown() {
    let hub = TestHub::start().await;
    let browser = hub.user("ada", Role::Viewer).await;
    Browser::by_password(&hub, "ada", "a wrong password for ada").await;
    let secret = browser.cookie.expose().rsplit('.').next().unwrap().to_owned();
    let ledger = format!("{:?}", changes(&hub).await);
    let users: Value = serde_json::to_value(
        hub.admin().call::<ListUsers>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().items,
    )
    .unwrap();
    let folder = hub.hub.data_dir().to_owned();
    let TestHub { hub, folder: kept, .. } = hub;
    hub.stop().await;
    let mut all = format!("{ledger}{users}").into_bytes();
    for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            all.extend(std::fs::read(file).unwrap());
        }
    }
    for text in ["the password of ada", "a wrong password for ada", &secret] {
        assert!(!all.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    assert!(all.windows(9).any(|window| window == b"$argon2id"), "the hash was looked for where it is");
    drop(kept);
}
