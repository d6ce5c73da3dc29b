//! As much of the network block device protocol as QEMU needs: one export, read, write, flush.

use std::io::{self, Read, Write};

const GREETING: &[u8; 16] = b"NBDMAGICIHAVEOPT";
const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

const FIXED_NEWSTYLE_NO_ZEROES: u16 = 0b11;
const OPT_ABORT: u32 = 2;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_UNSUPPORTED: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;
/// The export's flags mean something; it takes flushes, and writes that go past the cache.
const EXPORT_FLAGS: u16 = 0b1101;
const FLAG_THROUGH: u16 = 1;
/// Larger requests are not made; the protocol's own default.
const LARGEST: usize = 32 << 20;

/// What a guest asks of its disk. Offsets and lengths in bytes, within the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Read { at: usize, length: usize },
    Write { at: usize, bytes: Vec<u8>, through: bool },
    Flush,
}

/// A request and what its answer is known by.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) cookie: u64,
    pub(super) what: Request,
}

/// Agrees with a client on the one export, of `size` bytes.
pub(super) fn greet(stream: &mut (impl Read + Write), size: u64) -> io::Result<()> {
    stream.write_all(GREETING)?;
    stream.write_all(&FIXED_NEWSTYLE_NO_ZEROES.to_be_bytes())?;
    u32(stream)?;
    loop {
        if u64(stream)? != OPTION {
            return Err(odd("not an option"));
        }
        let (option, length) = (u32(stream)?, u32(stream)?);
        bytes(stream, length as usize)?;
        match option {
            OPT_GO => {
                let mut info = Vec::from(INFO_EXPORT.to_be_bytes());
                info.extend(size.to_be_bytes());
                info.extend(EXPORT_FLAGS.to_be_bytes());
                reply(stream, option, REP_INFO, &info)?;
                return reply(stream, option, REP_ACK, &[]);
            }
            OPT_ABORT => return Err(odd("it left")),
            _ => reply(stream, option, REP_UNSUPPORTED, &[])?,
        }
    }
}

fn reply(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut all = Vec::from(OPTION_REPLY.to_be_bytes());
    all.extend(option.to_be_bytes());
    all.extend(kind.to_be_bytes());
    all.extend(u32::try_from(data.len()).map_err(odd)?.to_be_bytes());
    all.extend(data);
    stream.write_all(&all)
}

/// The next request; none when the client has left.
pub(super) fn request(stream: &mut impl Read, size: u64) -> io::Result<Option<Asked>> {
    if u32(stream)? != REQUEST {
        return Err(odd("not a request"));
    }
    let (flags, kind, cookie) = (u16(stream)?, u16(stream)?, u64(stream)?);
    let (at, length) = (u64(stream)?, u32(stream)?);
    if at.checked_add(length.into()).is_none_or(|end| end > size) {
        return Err(odd("beyond the disk's end"));
    }
    let (at, length) = (usize::try_from(at).map_err(odd)?, length as usize);
    let what = match kind {
        0 => Request::Read { at, length },
        1 => Request::Write { at, bytes: bytes(stream, length)?, through: flags & FLAG_THROUGH != 0 },
        2 => return Ok(None),
        3 => Request::Flush,
        _ => return Err(odd("a request that was not offered")),
    };
    Ok(Some(Asked { cookie, what }))
}

/// Says that a request was done, with what was read.
pub(super) fn answer(stream: &mut impl Write, cookie: u64, read: &[u8]) -> io::Result<()> {
    let mut all = Vec::with_capacity(16 + read.len());
    all.extend(REPLY.to_be_bytes());
    all.extend(0u32.to_be_bytes());
    all.extend(cookie.to_be_bytes());
    all.extend(read);
    stream.write_all(&all)
}

fn bytes(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    if length > LARGEST {
        return Err(odd("too much at once"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn array<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u16(stream: &mut impl Read) -> io::Result<u16> {
    array(stream).map(u16::from_be_bytes)
}

fn u32(stream: &mut impl Read) -> io::Result<u32> {
    array(stream).map(u32::from_be_bytes)
}

fn u64(stream: &mut impl Read) -> io::Result<u64> {
    array(stream).map(u64::from_be_bytes)
}

fn odd(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
