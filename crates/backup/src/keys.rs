//! A password's file in a repository: the repository's key, sealed with what is derived from the password.
//!
//! The library would derive it with 128 MB of memory, and so does every job that opens the repository after it. Passwords
//! here are random, made by the hub, so the derivation need not make guessing dear: 32 MB, as restic's own.

use aes256ctr_poly1305aes::{
    Aes256CtrPoly1305Aes, Key,
    aead::{AeadInPlace, Nonce},
};
use backstay_types::{Secret, backup::job::FailedKind};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustic_core::{BytesList, FileType, Id, WriteBackend, repofile::MasterKey};
use scrypt::Params;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{fault::Fault, store::Store};

/// 2¹⁵ blocks of 8 × 128 bytes, once.
const LOG_N: u8 = 15;
const R: u32 = 8;
const P: u32 = 1;

/// Adds a password that opens the repository.
pub(crate) fn add(store: &Store, master: &MasterKey, password: &Secret) -> Result<(), Fault> {
    let file = sealed(master, password)?;
    let id = Id::new(Sha256::digest(&file).into());
    let written = store.write_bytes(FileType::Key, &id, false, BytesList::from(file));
    written.map_err(|error| store.fault(format!("adding a password at {}", store.place()), &error))
}

/// The file's content.
fn sealed(master: &MasterKey, password: &Secret) -> Result<Vec<u8>, Fault> {
    let failed =
        |what: &str| Fault::new(FailedKind::Other, format!("a password's file could not be made: {what}"));
    let (salt, nonce) = (random::<64>()?, random::<16>()?);
    let params = Params::new(LOG_N, R, P).map_err(|error| failed(&error.to_string()))?;
    let mut key = [0; 64];
    let derived = scrypt::scrypt(password.expose().as_bytes(), &salt, &params, &mut key);
    derived.map_err(|error| failed(&error.to_string()))?;
    let mut content = serde_json::to_vec(master).map_err(|error| failed(&error.to_string()))?;
    let key: &Key = (&key).into();
    let cipher = Aes256CtrPoly1305Aes::new(key);
    let nonce_of: &Nonce<Aes256CtrPoly1305Aes> = (&nonce).into();
    let tag = cipher.encrypt_in_place_detached(nonce_of, &[], &mut content);
    let tag = tag.map_err(|error| failed(&error.to_string()))?;
    let data = [&nonce[..], &content, &tag].concat();
    let file = json!({
        "kdf": "scrypt",
        "N": 1_u32 << LOG_N,
        "r": R,
        "p": P,
        "data": BASE64_STANDARD.encode(data),
        "salt": BASE64_STANDARD.encode(salt),
    });
    serde_json::to_vec(&file).map_err(|error| failed(&error.to_string()))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a salt and a nonce of a program of its own, which has no world"
)]
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Fault::new(FailedKind::Other, format!("the system gives no random numbers: {error}"))
    })?;
    Ok(bytes)
}
