//! A file that several threads read at once, each at its own place.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use parquet::{
    errors::Result as ParquetResult,
    file::reader::{ChunkReader, Length},
};

/// How much is read ahead where pages are found one after the other.
const AHEAD: usize = 64 << 10;

/// An open file of a block. It can be read when its name is gone.
#[derive(Debug, Clone)]
pub(crate) struct BlockFile {
    file: Arc<File>,
    bytes: u64,
}

impl BlockFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), bytes })
    }
}

impl Length for BlockFile {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for BlockFile {
    type T = io::BufReader<At>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(io::BufReader::with_capacity(AHEAD, At { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A place in a file.
pub(crate) struct At {
    file: Arc<File>,
    at: u64,
}

impl Read for At {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
