//! Planned deaths, for the tests that kill the hub in each of its write paths. With the feature `failpoints`
//! and a file named in `BACKSTAY_CRASH_AT`, the program ends as if the power had gone (no destructor, no flush)
//! at the point that the file names: `engine/holds.before` is just before the commit of a transaction that
//! `crates/engine/src/holds.rs` began, `.after` just behind it, and ` 2` after the name means its second time.
//! Without the feature there is nothing here.

#[cfg(not(feature = "failpoints"))]
pub use absent::*;
#[cfg(feature = "failpoints")]
pub use planned::*;

#[cfg(feature = "failpoints")]
mod planned {
    use std::{
        env, fs,
        panic::Location,
        path::PathBuf,
        sync::{
            LazyLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    use rustix::process::{Signal, getpid, kill_process};

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| env::var_os("BACKSTAY_CRASH_AT").map(PathBuf::from));
    static REACHED: AtomicU32 = AtomicU32::new(0);

    /// Whether this process is there to be killed.
    pub fn deaths_are_planned() -> bool {
        FILE.is_some()
    }

    /// Dies here when the file says so.
    pub fn crash_point(name: &str) {
        let Some(text) = FILE.as_ref().and_then(|file| fs::read_to_string(file).ok()) else { return };
        let text = text.trim();
        let (wanted, times) = text.split_once(' ').unwrap_or((text, "1"));
        if wanted == name && REACHED.fetch_add(1, Ordering::SeqCst) + 1 >= times.parse().unwrap_or(1) {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// The place that began a transaction.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Writer(&'static Location<'static>);

    impl Writer {
        #[track_caller]
        pub(crate) fn here() -> Self {
            Self(Location::caller())
        }

        /// Dies before or after its commit when the file says so.
        pub(crate) fn at(self, side: &str) {
            let file = self.0.file();
            let file = file.split_once("crates/").map_or(file, |(_, rest)| rest);
            let place = file.replacen("/src/", "/", 1);
            crash_point(&format!("{}.{side}", place.trim_end_matches(".rs")));
        }
    }
}

#[cfg(not(feature = "failpoints"))]
mod absent {
    /// Whether this process is there to be killed: this build has no such points.
    #[inline]
    pub const fn deaths_are_planned() -> bool {
        false
    }

    /// Dies nowhere: this build has no such points.
    #[inline]
    pub fn crash_point(_: &str) {}

    /// Nobody asks.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Writer;

    impl Writer {
        #[inline]
        pub(crate) const fn here() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn at(self, _: &str) {}
    }
}
