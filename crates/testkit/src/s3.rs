//! A server that speaks S3, on loopback and in memory.

use crate::{
    http,
    left_out::{Part, require},
    paths::{cache_dir, scratch_dir},
    port::Port,
    program::{Program, Ready},
};

/// The version that `scripts/setup` gets.
const MOTO: &str = "5.2.5";

/// A running server with one bucket. It takes any key.
#[derive(Debug)]
pub struct S3Server {
    program: Program,
    port: Port,
    _dir: tempfile::TempDir,
}

impl S3Server {
    /// Starts one, or notes that the test is left out.
    ///
    /// # Panics
    /// When one that is installed does not start; with `CI=true` when it is missing.
    pub fn require() -> Option<Self> {
        let path = cache_dir().join(format!("moto/{MOTO}/bin/moto_server"));
        let there = path.is_file().then_some(path.clone());
        let path = require(Part::S3, there.ok_or_else(|| format!("{} is not there", path.display())))?;
        let (dir, port) = (scratch_dir(), Port::take());
        let program = Program::at(path, "s3", dir.path())
            .args(["-H", "127.0.0.1", "-p", &port.number().to_string()])
            .ready(Ready::Http(format!("{}/moto-api/", port.url())))
            .discreet()
            .started();
        let server = Self { program, port, _dir: dir };
        let made = http::send("PUT", &format!("{}/{}", server.url(), Self::BUCKET), &[], b"");
        assert_eq!(made.expect("make a bucket").status, 200);
        Some(server)
    }

    /// The bucket that is there.
    pub const BUCKET: &str = "backups";

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.port.url()
    }

    /// Kills it. What it held is gone.
    pub fn kill(&mut self) {
        self.program.kill();
    }
}
