//! Taking out of a repository what cannot be read any more, so that the next backup saves it anew.
//!
//! As long as the index names it, a backup takes what is damaged for saved and leaves it out. So what is wrong is taken
//! away, file by file, and the index is made to name exactly what is there. Of a damaged pack all parts that can still be
//! read go into a new one first: only what was lost is lost.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use aes256ctr_poly1305aes::{
    Aes256CtrPoly1305Aes, Key,
    aead::{AeadInPlace, Nonce},
};
use backstay_types::backup::job::{Done, FailedKind, Problem};
use bytes::Bytes;
use rustic_core::{
    BytesList, FileType, Id, ReadBackend, RepairIndexOptions, RusticResult, WriteBackend,
    repofile::{BlobType, IndexBlob, IndexFile, MasterKey},
};
use sha2::{Digest, Sha256};

use crate::{
    access::{Access, Cache, Opened, own_id},
    compare,
    fault::{Fault, TOLD, problem},
    keys::random,
    store::Store,
};

/// Packs that are read at once.
const AT_ONCE: usize = 4;
/// What encryption puts before and behind a part: a nonce and a tag of 16 bytes each.
const NONCE: usize = 16;
const TAG: usize = 16;

/// Repairs the job's repository. What was lost is part of the answer, not a failure.
pub(crate) fn repair(access: &Access<'_>) -> Result<Done, Fault> {
    let opened = access.open(Cache::Passed)?;
    let mut lost = Vec::new();
    for kind in [FileType::Index, FileType::Snapshot] {
        for id in unreadable(&opened, kind)? {
            let what = "is damaged and was taken away";
            lost.push(problem(format!("{}/{}", kind.dirname(), id.to_hex().as_str()), what));
            take_away(&opened.store, kind, &id)?;
        }
    }
    let untrue = compare::untrue(&opened)?;
    lost.extend(untrue.problems());
    for (kind, id) in untrue.indexes.iter().map(|id| (FileType::Index, id)) {
        take_away(&opened.store, kind, id)?;
    }
    for id in &untrue.packs {
        take_away(&opened.store, FileType::Pack, id)?;
    }
    let indexed = indexed(&opened)?;
    let there = opened.store.list_with_size(FileType::Pack);
    let there: BTreeMap<Id, u32> =
        there.map_err(|error| opened.fault("listing packs", &error))?.into_iter().collect();
    let missing = indexed.keys().filter(|id| !there.contains_key(id));
    lost.extend(missing.map(|id| problem(place_of(id), "is missing")));
    let mut saved_bytes = 0;
    for id in unreadable(&opened, FileType::Pack)? {
        let blobs = indexed.get(&id).map(Vec::as_slice).unwrap_or_default();
        let (bytes, told) = salvage(&opened, &id, blobs)?;
        saved_bytes += bytes;
        lost.push(told);
    }
    let repaired = opened.repository.repair_index(&RepairIndexOptions::default(), false);
    repaired.map_err(|error| opened.fault("making the index anew", &error))?;
    opened.store.swallowed()?;
    lost.truncate(TOLD);
    Ok(Done::Repair { lost, saved_bytes })
}

pub(crate) fn place_of(pack: &Id) -> String {
    let hex = pack.to_hex();
    format!("data/{}/{}", &hex.as_str()[..2], hex.as_str())
}

fn take_away(store: &Store, kind: FileType, id: &Id) -> Result<(), Fault> {
    store.remove(kind, id, false).map_err(|error| store.fault("taking away what is damaged", &error))
}

/// Files whose content is not what their names say, read twice before that is believed.
fn unreadable(opened: &Opened, kind: FileType) -> Result<Vec<Id>, Fault> {
    let store = &*opened.store;
    let fault = |error: Box<_>| opened.fault("reading what is there", &error);
    let all = store.list_with_size(kind).map_err(fault)?;
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let is_wrong = |id: &Id| -> RusticResult<bool> {
        let wrong = |content: Bytes| Id::new(Sha256::digest(&content).into()) != *id;
        Ok(wrong(store.read_full(kind, id)?) && wrong(store.read_full(kind, id)?))
    };
    let look = || -> RusticResult<()> {
        while let Some((id, _)) = all.get(next.fetch_add(1, Relaxed)) {
            if is_wrong(id)? {
                found.lock().unwrap_or_else(PoisonError::into_inner).push(*id);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(look)).collect();
        readers.into_iter().try_for_each(|reader| match reader.join() {
            Ok(read) => read.map_err(fault),
            Err(_) => Err(Fault::new(FailedKind::Other, "a thread that read the repository broke off")),
        })
    })?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort();
    Ok(found)
}

/// What the index says to be in each pack.
fn indexed(opened: &Opened) -> Result<BTreeMap<Id, Vec<IndexBlob>>, Fault> {
    let fault = |error: Box<_>| opened.fault("reading the index", &error);
    let mut packs: BTreeMap<Id, Vec<IndexBlob>> = BTreeMap::new();
    for file in opened.repository.stream_files::<IndexFile>().map_err(fault)? {
        let (_, index) = file.map_err(fault)?;
        for pack in index.packs.into_iter().chain(index.packs_to_delete) {
            packs.entry(*pack.id).or_insert(pack.blobs);
        }
    }
    Ok(packs)
}

/// Puts what can still be read of a damaged pack into a new one, and takes the damaged one away. Gives the bytes that were
/// saved, and what was lost.
fn salvage(opened: &Opened, id: &Id, blobs: &[IndexBlob]) -> Result<(u64, Problem), Fault> {
    let content = opened.store.read_full(FileType::Pack, id);
    let content = content.map_err(|error| opened.fault("reading a damaged pack", &error))?;
    let master = opened.repository.key();
    let cipher = cipher(&master);
    let good = |blob: &&IndexBlob| part(&content, blob).is_some_and(|part| is_right(&cipher, part));
    let kept: Vec<&IndexBlob> = blobs.iter().filter(good).collect();
    let (mut packed, mut header) = (Vec::new(), Vec::new());
    for blob in &kept {
        packed.extend_from_slice(part(&content, blob).unwrap_or_default());
        header.extend_from_slice(&entry(blob)?);
    }
    let bytes = packed.len() as u64;
    if !kept.is_empty() {
        let sealed = sealed(&cipher, header)?;
        packed.extend_from_slice(&sealed);
        let length = u32::try_from(sealed.len())
            .map_err(|_| Fault::new(FailedKind::Other, "a pack's header is too large"))?;
        packed.extend_from_slice(&length.to_le_bytes());
        let new = Id::new(Sha256::digest(&packed).into());
        let written = opened.store.write_bytes(FileType::Pack, &new, false, BytesList::from(packed));
        written.map_err(|error| opened.fault("writing what could be saved of a damaged pack", &error))?;
    }
    // Waits until what was saved is there.
    take_away(&opened.store, FileType::Pack, id)?;
    let what = format!("is damaged: {} of its {} parts were saved", kept.len(), blobs.len());
    Ok((bytes, problem(place_of(id), what)))
}

/// What seals the parts of packs.
pub(crate) type Cipher = Aes256CtrPoly1305Aes;

pub(crate) fn cipher(master: &MasterKey) -> Cipher {
    let mut key = [0; 64];
    for (into, from) in [(0..32, &master.encrypt), (32..48, &master.mac.k), (48..64, &master.mac.r)] {
        if let Some(place) = key.get_mut(into).filter(|place| place.len() == from.len()) {
            place.copy_from_slice(from);
        }
    }
    let key: &Key = (&key).into();
    Aes256CtrPoly1305Aes::new(key)
}

fn part<'a>(content: &'a [u8], blob: &IndexBlob) -> Option<&'a [u8]> {
    let from = blob.location.offset as usize;
    content.get(from..from.checked_add(blob.location.length as usize)?)
}

/// Whether a part is as it was written: its tag is over all of it.
fn is_right(cipher: &Aes256CtrPoly1305Aes, part: &[u8]) -> bool {
    unsealed(cipher, part).is_some()
}

/// What is in something sealed, when it is as it was sealed.
pub(crate) fn unsealed(cipher: &Cipher, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_at_checked(NONCE)?;
    let (text, tag) = rest.split_at(rest.len().checked_sub(TAG)?);
    let nonce: &Nonce<Aes256CtrPoly1305Aes> = nonce.into();
    let mut text = text.to_vec();
    cipher.decrypt_in_place_detached(nonce, &[], &mut text, tag.into()).ok()?;
    Some(text)
}

/// What is in a part of a pack, when it is as it was written; it may be compressed.
pub(crate) fn opened_part(cipher: &Cipher, content: &[u8], blob: &IndexBlob) -> Option<Vec<u8>> {
    unsealed(cipher, part(content, blob)?)
}

fn sealed(cipher: &Aes256CtrPoly1305Aes, mut header: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let nonce = random::<NONCE>()?;
    let nonce_of: &Nonce<Aes256CtrPoly1305Aes> = (&nonce).into();
    let tag = cipher.encrypt_in_place_detached(nonce_of, &[], &mut header);
    let tag = tag.map_err(|error| Fault::new(FailedKind::Other, format!("a pack's header: {error}")))?;
    Ok([&nonce[..], &header, &tag].concat())
}

/// A part in a pack's header, as the format has it: its kind, its length, its length before it was compressed, its id.
fn entry(blob: &IndexBlob) -> Result<Vec<u8>, Fault> {
    let tree = u8::from(blob.tpe == BlobType::Tree);
    let (length, id) = (blob.location.length.to_le_bytes(), own_id(&blob.id)?.digest());
    Ok(match blob.location.uncompressed_length {
        None => [&[tree][..], &length, id.as_bytes()].concat(),
        Some(raw) => [&[2 + tree][..], &length, &raw.get().to_le_bytes(), id.as_bytes()].concat(),
    })
}
