//! Reads ahead: files that lie side by side were saved together and are wanted together, and each small read would be a
//! request of its own.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use rustic_core::{BytesList, FileType, Id};

use super::{Files, Part};
use crate::fault::Fault;

/// What is fetched at once.
const BLOCK: u32 = 2 << 20;
/// As many blocks are kept: 32 MiB.
const KEPT: usize = 16;

/// A target of which small parts of packs are read in blocks.
#[derive(Debug)]
pub(super) struct Ahead<F> {
    files: F,
    kept: Mutex<VecDeque<(Id, u32, Arc<Block>)>>,
}

/// Fetched by the first who wants it; the others wait for it.
#[derive(Debug, Default)]
struct Block(Mutex<Option<Bytes>>);

impl<F: Files> Ahead<F> {
    pub(super) fn new(files: F) -> Self {
        Self { files, kept: Mutex::default() }
    }

    fn block(&self, id: &Id, number: u32) -> Result<Bytes, Fault> {
        let block = self.slot(id, number);
        let mut content = block.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = &*content {
            return Ok(bytes.clone());
        }
        let bytes = self.files.read(FileType::Pack, id, Some((number * BLOCK, BLOCK)))?;
        *content = Some(bytes.clone());
        Ok(bytes)
    }

    fn slot(&self, id: &Id, number: u32) -> Arc<Block> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(other, at, _)| other == id && *at == number);
        let entry =
            found.and_then(|at| kept.remove(at)).unwrap_or_else(|| (*id, number, Arc::new(Block::default())));
        let block = entry.2.clone();
        kept.push_back(entry);
        if kept.len() > KEPT {
            kept.pop_front();
        }
        block
    }

    fn small(&self, id: &Id, (offset, length): Part) -> Result<Bytes, Fault> {
        let (first, last) = (offset / BLOCK, (offset + length).saturating_sub(1) / BLOCK);
        let start = (offset - first * BLOCK) as usize;
        let block = self.block(id, first)?;
        if first == last {
            let end = (start + length as usize).min(block.len());
            return Ok(block.slice(start.min(end)..end));
        }
        // Parts are smaller than blocks: there are two at most.
        let mut bytes = BytesMut::from(block.get(start..).unwrap_or_default());
        let rest = self.block(id, last)?;
        let missing = (length as usize).saturating_sub(bytes.len()).min(rest.len());
        bytes.extend_from_slice(&rest[..missing]);
        Ok(bytes.freeze())
    }
}

impl<F: Files> Files for Ahead<F> {
    fn place(&self) -> String {
        self.files.place()
    }
    fn create(&self) -> Result<(), Fault> {
        self.files.create()
    }
    fn list(&self, kind: FileType) -> Result<Vec<(Id, u32)>, Fault> {
        self.files.list(kind)
    }
    fn read(&self, kind: FileType, id: &Id, part: Option<Part>) -> Result<Bytes, Fault> {
        match part {
            Some((offset, length))
                if kind == FileType::Pack && length < BLOCK && offset < u32::MAX - 2 * BLOCK =>
            {
                self.small(id, (offset, length))
            }
            part => self.files.read(kind, id, part),
        }
    }
    fn write(&self, kind: FileType, id: &Id, content: BytesList) -> Result<(), Fault> {
        self.files.write(kind, id, content)
    }
    fn remove(&self, kind: FileType, id: &Id) -> Result<(), Fault> {
        self.files.remove(kind, id)
    }
}
