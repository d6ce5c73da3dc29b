//! What is told to the hub about the machine.

use backstay_types::HostFacts;

use crate::{disk::Layout, runtime};

/// The machine as it is now.
pub(crate) async fn facts(layout: &Layout) -> HostFacts {
    let uname = rustix::system::uname();
    let mut facts = HostFacts {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        hostname: uname.nodename().to_string_lossy().into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        manifest_schema: backstay_manifest::MANIFEST_SCHEMA,
        runtimes: runtime::working().await,
        ..HostFacts::default()
    };
    crate::disk::fill_facts(layout.data(), &mut facts);
    facts
}
