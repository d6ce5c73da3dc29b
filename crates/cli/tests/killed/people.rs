//! The ways in which the hub comes to write about who may sign in.

use std::time::Duration;

use backstay_api::{Empty, Problem, Role, SESSION_COOKIE, v1};
use backstay_client::ClientError;
use backstay_testkit::http;
use backstay_types::{ErrorCode, Secret};
use serde_json::{Value, json};

use super::{
    place::Place,
    ways::{Again, Way},
};

const PASSWORD: &str = "correct horse battery";
const NEXT_PASSWORD: &str = "another horse battery";

/// A number straight from the hub's database: what was killed told nobody of its session.
fn number(place: &Place, sql: &str) -> usize {
    let database = rusqlite::Connection::open(place.dir.path().join("hub/hub.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
}

/// How many of the ledger's bodies say this, sealed or not.
fn said(place: &Place, word: &str) -> usize {
    let count = |table: &str| format!("SELECT COUNT(*) FROM {table} WHERE body LIKE '%{word}%'");
    number(place, &format!("SELECT ({}) + ({})", count("ledger_bodies"), count("ledger_pending")))
}

fn sessions(place: &Place) -> usize {
    number(place, "SELECT COUNT(*) FROM sessions")
}

fn create(place: &Place) -> Result<v1::CreatedUser, ClientError> {
    let body = v1::CreateUserRequest { name: "ada".parse().unwrap(), role: Role::Operator };
    place.call::<v1::CreateUser>(&Empty {}, &Empty {}, &body)
}

fn user() -> v1::UserPath {
    v1::UserPath { user: "ada".to_owned() }
}

/// A request as a browser sends it, with the cookie of the notes when there is one.
fn browse(place: &Place, method: &str, path: &str, body: &Value) -> Result<http::Response, ClientError> {
    let url = format!("{}{path}", place.port.url());
    let (origin, text) = (place.port.url(), if body.is_null() { String::new() } else { body.to_string() });
    let cookie = place.notes.borrow().get("cookie").cloned().unwrap_or_default();
    let headers = [("origin", &*origin), ("cookie", &*cookie), ("content-type", "application/json")];
    // A connection that was cut is an answer that never came.
    let cut = |_| ClientError::Silent { after: Duration::ZERO };
    let response = http::send(method, &url, &headers, text.as_bytes()).map_err(cut)?;
    if response.status < 300 {
        return Ok(response);
    }
    let problem: Problem =
        serde_json::from_str(&response.body).map_err(|_| cut(std::io::Error::other("cut")))?;
    Err(ClientError::Problem(Box::new(problem)))
}

/// Keeps the cookie that an answer set.
fn keep_cookie(place: &Place, response: &http::Response) {
    let header = response.header("set-cookie").unwrap();
    let value = header.split(';').next().unwrap();
    assert!(value.starts_with(SESSION_COOKIE));
    place.keep("cookie", value);
}

fn code(link: &Secret) -> String {
    link.expose().rsplit('/').next().unwrap().to_owned()
}

/// `ada`, who has a password and a browser that is signed in.
fn with_user(place: &mut Place) {
    place.start();
    let link = create(place).unwrap().link;
    let body = json!({ "code": code(&link), "password": PASSWORD });
    let entered = browse(place, "POST", "/api/v1/session/link", &body).unwrap();
    keep_cookie(place, &entered);
}

pub(super) const CREATE_USER: Way = Way {
    endpoints: &["CreateUser"],
    prepare: Place::start,
    act: |place| create(place).map(drop),
    count: |place| number(place, "SELECT COUNT(*) FROM users"),
    again: Again::Refused(ErrorCode::BS4005),
    event: "user_changed",
};

pub(super) const UPDATE_USER: Way = Way {
    endpoints: &["UpdateUser"],
    prepare: |place| {
        place.start();
        create(place).unwrap();
    },
    act: |place| {
        let body = v1::UpdateUserRequest { disabled: Some(true), ..v1::UpdateUserRequest::default() };
        place.call::<v1::UpdateUser>(&user(), &Empty {}, &body).map(drop)
    },
    count: |place| number(place, "SELECT COUNT(*) FROM users WHERE disabled_at IS NOT NULL"),
    again: Again::Same,
    event: "user_changed",
};

pub(super) const RESET_USER: Way = Way {
    endpoints: &["ResetUser"],
    prepare: |place| {
        place.start();
        create(place).unwrap();
    },
    act: |place| place.call::<v1::ResetUser>(&user(), &Empty {}, &Empty {}).map(drop),
    count: |place| said(place, "link_made"),
    again: Again::More,
    event: "user_changed",
};

fn open_link(place: &Place) -> Result<v1::CreatedLink, ClientError> {
    place.call::<v1::CreateOpenLink>(&Empty {}, &Empty {}, &Empty {})
}

pub(super) const OPEN_LINK: Way = Way {
    endpoints: &["CreateOpenLink"],
    prepare: Place::start,
    act: |place| open_link(place).map(drop),
    count: |place| number(place, "SELECT COUNT(*) FROM sign_in_links"),
    again: Again::More,
    event: "",
};

pub(super) const SIGN_IN_BY_LINK: Way = Way {
    endpoints: &["SignInByLink"],
    prepare: |place| {
        place.start();
        place.keep("code", code(&open_link(place).unwrap().link));
    },
    act: |place| {
        browse(place, "POST", "/api/v1/session/link", &json!({ "code": place.note("code") })).map(drop)
    },
    count: sessions,
    // It works once: who had no answer takes another.
    again: Again::Refused(ErrorCode::BS4017),
    event: "",
};

pub(super) const SIGN_IN: Way = Way {
    endpoints: &["SignIn"],
    prepare: |place| {
        with_user(place);
        browse(place, "DELETE", "/api/v1/session", &Value::Null).unwrap();
        place.notes.borrow_mut().remove("cookie");
    },
    act: |place| {
        browse(place, "POST", "/api/v1/session", &json!({ "name": "ada", "password": PASSWORD })).map(drop)
    },
    count: sessions,
    again: Again::More,
    event: "",
};

pub(super) const SIGN_OUT: Way = Way {
    endpoints: &["SignOut"],
    prepare: with_user,
    act: |place| browse(place, "DELETE", "/api/v1/session", &Value::Null).map(drop),
    count: |place| 1 - sessions(place),
    again: Again::Refused(ErrorCode::BS4002),
    event: "",
};

pub(super) const SIGN_OUT_EVERYWHERE: Way = Way {
    endpoints: &["SignOutEverywhere"],
    prepare: with_user,
    act: |place| browse(place, "POST", "/api/v1/session/revoke-all", &json!({})).map(drop),
    count: |place| 1 - sessions(place),
    again: Again::Refused(ErrorCode::BS4002),
    event: "user_changed",
};

pub(super) const CHANGE_PASSWORD: Way = Way {
    endpoints: &["ChangePassword"],
    prepare: with_user,
    act: |place| {
        let body = json!({ "old": PASSWORD, "new": NEXT_PASSWORD });
        browse(place, "POST", "/api/v1/session/password", &body).map(drop)
    },
    // The first was set by the link.
    count: |place| said(place, "password_set") - 1,
    again: Again::Refused(ErrorCode::BS4018),
    event: "user_changed",
};

/// A session that was used long ago, and is used again.
pub(super) const SESSION_SEEN: Way = Way {
    endpoints: &[],
    prepare: |place| {
        with_user(place);
        let database = rusqlite::Connection::open(place.dir.path().join("hub/hub.db")).unwrap();
        database.busy_timeout(Duration::from_secs(10)).unwrap();
        let hour = 3_600_000_000_i64;
        database.execute("UPDATE sessions SET seen_at = seen_at - ?1", [hour]).unwrap();
    },
    act: |place| browse(place, "GET", "/api/v1/session", &Value::Null).map(drop),
    count: |place| number(place, "SELECT COUNT(*) FROM sessions WHERE seen_at >= created_at"),
    again: Again::Same,
    event: "",
};
