//! Planned deaths. With the feature `failpoints` and a point named in `FAILPOINTS`
//! (`FAILPOINTS=committed.before=return`), the program ends there as if the power
//! had gone: no destructor, no flush. Without the feature there is nothing here.

/// Dies here when `FAILPOINTS` says so. In a child of the agent, the agent dies too.
#[cfg(feature = "failpoints")]
pub(crate) fn crash_point(name: &str) {
    if fail::eval(name, |_| ()).is_some() {
        use rustix::process::{Signal, getpid, getppid, kill_process};
        if IS_CHILD.get().is_some()
            && let Some(agent) = getppid()
        {
            let _ = kill_process(agent, Signal::KILL);
        }
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// Dies here when `FAILPOINTS` says so; this build has no such points.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn crash_point(_: &str) {}

/// Hangs here for ever when `FAILPOINTS` says so, and with it the thread.
#[cfg(feature = "failpoints")]
pub(crate) fn wedge_point(name: &str) {
    if fail::eval(name, |_| ()).is_some() {
        loop {
            std::thread::park();
        }
    }
}

/// Hangs here when `FAILPOINTS` says so; this build has no such points.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn wedge_point(_: &str) {}

#[cfg(feature = "failpoints")]
static IS_CHILD: std::sync::OnceLock<()> = std::sync::OnceLock::new();

/// Says that this process is a child of the agent's, whose death is the agent's too.
pub(crate) fn in_child() {
    #[cfg(feature = "failpoints")]
    let _ = IS_CHILD.set(());
}

/// Reads `FAILPOINTS`. What it returns must live as long as points are to work.
#[cfg(feature = "failpoints")]
pub(crate) fn setup() -> impl Sized {
    fail::FailScenario::setup()
}

/// Reads nothing: this build has no crash points.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn setup() -> impl Sized {}
