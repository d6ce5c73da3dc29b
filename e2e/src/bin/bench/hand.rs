//! The same work by hand: Git and Compose, nothing else.

use std::path::Path;

use backstay_testkit::{BareRepository, CommitSpec, Docker, Port, WorkTree, run};

use crate::stack;

/// A clone with one stack, and the engine where it runs.
pub(crate) struct Hand<'a> {
    docker: &'a Docker,
    tree: WorkTree,
    port: Port,
}

impl<'a> Hand<'a> {
    /// A repository below `dir` whose stack runs `web:v1`.
    pub(crate) fn start(docker: &'a Docker, dir: &Path) -> Self {
        let bare = BareRepository::create(&dir.join("hand.git"));
        let tree = WorkTree::clone_from(&bare.dir().display().to_string(), &dir.join("hand"));
        let hand = Self { docker, tree, port: Port::take() };
        hand.change("web:v1");
        hand.push();
        hand.up();
        hand
    }

    /// Commits another image.
    pub(crate) fn change(&self, image: &str) {
        self.tree.write("compose.yaml", &stack::compose(image, &self.port.number().to_string()));
        self.tree.commit(&CommitSpec::new(&format!("Run {image}")));
    }

    /// `git push`
    pub(crate) fn push(&self) {
        self.tree.push();
    }

    /// `git revert`
    pub(crate) fn revert(&self) {
        self.tree.git(&["revert", "--no-edit", "HEAD"]);
    }

    /// `docker compose up --detach --wait`
    pub(crate) fn up(&self) {
        let mut compose = self.docker.command();
        compose.args(["compose", "--project-name", "hand", "up", "--detach", "--wait"]);
        run(compose.current_dir(self.tree.dir()));
    }
}
