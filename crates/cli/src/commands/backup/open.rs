//! `backstay backup open`: a repository without the hub's help, by the owner's recovery key.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use backstay_api::{
    Empty,
    v1::{BackupRepositoryPath, GetRepositoryRecovery},
};
use backstay_types::{ErrorCode, Secret};
use clap::Args;
use serde::Serialize;

use super::{Outcome, done, identity::Identity};
use crate::{context::Context, error::CliError, ui::style};

/// Open a repository with the recovery key: where it is, its password, and how restic reads it. The key stays here.
#[derive(Debug, Args)]
pub(crate) struct Open {
    /// The node; `hub` is the hub's own state
    #[arg(required_unless_present = "sealed")]
    node: Option<String>,
    /// The file with the recovery key
    #[arg(long, value_name = "FILE")]
    recovery_key: PathBuf,
    /// Without any hub: the sealed password, from the folder `recovery` at the target
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    sealed: Option<PathBuf>,
    /// Print the password though nobody is at a terminal
    #[arg(long)]
    print: bool,
}

/// What opens a repository.
#[derive(Debug, Serialize)]
struct Opened {
    /// Where it is, as restic wants it; not known without the hub.
    place: Option<String>,
    password: Secret,
}

impl Open {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        if !self.print && !std::io::stdout().is_terminal() {
            return Err(CliError::argument("the password is shown at a terminal only")
                .hint("add --print to have it printed all the same"));
        }
        let identity = Identity::read(&self.recovery_key)?;
        let (place, sealed) = match (&self.sealed, self.node) {
            (Some(path), _) => (None, read(path)?),
            (None, node) => {
                let path = BackupRepositoryPath { node: node.unwrap_or_default() };
                let found = cx.api()?.call::<GetRepositoryRecovery>(path, Empty {}, Empty {}).await?;
                (Some(found.place), found.sealed.expose().as_bytes().to_vec())
            }
        };
        let opened = Opened { place, password: identity.open(&sealed)? };
        cx.ui.data(&opened, || view(&opened))?;
        done()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let sealed = std::fs::read(path).map_err(|error| CliError::file("read", path, error))?;
    if sealed.is_empty() {
        return Err(CliError::new(ErrorCode::BS8004, format!("{} is empty", path.display())));
    }
    Ok(sealed)
}

fn view(opened: &Opened) -> String {
    let dim = style::DIM;
    let place =
        opened.place.as_deref().unwrap_or("the folder or bucket beside which the sealed password lay");
    let quoted = opened.place.as_deref().map_or_else(|| "REPOSITORY".to_owned(), quoted);
    let keys = if place.starts_with("s3:") {
        "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…   # a key that may read the bucket\n"
    } else {
        ""
    };
    format!(
        "{dim}repository{dim:#}  {place}\n{dim}password{dim:#}    {password}\n\n{dim}With restic:{dim:#}\n{keys}\
         export RESTIC_REPOSITORY={quoted} RESTIC_PASSWORD={password_quoted}\n\
         restic snapshots\nrestic restore SNAPSHOT --target FOLDER\n",
        password = opened.password.expose(),
        password_quoted = self::quoted(opened.password.expose()),
    )
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_restic_opens_it() {
        let text = |place: Option<&str>| {
            let opened = Opened { place: place.map(str::to_owned), password: Secret::new("a'b") };
            anstream::adapter::strip_str(&view(&opened)).to_string()
        };
        let folder = text(Some("/srv/my backups/nodes/n1"));
        assert!(
            folder.contains(r"export RESTIC_REPOSITORY='/srv/my backups/nodes/n1' RESTIC_PASSWORD='a'\''b'"),
            "{folder}"
        );
        assert!(!folder.contains("AWS_"));
        assert!(text(Some("s3:https://s3.example.org/b/nodes/n1")).contains("AWS_ACCESS_KEY_ID"));
        assert!(text(None).contains("RESTIC_REPOSITORY=REPOSITORY"));
    }
}
