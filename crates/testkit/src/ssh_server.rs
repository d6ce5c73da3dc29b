//! An ssh server on loopback that lets in whom it is told to, as the user who runs the test.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    process::Command,
};

use crate::{
    command::run,
    left_out::{Part, require},
    paths::{find_tool, scratch_dir, write},
    port::Port,
    program::{Program, Ready},
};

/// OpenSSH's server, with keys of its own. Dropped, it ends.
#[derive(Debug)]
pub struct SshServer {
    program: Program,
    user: String,
    port: Port,
    dir: tempfile::TempDir,
}

impl SshServer {
    /// Starts a server that lets nobody in, or notes that the test is left out.
    ///
    /// # Panics
    /// When what is installed does not start; with `CI=true` when it is missing.
    pub fn require() -> Option<Self> {
        let sshd = find_tool("sshd").or_else(|| find_tool("/usr/sbin/sshd"));
        let sshd = require(Part::Ssh, sshd.ok_or_else(|| "sshd is not installed".to_owned()))?;
        let (dir, port) = (scratch_dir(), Port::take());
        let path = dir.path();
        // Where the server keeps nothing, and must have.
        if rustix::process::geteuid().is_root() {
            DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").expect("make /run/sshd");
        }
        make_host_key(&path.join("host_key"));
        write(&path.join("authorized_keys"), "");
        write(&path.join("sshd_config"), config(path, &port));
        let program = Program::at(sshd, "sshd", path)
            .args(["-D".into(), "-e".into(), "-f".into(), path.join("sshd_config")])
            .ready(Ready::Line("Server listening".to_owned()))
            .started();
        let user = run(Command::new("id").arg("-un")).trim().to_owned();
        Some(Self { program, user, port, dir })
    }

    /// Lets in who holds the private half of a public key.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn authorize(&self, public_key: &str) {
        write(&self.dir.path().join("authorized_keys"), format!("{public_key}\n"));
    }

    /// Answers with another key from now on, as a machine in the middle would.
    ///
    /// # Panics
    /// When it does not start again.
    pub fn change_host_key(&mut self) {
        self.program.kill();
        make_host_key(&self.dir.path().join("host_key"));
        self.program.start();
    }

    /// Where clients find a folder of this machine.
    pub fn url(&self, folder: &std::path::Path) -> String {
        format!("ssh://{}@{}{}", self.user, self.port.address(), folder.display())
    }
}

fn make_host_key(path: &PathBuf) {
    for old in [path.clone(), path.with_extension("pub")] {
        let _ = fs::remove_file(old);
    }
    let mut keygen = Command::new("ssh-keygen");
    run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path));
}

fn config(dir: &std::path::Path, port: &Port) -> String {
    let dir = dir.display();
    format!(
        "ListenAddress {address}
HostKey {dir}/host_key
AuthorizedKeysFile {dir}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
",
        address = port.address()
    )
}
