//! A hub and agents on this machine: for `hub`, `up` and `demo`.

mod agent;
mod hub;

use tokio::signal::unix::{SignalKind, signal};

pub(crate) use agent::{AgentPlace, LocalAgent, tail};
pub(crate) use hub::{HubOptions, start};

/// Ends when someone asks for the end: Ctrl-C or SIGTERM.
pub(crate) async fn asked_to_end() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler the system's own way of ending applies.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => {
            if result.is_err() {
                terminate.recv().await;
            }
        }
    }
}

/// Structured lines on standard error; `BACKSTAY_LOG` says how much.
pub(crate) fn log_to_stderr(default: &str) {
    use std::io::IsTerminal as _;
    use tracing_subscriber::EnvFilter;

    let filter = EnvFilter::try_from_env("BACKSTAY_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second one in the same process keeps the first: nothing to do about that, nothing lost.
    let _ = if std::io::stderr().is_terminal() {
        builder.compact().try_init().is_ok()
    } else {
        builder.json().flatten_event(true).try_init().is_ok()
    };
}

/// Free ports of loopback, all different. Another program could take one before it is used; that shows at once.
pub(crate) fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Structured lines into a file, for a hub that shares its terminal with a story.
pub(crate) fn log_to_file(path: &std::path::Path) -> std::io::Result<()> {
    use tracing_subscriber::EnvFilter;

    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let filter = EnvFilter::try_from_env("BACKSTAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let _ = builder.json().flatten_event(true).with_writer(std::sync::Arc::new(file)).try_init();
    Ok(())
}
