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
    disk::{Layout, parse_key, token_fingerprint},
};

/// What joining needs.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) hub: String,
    pub(crate) token: Secret,
    pub(crate) name: NodeName,
    pub(crate) labels: Labels,
}

/// Joins and keeps the identity.
pub(crate) async fn join(join: Join, layout: &Layout, ca: Option<&Path>) -> Result<Identity, AgentError> {
    match Identity::load(layout) {
        Ok(Identity { hub, name, .. }) => return Err(AgentError::Joined { hub, name: name.to_string() }),
        Err(AgentError::NotJoined(_)) => {}
        Err(error) => return Err(error),
    }
    layout.create().map_err(AgentError::io(layout.data()))?;
    let facts = crate::facts::facts(layout).await;
    let client = client(&join.hub, None, ca)?;
    let identity = exchange(&client, join, facts).await?;
    identity.save(layout)?;
    Ok(identity)
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
