//! A bucket that speaks S3. Every request has an end: opendal's own waits for ever where a server accepts and is silent.

use std::time::Duration;

use backstay_types::Secret;
use futures_util::{StreamExt as _, TryStreamExt as _};
use opendal::{
    Buffer, ErrorKind, HttpTransporter, OperationContext, Operator,
    layers::{RetryLayer, TimeoutLayer},
    services,
};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::{Client, redirect::Policy};
use tokio::{fs, io::AsyncReadExt as _};

use crate::{Listed, ObjectError, ObjectName, Put, Spooled, Stream};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request that carries no content may take.
const ANSWER: Duration = Duration::from_secs(15);
/// How often one that failed, and may go well another time, is tried again.
const RETRIES: usize = 2;
/// Before the second try; the third waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How long each piece of content may take.
const PIECE_TIME: Duration = Duration::from_secs(60);
/// A piece of content on its way out.
const PIECE: usize = 8 << 20;

/// Which bucket, and what opens it.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Such as `https://s3.eu-central-003.backblazeb2.com`.
    pub endpoint: String,
    /// Such as `eu-central-003`.
    pub region: String,
    /// Its name.
    pub bucket: String,
    /// A folder in it; may be empty.
    pub prefix: String,
    /// Its key's id.
    pub access_key: String,
    /// Its key.
    pub secret_key: Secret,
}

/// A folder in a bucket.
#[derive(Debug, Clone)]
pub struct S3 {
    operator: Operator,
    /// For files that are sent at once.
    small: Operator,
}

fn client() -> Result<Client, opendal::Error> {
    let client = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT).build();
    client.map_err(|error| {
        opendal::Error::new(ErrorKind::ConfigInvalid, "no HTTP client could be made").set_source(error)
    })
}

impl S3 {
    /// Files in a bucket. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(bucket: &Bucket) -> Result<Self, ObjectError> {
        Self::new_with_times(bucket, ANSWER)
    }

    pub(crate) fn new_with_times(bucket: &Bucket, answer: Duration) -> Result<Self, ObjectError> {
        // The one cryptography of this project. That another part has installed it already is well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let service = || {
            services::S3::default()
                .endpoint(&bucket.endpoint)
                .region(&bucket.region)
                .bucket(&bucket.bucket)
                .root(&format!("/{}", bucket.prefix.trim_matches('/')))
                .access_key_id(&bucket.access_key)
                .secret_access_key(bucket.secret_key.expose())
                .disable_config_load()
        };
        // A bucket with object lock takes nothing without a sum of it; not every server knows one for files in pieces.
        let summed = service().checksum_algorithm("md5");
        let failed = |error| ObjectError::store(&bucket.bucket, error);
        // What passes (a server that is overloaded says so) is tried again, each try with its own end.
        let retries = RetryLayer::new().with_max_times(RETRIES).with_min_delay(FIRST_WAIT).with_jitter();
        let timeouts = TimeoutLayer::new().with_timeout(answer).with_io_timeout(PIECE_TIME);
        // Without its default features the library has nothing to send requests with.
        let sends = HttpTransporter::new(ReqwestTransport::new(client().map_err(failed)?));
        let operator = |service| {
            let operator = Operator::new(service)?.layer(timeouts.clone()).layer(retries.clone());
            Ok(operator.with_context(OperationContext::new().with_http_transport(sends.clone())))
        };
        Ok(Self { operator: operator(service()).map_err(failed)?, small: operator(summed).map_err(failed)? })
    }

    pub(crate) fn small(&self) -> &Operator {
        &self.small
    }

    pub(crate) async fn list(&self, folder: &ObjectName) -> Result<Vec<Listed>, ObjectError> {
        self.walk(folder, false).await
    }

    pub(crate) async fn list_below(&self, folder: &ObjectName) -> Result<Vec<Listed>, ObjectError> {
        self.walk(folder, true).await
    }

    async fn walk(&self, folder: &ObjectName, recursive: bool) -> Result<Vec<Listed>, ObjectError> {
        let failed = |error| ObjectError::store(folder, error);
        let path = format!("{folder}/");
        let mut lister = match self.operator.lister_with(&path).recursive(recursive).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            lister => lister.map_err(failed)?,
        };
        let mut found = Vec::new();
        while let Some(entry) = lister.try_next().await.map_err(failed)? {
            if entry.metadata().is_file() {
                let bytes = entry.metadata().content_length();
                found.push(Listed { name: entry.name().to_owned(), bytes });
            }
        }
        Ok(found)
    }

    pub(crate) async fn size(&self, name: &ObjectName) -> Result<Option<u64>, ObjectError> {
        match self.operator.stat(name.as_str()).await {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.content_length())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ObjectError::store(name, error)),
        }
    }

    pub(crate) async fn read(&self, name: &ObjectName, from: u64, to: u64) -> Result<Stream, ObjectError> {
        if from >= to {
            return Ok(futures_util::stream::empty().boxed());
        }
        let failed = |error| ObjectError::store(name, error);
        let reader = self.operator.reader(name.as_str()).await.map_err(failed)?;
        let stream = reader.into_bytes_stream(from..to).await.map_err(failed)?;
        let name = name.clone();
        Ok(stream.map_err(move |error| ObjectError::stream(&name, error)).boxed())
    }

    pub(crate) async fn put_new(&self, name: &ObjectName, content: Spooled) -> Result<Put, ObjectError> {
        if self.size(name).await?.is_some() {
            return Ok(Put::There);
        }
        let failed = |error| ObjectError::store(name, error);
        let lost = |source| ObjectError::io(content.path().display(), source);
        let mut file = fs::File::open(content.path()).await.map_err(lost)?;
        let mut writer = self.operator.writer_with(name.as_str()).chunk(PIECE).await.map_err(failed)?;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece).await;
            let written = match read {
                Ok(0) => break,
                Ok(_) => writer.write(Buffer::from(piece)).await.map_err(failed),
                Err(source) => Err(lost(source)),
            };
            if let Err(error) = written {
                let _ = writer.abort().await;
                return Err(error);
            }
        }
        // Only with this is it there.
        writer.close().await.map_err(failed)?;
        Ok(Put::Written)
    }

    pub(crate) async fn replace(&self, name: &ObjectName, content: Vec<u8>) -> Result<(), ObjectError> {
        let written = self.small.write(name.as_str(), content).await;
        written.map(drop).map_err(|error| ObjectError::store(name, error))
    }

    pub(crate) async fn delete(&self, name: &ObjectName) -> Result<(), ObjectError> {
        self.operator.delete(name.as_str()).await.map_err(|error| ObjectError::store(name, error))
    }
}
