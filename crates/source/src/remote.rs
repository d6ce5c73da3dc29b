//! Asking upstream without a mirror.

use std::{env, time::Duration};

use crate::{
    endpoint::Endpoint,
    error::SourceError,
    fetch::{Credential, authorization, failure},
    git::{self, Invocation, Limits},
    ssh::Ssh,
};

/// The branch that a repository itself calls its default, from the first endpoint that answers.
///
/// # Errors
/// When no endpoint answers, or the repository has no default branch (it is empty).
pub fn default_branch(
    endpoints: &[Endpoint],
    credential: Option<&Credential>,
    ssh: Option<&Ssh>,
) -> Result<String, SourceError> {
    let here = env::temp_dir();
    let mut failures = Vec::new();
    for endpoint in endpoints {
        let args = ["ls-remote", "--symref", "--end-of-options", endpoint.as_str(), "HEAD"];
        let limits = Limits {
            total: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            stdout: 1 << 20,
            received: None,
        };
        let ask = Invocation::new(args, limits)
            .protocol(endpoint.protocol())
            .ssh(ssh)
            .config(authorization(endpoint, credential));
        let output = git::run(&here, ask)?;
        if output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let named =
                text.lines().find_map(|line| line.strip_prefix("ref: refs/heads/")?.split('\t').next());
            return named.map(ToOwned::to_owned).ok_or_else(|| SourceError::Endpoint {
                endpoint: endpoint.to_string(),
                reason: "it has no commit yet; name the branch, or push a first commit".to_owned(),
            });
        }
        failures.push(failure(endpoint, &output, credential));
    }
    Err(SourceError::Fetch(failures))
}
