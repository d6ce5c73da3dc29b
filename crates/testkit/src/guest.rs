//! A small machine of its own, with a disk whose power can be cut.

mod disk;
mod initramfs;
mod nbd;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

pub use self::disk::{CachedDisk, Loss, Lost};
use crate::{
    image::check_busybox,
    left_out::{Part, require},
    paths::{cache_dir, find_tool},
};

const KERNEL: &str = "guest/linux-1/vmlinuz";
const MODULES: &str = "guest/linux-1/modules";
/// What a kernel is told: to say little, to trust what it is run on, and to end rather than to wait for anybody.
const KERNEL_OPTIONS: &str =
    "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr cryptomgr.notests no_timer_check";
/// Where it has the right to be quick, a kernel says something within this.
const FIRST_WORD: Duration = Duration::from_secs(4);

/// A machine that can be switched on: a kernel with busybox, programs and a script.
///
/// In the guest the host's loopback is 10.0.2.2; the disk is `/dev/vda`. The script's standard input and output are
/// lines from and to the host; standard error is the console.
#[derive(Debug)]
pub struct GuestMachine {
    qemu: PathBuf,
    dir: PathBuf,
    accelerator: &'static str,
}

impl GuestMachine {
    /// Puts one together in `dir`, or notes that the test is left out. `programs` are files of this machine under the
    /// names that they have in the guest; `main` is a script for busybox's shell.
    ///
    /// # Panics
    /// When a file cannot be read; with `CI=true` when a part is missing.
    pub fn require(dir: &Path, programs: &[(&str, &Path)], main: &str) -> Option<Self> {
        let qemu = require(Part::Guest, parts())?;
        let archive = initramfs::initramfs(&cache_dir().join(MODULES), programs, main);
        fs::write(dir.join("initramfs"), archive).expect("write what the guest unpacks");
        let accelerator = accelerator(&qemu);
        Some(Self { qemu, dir: dir.to_owned(), accelerator })
    }

    /// What runs its instructions: `kvm`, or `tcg`, which is QEMU by itself.
    pub fn accelerator(&self) -> &str {
        self.accelerator
    }

    /// Switches it on, with a disk that has power. `environment` is for its script, `NAME=value` each.
    ///
    /// # Panics
    /// When QEMU cannot be started.
    pub fn boot(&self, disk: &CachedDisk, environment: &[&str]) -> Guest {
        let console = self.dir.join("console");
        let options = [&[KERNEL_OPTIONS], environment].concat().join(" ");
        let mut command = machine(&self.qemu, self.accelerator);
        command.args(["-append", &options]).arg("-initrd").arg(self.dir.join("initramfs"));
        command.args(["-m", "256", "-serial"]).arg(format!("file:{}", console.display()));
        command.args(["-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line"]);
        let drive = "if=none,id=disk,format=raw,cache=writeback,file=nbd:unix:";
        command.arg("-drive").arg(format!("{drive}{}", disk.socket().display()));
        command.args(["-device", "virtio-blk-pci,drive=disk", "-netdev", "user,id=net"]);
        command.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        let errors = File::create(self.dir.join("qemu")).expect("make a file for QEMU's errors");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut qemu = command.spawn().unwrap_or_else(|error| panic!("start QEMU: {error}"));
        let said = qemu.stdout.take().expect("QEMU's output");
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(said).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let line = qemu.stdin.take();
        Guest { qemu, line, lines, console, errors: self.dir.join("qemu") }
    }
}

/// A machine that is switched on. Dropped, it is killed.
#[derive(Debug)]
pub struct Guest {
    qemu: Child,
    line: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    console: PathBuf,
    errors: PathBuf,
}

impl Guest {
    /// Says a line to its script.
    pub fn say(&mut self, text: &str) {
        // It may be dead; then nothing comes back, which is what is looked at.
        if let Some(line) = &mut self.line {
            let _ = line.write_all(format!("{text}\n").as_bytes()).and_then(|()| line.flush());
        }
    }

    /// What its script says up to a line `last`.
    ///
    /// # Errors
    /// When that does not come in time: what came, and the end of the console.
    pub fn hear(&mut self, last: &str, patience: Duration) -> Result<Vec<String>, String> {
        let until = Instant::now() + patience;
        let mut heard = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.trim_end() == last => return Ok(heard),
                Ok(line) => heard.push(line.trim_end().to_owned()),
                Err(gone) => {
                    let errors = fs::read_to_string(&self.errors).unwrap_or_default();
                    let console = self.console();
                    let from = console.floor_char_boundary(console.len().saturating_sub(4000));
                    return Err(format!("no `{last}` ({gone}), but {heard:?}\n{errors}{}", &console[from..]));
                }
            }
        }
    }

    /// Whether it is still switched on.
    pub fn is_on(&mut self) -> bool {
        self.qemu.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// What its kernel said, and what it ran said there.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Takes the power away.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// QEMU, when all is there that a guest needs.
fn parts() -> Result<PathBuf, String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the guest's kernel is one for x86-64".to_owned());
    }
    let qemu = find_tool("qemu-system-x86_64").ok_or("qemu-system-x86_64 is not installed")?;
    for tool in ["setpriv", "strip", "mkfs.ext4", "e2fsck"] {
        find_tool(tool).ok_or_else(|| format!("{tool} is not installed"))?;
    }
    check_busybox()?;
    let kernel = cache_dir().join(KERNEL);
    if kernel.is_file() { Ok(qemu) } else { Err(format!("{} is not there", kernel.display())) }
}

fn machine(qemu: &Path, accelerator: &str) -> Command {
    // Also when a test is killed, its machine goes with it.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(qemu);
    command.args(["-machine", "q35", "-cpu", "max", "-accel", accelerator, "-nodefaults", "-no-reboot"]);
    command.args(["-display", "none", "-kernel"]).arg(cache_dir().join(KERNEL));
    command
}

/// The quick one where it works. That it can be opened does not say so: a kernel has to run on it.
fn accelerator(qemu: &Path) -> &'static str {
    static FOUND: OnceLock<&str> = OnceLock::new();
    FOUND.get_or_init(|| {
        if File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return "tcg";
        }
        let mut command = machine(qemu, "kvm");
        command.args([
            "-m",
            "256",
            "-append",
            "console=ttyS0 earlyprintk=serial panic=-1",
            "-serial",
            "stdio",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return "tcg" };
        let said = child.stdout.take().expect("QEMU's output");
        let (send, first) = mpsc::channel();
        thread::spawn(move || {
            let spoke =
                BufReader::new(said).lines().map_while(Result::ok).any(|line| line.contains("Linux version"));
            let _ = send.send(spoke);
        });
        let works = first.recv_timeout(FIRST_WORD).unwrap_or(false);
        let _ = child.kill();
        let _ = child.wait();
        if works { "kvm" } else { "tcg" }
    })
}
