//! nginx before a hub, with TLS, set up by what the documentation says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command::run,
    left_out::{Part, require},
    paths::{find_tool, scratch_dir, write},
    port::Port,
    program::{Program, Ready},
};

/// The name that the documentation's example has.
const NAME: &str = "backstay.example.org";

/// A proxy on loopback, with a certificate of its own for `localhost` and `backstay.example.org`.
#[derive(Debug)]
pub struct Proxy {
    nginx: Option<Program>,
    path: PathBuf,
    port: Port,
    dir: tempfile::TempDir,
}

impl Proxy {
    /// A proxy that does not run yet, or notes that the test is left out.
    ///
    /// # Panics
    /// When the certificate cannot be made; with `CI=true` when something is missing.
    pub fn require() -> Option<Self> {
        let tool = |name: &str| find_tool(name).ok_or_else(|| format!("{name} is not installed"));
        let found = tool("nginx").and_then(|nginx| Ok((nginx, tool("openssl")?)));
        let (path, openssl) = require(Part::Proxy, found)?;
        let (dir, port) = (scratch_dir(), Port::take());
        let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("certificate.pem"));
        let names = format!("subjectAltName=DNS:localhost,DNS:{NAME}");
        run(Command::new(openssl)
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=test", "-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(key)
            .arg("-out")
            .arg(certificate));
        Some(Self { nginx: None, path, port, dir })
    }

    /// Where it is reached: `https://localhost:<port>`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port.number())
    }

    /// Its port, for the name `backstay.example.org`.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What its clients must trust.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("certificate.pem")
    }

    /// Starts it before the hub at `hub` (`127.0.0.1:<port>`), with the `server { … }` that the documentation gives.
    ///
    /// # Panics
    /// When nginx does not take it, or the example is not the one that is meant.
    pub fn start(&mut self, server: &str, hub: &str) {
        let dir = self.dir.path();
        let replaced = [
            ("listen 443 ssl;".to_owned(), format!("listen {} ssl;", self.port.address())),
            ("/etc/ssl/backstay.pem".to_owned(), dir.join("certificate.pem").display().to_string()),
            ("/etc/ssl/backstay.key".to_owned(), dir.join("key.pem").display().to_string()),
            (format!("server_name {NAME};"), format!("server_name {NAME} localhost;")),
            ("127.0.0.1:8484".to_owned(), hub.to_owned()),
        ];
        let mut server = server.to_owned();
        for (from, to) in &replaced {
            assert!(server.contains(from), "the example says nothing of `{from}`");
            server = server.replace(from, to);
        }
        write(&dir.join("nginx.conf"), config(dir, &server));
        let program = Program::at(self.path.clone(), "nginx", dir)
            .args([
                "-p".into(),
                dir.to_owned(),
                "-c".into(),
                dir.join("nginx.conf"),
                "-e".into(),
                dir.join("error.log"),
            ])
            .ready(Ready::Started);
        self.nginx = Some(program.started());
    }

    /// Takes it away. What it holds open breaks.
    pub fn stop(&mut self) {
        if let Some(mut nginx) = self.nginx.take()
            && nginx.is_running()
        {
            // Asked to, it ends its workers too; killed, it would leave them.
            nginx.terminate();
        }
    }

    /// What it noted of requests: status and path, a line each.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }

    /// What it complained of.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Everything around the example is as Debian's nginx has it, but for the folder.
fn config(dir: &Path, server: &str) -> String {
    let dir = dir.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; {user} worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 768; }}
http {{
  log_format short '$status $request_method $uri';
  access_log {dir}/access.log short;
  sendfile on; tcp_nopush on; gzip on;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  {server}
}}
"
    )
}
