//! Operations of administrators on clients.

use prost::Message;

/// ListClients.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListClientsOperation {}

/// The clients that have keys.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListClientsResult {
    /// Their uids, decimal, ascending.
    #[prost(string, repeated, tag = "1")]
    pub clients: Vec<String>,
}

/// DeleteClient.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteClientOperation {
    /// The client, as ListClients names it.
    #[prost(string, tag = "1")]
    pub client: String,
}

/// The client's keys are gone.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteClientResult {}
