//! What is saved, as the library asks for it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use backstay_types::backup::job::{Problem, Root as Wanted, SnapshotTask, Source};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustic_core::{ErrorKind, ReadSource, RusticError, RusticResult};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat};

use super::{
    manifest::{Entry, Manifest, Writer},
    source_fault, spool,
    walk::{Totals, Walk},
};
use crate::{
    fault::{Fault, TOLD, problem},
    progress::Progress,
    store::Store,
    tree::shown,
};

/// All roots, opened, in the order of their names: what is saved is what was opened, whatever is put in its way later.
#[derive(Debug)]
pub(super) struct Roots(pub(super) Vec<Root>);

#[derive(Debug)]
pub(super) struct Root {
    pub(super) name: String,
    pub(super) from: From,
}

#[derive(Debug)]
pub(super) enum From {
    /// All that is in it, but what is excluded.
    Folder { folder: OwnedFd, stat: Stat, exclude: Gitignore },
    /// One file, with its name.
    File { file: File, stat: Stat, name: PathBuf },
    /// What a program printed, with the name that it gets.
    Output { file: File, name: PathBuf, at: jiff::Timestamp },
}

impl Roots {
    /// Opens what is there, and runs the programs.
    pub(super) fn open(task: &SnapshotTask, scratch: Option<&str>) -> Result<Self, Fault> {
        let mut wanted: Vec<_> = task.roots.iter().collect();
        wanted.sort_by_key(|root| root.name.as_bytes());
        let mut roots = Vec::new();
        let mut problems = Vec::new();
        for root in wanted {
            match open(root, task, scratch) {
                Ok(from) => roots.push(Root { name: root.name.clone(), from }),
                Err(Opening::Fault(fault)) => return Err(fault),
                Err(Opening::Problem(problem)) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            return Ok(Self(roots));
        }
        Err(source_fault("what is to be saved is not all there; nothing was saved").with(problems))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|root| root.name.as_str())
    }
}

enum Opening {
    Fault(Fault),
    Problem(Problem),
}

fn open(root: &Wanted, task: &SnapshotTask, scratch: Option<&str>) -> Result<From, Opening> {
    match &root.from {
        Source::Path { path, exclude } => open_path(Path::new(path), exclude),
        Source::Command { argv, file } => {
            let name = PathBuf::from(file);
            if name.components().count() != 1 || name.file_name().is_none() {
                return Err(Opening::Fault(Fault::bad_job(format!(
                    "`{file}` of the root `{}` is not a file's name",
                    root.name
                ))));
            }
            let output = spool::output(&root.name, argv, scratch).map_err(Opening::Fault)?;
            Ok(From::Output { file: output, name, at: task.at })
        }
    }
}

fn open_path(path: &Path, exclude: &[String]) -> Result<From, Opening> {
    let failed = |what: &str| Opening::Problem(problem(shown(path), what));
    if !path.is_absolute() {
        return Err(Opening::Fault(Fault::bad_job(format!("the path {} is not absolute", path.display()))));
    }
    // Without waiting for whoever writes a pipe that has this name.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let opened = opened.map_err(|error| failed(&format!("cannot be opened: {error}")))?;
    let stat = fstat(&opened).map_err(|error| failed(&format!("cannot be looked at: {error}")))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(From::Folder { folder: opened, stat, exclude: patterns(exclude)? }),
        FileType::RegularFile => {
            let name = path.file_name().map(PathBuf::from).ok_or_else(|| failed("has no name"))?;
            Ok(From::File { file: File::from(opened), stat, name })
        }
        _ => Err(failed("is neither a file nor a folder")),
    }
}

fn patterns(exclude: &[String]) -> Result<Gitignore, Opening> {
    let mut builder = GitignoreBuilder::new("");
    for pattern in exclude {
        builder.add_line(None, pattern).map_err(|error| {
            Opening::Fault(Fault::bad_job(format!("the pattern `{pattern}` of what is left out: {error}")))
        })?;
    }
    builder
        .build()
        .map_err(|error| Opening::Fault(Fault::bad_job(format!("the patterns of what is left out: {error}"))))
}

/// What is noted while the library reads.
#[derive(Debug)]
pub(super) struct Notes {
    problems: Mutex<Problems>,
    manifest: Mutex<Option<Writer>>,
    pub(super) ended: AtomicBool,
    pub(super) progress: Progress,
}

#[derive(Debug, Default)]
struct Problems {
    first: Vec<Problem>,
    count: u64,
}

impl Notes {
    pub(super) fn problem(&self, path: &Path, what: impl std::fmt::Display) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.count += 1;
        if problems.first.len() < TOLD {
            problems.first.push(problem(shown(path), what));
        }
    }

    /// Notes that this is to be saved.
    pub(super) fn entry(&self, entry: &Entry) -> RusticResult<()> {
        self.progress.files(1);
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let added = manifest.as_mut().map_or(Ok(()), |manifest| manifest.add(entry));
        added.map_err(|error| {
            // Without a whole list nothing can be compared.
            *manifest = None;
            let fault = Fault::of_io("keeping the list of what is to be saved", &error);
            RusticError::with_source(ErrorKind::InputOutput, "the list", fault)
        })
    }
}

/// The roots for the library.
#[derive(Debug)]
pub(super) struct Walked {
    roots: Arc<Roots>,
    store: Arc<Store>,
    notes: Arc<Notes>,
}

impl Walked {
    pub(super) fn new(
        roots: Arc<Roots>,
        store: Arc<Store>,
        scratch: Option<&str>,
        progress: &Progress,
    ) -> Result<Self, Fault> {
        let manifest = Writer::new(scratch)
            .map_err(|error| Fault::of_io("making the list of what is to be saved", &error))?;
        let notes = Notes {
            problems: Mutex::default(),
            manifest: Mutex::new(Some(manifest)),
            ended: AtomicBool::new(false),
            progress: progress.clone(),
        };
        Ok(Self { roots, store, notes: Arc::new(notes) })
    }

    /// The manifest, when everything could be read.
    pub(super) fn finish(&self) -> Result<Manifest, Fault> {
        let problems =
            std::mem::take(&mut *self.notes.problems.lock().unwrap_or_else(PoisonError::into_inner));
        if problems.count > 0 {
            let message = format!(
                "{} files or folders could not be saved, so there is no snapshot; what was read of others is kept for the \
                 next one",
                problems.count
            );
            return Err(source_fault(message).with(problems.first));
        }
        let manifest = self.notes.manifest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let full =
            "the list of what is to be saved could not be kept: make room in the folder for temporary files";
        let manifest =
            manifest.ok_or_else(|| Fault::new(backstay_types::backup::job::FailedKind::Full, full))?;
        manifest.finish().map_err(|error| Fault::of_io("keeping the list of what is to be saved", &error))
    }
}

impl ReadSource for Walked {
    type Open = Reading;
    type Iter = Walk;

    /// Counts beside the walk that saves, so that it can be told how far it is.
    fn size(&self) -> RusticResult<Option<u64>> {
        let totals = Totals::of(&self.roots, &self.notes.ended);
        if let Some(totals) = totals {
            self.notes.progress.totals(totals.files, totals.bytes);
        }
        Ok(None)
    }

    fn entries(&self) -> Walk {
        Walk::new(self.roots.clone(), self.store.clone(), self.notes.clone())
    }
}

/// A file that is read: as many bytes as it had when it was opened. One that grows is saved as it was; one that shrank is
/// not what anybody wrote.
#[derive(Debug)]
pub(super) struct Reading {
    file: File,
    path: PathBuf,
    left: u64,
    begun: bool,
    notes: Arc<Notes>,
}

impl Reading {
    pub(super) fn new(file: File, path: PathBuf, bytes: u64, notes: Arc<Notes>) -> Self {
        Self { file, path, left: bytes, begun: false, notes }
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.begun {
            self.file.seek(SeekFrom::Start(0))?;
            self.begun = true;
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.file.read(&mut buffer[..most]) {
            Ok(0) => {
                self.notes
                    .problem(&self.path, format!("became {} bytes shorter while it was read", self.left));
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.notes.problem(&self.path, format!("cannot be read: {error}"));
                Err(error)
            }
        }
    }
}

impl Notes {
    /// Nothing more is walked.
    pub(super) fn end(&self) {
        self.ended.store(true, Relaxed);
    }
}
