//! The hub's own keys: one that signs statements, one that seals secrets at rest.
//! Both are files in the data folder that only the hub's user may read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use backstay_types::{Secret, World};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use ed25519_dalek::SigningKey;

use crate::HubError;

const SIGNING_KEY: &str = "signing.key";
const SEALING_KEY: &str = "sealing.key";

/// The hub's keys.
pub(crate) struct Keys {
    /// Signs statements. Agents pin its fingerprint when they join.
    pub(crate) signing: SigningKey,
    sealing: XChaCha20Poly1305,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// A sealed secret does not open: wrong key, or the row was changed.
#[derive(Debug, thiserror::Error)]
#[error(
    "a secret in the database does not open with the hub's sealing key; restore {SEALING_KEY} from the backup that the database came from"
)]
pub(crate) struct SealError;

impl Keys {
    /// Reads the keys, or makes them when there are none.
    ///
    /// # Errors
    /// When a file cannot be read or written, is open to other users, or does not hold a key.
    pub(crate) fn load(data_dir: &Path, world: &World) -> Result<Self, HubError> {
        let signing = SigningKey::from_bytes(&load(&data_dir.join(SIGNING_KEY), world)?);
        let sealing = XChaCha20Poly1305::new(&load(&data_dir.join(SEALING_KEY), world)?.into());
        Ok(Self { signing, sealing })
    }

    /// Seals a secret for the row named by `context`: it opens for no other.
    pub(crate) fn seal(&self, secret: &Secret, context: &str, world: &World) -> Result<String, SealError> {
        let nonce = world.random::<24>();
        let payload = Payload { msg: secret.expose().as_bytes(), aad: context.as_bytes() };
        let sealed = self.sealing.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError)?;
        Ok(BASE64_STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for the same row.
    ///
    /// # Errors
    /// When it was sealed with another key or for another row, or was changed.
    pub(crate) fn open(&self, sealed: &str, context: &str) -> Result<Secret, SealError> {
        let bytes = BASE64_STANDARD.decode(sealed).map_err(|_| SealError)?;
        let (nonce, sealed) = bytes.split_at_checked(24).ok_or(SealError)?;
        let nonce: [u8; 24] = nonce.try_into().map_err(|_| SealError)?;
        let payload = Payload { msg: sealed, aad: context.as_bytes() };
        let secret = self.sealing.decrypt(&XNonce::from(nonce), payload).map_err(|_| SealError)?;
        String::from_utf8(secret).map(Secret::new).map_err(|_| SealError)
    }
}

/// 32 bytes from a file, made at first. The file is whole or not there.
fn load(path: &Path, world: &World) -> Result<[u8; 32], HubError> {
    let failed = |source| HubError::DataDir { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => read(file).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = world.random::<32>();
            write_private(path, BASE64_STANDARD.encode(key).as_bytes()).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

fn read(mut file: File) -> io::Result<[u8; 32]> {
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other("other users may read it; expected mode 0600"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let key = BASE64_STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    key.ok_or_else(|| io::Error::other("it does not hold a key: expected 32 bytes in base64"))
}

/// Writes a file that only its owner may read, whole and durably, in place of what was there.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let temporary = path.with_extension("tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use backstay_types::{FixedClock, SeededEntropy, Timestamp};

    use super::*;

    fn world() -> World {
        World::new(Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH)), Arc::new(SeededEntropy::new(3)))
    }

    #[test]
    fn keys_are_made_once_and_kept_private() {
        let (folder, world) = (tempfile::tempdir().unwrap(), world());
        let first = Keys::load(folder.path(), &world).unwrap();
        let sealed = first.seal(&Secret::new("s3cret"), "row 1", &world).unwrap();
        let again = Keys::load(folder.path(), &world).unwrap();
        assert_eq!(first.signing.to_bytes(), again.signing.to_bytes());
        assert_eq!(again.open(&sealed, "row 1").unwrap().expose(), "s3cret");
        for name in [SIGNING_KEY, SEALING_KEY] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(!sealed.contains("s3cret"));
        assert!(again.open(&sealed, "row 2").is_err());
        let mut other = BASE64_STANDARD.decode(&sealed).unwrap();
        for at in 0..other.len() {
            other[at] ^= 1;
            assert!(again.open(&BASE64_STANDARD.encode(&other), "row 1").is_err(), "byte {at}");
            other[at] ^= 1;
        }
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_damaged_stops_the_hub() {
        let (folder, world) = (tempfile::tempdir().unwrap(), world());
        let path = folder.path().join(SIGNING_KEY);
        Keys::load(folder.path(), &world).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Keys::load(folder.path(), &world).unwrap_err().to_string().contains("0600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "truncat").unwrap();
        assert!(Keys::load(folder.path(), &world).unwrap_err().to_string().contains("signing.key"));
    }
}
