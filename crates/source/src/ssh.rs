//! How Git reaches hosts over ssh: with a key and known hosts of the hub's own, beside those of its user.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::error::SourceError;

const KEY: &str = "id_ed25519";

/// A folder with a key, known hosts, and the settings that name them.
#[derive(Debug, Clone)]
pub struct Ssh {
    dir: PathBuf,
}

impl Ssh {
    /// Uses the folder `dir`, made private where it is not there. A key is made where there is none and `ssh-keygen` is
    /// installed; without it only the keys of the hub's user serve.
    ///
    /// The settings of the user (`~/.ssh/config`) go first. A host that is met for the first time is remembered; one
    /// that shows another key later is refused.
    ///
    /// # Errors
    /// When the folder cannot be written, or its path holds a character that ssh's settings cannot.
    pub fn prepare(dir: &Path) -> Result<Self, SourceError> {
        let failed = |error| SourceError::io(dir, "preparing ssh")(error);
        let dir = &std::path::absolute(dir).map_err(failed)?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let config = settings(dir).map_err(failed)?;
        fs::write(dir.join("config"), config).map_err(failed)?;
        if !dir.join(KEY).exists() {
            make_key(dir).map_err(failed)?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// What a Git host is given so that it lets the hub in: one line, `ssh-ed25519 …`.
    pub fn public_key(&self) -> Option<String> {
        let text = fs::read_to_string(self.dir.join(KEY).with_extension("pub")).ok()?;
        text.lines().next().map(str::to_owned)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config")
    }
}

fn settings(dir: &Path) -> io::Result<String> {
    let quoted = |name: &str| {
        let path = dir.join(name).display().to_string();
        if path.contains(['"', '\n', '%', '$', '\\']) {
            let message = format!("`{}` holds a character that ssh cannot take", path.escape_debug());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(format!("\"{path}\""))
    };
    Ok(format!(
        "# Written at each start of the hub.
Include ~/.ssh/config
Host *
  IdentityFile {}
  IdentityFile ~/.ssh/id_ed25519
  IdentityFile ~/.ssh/id_ecdsa
  IdentityFile ~/.ssh/id_rsa
  UserKnownHostsFile {} ~/.ssh/known_hosts
  StrictHostKeyChecking accept-new
",
        quoted(KEY)?,
        quoted("known_hosts")?,
    ))
}

/// Made under another name first: a key that is there is whole.
fn make_key(dir: &Path) -> io::Result<()> {
    let growing = dir.join("id_new");
    for path in [growing.clone(), growing.with_extension("pub")] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "backstay-hub", "-f"])
        .arg(&growing)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let output = match made {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!("ssh-keygen is not installed: the hub has no ssh key of its own");
            return Ok(());
        }
        other => other?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("ssh-keygen: {said}")));
    }
    fs::rename(growing.with_extension("pub"), dir.join(KEY).with_extension("pub"))?;
    fs::rename(growing, dir.join(KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let Some(first) = Ssh::prepare(dir.path()).unwrap().public_key() else { return };
        assert!(first.starts_with("ssh-ed25519 ") && first.ends_with(" backstay-hub"), "{first}");
        assert_eq!(Ssh::prepare(dir.path()).unwrap().public_key().as_deref(), Some(first.as_str()));
    }

    #[test]
    fn a_path_that_ssh_would_read_otherwise_is_refused() {
        for name in ["a\"b", "a%hb", "a$b", "a\nb"] {
            assert!(settings(&Path::new("/data").join(name)).is_err(), "{name}");
        }
        assert!(
            settings(Path::new("/data with space/ssh"))
                .unwrap()
                .contains("\"/data with space/ssh/id_ed25519\"")
        );
    }
}
