//! Reads one job as JSON from its standard input, and prints a line of JSON for how far it is and one for how it ended.
//! Ends with 0 when it is done, with 1 when not.

use std::{
    env,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    panic::{self, AssertUnwindSafe},
    process::{Command, ExitCode},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use backstay_backup::Patience;
use backstay_types::backup::job::{Done, Failed, FailedKind, Job, Line};

/// More than any job has.
const JOB_LIMIT: u64 = 64 << 20;

/// What a thread of the library said before it broke off.
static BROKEN: Mutex<Option<String>> = Mutex::new(None);

/// After a thread broke off, the others end soon, or never.
const GRACE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    with_few_arenas();
    panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("something unexpected");
        let place = info.location().map(|place| format!(" ({place})")).unwrap_or_default();
        broken().get_or_insert(format!("{text}{place}"));
        thread::spawn(|| {
            thread::sleep(GRACE);
            tell(&Line::Failed(because_broken()));
            std::process::exit(1);
        });
    }));
    let job = match read_job() {
        Ok(job) => job,
        Err(message) => {
            return failed(Failed { kind: FailedKind::BadJob, message, problems: Vec::new() });
        }
    };
    let run = || backstay_backup::run(&job, patience(), |line| tell(&line));
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(done)) if broken().is_none() || is_told(&done) => {
            tell(&Line::Done(Box::new(done)));
            ExitCode::SUCCESS
        }
        // What went wrong is told before what a thread says that was in the midst of it.
        Ok(Err(fault)) => failed(fault),
        Ok(Ok(_)) | Err(_) => failed(because_broken()),
    }
}

/// Begins anew with two of the system allocator's arenas: it has one for each of the library's many threads otherwise, which
/// is a third of the memory of a restore, and takes the number from its environment alone.
fn with_few_arenas() {
    if env::var_os(backstay_backup::ARENAS).is_none() {
        // On failure it goes on as it is.
        let _ = Command::new("/proc/self/exe")
            .args(env::args_os().skip(1))
            .env(backstay_backup::ARENAS, "2")
            .exec();
    }
}

/// The library breaks off threads when it finds damage; a check tells that itself.
fn is_told(done: &Done) -> bool {
    matches!(done, Done::Check { problems, .. } if !problems.is_empty())
}

fn broken() -> MutexGuard<'static, Option<String>> {
    BROKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn because_broken() -> Failed {
    backstay_backup::panicked(broken().as_deref().unwrap_or("something unexpected"))
}

fn failed(failed: Failed) -> ExitCode {
    tell(&Line::Failed(failed));
    ExitCode::FAILURE
}

fn read_job() -> Result<Job, String> {
    let mut text = String::new();
    let read = io::stdin().lock().take(JOB_LIMIT).read_to_string(&mut text);
    read.map_err(|error| format!("the job on the standard input could not be read: {error}"))?;
    serde_json::from_str(&text).map_err(|error| {
        // Its text has secrets in it: only the place is told.
        format!(
            "the standard input has no job that is understood (line {}, column {}, {:?}); expected one JSON object",
            error.line(),
            error.column(),
            error.classify()
        )
    })
}

/// Whoever runs it may have less patience than is usual; the environment says so.
fn patience() -> Patience {
    let seconds = env::var("BACKSTAY_BACKUP_SILENCE_SECONDS").ok().and_then(|text| text.parse().ok());
    let attempts = env::var("BACKSTAY_BACKUP_ATTEMPTS").ok().and_then(|text| text.parse().ok());
    let usual = Patience::default();
    Patience {
        silence: seconds.map_or(usual.silence, Duration::from_secs),
        attempts: attempts.unwrap_or(usual.attempts),
    }
}

/// Prints a line. When nobody reads any more, the job goes on: what it saves is good without being watched.
fn tell(line: &Line) {
    let Ok(mut text) = serde_json::to_string(line) else { return };
    text.push('\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
