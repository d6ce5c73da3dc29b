//! Git over HTTP as a host gives it: nginx, fcgiwrap and `git http-backend`.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    command::capture,
    git::BareRepository,
    left_out::{Part, require},
    paths::{find_tool, scratch_dir, write},
    port::Port,
    process::kill_under,
    program::{Program, Ready},
};

/// A Git host on loopback, with any number of repositories, for reading and
/// pushing. Stopped, it refuses connections; its repositories stay.
#[derive(Debug)]
pub struct GitServer {
    nginx: Program,
    fcgiwrap: Program,
    port: Port,
    login: Option<(String, String)>,
    socket: PathBuf,
    dir: tempfile::TempDir,
}

struct Tools {
    nginx: PathBuf,
    fcgiwrap: PathBuf,
    backend: PathBuf,
}

impl GitServer {
    /// Starts a host that lets everyone in, or notes that the test is left out.
    ///
    /// # Panics
    /// When what is installed does not start; with `CI=true` when something is missing.
    pub fn require() -> Option<Self> {
        Self::start_with(None)
    }

    /// [`GitServer::require`] for a host that wants a name and a password for everything.
    ///
    /// # Panics
    /// As there.
    pub fn require_with_login(name: &str, password: &str) -> Option<Self> {
        Self::start_with(Some((name.to_owned(), password.to_owned())))
    }

    fn start_with(login: Option<(String, String)>) -> Option<Self> {
        let tools = require(Part::GitOverHttp, find())?;
        let (dir, port) = (scratch_dir(), Port::take());
        let (path, socket) = (dir.path(), dir.path().join("fcgi"));
        fs::create_dir(path.join("repositories")).expect("create a folder for repositories");
        if let Some((name, password)) = &login {
            write(&path.join("users"), format!("{name}:{{PLAIN}}{password}\n"));
        }
        write(&path.join("nginx.conf"), config(path, &tools.backend, &port, login.is_some()));
        let fcgiwrap = Program::at(tools.fcgiwrap, "fcgiwrap", path)
            .args(["-c".to_owned(), "4".to_owned(), "-s".to_owned(), format!("unix:{}", socket.display())])
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        let error_log = path.join("error.log");
        let nginx = Program::at(tools.nginx, "nginx", path)
            .args([
                "-p".into(),
                path.to_owned(),
                "-c".into(),
                path.join("nginx.conf"),
                "-e".into(),
                error_log,
            ])
            .ready(Ready::Http(format!("{}/up", port.url())));
        let mut server = Self { nginx, fcgiwrap, port, login, socket, dir };
        server.start();
        Some(server)
    }

    /// Makes an empty repository that is served at [`GitServer::url`].
    pub fn repository(&self, name: &str) -> BareRepository {
        BareRepository::create(&self.dir.path().join("repositories").join(format!("{name}.git")))
    }

    /// Where clients find a repository, without a login.
    pub fn url(&self, name: &str) -> String {
        format!("{}/git/{name}.git", self.port.url())
    }

    /// Where clients find it, with the login in the URL.
    pub fn url_with_login(&self, name: &str) -> String {
        let login = self.login.as_ref().map(|(name, password)| format!("{name}:{password}@"));
        format!("http://{}{}/git/{name}.git", login.unwrap_or_default(), self.port.address())
    }

    /// Takes the host away.
    pub fn stop(&mut self) {
        // Asked to, nginx ends its workers too; killed, it would leave them.
        if self.nginx.is_running() {
            self.nginx.terminate();
        }
        self.fcgiwrap.kill();
        // Killed, it leaves the workers that it forked.
        kill_under(self.dir.path());
        let _ = fs::remove_file(&self.socket);
    }

    /// Brings it back, on the same port.
    pub fn start(&mut self) {
        self.fcgiwrap.start();
        self.nginx.start();
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn find() -> Result<Tools, String> {
    let tool = |name: &str| find_tool(name).ok_or_else(|| format!("{name} is not installed"));
    let exec_path = capture(Command::new("git").arg("--exec-path")).map_err(|failed| failed.to_string())?;
    let backend = PathBuf::from(exec_path).join("git-http-backend");
    if !backend.is_file() {
        return Err(format!("{} is missing", backend.display()));
    }
    Ok(Tools { nginx: tool("nginx")?, fcgiwrap: tool("fcgiwrap")?, backend })
}

fn config(dir: &std::path::Path, backend: &std::path::Path, port: &Port, login: bool) -> String {
    let dir = dir.display();
    let backend = backend.display();
    let address = port.address();
    let auth =
        if login { format!("auth_basic git; auth_basic_user_file {dir}/users;") } else { String::new() };
    // The user is named so that workers of a root master may read the test's folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; {user} worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 128; }}
http {{
  access_log {dir}/access.log;
  client_max_body_size 0;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {{
    listen {address};
    location = /up {{ return 204; }}
    location ~ ^/git/(.*)$ {{
      {auth}
      fastcgi_pass unix:{dir}/fcgi;
      fastcgi_param SCRIPT_FILENAME {backend};
      fastcgi_param GIT_PROJECT_ROOT {dir}/repositories;
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param PATH_INFO /$1;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param REMOTE_USER $remote_user;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
    }}
  }}
}}
"
    )
}
