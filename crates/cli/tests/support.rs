//! Running the program in a folder of its own, away from the user's home and hubs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// A home of its own.
pub(crate) struct Place {
    dir: TempDir,
}

/// How a run ended, and what it said.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bst-cli-").tempdir().unwrap();
        fs::create_dir_all(dir.path().join("home")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// A command with nothing of the environment that the tests run in.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        command.env("BACKSTAY_HUB_DATA_DIR", self.path("hub"));
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Tester").env(format!("GIT_{who}_EMAIL"), "t@example.org");
        }
        command
    }

    pub(crate) fn backstay(&self, args: &[&str]) -> Ran {
        ran(self.command(program()).args(args).output().unwrap())
    }

    pub(crate) fn git(&self, repo: &str, args: &[&str]) -> String {
        self.git_with(repo, args, &[])
    }

    pub(crate) fn git_with(&self, repo: &str, args: &[&str], env: &[(&str, &str)]) -> String {
        let ran = self.try_git(repo, args, env);
        assert_eq!(ran.code, 0, "git {args:?}: {}", ran.err);
        ran.out
    }

    pub(crate) fn try_git(&self, repo: &str, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut command = self.command("git");
        command.arg("-C").arg(self.path(repo)).args(args).envs(env.iter().copied());
        ran(command.output().unwrap())
    }

    pub(crate) fn repository(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
        self.git(name, &["init", "-q", "-b", "main", "."]);
    }
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_backstay"))
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The root of the sources.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
