//! Stacks to deploy.

use backstay_api::statement::{DesiredAction, DesiredStack};
use backstay_types::{
    RolloutKind, StackName, TreeDigest,
    tree::{self, Mode, TreeFile},
};

/// A stack's files.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) name: StackName,
    pub(crate) files: Vec<TreeFile>,
}

impl Stack {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.parse().unwrap(), files: Vec::new() }
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.with(path, content, Mode::File)
    }

    pub(crate) fn program(self, path: &str, content: &str) -> Self {
        self.with(path, &format!("#!/bin/sh\n{content}\n"), Mode::Executable)
    }

    fn with(mut self, path: &str, content: &str, mode: Mode) -> Self {
        self.files.retain(|file| file.path != path);
        self.files.push(TreeFile { path: path.to_owned(), mode, content: content.as_bytes().to_vec() });
        self
    }

    pub(crate) fn tree(&self) -> TreeDigest {
        tree::digest(&self.files).unwrap()
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        tree::pack(&self.files).unwrap()
    }

    /// What a statement says of it; a new deployment each time.
    pub(crate) fn desired(&self) -> DesiredStack {
        let world = backstay_agent::system();
        DesiredStack {
            stack: self.name.clone(),
            action: DesiredAction::Run,
            release: world.mint(),
            tree: self.tree(),
            bytes: self.files.iter().map(|file| file.content.len() as u64).sum(),
            deployment: world.mint(),
            rollout: world.mint(),
            kind: RolloutKind::Update,
            conversations: vec![world.mint()],
            commit: "0123456789012345678901234567890123456789".parse().unwrap(),
            path: String::new(),
            endpoints: Vec::new(),
            manifest_schema: 1,
            sources: Vec::new(),
            data: None,
            save: false,
        }
    }
}

/// A stack of one process that is healthy when `check` ends with 0. `version` makes trees differ.
pub(crate) fn process_stack(version: &str, check: &str) -> Stack {
    Stack::new("web")
        .file(
            "stack.toml",
            "runtime = \"process\"\n\
             [[process]]\nname = \"web\"\ncommand = [\"./serve\"]\nstop_grace = \"2s\"\n\
             [[probe]]\ncommand = [\"./check\"]\nevery = \"30ms\"\ntimeout = \"2s\"\nwithin = \"300ms\"\n",
        )
        .program("serve", "echo \"serving $(cat version)\"\nexec sleep 20000")
        .program("check", check)
        .file("version", version)
}
