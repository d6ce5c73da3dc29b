//! Whether what is written somewhere stays there, whatever its writer does.

use opendal::{ErrorKind, Operator};

use crate::{ObjectError, ObjectName, Objects};

const FIRST: &[u8] = b"Backstay has written this to see whether its key can overwrite or delete it.\n";
const SECOND: &[u8] = b"Backstay has written this over something else.\n";

impl Objects {
    /// Whether what is written here stays, whatever whoever holds its key does: writes a small file, then tries to
    /// overwrite and to delete it, with all of its versions. Where it stays it stays for good, so `name` should be the
    /// same each time. A folder is never append-only for the machine that it is on.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn is_append_only(&self, name: &ObjectName) -> Result<bool, ObjectError> {
        match self {
            Self::Folder(_) => Ok(false),
            Self::S3(s3) => of_bucket(s3.small(), name).await,
        }
    }
}

async fn of_bucket(operator: &Operator, name: &ObjectName) -> Result<bool, ObjectError> {
    let path = name.as_str();
    let failed = |error| ObjectError::store(name, error);
    // One that is there from before and may not be overwritten is as good as a new one.
    let written = match operator.write(path, FIRST).await {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => operator.stat(path).await,
        written => written,
    };
    let version = written.map_err(failed)?.version().map(ToOwned::to_owned);
    tolerated(operator.write(path, SECOND).await.map(drop)).map_err(failed)?;
    tolerated(operator.delete(path).await).map_err(failed)?;
    let read = match &version {
        Some(version) => {
            tolerated(operator.delete_with(path).version(version).await).map_err(failed)?;
            operator.read_with(path).version(version).await
        }
        None => operator.read(path).await,
    };
    match read {
        Ok(content) => Ok(content.to_vec() == FIRST),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// To be refused is what is hoped for.
fn tolerated(result: opendal::Result<()>) -> opendal::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}
