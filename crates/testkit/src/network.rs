//! A machine's place in the network: a namespace with one link to the host, which can be cut, made lossy or slow.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;

use crate::{
    command::{capture, run},
    left_out::{Part, require},
    paths::find_tool,
    port::Port,
};

/// What is lost on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lose {
    /// What the namespace sends.
    Sent,
    /// What is sent to it.
    Received,
    /// Everything.
    Both,
}

/// A network namespace. Dropped, it is gone; what runs in it is not ended.
#[derive(Debug)]
pub struct Network {
    name: String,
    host: Ipv4Addr,
    etc: PathBuf,
    port: Port,
}

impl Network {
    /// Makes a namespace, or notes that the test is left out.
    ///
    /// # Panics
    /// When one cannot be made though the tools are there; with `CI=true` when they are missing.
    pub fn require() -> Option<Self> {
        require(Part::Network, tools())?;
        // The lock of a port that nobody uses makes names and addresses that nobody else has.
        let port = Port::take();
        let number = port.number() - 20_000;
        let [high, low] = (number * 4).to_be_bytes();
        let host = Ipv4Addr::new(10, 213, high, low + 1);
        let name = format!("bsk{}", port.number());
        let network = Self { etc: Path::new("/etc/netns").join(&name), name, host, port };
        network.take_away();
        network.make();
        Some(network)
    }

    fn make(&self) {
        let (outer, inner) = (self.outer(), self.inner());
        ip(&["netns", "add", &self.name]);
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner]);
        ip(&["link", "set", &inner, "netns", &self.name]);
        ip(&["address", "add", &format!("{}/30", self.host), "dev", &outer]);
        ip(&["link", "set", &outer, "up"]);
        let address = Ipv4Addr::from(u32::from(self.host) + 1);
        ip(&["-n", &self.name, "address", "add", &format!("{address}/30"), "dev", &inner]);
        ip(&["-n", &self.name, "link", "set", &inner, "up"]);
        ip(&["-n", &self.name, "link", "set", "lo", "up"]);
        fs::create_dir_all(&self.etc).expect("create a folder in /etc/netns");
        // Nobody answers there: names are what `names` says.
        fs::write(
            self.etc.join("resolv.conf"),
            format!("nameserver {}\noptions timeout:1 attempts:1\n", self.host),
        )
        .expect("write resolv.conf");
        self.names(&[]);
    }

    /// The host's end of the link.
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// Which names are known in it, each for the host's end. Others are not found.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn names(&self, names: &[&str]) {
        let lines: String = names.iter().map(|name| format!("{} {name}\n", self.host)).collect();
        // Written in place: what runs in the namespace has this very file mounted.
        fs::write(self.etc.join("hosts"), format!("127.0.0.1 localhost\n{lines}")).expect("write hosts");
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// What goes before a program's path so that it runs in it; the process is the program's own.
    pub(crate) fn prefix(&self) -> [String; 4] {
        ["ip", "netns", "exec", &self.name].map(str::to_owned)
    }

    /// Loses everything of that direction, without a word to either side.
    ///
    /// # Panics
    /// When the rule cannot be made.
    pub fn lose(&self, what: Lose) {
        self.lose_share(what, "1");
    }

    /// Loses that share of packets, such as `0.2`.
    ///
    /// # Panics
    /// When the rule cannot be made.
    pub fn lose_share(&self, what: Lose, share: &str) {
        let inner = self.inner();
        let chance = ["-m", "statistic", "--mode", "random", "--probability", share, "-j", "DROP"];
        if what != Lose::Received {
            run(self.command("iptables").args(["-A", "OUTPUT", "-o", &inner]).args(chance));
        }
        if what != Lose::Sent {
            run(self.command("iptables").args(["-A", "INPUT", "-i", &inner]).args(chance));
        }
    }

    /// Lets so many kbit a second through, each way.
    ///
    /// # Panics
    /// When that cannot be set.
    pub fn slow(&self, kbit: u32) {
        let rate = format!("{kbit}kbit");
        let (outer, inner) = (self.outer(), self.inner());
        let shape = ["root", "tbf", "rate", &rate, "burst", "4kb", "latency", "2s"];
        run(Command::new("tc").args(["qdisc", "replace", "dev", &outer]).args(shape));
        run(self.command("tc").args(["qdisc", "replace", "dev", &inner]).args(shape));
    }

    /// The link as it was.
    ///
    /// # Panics
    /// When the rules cannot be taken away.
    pub fn heal(&self) {
        run(self.command("iptables").args(["-F"]));
        // Only where it was made slow.
        let _ = capture(Command::new("tc").args(["qdisc", "del", "dev", &self.outer(), "root"]));
        let _ = capture(self.command("tc").args(["qdisc", "del", "dev", &self.inner(), "root"]));
    }

    fn outer(&self) -> String {
        format!("bskh{}", self.port.number())
    }

    fn inner(&self) -> String {
        format!("bskn{}", self.port.number())
    }

    fn take_away(&self) {
        // One of this name may be left of a test that was killed.
        let _ = capture(Command::new("ip").args(["netns", "del", &self.name]));
        let _ = capture(Command::new("ip").args(["link", "del", &self.outer()]));
        let _ = fs::remove_dir_all(&self.etc);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.take_away();
    }
}

fn tools() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("only root may".to_owned());
    }
    let missing = ["ip", "iptables", "tc"].into_iter().find(|name| find_tool(name).is_none());
    missing.map_or(Ok(()), |name| Err(format!("{name} is not installed")))
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}
