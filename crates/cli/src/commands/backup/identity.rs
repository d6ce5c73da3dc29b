//! The owner's recovery key on this machine: an age identity (X25519). Its secret part never leaves it.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    str::FromStr as _,
};

use age::{secrecy::ExposeSecret as _, x25519};
use backstay_types::{ErrorCode, Secret};

use crate::error::CliError;

const MARK: &str = "AGE-SECRET-KEY-1";

/// A recovery key with its secret part.
pub(super) struct Identity(x25519::Identity);

impl Identity {
    /// A new one.
    pub(super) fn make() -> Self {
        Self(x25519::Identity::generate())
    }

    /// From a file, as `age-keygen` writes it too: lines beginning with `#` say what it is.
    ///
    /// # Errors
    /// When there is no key in it.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let text = Secret::new(fs::read_to_string(path).map_err(|e| CliError::file("read", path, e))?);
        let line = text.expose().lines().map(str::trim).find(|line| line.starts_with(MARK));
        let wrong = |what: String| {
            CliError::argument(format!("{}: {what}", path.display()))
                .hint("expected the file that `backstay backup recovery-key make` wrote")
        };
        let line = line.ok_or_else(|| wrong(format!("no line begins with `{MARK}`")))?;
        let key = x25519::Identity::from_str(line);
        key.map(Self).map_err(|why| wrong(format!("its key cannot be read ({why})")))
    }

    /// Its public part, `age1…`.
    pub(super) fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// Its secret part.
    pub(super) fn secret(&self) -> Secret {
        Secret::new(self.0.to_string().expose_secret())
    }

    /// What a file of it says.
    pub(super) fn text(&self, hub: &str, at: &str) -> Secret {
        Secret::new(format!(
            "# Recovery key of the backups of {hub}, made {at}\n\
             # It opens every repository without any hub. Keep it away from the hub and its target.\n\
             # public key: {}\n{}\n",
            self.recipient(),
            self.secret().expose()
        ))
    }

    /// Opens what was sealed to it, armored or not.
    ///
    /// # Errors
    /// When it was sealed to another one, or changed.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Secret, CliError> {
        let opened = age::decrypt(&self.0, sealed).map_err(|error| {
            let detail = format!("{} does not open this repository", self.recipient());
            CliError::new(ErrorCode::BS9018, detail)
                .with_source(error)
                .hint("`backstay backup recovery-key show` says which key does")
        })?;
        let text = String::from_utf8(opened);
        text.map(Secret::new).map_err(|error| {
            CliError::new(ErrorCode::BS9018, "what was sealed is no password").with_source(error)
        })
    }
}

/// Writes a key to a new file that its owner alone may read, and makes sure that it is there to stay.
///
/// # Errors
/// When there is such a file already, or it cannot be written.
pub(super) fn write_once(path: &Path, text: &Secret) -> Result<(), CliError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.expose().as_bytes())?;
        file.sync_all()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| {
        let taken = error.kind() == std::io::ErrorKind::AlreadyExists;
        let error = CliError::file("write", path, error);
        if taken { error.hint("name a new file: a key is never written over another one") } else { error }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn sealed_to(identity: &Identity) -> Vec<u8> {
        age::encrypt_and_armor(&identity.0.to_public(), b"s3cret").unwrap().into_bytes()
    }

    #[test]
    fn a_key_that_was_written_opens_what_was_sealed_to_it_and_another_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = Identity::make();
        write_once(&path, &made.text("http://h", "today")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = Identity::read(&path).unwrap();
        assert_eq!(read.recipient(), made.recipient());
        assert_eq!(read.open(&sealed_to(&made)).unwrap().expose(), "s3cret");
        let error = Identity::make().open(&sealed_to(&made)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BS9018);
        let mut changed = sealed_to(&made);
        let middle = changed.len() / 2;
        changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
        assert!(made.open(&changed).is_err());
    }

    #[test]
    fn a_key_is_never_written_over_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "mine").unwrap();
        let error = write_once(&path, &Secret::new("other")).unwrap_err();
        assert!(error.to_text().contains("never written over"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let error = Identity::read(&path).err().unwrap();
        assert!(error.to_string().contains("AGE-SECRET-KEY-1"), "{error}");
        fs::write(&path, "AGE-SECRET-KEY-1NONSENSE").unwrap();
        let error = Identity::read(&path).err().unwrap();
        assert!(
            error.to_string().contains("cannot be read") && !error.to_string().contains("NONSENSE"),
            "{error}"
        );
    }
}
