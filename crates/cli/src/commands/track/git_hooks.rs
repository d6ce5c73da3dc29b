//! Git's hooks in a repository: ours beside whatever was there.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use backstay_types::ErrorCode;

use super::State;
use crate::error::CliError;

/// Tells our hooks from others'.
const MARK: &str = "# Installed by `backstay track install`; `backstay track uninstall` takes it out again.";
/// Where a hook that was there before is kept, to be run first.
const KEPT: &str = "before-backstay";
/// `prepare-commit-msg` runs even with `--no-verify`; `commit-msg` sees a message that was written in an editor.
const HOOKS: [(&str, &str); 2] = [("prepare-commit-msg", ""), ("commit-msg", "--final ")];

/// The hooks of one repository.
#[derive(Debug)]
pub(super) struct Hooks {
    dir: PathBuf,
    shared: bool,
}

impl Hooks {
    /// The hooks of the repository at `repo`.
    ///
    /// # Errors
    /// When it is not one.
    pub(super) fn of(repo: &Path) -> Result<Self, CliError> {
        let dir = git(repo, &["rev-parse", "--path-format=absolute", "--git-path", "hooks"])?;
        let common = git(repo, &["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
        let dir = PathBuf::from(dir);
        let shared = !dir.starts_with(common);
        Ok(Self { dir, shared })
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether ours are in place.
    pub(super) fn status(&self) -> Result<State, CliError> {
        for (name, _) in HOOKS {
            if !self.is_ours(name)? {
                return Ok(State::Absent);
            }
        }
        Ok(State::Installed)
    }

    /// Puts ours in place; a hook that was there is kept and runs first. Gives what is worth knowing.
    pub(super) fn install(&self, program: &Path) -> Result<Option<String>, CliError> {
        fs::create_dir_all(&self.dir).map_err(|e| CliError::file("create", &self.dir, e))?;
        for (name, options) in HOOKS {
            let (hook, kept) = (self.dir.join(name), self.kept(name));
            if hook.symlink_metadata().is_ok() && !self.is_ours(name)? {
                if kept.symlink_metadata().is_ok() {
                    let detail =
                        format!("{} was replaced by another hook since ours was installed", hook.display());
                    return Err(CliError::new(ErrorCode::BS8011, detail).hint(format!(
                        "decide between it and {}, remove one, then run this again",
                        kept.display()
                    )));
                }
                fs::rename(&hook, &kept).map_err(|e| CliError::file("move", &hook, e))?;
            }
            write_executable(&hook, &script(program, options))?;
        }
        let note = format!("hooks are in {}, which may serve other repositories too", self.dir.display());
        Ok(self.shared.then_some(note))
    }

    /// Takes ours out and puts back what was there.
    pub(super) fn uninstall(&self) -> Result<Option<String>, CliError> {
        for (name, _) in HOOKS {
            let (hook, kept) = (self.dir.join(name), self.kept(name));
            if !self.is_ours(name)? {
                continue;
            }
            if kept.symlink_metadata().is_ok() {
                // In one step: there is never a moment without a hook.
                fs::rename(&kept, &hook).map_err(|e| CliError::file("move", &kept, e))?;
            } else {
                fs::remove_file(&hook).map_err(|e| CliError::file("remove", &hook, e))?;
            }
        }
        Ok(None)
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.{KEPT}"))
    }

    fn is_ours(&self, name: &str) -> Result<bool, CliError> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).contains(MARK)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(CliError::file("read", &path, error)),
        }
    }
}

/// The hook: first what was there, whose no is a no; then ours, which never says no.
fn script(program: &Path, options: &str) -> String {
    let program = quoted(&program.display().to_string());
    format!(
        "#!/bin/sh\n{MARK}\n\
         # It names the conversation behind a commit, and never stops one.\n\
         before=\"$0.{KEPT}\"\n\
         if [ -x \"$before\" ]; then\n\t\"$before\" \"$@\" || exit $?\nfi\n\
         if [ -x {program} ]; then\n\t{program} --quiet track commit-msg {options}-- \"$@\" </dev/null >/dev/null || :\nfi\n"
    )
}

/// A path as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Written beside and moved into place, so that Git never runs half a script.
fn write_executable(path: &Path, text: &str) -> Result<(), CliError> {
    let new = path.with_extension("backstay-new");
    let write = || {
        fs::write(&new, text)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(&new, path)
    };
    write().map_err(|e| CliError::file("write", path, e))
}

/// Asks Git about a repository.
pub(crate) fn git(repo: &Path, args: &[&str]) -> Result<String, CliError> {
    let output = Command::new("git").arg("-C").arg(repo).args(args).output().map_err(|e| {
        CliError::new(ErrorCode::BS8005, "git cannot be run")
            .with_source(e)
            .hint("install git, or see that it is on PATH")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CliError::new(ErrorCode::BS8005, format!("git {} failed in {}", args.join(" "), repo.display()))
        .with_source(io::Error::other(said)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        let text = script(Path::new("/a b/it's/$(x)/backstay"), "");
        assert!(text.contains("'/a b/it'\\''s/$(x)/backstay' --quiet track commit-msg -- \"$@\""), "{text}");
    }
}
