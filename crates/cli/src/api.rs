//! Calls to the hub, and their errors as people should read them.

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use backstay_api::{
    Binary, Empty, Endpoint, Events,
    v1::{Page, Paging},
};
use backstay_client::{Client, ClientError, EventStream, Options};
use backstay_types::{ErrorCode, Secret};

use crate::{error::CliError, ui::Ui};

/// How long a stream may be silent: some of the signs of life that the hub gives.
const QUIET: Duration = Duration::from_secs(40);

/// How long a download may take.
const DOWNLOAD: Duration = Duration::from_secs(3600);

/// A hub, as one token sees it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: Client,
    /// Who is told once that the hub only repeats what it said before.
    told: Option<(Ui, Arc<Once>)>,
}

impl Api {
    /// The hub at `url`.
    ///
    /// # Errors
    /// When the address is not one.
    pub(crate) fn new(url: &str, token: Option<Secret>, timeout: Duration) -> Result<Self, CliError> {
        let options =
            Options { timeout, connect_timeout: timeout.min(Duration::from_secs(5)), ..Options::default() };
        let client = Client::with_options(url, token, options).map_err(|e| explain(e, url))?;
        Ok(Self { client, told: None })
    }

    /// Says on this screen when what the hub answers is old.
    pub(crate) fn telling(mut self, ui: Ui) -> Self {
        self.told = Some((ui, Arc::new(Once::new())));
        self
    }

    fn say_if_old(&self) {
        if let (Some((ui, once)), Some(at)) = (&self.told, self.client.as_of()) {
            once.call_once(|| {
                ui.note(format!(
                    "The hub's database is away: this is as of {at}. Nothing can be changed until it is back; what runs keeps running."
                ));
            });
        }
    }

    /// The hub's address.
    pub(crate) fn url(&self) -> &str {
        self.client.base_url().as_str().trim_end_matches('/')
    }

    /// Calls an endpoint.
    pub(crate) async fn call<E: Endpoint>(
        &self,
        path: E::Path,
        query: E::Query,
        request: E::Request,
    ) -> Result<E::Response, CliError> {
        let result = self.client.call::<E>(&path, &query, &request).await;
        self.say_if_old();
        result.map_err(|e| explain(e, self.url()))
    }

    /// Calls an endpoint that may hold its answer back for `hold`.
    pub(crate) async fn call_held<E: Endpoint>(
        &self,
        path: E::Path,
        query: E::Query,
        request: E::Request,
        hold: Duration,
    ) -> Result<E::Response, CliError> {
        let result = self.client.call_held::<E>(&path, &query, &request, hold).await;
        result.map_err(|e| explain(e, self.url()))
    }

    /// Writes what an endpoint gives to a file, however much it is.
    pub(crate) async fn download<E: Endpoint<Response = Binary, Query = Empty>>(
        &self,
        path: &E::Path,
        request: &E::Request,
        to: &mut impl std::io::Write,
    ) -> Result<u64, CliError> {
        self.download_chosen::<E>(path, &Empty {}, request, to).await
    }

    /// The same with query parameters.
    pub(crate) async fn download_chosen<E: Endpoint<Response = Binary>>(
        &self,
        path: &E::Path,
        query: &E::Query,
        request: &E::Request,
        to: &mut impl std::io::Write,
    ) -> Result<u64, CliError> {
        let failed = |e| explain(e, self.url());
        let started = self.client.download::<E>(path, query, request, DOWNLOAD, u64::MAX).await;
        let (mut download, mut bytes) = (started.map_err(failed)?, 0);
        while let Some(chunk) = download.chunk().await.map_err(failed)? {
            let written = to.write_all(chunk.as_ref());
            written.map_err(|e| {
                CliError::new(ErrorCode::BS8004, "what came cannot be written").with_source(e)
            })?;
            bytes += chunk.as_ref().len() as u64;
        }
        Ok(bytes)
    }

    /// Follows an endpoint that answers with server-sent events.
    pub(crate) async fn follow<E: Endpoint<Response = Events>>(
        &self,
        path: &E::Path,
        query: &E::Query,
        request: &E::Request,
    ) -> Result<EventStream, CliError> {
        let result = self.client.follow::<E>(path, query, request, QUIET).await;
        result.map_err(|e| explain(e, self.url()))
    }

    /// Reads an endpoint that has neither path, query nor body.
    pub(crate) async fn get<E>(&self) -> Result<E::Response, CliError>
    where
        E: Endpoint<Path = Empty, Query = Empty, Request = Empty>,
    {
        self.call::<E>(Empty {}, Empty {}, Empty {}).await
    }

    /// Reads all pages of a list.
    pub(crate) async fn all<E, T>(&self, query: impl Fn(Paging) -> E::Query) -> Result<Vec<T>, CliError>
    where
        E: Endpoint<Path = Empty, Request = Empty, Response = Page<T>>,
    {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let query = query(Paging { limit: Some(1000), cursor });
            let page = self.call::<E>(Empty {}, query, Empty {}).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }
}

fn explain(error: ClientError, url: &str) -> CliError {
    match error {
        ClientError::Problem(problem) => CliError::from(*problem),
        ClientError::Address { .. } => CliError::argument(error.to_string())
            .hint("give it by --hub or BACKSTAY_HUB, such as http://127.0.0.1:8484"),
        ClientError::Unreachable(_)
        | ClientError::Timeout(_)
        | ClientError::Interrupted(_)
        | ClientError::Silent { .. } => {
            CliError::new(ErrorCode::BS8001, format!("the hub at {url} cannot be reached"))
                .with_source(error)
                .hint("start one with `backstay up`, or name another with --hub or BACKSTAY_HUB")
        }
        ClientError::Setup(_) => {
            CliError::new(ErrorCode::BS8001, "no connection can be made").with_source(error)
        }
        ClientError::Unexpected { .. } | ClientError::TooLarge { .. } | ClientError::Malformed { .. } => {
            CliError::new(ErrorCode::BS8013, format!("the answer of {url} cannot be understood"))
                .with_source(error)
                .hint("is this a Backstay hub, and of the same version as this program?")
        }
    }
}
