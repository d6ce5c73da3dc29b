//! Images of two megabytes: a static busybox and what it is to serve.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::{
    command::{capture, capture_with},
    docker::Docker,
    paths::{find_tool, scratch_dir, write},
};

/// The port on which [`Image::web`] and [`Image::unhealthy`] serve in the container.
pub const WEB_PORT: u16 = 8080;

const LINKS: [&str; 13] =
    ["sh", "httpd", "wget", "sleep", "cat", "ls", "echo", "true", "false", "env", "touch", "mkdir", "date"];

/// What a tiny image does. All of them append their version to `/data/starts`
/// where something is mounted at `/data`, and stop at once when asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    version: String,
    healthy: bool,
    exits: bool,
}

impl Image {
    /// Serves `version` at `/` and at `/healthz`, and is healthy after a second.
    pub fn web(version: &str) -> Self {
        Self { version: version.to_owned(), healthy: true, exits: false }
    }

    /// Serves `version` at `/`, but has no `/healthz` and never becomes healthy.
    pub fn unhealthy(version: &str) -> Self {
        Self { healthy: false, ..Self::web(version) }
    }

    /// Ends with 1 right after its start.
    pub fn exits(version: &str) -> Self {
        Self { exits: true, ..Self::web(version) }
    }

    /// Imports it as `reference` into the engine and gives the image's id, `sha256:…`.
    pub(crate) fn import(&self, docker: &Docker, reference: &str) -> String {
        let dir = scratch_dir();
        self.write_root(dir.path());
        let mut tar = std::process::Command::new("tar");
        tar.arg("-C").arg(dir.path()).args(["-c", "."]);
        let archive = tar.output().expect("run tar").stdout;
        let health = format!("HEALTHCHECK --interval=1s CMD wget -qO- http://127.0.0.1:{WEB_PORT}/healthz");
        let mut import = docker.command();
        import.args(["import", "-c", r#"ENTRYPOINT ["/bin/sh","/start"]"#, "-c", &health, "-", reference]);
        capture_with(&mut import, &archive).unwrap_or_else(|failed| panic!("{failed}"))
    }

    fn write_root(&self, root: &Path) {
        let busybox = find_tool("busybox").expect("busybox");
        for folder in ["bin", "data", "etc", "tmp", "www"] {
            fs::create_dir_all(root.join(folder)).expect("create a folder");
        }
        fs::copy(busybox, root.join("bin/busybox")).expect("copy busybox");
        for link in LINKS {
            symlink("busybox", root.join("bin").join(link)).expect("link to busybox");
        }
        write(&root.join("www/index.html"), &self.version);
        if self.healthy {
            write(&root.join("www/healthz"), &self.version);
        }
        // The first process of a container gets no default signal handling, so the shell ends it.
        let serve = format!("httpd -f -p {WEB_PORT} -h /www &\ntrap 'kill $!; exit 0' TERM INT\nwait $!");
        let then = if self.exits { "exit 1" } else { &serve };
        write(&root.join("start"), format!("echo {} >>/data/starts\n{then}\n", self.version));
    }
}

/// Whether the busybox here can stand alone in an image.
pub(crate) fn check_busybox() -> Result<(), String> {
    let path = find_tool("busybox").ok_or("busybox is not installed")?;
    let needed = capture(std::process::Command::new("ldd").arg(&path));
    match needed {
        Ok(libraries) if !libraries.contains("statically") => {
            Err(format!("{} needs shared libraries: install busybox-static", path.display()))
        }
        _ => Ok(()),
    }
}
