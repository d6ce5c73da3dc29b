//! The hub's API, called from tests that block.

use backstay_api::{Empty, Endpoint, v1};
use backstay_client::{Client, ClientError};
use backstay_types::{ConversationId, ForeignId, Secret, StackName, TreeDigest, Undo, UndoId};

/// A client with the administrator's token.
#[derive(Debug)]
pub struct Api {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Api {
    /// A client of the hub at `url`.
    pub(crate) fn new(url: &str, token: &str) -> Self {
        // With a thread of its own it notices when the hub has closed a connection.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let client = Client::new(url, Some(Secret::new(token)));
        Self { runtime: runtime.expect("a runtime"), client: client.expect("a client") }
    }

    /// Calls an endpoint.
    ///
    /// # Errors
    /// As the client says.
    pub fn try_call<E: Endpoint>(
        &self,
        path: &E::Path,
        query: &E::Query,
        body: &E::Request,
    ) -> Result<E::Response, ClientError> {
        self.runtime.block_on(self.client.call::<E>(path, query, body))
    }

    /// Calls an endpoint that must work.
    ///
    /// # Panics
    /// When the hub says no.
    pub fn call<E: Endpoint>(&self, path: &E::Path, query: &E::Query, body: &E::Request) -> E::Response {
        self.try_call::<E>(path, query, body).unwrap_or_else(|error| panic!("{}: {error}", E::NAME))
    }

    /// A node as the hub knows it.
    pub fn node(&self, name: &str) -> v1::NodeView {
        self.call::<v1::GetNode>(&v1::NodePath { node: name.to_owned() }, &Empty {}, &Empty {})
    }

    /// The tree that a node should run of a stack.
    pub fn desired(&self, node: &str, stack: &str) -> Option<TreeDigest> {
        self.node(node)
            .desired
            .into_iter()
            .find(|desired| desired.stack.as_str() == stack)
            .map(|found| found.tree)
    }

    /// Deployments of a stack on a node, newest first.
    pub fn deployments(&self, node: &str, stack: &str) -> Vec<v1::DeploymentView> {
        let query = v1::DeploymentsQuery {
            node: Some(node.to_owned()),
            stack: Some(stack_name(stack)),
            ..v1::DeploymentsQuery::default()
        };
        self.call::<v1::ListDeployments>(&Empty {}, &query, &Empty {}).items
    }

    /// A deployment with its steps.
    pub fn deployment(&self, view: &v1::DeploymentView) -> v1::DeploymentDetail {
        let path = v1::DeploymentPath { deployment: view.deployment.id };
        self.call::<v1::GetDeployment>(&path, &Empty {}, &Empty {})
    }

    /// An undo.
    pub fn undo(&self, undo: UndoId) -> Undo {
        self.call::<v1::GetUndo>(&v1::UndoPath { undo }, &Empty {}, &Empty {})
    }

    /// The conversation behind an assistant's session, minted at first sight.
    pub fn conversation(&self, session: &str) -> ConversationId {
        let id = ForeignId {
            tool: "claude-code".to_owned(),
            kind: "session".to_owned(),
            value: session.to_owned(),
        };
        let body = v1::ResolveConversationRequest { id };
        self.call::<v1::ResolveConversation>(&Empty {}, &Empty {}, &body).id
    }

    /// All about a conversation.
    pub fn conversation_detail(&self, id: ConversationId) -> v1::ConversationDetail {
        let path = v1::ConversationPath { conversation: id.to_string() };
        self.call::<v1::GetConversation>(&path, &Empty {}, &Empty {})
    }

    /// Asks the hub to look at a repository now.
    ///
    /// # Panics
    /// When it says no.
    pub fn sync(&self, repository: &str) -> backstay_types::Repository {
        self.try_sync(repository).unwrap_or_else(|error| panic!("sync: {error}"))
    }

    /// [`Api::sync`], of a repository that may be away.
    ///
    /// # Errors
    /// As the client says.
    pub fn try_sync(&self, repository: &str) -> Result<backstay_types::Repository, ClientError> {
        let path = v1::RepositoryPath { repository: repository.to_owned() };
        self.try_call::<v1::SyncRepository>(&path, &Empty {}, &Empty {})
    }

    /// A repository.
    pub fn repository(&self, name: &str) -> backstay_types::Repository {
        let all = self.call::<v1::ListRepositories>(&Empty {}, &Empty {}, &Empty {}).items;
        all.into_iter().find(|repository| repository.name.as_str() == name).expect("the repository")
    }
}

pub(crate) fn stack_name(text: &str) -> StackName {
    text.parse().expect("a stack's name")
}
