//! Whether the index says what is there.
//!
//! A node may add index files, and whoever has its key can have them say anything: that a pack which is there has nothing
//! in it, or that a pack of their own has what good ones have. What looks as if nobody needed it would be marked, and
//! deleted a day later. So before anything is marked, packs are read of which the index says two things, and packs that
//! share content with others: what they have is what their content shows, nothing else. A repository without these, as
//! most are, is not read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstay_types::backup::job::Problem;
use rustic_core::{
    FileType, Id, ReadBackend,
    repofile::{BlobType, IndexBlob, IndexFile},
};
use sha2::{Digest, Sha256};

use crate::{
    access::Opened,
    fault::{Fault, problem},
    repair::{cipher, opened_part, place_of},
};

/// What in the index, or in packs, is not true.
#[derive(Debug, Default)]
pub(crate) struct Untrue {
    /// Index files that say of a pack what it does not show.
    pub(crate) indexes: BTreeSet<Id>,
    /// Packs that do not have what they say they have, though they are as they were written.
    pub(crate) packs: BTreeSet<Id>,
}

impl Untrue {
    /// What to tell of it.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let index = |id: &Id| {
            let what =
                "says of packs what is not in them: somebody who has the node's key made it, or a defect did";
            problem(format!("index/{}", id.to_hex().as_str()), what)
        };
        let pack = |id: &Id| {
            let what = "does not have the content that it says it has: somebody who has the node's key made it, or a \
                        defect did";
            problem(place_of(id), what)
        };
        self.indexes.iter().map(index).chain(self.packs.iter().map(pack)).collect()
    }

    /// Whether all is true.
    pub(crate) fn is_empty(&self) -> bool {
        self.indexes.is_empty() && self.packs.is_empty()
    }
}

/// What is in a pack, as somebody says: kind, id, and where.
type Says = BTreeSet<(bool, Id, u32, u32)>;

/// Compares what the index says with packs, where it may be wrong.
pub(crate) fn untrue(opened: &Opened) -> Result<Untrue, Fault> {
    let fault = |error: Box<_>| opened.fault("reading the index", &error);
    let mut said: BTreeMap<Id, Vec<(Id, Vec<IndexBlob>)>> = BTreeMap::new();
    let mut unmarked: BTreeSet<Id> = BTreeSet::new();
    for file in opened.repository.stream_files::<IndexFile>().map_err(fault)? {
        let (index, file) = file.map_err(fault)?;
        unmarked.extend(file.packs.iter().map(|pack| *pack.id));
        // A prune marks what no index has when it looks, such as what somebody is just writing, and says nothing of its
        // content. Once an index has such a pack the mark counts for nothing: the library drops it.
        let marked = file.packs_to_delete.into_iter().filter(|pack| !pack.blobs.is_empty());
        for pack in file.packs.into_iter().chain(marked) {
            said.entry(*pack.id).or_default().push((*index, pack.blobs));
        }
    }
    let mut doubtful: BTreeSet<Id> =
        said.iter().filter(|(_, said)| differ(said)).map(|(id, _)| *id).collect();
    doubtful.extend(sharing(&said, &unmarked));
    let mut found = Untrue::default();
    let there = opened.store.list_with_size(FileType::Pack).map_err(fault)?;
    let there: BTreeSet<Id> = there.into_iter().map(|(id, _)| id).collect();
    // What is missing is another matter: a check tells of it.
    for pack in doubtful.intersection(&there) {
        look(opened, pack, said.get(pack).map(Vec::as_slice).unwrap_or_default(), &mut found)?;
    }
    Ok(found)
}

fn says(blobs: &[IndexBlob]) -> Says {
    let one =
        |blob: &IndexBlob| (blob.tpe == BlobType::Tree, *blob.id, blob.location.offset, blob.location.length);
    blobs.iter().map(one).collect()
}

fn differ(said: &[(Id, Vec<IndexBlob>)]) -> bool {
    let Some(((_, first), rest)) = said.split_first() else { return false };
    let first = says(first);
    rest.iter().any(|(_, blobs)| says(blobs) != first)
}

/// Packs that are in use and are said to have what another one has, too.
fn sharing(said: &BTreeMap<Id, Vec<(Id, Vec<IndexBlob>)>>, unmarked: &BTreeSet<Id>) -> BTreeSet<Id> {
    let (mut holders, mut sharing) = (HashMap::new(), BTreeSet::new());
    for (pack, said) in said.iter().filter(|(pack, _)| unmarked.contains(pack)) {
        for blob in said.iter().flat_map(|(_, blobs)| blobs) {
            let holder = holders.entry((blob.tpe == BlobType::Tree, *blob.id)).or_insert(*pack);
            if holder != pack {
                sharing.extend([*holder, *pack]);
            }
        }
    }
    sharing
}

/// Reads a pack: whether it has what it says itself, and who says of it what that is not.
fn look(opened: &Opened, pack: &Id, said: &[(Id, Vec<IndexBlob>)], found: &mut Untrue) -> Result<(), Fault> {
    let content = opened.store.read_full(FileType::Pack, pack);
    let content = content.map_err(|error| opened.fault("reading a pack", &error))?;
    // What changed since it was written is damage: a check finds it, and a repair saves what it can.
    if Id::new(Sha256::digest(&content).into()) != *pack {
        return Ok(());
    }
    let cipher = cipher(&opened.repository.key());
    let Some(own) = header(&cipher, &content) else {
        found.packs.insert(*pack);
        return Ok(());
    };
    let is_right = |blob: &IndexBlob| {
        let part = opened_part(&cipher, &content, blob);
        let raw = part.and_then(|part| match blob.location.uncompressed_length {
            None => Some(part),
            Some(length) => zstd::bulk::decompress(&part, length.get() as usize).ok(),
        });
        raw.is_some_and(|raw| Id::new(Sha256::digest(&raw).into()) == *blob.id)
    };
    if !own.iter().all(is_right) {
        found.packs.insert(*pack);
    }
    let own = says(&own);
    found.indexes.extend(said.iter().filter(|(_, blobs)| says(blobs) != own).map(|(index, _)| *index));
    Ok(())
}

/// What a pack says of itself at its end; nothing when that cannot be read.
fn header(cipher: &crate::repair::Cipher, content: &[u8]) -> Option<Vec<IndexBlob>> {
    let (rest, length) = content.split_last_chunk::<4>()?;
    let sealed = rest.get(rest.len().checked_sub(u32::from_le_bytes(*length) as usize)?..)?;
    let text = crate::repair::unsealed(cipher, sealed)?;
    let (mut text, mut blobs, mut offset) = (text.as_slice(), Vec::new(), 0_u32);
    while let Some((kind, after)) = text.split_first() {
        let (length, mut after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let mut raw = None;
        if *kind >= 2 {
            let (bytes, behind) = after.split_first_chunk::<4>()?;
            (raw, after) = (Some(u32::from_le_bytes(*bytes)), behind);
        }
        let (id, behind) = after.split_first_chunk::<32>()?;
        text = behind;
        let tpe = if kind % 2 == 1 { "tree" } else { "data" };
        // The library has no other way to make one.
        let mut blob = serde_json::json!({
            "id": Id::new(*id).to_hex().as_str(), "type": tpe, "offset": offset, "length": length,
        });
        if let (Some(raw), Some(fields)) = (raw, blob.as_object_mut()) {
            fields.insert("uncompressed_length".to_owned(), raw.into());
        }
        blobs.push(serde_json::from_value(blob).ok()?);
        offset = offset.checked_add(length)?;
    }
    Some(blobs)
}
