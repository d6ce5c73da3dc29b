//! An image registry on loopback, which engines there trust without TLS.

use crate::{
    docker::Docker,
    left_out::{Part, require},
    paths::{find_tool, scratch_dir, write},
    port::Port,
    program::{Program, Ready},
};

/// A running registry. It can be stopped ("the registry is gone") and started again with its content.
#[derive(Debug)]
pub struct Registry {
    program: Program,
    port: Port,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// Starts a registry, or notes that the test is left out.
    ///
    /// # Panics
    /// When one that is installed does not start; with `CI=true` when it is missing.
    pub fn require() -> Option<Self> {
        let path = find_tool("docker-registry").ok_or_else(|| "docker-registry is not installed".to_owned());
        let path = require(Part::Registry, path)?;
        let (dir, port) = (scratch_dir(), Port::take());
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"{}\"}}\n",
            dir.path().join("images").display(),
            port.address(),
        );
        let file = dir.path().join("config.yml");
        write(&file, config);
        let program = Program::at(path, "registry", dir.path())
            .args(["serve".into(), file.into_os_string()])
            .ready(Ready::Http(format!("{}/v2/", port.url())))
            .started();
        Some(Self { program, port, _dir: dir })
    }

    /// `127.0.0.1:<port>/<name>`: the name of an image in this registry.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.port.address())
    }

    /// Pushes a local image (`web:v1`) under its name here and gives the
    /// reference by digest, `127.0.0.1:<port>/web@sha256:…`.
    ///
    /// # Panics
    /// When the push fails.
    pub fn push(&self, docker: &Docker, image: &str) -> String {
        let reference = self.reference(image);
        docker.run(&["tag", image, &reference]);
        docker.run(&["push", "--quiet", &reference]);
        docker.run(&["inspect", "--format", "{{index .RepoDigests 0}}", &reference])
    }

    /// Takes the registry away.
    pub fn stop(&mut self) {
        self.program.kill();
    }

    /// Brings it back.
    pub fn start(&mut self) {
        self.program.start();
    }
}
