//! A hub as a program of its own.

use std::{fs, path::Path};

use backstay_testkit::{Port, Program, Ready, eventually};

use crate::{Api, Cli};

/// In a setting's value, the port that the hub listens on.
pub(crate) const PORT: &str = "{port}";
/// Stands in settings for the folder of a test's own.
pub const DIR: &str = "{dir}";

/// A running hub. It can be killed and started again on the same address.
#[derive(Debug)]
pub struct Hub {
    program: Program,
    url: String,
    token: String,
    port: Port,
}

impl Hub {
    /// Starts a hub with its data below `dir`, on SQLite or the given database; `hurried`, it asks Git often and
    /// holds check-ins briefly, so that tests need not wait.
    pub(crate) fn start(
        dir: &Path,
        database: Option<&str>,
        hurried: bool,
        settings: &[(String, String)],
    ) -> Self {
        let (port, data) = (Port::take(), dir.join("hub"));
        let mut program = Program::ours("backstay", &dir.join("logs"))
            .named("hub")
            .args(["hub"])
            .env("BACKSTAY_HUB_LISTEN", port.address())
            .env("BACKSTAY_HUB_DATA_DIR", &data)
            .ready(Ready::Http(format!("{}/readyz", port.url())));
        if hurried {
            program = program
                .env("BACKSTAY_SOURCE_POLL_EVERY", "1s")
                .env("BACKSTAY_SOURCE_TIMEOUT", "20s")
                .env("BACKSTAY_POLL_HOLD", "5s")
                .env("BACKSTAY_POLL_INTERVAL", "200ms")
                .env("BACKSTAY_POLL_JITTER", "50ms");
        }
        for (variable, value) in settings {
            let value = value.replace(PORT, &port.number().to_string());
            program = program.env(variable, value.replace(DIR, &dir.display().to_string()));
        }
        if let Some(url) = database {
            program = program.env("BACKSTAY_HUB_DATABASE_URL", url);
        }
        let program = program.started();
        let token = eventually("the hub to leave its token", || {
            fs::read_to_string(data.join("admin.token")).map_err(|error| error.to_string())
        });
        Self { program, url: port.url(), token: token.trim().to_owned(), port }
    }

    /// Another hub on the same database, with the same keys and its data below `dir`.
    pub fn beside(first: &Path, dir: &Path, database: &str) -> Self {
        let (from, data) = (first.join("hub"), dir.join("hub"));
        fs::create_dir_all(&data).expect("a folder for another hub");
        for name in ["signing.key", "sealing.key", "admin.token"] {
            // Copies keep the mode, which the hub insists on.
            fs::copy(from.join(name), data.join(name)).expect("the first hub's keys");
        }
        Self::start(dir, Some(database), true, &[])
    }

    /// A hub as it is shipped on what is in `dir/hub` already.
    pub fn with_data(dir: &Path) -> Self {
        Self::start(dir, None, false, &[])
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its address without the scheme, such as `127.0.0.1:21000`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its API.
    pub fn api(&self) -> Api {
        Api::new(&self.url, &self.token)
    }

    /// Its command line.
    pub fn cli(&self) -> Cli {
        Cli::new(self.program.path().to_owned(), &self.url, &self.token)
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.program.pid()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.program.restart();
    }

    /// Starts it again on other data in the same folder, in which it leaves a token of its own.
    pub fn restart_on(&mut self, data: &Path) {
        self.program.restart();
        let token = eventually("the hub to leave its token", || {
            fs::read_to_string(data.join("admin.token")).map_err(|error| error.to_string())
        });
        self.token = token.trim().to_owned();
    }
}
