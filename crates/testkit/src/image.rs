//! Images of two megabytes: a static busybox and what it is to serve.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

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
    program: Option<(String, String)>,
}

impl Image {
    /// Serves `version` at `/` and at `/healthz`, and is healthy after a second.
    pub fn web(version: &str) -> Self {
        Self { version: version.to_owned(), healthy: true, exits: false, program: None }
    }

    /// Serves `version` at `/`, but has no `/healthz` and never becomes healthy.
    pub fn unhealthy(version: &str) -> Self {
        Self { healthy: false, ..Self::web(version) }
    }

    /// Ends with 1 right after its start.
    pub fn exits(version: &str) -> Self {
        Self { exits: true, ..Self::web(version) }
    }

    /// The same with a program of that name in it, as a script for busybox' shell.
    #[must_use]
    pub fn with_program(mut self, name: &str, script: &str) -> Self {
        self.program = Some((name.to_owned(), script.to_owned()));
        self
    }

    /// Imports it as `reference` into the engine and gives the image's id, `sha256:…`.
    pub(crate) fn import(&self, docker: &Docker, reference: &str) -> String {
        let dir = scratch_dir();
        self.write_root(dir.path());
        let health = format!("HEALTHCHECK --interval=1s CMD wget -qO- http://127.0.0.1:{WEB_PORT}/healthz");
        import(docker, dir.path(), reference, &[r#"ENTRYPOINT ["/bin/sh","/start"]"#, &health])
    }

    fn write_root(&self, root: &Path) {
        busybox(root, &["data", "etc", "tmp", "www"], &LINKS);
        write(&root.join("www/index.html"), &self.version);
        if self.healthy {
            write(&root.join("www/healthz"), &self.version);
        }
        if let Some((name, script)) = &self.program {
            let path = root.join("bin").join(name);
            write(&path, format!("#!/bin/sh\n{script}\n"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make a program executable");
        }
        // The first process of a container gets no default signal handling, so the shell ends it.
        let serve = format!("httpd -f -p {WEB_PORT} -h /www &\ntrap 'kill $!; exit 0' TERM INT\nwait $!");
        let then = if self.exits { "exit 1" } else { &serve };
        write(&root.join("start"), format!("echo {} >>/data/starts\n{then}\n", self.version));
    }
}

/// Lays out the folders of an image, and in `bin` busybox under these names.
pub(crate) fn busybox(root: &Path, folders: &[&str], links: &[&str]) {
    let busybox = find_tool("busybox").expect("busybox");
    for folder in folders.iter().chain(&["bin"]) {
        fs::create_dir_all(root.join(folder)).expect("create a folder");
    }
    fs::copy(busybox, root.join("bin/busybox")).expect("copy busybox");
    for link in links {
        symlink("busybox", root.join("bin").join(link)).expect("link to busybox");
    }
}

/// Makes an image of a folder, with lines as of a `Dockerfile`, and gives its id, `sha256:…`.
pub(crate) fn import(docker: &Docker, root: &Path, reference: &str, lines: &[&str]) -> String {
    let mut tar = Command::new("tar");
    let archive = tar.arg("-C").arg(root).args(["-c", "."]).output().expect("run tar").stdout;
    let mut import = docker.command();
    import.arg("import").args(lines.iter().flat_map(|line| ["-c", line])).args(["-", reference]);
    capture_with(&mut import, &archive).unwrap_or_else(|failed| panic!("{failed}"))
}

/// Whether the busybox here can stand alone in an image.
pub(crate) fn check_busybox() -> Result<(), String> {
    let path = find_tool("busybox").ok_or("busybox is not installed")?;
    let needed = capture(Command::new("ldd").arg(&path));
    match needed {
        Ok(libraries) if !libraries.contains("statically") => {
            Err(format!("{} needs shared libraries: install busybox-static", path.display()))
        }
        _ => Ok(()),
    }
}
