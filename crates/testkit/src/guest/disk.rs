//! A disk with a cache that forgets: what was not flushed may be lost, whole or in part, when the power goes.

use std::{
    fmt,
    io::{self, Read as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use backstay_types::World;

use super::nbd::{self, Request};

/// What a disk writes at once or not at all. With one of 512 bytes the superblock of ext4 itself can be torn, and is not
/// mounted then, whatever was to be found in the file system.
const SECTOR: usize = 4096;

/// What becomes of the writes that were not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// They are all there: the disk had written them by itself.
    Nothing,
    /// They are all gone.
    All,
    /// Each by chance: there, gone, or there in some of its sectors. A later one may be there where an earlier is not.
    Some,
}

/// What was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Requests to write or flush since the power came on.
    pub requests: u64,
    /// Writes since the last flush.
    pub unflushed: usize,
    /// Of these, gone.
    pub gone: usize,
    /// Of these, there in part.
    pub torn: usize,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, unflushed, gone, torn } = self;
        write!(f, "{requests} requests, {unflushed} writes not flushed: {gone} lost, {torn} torn")
    }
}

/// A disk in memory, served to a guest over a socket.
#[derive(Debug)]
pub struct CachedDisk {
    socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What is there whatever happens.
    durable: Vec<u8>,
    /// What reads give.
    seen: Vec<u8>,
    /// What was written since the last flush, oldest first.
    cache: Vec<Write>,
    /// Counts the times that the power came on: who served before that has nothing to say any more.
    power: u64,
    on: bool,
    requests: u64,
    /// After so many requests nothing more is taken.
    limit: u64,
    /// Says yes to flushes, and does nothing.
    lies: bool,
}

struct Write {
    at: usize,
    bytes: Vec<u8>,
    /// Asked for with the order not to leave it in the cache.
    through: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("on", &self.on)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

impl CachedDisk {
    /// A disk with this on it, served at `socket`, without power as yet.
    ///
    /// # Panics
    /// When the socket cannot be made.
    pub fn new(image: Vec<u8>, socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("make the disk's socket");
        let state = State {
            seen: image.clone(),
            durable: image,
            cache: Vec::new(),
            power: 0,
            on: false,
            requests: 0,
            limit: u64::MAX,
            lies: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { socket: socket.to_owned(), shared }
    }

    /// Where it is served.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes it one that says yes to flushes and does not do them.
    pub fn lie(&self) {
        self.shared.lock().lies = true;
    }

    /// The power comes on. It takes `limit` requests to write or flush, and then none.
    pub fn power_on(&self, limit: u64) {
        let mut state = self.shared.lock();
        state.power += 1;
        (state.on, state.requests, state.limit) = (true, 0, limit);
    }

    /// From now on it takes so many requests more.
    pub fn limit(&self, more: u64) {
        let mut state = self.shared.lock();
        state.limit = state.requests.saturating_add(more);
    }

    /// Requests to write or flush since the power came on.
    pub fn requests(&self) -> u64 {
        self.shared.lock().requests
    }

    /// Waits until it takes nothing more, for so long at most. Whether that came.
    pub fn wait_limit(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.requests < state.limit {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The power goes.
    pub fn cut(&self, loss: Loss, chance: &World) -> Lost {
        let mut state = self.shared.lock();
        state.on = false;
        let writes = std::mem::take(&mut state.cache);
        let mut lost = Lost { requests: state.requests, unflushed: writes.len(), ..Lost::default() };
        for write in writes {
            let kept = if write.through { Loss::Nothing } else { fate(loss, chance) };
            match kept {
                Loss::Nothing => put(&mut state.durable, write.at, &write.bytes),
                Loss::All => lost.gone += 1,
                Loss::Some => match tear(&mut state.durable, &write, chance) {
                    Loss::Nothing => {}
                    Loss::All => lost.gone += 1,
                    Loss::Some => lost.torn += 1,
                },
            }
        }
        state.seen = state.durable.clone();
        lost
    }

    /// What is on it.
    pub fn image(&self) -> Vec<u8> {
        self.shared.lock().seen.clone()
    }
}

/// What becomes of one write; [`Loss::Some`] is torn.
fn fate(loss: Loss, chance: &World) -> Loss {
    if loss != Loss::Some {
        return loss;
    }
    match chance.random::<1>()[0] % 5 {
        0 | 1 => Loss::Nothing,
        2 | 3 => Loss::All,
        _ => Loss::Some,
    }
}

/// Each sector of a write is there or not. What came of the whole.
fn tear(durable: &mut [u8], write: &Write, chance: &World) -> Loss {
    let (mut there, mut gone) = (0, 0);
    for (number, sector) in write.bytes.chunks(SECTOR).enumerate() {
        if chance.random::<1>()[0].is_multiple_of(2) {
            put(durable, write.at + number * SECTOR, sector);
            there += 1;
        } else {
            gone += 1;
        }
    }
    match (there, gone) {
        (_, 0) => Loss::Nothing,
        (0, _) => Loss::All,
        _ => Loss::Some,
    }
}

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one guest until it, or the power, is gone.
    fn serve(&self, mut stream: UnixStream) {
        let (power, size) = {
            let state = self.lock();
            (state.power, state.seen.len() as u64)
        };
        // A guest that was killed says nothing more, in the middle of a sentence.
        let _ = self.talk(&mut stream, power, size);
    }

    fn talk(&self, stream: &mut UnixStream, power: u64, size: u64) -> io::Result<()> {
        nbd::greet(stream, size)?;
        while let Some(request) = nbd::request(stream, size)? {
            let answer = {
                let mut state = self.lock();
                let answer = (state.power == power && state.on).then(|| state.take(&request.what)).flatten();
                self.changed.notify_all();
                answer
            };
            match answer {
                Some(bytes) => nbd::answer(stream, request.cookie, &bytes)?,
                // No answer at all, as from a disk without power; until the guest has none either.
                None => return io::copy(&mut stream.take(u64::MAX), &mut io::sink()).map(drop),
            }
        }
        Ok(())
    }
}

impl State {
    /// Does what was asked; nothing when it takes no more.
    fn take(&mut self, request: &Request) -> Option<Vec<u8>> {
        if let Request::Read { at, length } = *request {
            return Some(self.seen[at..at + length].to_vec());
        }
        if self.requests >= self.limit {
            return None;
        }
        self.requests += 1;
        match request {
            Request::Write { at, bytes, through } => {
                put(&mut self.seen, *at, bytes);
                self.cache.push(Write { at: *at, bytes: bytes.clone(), through: *through && !self.lies });
            }
            Request::Flush if !self.lies => {
                for write in self.cache.drain(..) {
                    put(&mut self.durable, write.at, &write.bytes);
                }
            }
            Request::Flush | Request::Read { .. } => {}
        }
        Some(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestWorld;

    fn chance(seed: u64) -> World {
        TestWorld::new("2026-01-01T12:00:00Z", seed).world()
    }

    fn state() -> State {
        State {
            durable: vec![0; 64 * SECTOR],
            seen: vec![0; 64 * SECTOR],
            cache: Vec::new(),
            power: 0,
            on: true,
            requests: 0,
            limit: u64::MAX,
            lies: false,
        }
    }

    fn disk(state: State) -> CachedDisk {
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        CachedDisk { socket: PathBuf::new(), shared }
    }

    fn write(sector: usize, sectors: usize, byte: u8) -> Request {
        Request::Write { at: sector * SECTOR, bytes: vec![byte; sectors * SECTOR], through: false }
    }

    fn ask(disk: &CachedDisk, request: &Request) -> Option<Vec<u8>> {
        disk.shared.lock().take(request)
    }

    fn sectors(disk: &CachedDisk) -> Vec<u8> {
        let image = disk.image();
        for sector in image.chunks(SECTOR) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are whole");
        }
        image.iter().step_by(SECTOR).copied().collect()
    }

    #[test]
    fn what_was_flushed_stays_and_the_rest_goes_by_chance() {
        let world = chance(1);
        for (loss, expected) in [(Loss::Nothing, [1, 2]), (Loss::All, [1, 0])] {
            let disk = disk(state());
            ask(&disk, &write(0, 1, 1)).unwrap();
            ask(&disk, &Request::Flush).unwrap();
            ask(&disk, &write(1, 1, 2)).unwrap();
            assert_eq!(sectors(&disk)[..2], [1, 2], "reads give what was written");
            assert_eq!(disk.cut(loss, &world).unflushed, 1);
            assert_eq!(sectors(&disk)[..2], expected);
        }
    }

    #[test]
    fn of_many_some_are_lost_some_torn_and_later_ones_may_be_there_without_earlier() {
        let world = chance(7);
        let disk = disk(state());
        for number in 0..16 {
            ask(&disk, &write(number * 4, 4, 9)).unwrap();
        }
        let lost = disk.cut(Loss::Some, &world);
        let there: Vec<_> =
            sectors(&disk).chunks(4).map(|four| four.iter().filter(|b| **b == 9).count()).collect();
        assert!(lost.gone > 0 && lost.torn > 0 && lost.gone + lost.torn < 16, "{lost}");
        assert!(there.windows(2).any(|pair| pair == [0, 4]), "out of order: {there:?}");
        assert!(there.iter().any(|count| (1..4).contains(count)), "torn: {there:?}");
    }

    #[test]
    fn what_was_written_through_is_never_lost() {
        let disk = disk(state());
        ask(&disk, &Request::Write { at: 0, bytes: vec![3; SECTOR], through: true }).unwrap();
        disk.cut(Loss::All, &chance(1));
        assert_eq!(sectors(&disk)[0], 3);
    }

    #[test]
    fn nothing_is_taken_after_the_limit_and_a_liar_loses_what_it_said_yes_to() {
        let disk = disk(state());
        disk.power_on(2);
        assert!(ask(&disk, &write(0, 1, 1)).is_some() && !disk.wait_limit(Duration::ZERO));
        assert!(ask(&disk, &Request::Flush).is_some() && disk.wait_limit(Duration::ZERO));
        assert!(ask(&disk, &write(0, 1, 2)).is_none());
        disk.limit(2);
        disk.lie();
        ask(&disk, &write(0, 1, 3)).unwrap();
        ask(&disk, &Request::Flush).unwrap();
        disk.cut(Loss::All, &chance(1));
        assert_eq!(sectors(&disk)[0], 1);
    }
}
