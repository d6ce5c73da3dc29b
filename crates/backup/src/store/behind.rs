//! Writes packs behind the library's back, a few at a time: it would wait for each before it makes the next. Whatever
//! names a pack (an index, a snapshot) is written only after [`Behind::settle`].

use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use backstay_types::backup::job::FailedKind;
use rustic_core::{BytesList, FileType, Id};

use super::Files;
use crate::fault::Fault;

/// As many packs are under way at once; each is in memory meanwhile.
const WRITERS: usize = 3;

#[derive(Debug)]
pub(super) struct Behind {
    queue: SyncSender<(Id, BytesList)>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: HashSet<Id>,
    failed: Option<Fault>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Behind {
    pub(super) fn new(files: Arc<dyn Files>) -> Self {
        let (queue, packs) = mpsc::sync_channel(0);
        let packs = Arc::new(Mutex::new(packs));
        let shared = Arc::new(Shared::default());
        for _ in 0..WRITERS {
            let (files, packs, shared) = (files.clone(), packs.clone(), shared.clone());
            thread::spawn(move || work(files.as_ref(), &packs, &shared));
        }
        Self { queue, shared }
    }

    /// Has a pack written. After a fault it fails at once.
    pub(super) fn write(&self, id: Id, content: BytesList) -> Result<(), Fault> {
        {
            let mut state = self.shared.lock();
            if let Some(fault) = &state.failed {
                return Err(fault.clone());
            }
            if !state.pending.insert(id) {
                return Ok(());
            }
        }
        self.queue
            .send((id, content))
            .map_err(|_| Fault::new(FailedKind::Other, "nothing writes packs any more"))
    }

    /// Waits until all packs are written.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        self.wait_until(|pending| pending.is_empty())
    }

    /// Waits until this pack is not under way.
    pub(super) fn wait_for(&self, id: &Id) -> Result<(), Fault> {
        self.wait_until(|pending| !pending.contains(id))
    }

    fn wait_until(&self, enough: impl Fn(&HashSet<Id>) -> bool) -> Result<(), Fault> {
        let mut state = self.shared.lock();
        while !enough(&state.pending) {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.clone().map_or(Ok(()), Err)
    }
}

fn work(files: &dyn Files, packs: &Mutex<Receiver<(Id, BytesList)>>, shared: &Shared) {
    loop {
        let next = packs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((id, content)) = next else { return };
        let failed = shared.lock().failed.is_some();
        let result = if failed { Ok(()) } else { files.write(FileType::Pack, &id, content) };
        let mut state = shared.lock();
        state.pending.remove(&id);
        if let Err(fault) = result {
            state.failed.get_or_insert(fault);
        }
        drop(state);
        shared.changed.notify_all();
    }
}
