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

/// What becomes of a file in a bucket that is overwritten or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    /// It is gone.
    Plain,
    /// It is there as an earlier version, until that is deleted too.
    Versioned,
    /// It is there as an earlier version, which nobody can delete for a day.
    Locked,
}

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
        server.make_bucket(Self::BUCKET, BucketKind::Plain);
        Some(server)
    }

    /// Makes another bucket.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn make_bucket(&self, name: &str, kind: BucketKind) {
        let url = format!("{}/{name}", self.url());
        let put = |url: &str, headers: &[(&str, &str)], body: &str| {
            let done = http::send("PUT", url, headers, body.as_bytes()).expect("an answer");
            assert_eq!(done.status, 200, "{url}: {}", done.body);
        };
        match kind {
            BucketKind::Plain => put(&url, &[], ""),
            BucketKind::Versioned => {
                put(&url, &[], "");
                let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
                put(&format!("{url}?versioning"), &[], on);
            }
            BucketKind::Locked => {
                put(&url, &[("x-amz-bucket-object-lock-enabled", "true")], "");
                let lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                            <Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
                put(&format!("{url}?object-lock"), &[], lock);
            }
        }
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
