//! A repository behind restic's REST protocol, version 2, as the hub speaks it: files are added, and not replaced.

use std::fs;

use backstay_types::{Secret, backup::job::FailedKind};
use bytes::Bytes;
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RANGE},
};
use rustic_core::{BytesList, FileType, Id};
use serde::Deserialize;

use super::{
    Files, Part,
    http::{Answer, Http, Request, excerpt},
    is_missing,
    limit::Limit,
    path_of,
};
use crate::{Patience, fault::Fault};

const VERSION_2: &str = "application/vnd.x.restic.rest.v2";

#[derive(Debug)]
pub(super) struct Rest {
    base: Url,
    credential: HeaderValue,
    http: Http,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    size: u64,
}

impl Rest {
    pub(super) fn new(
        url: &str,
        credential: &Secret,
        ca_file: Option<&str>,
        limit: Limit,
        patience: Patience,
    ) -> Result<Self, Fault> {
        let mut base: Url =
            url.parse().map_err(|error| Fault::bad_job(format!("the address `{url}`: {error}")))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut credential = HeaderValue::from_str(&format!("Bearer {}", credential.expose()))
            .map_err(|_| Fault::bad_job("the credential has characters that no header can have"))?;
        credential.set_sensitive(true);
        let read = |path: &str| {
            fs::read(path).map_err(|error| Fault::of_io(format!("reading the CA file {path}"), &error))
        };
        let ca = ca_file.map(read).transpose()?;
        let http = Http::new(&base, ca.as_deref(), limit, patience)?;
        Ok(Self { base, credential, http })
    }

    fn request(&self, method: Method, path: &str) -> Request {
        let mut url = self.base.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.base.path()));
        url.set_query(query);
        let mut request = Request::new(method, url, format!("{path} at {}", self.base));
        request.headers.insert(AUTHORIZATION, self.credential.clone());
        request
    }

    fn refused(&self, path: &str, answer: &Answer) -> Fault {
        let said = excerpt(&answer.body);
        let (kind, hint) = match answer.status.as_u16() {
            401 | 403 | 405 => (FailedKind::Refused, "; look at the credential and at what it may do"),
            413 | 507 => (FailedKind::Full, "; make room there and try again"),
            404 => (FailedKind::NoRepository, "; look at the address"),
            _ => (FailedKind::Other, ""),
        };
        Fault::new(kind, format!("{path} at {}: the server answers {}{said}{hint}", self.base, answer.status))
    }

    /// How large a file is; none when it is not there.
    fn size(&self, path: &str) -> Result<Option<u64>, Fault> {
        let answer = self.http.ask(|| self.request(Method::HEAD, path))?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let length = answer.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
                Ok(Some(length.and_then(|text| text.parse().ok()).unwrap_or_default()))
            }
            _ => Err(self.refused(path, &answer)),
        }
    }
}

impl Files for Rest {
    fn place(&self) -> String {
        self.base.to_string()
    }

    fn create(&self) -> Result<(), Fault> {
        let path = "?create=true";
        let answer = self.http.ask(|| self.request(Method::POST, path))?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refused(path, &answer)) }
    }

    fn list(&self, kind: FileType) -> Result<Vec<(Id, u32)>, Fault> {
        if kind == FileType::Config {
            let size = self.size("config")?;
            return Ok(size.map(|size| (Id::default(), small(size))).into_iter().collect());
        }
        let path = format!("{}/", kind.dirname());
        let answer = self.http.ask(|| {
            let mut request = self.request(Method::GET, &path);
            request.headers.insert(ACCEPT, HeaderValue::from_static(VERSION_2));
            request
        })?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        if !answer.status.is_success() {
            return Err(self.refused(&path, &answer));
        }
        let listed: Vec<Listed> = serde_json::from_slice(&answer.body).map_err(|error| {
            let message =
                format!("{path} at {}: no list as version 2 of the protocol has it: {error}", self.base);
            Fault::new(FailedKind::Other, message)
        })?;
        let id = |listed: Listed| Some((listed.name.parse().ok()?, small(listed.size)));
        Ok(listed.into_iter().filter_map(id).collect())
    }

    fn read(&self, kind: FileType, id: &Id, part: Option<Part>) -> Result<Bytes, Fault> {
        let path = path_of_rest(kind, id);
        if part.is_some_and(|(_, length)| length == 0) {
            return Ok(Bytes::new());
        }
        let answer = self.http.ask(|| {
            let mut request = self.request(Method::GET, &path);
            request.headers.extend(part.and_then(range).map(|range| (RANGE, range)));
            request
        })?;
        match answer.status {
            StatusCode::NOT_FOUND => Err(is_missing(&self.place(), kind, id)),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Bytes::new()),
            status if status.is_success() => Ok(part_of(&answer, part)),
            _ => Err(self.refused(&path, &answer)),
        }
    }

    fn write(&self, kind: FileType, id: &Id, content: BytesList) -> Result<(), Fault> {
        let path = path_of_rest(kind, id);
        let answer = self.http.ask(|| {
            let mut request = self.request(Method::POST, &path);
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            request.content = Some(content.clone());
            request
        })?;
        match answer.status.as_u16() {
            200..=299 => Ok(()),
            // It may be there: when an answer got lost, the file was sent a second time.
            403 | 409 | 412
                if kind != FileType::Config && self.size(&path)? == Some(content.size() as u64) =>
            {
                Ok(())
            }
            _ => Err(self.refused(&path, &answer)),
        }
    }

    fn remove(&self, kind: FileType, id: &Id) -> Result<(), Fault> {
        let path = path_of_rest(kind, id);
        let answer = self.http.ask(|| self.request(Method::DELETE, &path))?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.refused(&path, &answer)),
        }
    }
}

/// The protocol has no folders below `data`.
fn path_of_rest(kind: FileType, id: &Id) -> String {
    match kind {
        FileType::Pack => format!("data/{}", id.to_hex().as_str()),
        _ => path_of(kind, id),
    }
}

pub(super) fn small(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

pub(super) fn range((offset, length): Part) -> Option<HeaderValue> {
    let last = u64::from(offset) + u64::from(length) - 1;
    HeaderValue::from_str(&format!("bytes={offset}-{last}")).ok()
}

/// What was asked for, as far as it is there. A server may give the whole file.
pub(super) fn part_of(answer: &Answer, part: Option<Part>) -> Bytes {
    let Some((offset, length)) = part else { return answer.body.clone() };
    let start = if answer.status == StatusCode::PARTIAL_CONTENT { 0 } else { offset as usize };
    let end = start.saturating_add(length as usize).min(answer.body.len());
    answer.body.slice(start.min(end)..end)
}
