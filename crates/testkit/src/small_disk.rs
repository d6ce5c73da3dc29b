//! A small file system, to be full.

use std::{path::Path, process::Command};

use crate::left_out::{Part, leave_out};

/// A small file system in memory; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(String);

impl SmallDisk {
    /// Mounts one of this size, such as `24m`, at a folder; nothing when this user may not: the test is left out then.
    ///
    /// # Panics
    /// With `CI=true` when it cannot be mounted.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        let (place, options) = (at.display().to_string(), format!("size={size}"));
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs", &place]).status();
        if !status.is_ok_and(|status| status.success()) {
            leave_out(Part::Mount, "mount failed");
            return None;
        }
        Some(Self(place))
    }

    /// Makes it larger or smaller, keeping what is in it.
    ///
    /// # Panics
    /// When that fails.
    pub fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options, &self.0]).status();
        assert!(status.expect("run mount").success(), "the small disk cannot be resized");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy", &self.0]).status();
    }
}
