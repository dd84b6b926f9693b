//! Operations of administrators on clients.

use prost::Message;

/// ListClients.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListClientsOperation {}

/// The clients that have keys.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListClientsResult {
    /// Users by their uids, decimal, ascending; then those that gave themselves names, as `direct:NAME`.
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
