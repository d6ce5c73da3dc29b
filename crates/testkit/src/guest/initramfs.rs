//! What a guest's kernel unpacks into memory and runs first: busybox, programs with their libraries, modules.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command::{capture, run},
    paths::find_tool,
};

/// Makes devices, modules, network and a terminal line to the host ready, then goes on with `main`.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
for module in /modules/*.ko; do insmod "$module"; done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
exec </dev/ttyS1 >/dev/ttyS1 2>/dev/ttyS0
stty raw -echo
. /main
"#;
const FILE: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;

/// An archive in the form that kernels unpack, growing.
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    /// Adds a file, `/…`, and the folders above it.
    fn file(&mut self, path: &Path, content: &[u8]) {
        let folders: Vec<_> = path.ancestors().skip(1).filter(|dir| dir.parent().is_some()).collect();
        for folder in folders.into_iter().rev() {
            self.folder(folder);
        }
        self.entry(path, FILE, content);
    }

    fn folder(&mut self, path: &Path) {
        if self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER, &[]);
        }
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        self.entries += 1;
        let name = path.strip_prefix("/").unwrap_or(path).display().to_string();
        let links = if mode == FOLDER { 2 } else { 1 };
        // Number, mode, owner, group, links, time, size, four of devices, name's length, checksum.
        let size = u32::try_from(content.len()).expect("a file of less than 4 GiB");
        let length = u32::try_from(name.len() + 1).expect("a short name");
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, length, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("/TRAILER!!!"), 0, &[]);
        self.bytes
    }
}

/// Files with programs of this machine, each with the libraries that it needs; `main` is a shell's.
pub(super) fn initramfs(modules: &Path, programs: &[(&str, &Path)], main: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["/proc", "/sys", "/dev", "/run", "/tmp", "/data", "/etc"] {
        archive.folder(Path::new(folder));
    }
    archive.file(Path::new("/init"), INIT.as_bytes());
    archive.file(Path::new("/main"), main.as_bytes());
    archive.file(Path::new("/bin/busybox"), &read(&find_tool("busybox").expect("busybox")));
    let mut found: Vec<_> =
        fs::read_dir(modules).expect("list modules").flatten().map(|entry| entry.path()).collect();
    // Their names begin with the order in which they can be loaded.
    found.sort();
    for module in found {
        let name = module.file_name().expect("a name");
        archive.file(&Path::new("/modules").join(name), &read(&module));
    }
    let mut libraries = BTreeSet::new();
    for (name, program) in programs {
        archive.file(Path::new(name), &stripped(program));
        libraries.extend(needed(program));
    }
    for library in libraries {
        archive.file(&library, &read(&library));
    }
    archive.finish()
}

/// A program without its symbols: tests' builds are large.
fn stripped(program: &Path) -> Vec<u8> {
    let dir = crate::scratch_dir();
    let small = dir.path().join("program");
    run(Command::new("strip").arg("-o").arg(&small).arg(program));
    read(&small)
}

/// The shared libraries that a program is loaded with, and what loads them.
fn needed(program: &Path) -> Vec<PathBuf> {
    // Those that are linked statically need none, which ldd calls an error.
    let text = capture(Command::new("ldd").arg(program)).unwrap_or_default();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}
