//! A repository in a bucket that speaks S3.

use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

use backstay_types::{Secret, backup::job::FailedKind};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use md5::{Digest as _, Md5};
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue, RANGE},
};
use rustic_core::{BytesList, FileType, Id};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle, actions::ListObjectsV2};

use super::{
    Files, Part,
    http::{Answer, Http, Request, excerpt},
    is_missing,
    limit::Limit,
    path_of,
    rest::{part_of, range, small},
};
use crate::{Patience, fault::Fault};

const CONTENT_MD5: &str = "content-md5";
/// How long a signature holds.
const SIGNED_FOR: Duration = Duration::from_secs(3600);
/// Servers take a clock that is wrong by a few minutes.
const CLOCK_OFF: i64 = 120;

pub(super) struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    place: String,
    http: Http,
    /// Seconds by which the server's clock is ahead of this machine's.
    ahead: AtomicI64,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Where a bucket is, and its key.
pub(super) struct Settings<'a> {
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a Secret,
}

impl S3 {
    pub(super) fn new(settings: &Settings<'_>, limit: Limit, patience: Patience) -> Result<Self, Fault> {
        let Settings { endpoint, region, bucket, prefix, access_key, secret_key } = *settings;
        let wrong =
            |error: &dyn std::fmt::Display| Fault::bad_job(format!("the endpoint `{endpoint}`: {error}"));
        let url: Url = endpoint.parse().map_err(|error| wrong(&error))?;
        let http = Http::new(&url, None, limit, patience)?;
        let name = bucket.to_owned();
        let bucket =
            Bucket::new(url, UrlStyle::Path, name, region.to_owned()).map_err(|error| wrong(&error))?;
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self {
            place: format!("{}/{}/{prefix}", endpoint.trim_end_matches('/'), bucket.name()),
            credentials: Credentials::new(access_key, secret_key.expose()),
            bucket,
            prefix,
            http,
            ahead: AtomicI64::new(0),
        })
    }

    #[allow(clippy::disallowed_methods, reason = "a signature has the time in it")]
    fn now() -> Timestamp {
        Timestamp::now()
    }

    /// Signs by the server's clock, where it told that this machine's is wrong.
    fn signed<'a>(&self, action: &impl S3Action<'a>) -> Url {
        let ahead = SignedDuration::from_secs(self.ahead.load(Relaxed));
        let now = Self::now();
        action.sign_with_time(SIGNED_FOR, &now.saturating_add(ahead).unwrap_or(now))
    }

    /// Asks, and once more when the server says that this machine's clock is wrong.
    fn ask(&self, make: impl Fn() -> Request) -> Result<Answer, Fault> {
        let answer = self.http.ask(&make)?;
        if answer.status != StatusCode::FORBIDDEN {
            return Ok(answer);
        }
        let Some(ahead) = ahead(&answer) else { return Ok(answer) };
        if (ahead - self.ahead.load(Relaxed)).abs() < CLOCK_OFF {
            return Ok(answer);
        }
        self.ahead.store(ahead, Relaxed);
        self.http.ask(make)
    }

    fn request(&self, method: Method, url: Url, path: &str) -> Request {
        Request::new(method, url, format!("{path} in {}", self.place))
    }

    fn refused(&self, path: &str, answer: &Answer) -> Fault {
        let said = excerpt(&answer.body);
        let is_full = ["QuotaExceeded", "StorageFull", "storage_cap_exceeded", "StorageCapExceeded"];
        let (kind, hint) = match answer.status.as_u16() {
            507 => (FailedKind::Full, "; make room there and try again"),
            _ if is_full.iter().any(|code| said.contains(code)) => {
                (FailedKind::Full, "; make room there and try again")
            }
            401 | 403 | 405 => (FailedKind::Refused, "; look at the key and at what it may do"),
            404 => (FailedKind::Refused, "; look at the bucket's name and region"),
            _ => (FailedKind::Other, ""),
        };
        Fault::new(
            kind,
            format!("{path} in {}: the server answers {}{said}{hint}", self.place, answer.status),
        )
    }

    fn key(&self, kind: FileType, id: &Id) -> String {
        format!("{}{}", self.prefix, path_of(kind, id))
    }

    /// How large a file is; none when it is not there.
    fn size(&self, kind: FileType, id: &Id) -> Result<Option<u64>, Fault> {
        let key = self.key(kind, id);
        let action = self.bucket.head_object(Some(&self.credentials), &key);
        let answer = self.ask(|| self.request(Method::HEAD, self.signed(&action), &key))?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let length = answer.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
                Ok(Some(length.and_then(|text| text.parse().ok()).unwrap_or_default()))
            }
            _ => Err(self.refused(&key, &answer)),
        }
    }
}

/// What a bucket with object lock asks for with each file, and every other one compares.
fn sum_of(content: &BytesList) -> String {
    let mut sum = Md5::new();
    for part in content.slice() {
        sum.update(part);
    }
    BASE64_STANDARD.encode(sum.finalize())
}

/// How far the server's clock is ahead of this machine's, by its answer.
fn ahead(answer: &Answer) -> Option<i64> {
    let date = answer.headers.get(DATE)?.to_str().ok()?;
    let date = rfc2822::parse(date).ok()?.timestamp();
    Some(date.as_second() - S3::now().as_second())
}

impl Files for S3 {
    fn place(&self) -> String {
        self.place.clone()
    }

    /// A bucket has no folders, and is made by its owner.
    fn create(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn list(&self, kind: FileType) -> Result<Vec<(Id, u32)>, Fault> {
        if kind == FileType::Config {
            let size = self.size(kind, &Id::default())?;
            return Ok(size.map(|size| (Id::default(), small(size))).into_iter().collect());
        }
        let prefix = format!("{}{}/", self.prefix, kind.dirname());
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
            action.with_prefix(prefix.as_str());
            if let Some(token) = &next {
                action.with_continuation_token(token.as_str());
            }
            let answer = self.ask(|| self.request(Method::GET, self.signed(&action), &prefix))?;
            if !answer.status.is_success() {
                return Err(self.refused(&prefix, &answer));
            }
            let text = String::from_utf8_lossy(&answer.body);
            let page = ListObjectsV2::parse_response(&text).map_err(|error| {
                Fault::new(
                    FailedKind::Other,
                    format!("{prefix} in {}: no list as S3 has it: {error}", self.place),
                )
            })?;
            found.extend(page.contents.iter().filter_map(|object| {
                let id = object.key.rsplit('/').next()?.parse().ok()?;
                Some((id, small(object.size.unwrap_or_default())))
            }));
            next = page.next_continuation_token;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    fn read(&self, kind: FileType, id: &Id, part: Option<Part>) -> Result<Bytes, Fault> {
        if part.is_some_and(|(_, length)| length == 0) {
            return Ok(Bytes::new());
        }
        let key = self.key(kind, id);
        let action = self.bucket.get_object(Some(&self.credentials), &key);
        let answer = self.ask(|| {
            let mut request = self.request(Method::GET, self.signed(&action), &key);
            request.headers.extend(part.and_then(range).map(|range| (RANGE, range)));
            request
        })?;
        match answer.status {
            StatusCode::NOT_FOUND => Err(is_missing(&self.place, kind, id)),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Bytes::new()),
            status if status.is_success() => Ok(part_of(&answer, part)),
            _ => Err(self.refused(&key, &answer)),
        }
    }

    fn write(&self, kind: FileType, id: &Id, content: BytesList) -> Result<(), Fault> {
        let key = self.key(kind, id);
        let sum = sum_of(&content);
        let mut action = self.bucket.put_object(Some(&self.credentials), &key);
        action.headers_mut().insert(CONTENT_MD5, sum.clone());
        let answer = self.ask(|| {
            let mut request = self.request(Method::PUT, self.signed(&action), &key);
            request
                .headers
                .extend(HeaderValue::from_str(&sum).map(|sum| (HeaderName::from_static(CONTENT_MD5), sum)));
            request.content = Some(content.clone());
            request
        })?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refused(&key, &answer)) }
    }

    fn remove(&self, kind: FileType, id: &Id) -> Result<(), Fault> {
        let key = self.key(kind, id);
        let action = self.bucket.delete_object(Some(&self.credentials), &key);
        let answer = self.ask(|| self.request(Method::DELETE, self.signed(&action), &key))?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.refused(&key, &answer)),
        }
    }
}
