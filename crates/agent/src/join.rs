//! Joining a hub: a one-time token becomes a credential of the node's own.

use std::path::Path;

use backstay_api::{
    Empty,
    agent::{JoinNode, JoinRequest},
    statement::key_fingerprint,
};
use backstay_client::{Client, Options};
use backstay_types::{HostFacts, Labels, NodeName, Secret};

use crate::{
    AgentError, Identity,
    disk::{AgentLock, Layout, parse_key, token_fingerprint},
};

/// What joining needs.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) hub: String,
    pub(crate) token: Secret,
    pub(crate) name: NodeName,
    pub(crate) labels: Labels,
}

/// Joins and keeps the identity. With `replace` the credential of one that was revoked is replaced, and all that is in the
/// folder stays as it is: the journal, releases, data.
pub(crate) async fn join(
    join: Join,
    layout: &Layout,
    ca: Option<&Path>,
    replace: bool,
) -> Result<Identity, AgentError> {
    let before = match Identity::load(layout) {
        Ok(known) if replace => Some(known),
        Ok(Identity { hub, name, .. }) => return Err(AgentError::Joined { hub, name: name.to_string() }),
        Err(AgentError::NotJoined(_)) => None,
        Err(error) => return Err(error),
    };
    layout.create().map_err(AgentError::io(layout.data()))?;
    // An agent that runs would go on with the credential that it read when it started.
    let _alone = replace.then(|| AgentLock::take(layout)).transpose()?;
    if let Some(before) = &before {
        same(before, &join)?;
    }
    let facts = crate::facts::facts(layout).await;
    let client = client(&join.hub, None, ca)?;
    let identity = exchange(&client, join, facts).await?;
    if let Some(before) = before.filter(|before| before.node != identity.node) {
        let name = before.name;
        let reason = format!("the hub knows {name} as {}, this folder as {}", identity.node, before.node);
        return Err(AgentError::Another { reason });
    }
    identity.save(layout)?;
    Ok(identity)
}

/// Whether who joins again is who this folder belongs to: what is in it was signed by that hub for that node.
fn same(before: &Identity, join: &Join) -> Result<(), AgentError> {
    if before.name != join.name {
        let reason = format!("this folder is that of {}, not of {}", before.name, join.name);
        return Err(AgentError::Another { reason });
    }
    if token_fingerprint(&join.token)? != key_fingerprint(&before.verifying_key()?) {
        let reason = format!("this folder belongs to the hub at {}, the token is another's", before.hub);
        return Err(AgentError::Another { reason });
    }
    Ok(())
}

/// The name that this machine had, where it has joined before.
pub(crate) fn name_before(layout: &Layout) -> Option<NodeName> {
    Identity::load(layout).ok().map(|known| known.name)
}

/// Exchanges the token, and refuses a hub whose key is not the one that the token pins.
pub(crate) async fn exchange(client: &Client, join: Join, facts: HostFacts) -> Result<Identity, AgentError> {
    let expected = token_fingerprint(&join.token)?;
    let Join { hub, token, name, labels } = join;
    let request = JoinRequest { token, name: name.clone(), labels, facts };
    let response = client.call::<JoinNode>(&Empty {}, &Empty {}, &request).await?;
    let found = key_fingerprint(&parse_key(&response.hub_key)?);
    if found != expected {
        let (expected, found) = (expected.short(), found.short());
        return Err(AgentError::Fingerprint { expected, found });
    }
    let (node, credential, hub_key) = (response.node, response.credential, response.hub_key);
    Ok(Identity { hub, node, name, credential, hub_key })
}

/// A client of the hub.
pub(crate) fn client(hub: &str, credential: Option<Secret>, ca: Option<&Path>) -> Result<Client, AgentError> {
    let ca_pem = ca.map(|path| std::fs::read(path).map_err(AgentError::io(path))).transpose()?;
    let user_agent = concat!("backstay-agent/", env!("CARGO_PKG_VERSION")).to_owned();
    Ok(Client::with_options(hub, credential, Options { user_agent, ca_pem, ..Options::default() })?)
}
