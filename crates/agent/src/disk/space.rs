//! Room on the disk.

use std::{io, path::Path};

use backstay_types::HostFacts;

/// Free and all bytes where `path` is.
pub(crate) fn disk(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// Whether there is room for twice `bytes` and a margin.
///
/// # Errors
/// How much there is and how much is needed.
pub(crate) fn check_space(path: &Path, bytes: u64, margin: u64) -> Result<(), String> {
    let (free, _) = disk(path).map_err(|error| format!("free space cannot be told: {error}"))?;
    let needed = bytes.saturating_mul(2).saturating_add(margin);
    if free >= needed {
        return Ok(());
    }
    Err(format!("{free} bytes are free, {needed} are needed (twice the release's {bytes}, and {margin})"))
}

/// Fills in the disk of host facts.
pub(crate) fn fill_facts(path: &Path, facts: &mut HostFacts) {
    if let Ok((free, total)) = disk(path) {
        // In steps, so that they do not change with every byte.
        facts.disk_free_bytes = free >> 26 << 26;
        facts.disk_total_bytes = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_needed() {
        let here = Path::new("/");
        assert!(check_space(here, 1, 0).is_ok());
        let message = check_space(here, u64::MAX / 4, 7).unwrap_err();
        assert!(message.contains("bytes are free") && message.contains("and 7"), "{message}");
    }
}
