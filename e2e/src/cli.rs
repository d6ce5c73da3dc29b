//! The `backstay` command, as people use it.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

/// The command line, pointed at a hub.
#[derive(Debug, Clone)]
pub struct Cli {
    program: PathBuf,
    env: Vec<(String, String)>,
}

impl Cli {
    pub(crate) fn new(program: PathBuf, hub_url: &str, token: &str) -> Self {
        let env = [("BACKSTAY_HUB", hub_url), ("BACKSTAY_TOKEN", token), ("NO_COLOR", "1")];
        Self { program, env: env.map(|(key, value)| (key.to_owned(), value.to_owned())).into() }
    }

    /// The same with one more variable in its environment.
    #[must_use]
    pub fn env(&self, key: &str, value: &str) -> Self {
        let mut cli = self.clone();
        cli.env.push((key.to_owned(), value.to_owned()));
        cli
    }

    /// What is in its environment.
    pub fn envs(&self) -> &[(String, String)] {
        &self.env
    }

    /// `backstay ARGS`, to be run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    /// `backstay ARGS`, whatever comes of it.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run backstay")
    }

    /// `backstay ARGS`, which must work; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "backstay {args:?} ended with {}:\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// `backstay --json ARGS`, which must work; gives the document.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.run(&[&["--json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("backstay {args:?}: {error} in:\n{text}"))
    }

    /// `backstay ARGS`, which must fail with this exit code; gives what it said.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.output(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "backstay {args:?}:\n{out}\n{err}");
        format!("{out}{err}")
    }
}
