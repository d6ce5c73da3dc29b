//! A node under QEMU: its guest, its disk, and its hub on the host.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use backstay_testkit::{CachedDisk, Guest, GuestMachine, Loss, Lost, run};
use backstay_types::World;
use tempfile::TempDir;

use super::{seen::Seen, support::FakeHub};

const DISK: u64 = 48 << 20;
/// How long a guest may take for what it is told, also where it is emulated on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The node.
#[derive(Debug)]
pub(crate) struct CutNode {
    machine: GuestMachine,
    dir: TempDir,
    environment: Vec<String>,
    pub(crate) disk: CachedDisk,
    guest: Option<Guest>,
    /// The disk as it was when the power came back last.
    before: Vec<u8>,
    /// What the guest said on the console before the last cut.
    console: String,
}

impl CutNode {
    /// A node that has not joined yet, switched off. `mount` are options for its file system.
    pub(crate) fn new(hub: &FakeHub, mount: &str) -> Option<Self> {
        let dir = backstay_testkit::scratch_dir();
        let agent = super::support::agent();
        let programs = [("/bin/backstay-agent", Path::new(&agent))];
        let machine = GuestMachine::require(dir.path(), &programs, include_str!("main.sh"))?;
        let image = dir.path().join("disk");
        fs::File::create(&image).and_then(|file| file.set_len(DISK)).unwrap();
        let mut mkfs = Command::new(backstay_testkit::find_tool("mkfs.ext4").unwrap());
        run(mkfs
            .args(["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,nodiscard"])
            .arg(&image));
        let disk = CachedDisk::new(fs::read(&image).unwrap(), &dir.path().join("disk.socket"));
        fs::remove_file(image).unwrap();
        let port = hub.url.rsplit(':').next().unwrap();
        let environment = [
            format!("HUB=http://10.0.2.2:{port}"),
            format!("TOKEN={}", hub.token()),
            format!("MOUNT={mount}"),
        ];
        Some(Self {
            machine,
            dir,
            environment: environment.into(),
            disk,
            guest: None,
            before: Vec::new(),
            console: String::new(),
        })
    }

    /// What runs the guest's instructions.
    pub(crate) fn accelerator(&self) -> &str {
        self.machine.accelerator()
    }

    /// Switches it on, until its disk is mounted; false when the disk took its `limit` of requests before.
    pub(crate) fn boot(&mut self, limit: u64) -> Result<bool, String> {
        self.before = self.disk.image();
        self.disk.power_on(limit);
        let environment: Vec<_> = self.environment.iter().map(String::as_str).collect();
        let guest = self.guest.insert(self.machine.boot(&self.disk, &environment));
        let until = Instant::now() + PATIENCE;
        loop {
            match guest.hear("ready", Duration::from_millis(100)) {
                Ok(_) => break,
                Err(_) if self.disk.wait_limit(Duration::ZERO) => return Ok(false),
                Err(why) if Instant::now() >= until || !guest.is_on() => {
                    return Err(format!("it does not boot: {why}"));
                }
                Err(_) => {}
            }
        }
        // That could have been the last one.
        let up = !self.disk.wait_limit(Duration::ZERO);
        self.disk.limit(u64::MAX);
        Ok(up)
    }

    /// Starts the agent.
    pub(crate) fn start_agent(&mut self) {
        self.guest.as_mut().unwrap().say("run");
    }

    pub(crate) fn look(&mut self) -> Result<Seen, String> {
        let guest = self.guest.as_mut().unwrap();
        guest.say("look");
        Seen::parse(&guest.hear("looked", PATIENCE)?)
    }

    /// Takes the power away.
    pub(crate) fn cut(&mut self, loss: Loss, chance: &World) -> Lost {
        if let Some(guest) = self.guest.take() {
            self.console = guest.console();
            guest.kill();
        }
        self.disk.cut(loss, chance)
    }

    /// Keeps what there is to look at when something was found, and says where.
    pub(crate) fn keep(&mut self) -> String {
        let dir = env::temp_dir().join(format!("backstay-power-cut-{}", std::process::id()));
        let dir =
            (0..).map(|number| dir.with_extension(number.to_string())).find(|dir| !dir.exists()).unwrap();
        fs::create_dir_all(&dir).unwrap();
        let now = self.guest.as_ref().map(Guest::console).unwrap_or_default();
        fs::write(dir.join("console-before-the-cut"), &self.console).unwrap();
        fs::write(dir.join("console"), now).unwrap();
        fs::write(dir.join("disk-at-the-cut"), &self.before).unwrap();
        fs::write(dir.join("disk-now"), self.disk.image()).unwrap();
        let said = check(&self.before, &self.dir.path().join("checked"));
        fs::write(dir.join("e2fsck"), &said).unwrap();
        format!(
            "the disk and what the guest said are kept in {}\ne2fsck of the disk at the cut: {said}",
            dir.display()
        )
    }
}

/// What e2fsck says of an image, after it has replayed the file system's journal in a copy.
fn check(image: &[u8], copy: &PathBuf) -> String {
    fs::write(copy, image).unwrap();
    let tool = backstay_testkit::find_tool("e2fsck").unwrap();
    // The journal alone first: what is then left to mend is damage.
    let replayed = Command::new(&tool).args(["-E", "journal_only", "-p"]).arg(copy).output().unwrap();
    let checked = Command::new(&tool).args(["-f", "-n"]).arg(copy).output().unwrap();
    let said = [replayed.stdout, replayed.stderr, checked.stdout, checked.stderr].concat();
    format!("{} {}", checked.status, String::from_utf8_lossy(&said))
}
