//! Operations about the service: Ping and what it offers.

use prost::Message;

/// Ping.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PingOperation {}

/// The wire protocol that the service speaks.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PingResult {
    /// Major version.
    #[prost(uint32, tag = "1")]
    pub wire_protocol_version_maj: u32,
    /// Minor version.
    #[prost(uint32, tag = "2")]
    pub wire_protocol_version_min: u32,
}

/// ListProviders.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListProvidersOperation {}

/// The providers: the one to use by default first, Core last.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListProvidersResult {
    /// Those whose numbers are Parsec's.
    #[prost(message, repeated, tag = "1")]
    pub providers: Vec<ProviderInfo>,
    /// Those whose numbers are not. They have a field of their own because Parsec's clients refuse an answer in which a number
    /// is not Parsec's; this field they do not see.
    #[prost(message, repeated, tag = "100")]
    pub extension_providers: Vec<ProviderInfo>,
}

/// One provider.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProviderInfo {
    /// UUID that Parsec gave this kind of provider; of a further one of its kind a UUID of its own.
    #[prost(string, tag = "1")]
    pub uuid: String,
    /// What it is, for people.
    #[prost(string, tag = "2")]
    pub description: String,
    /// Who made it.
    #[prost(string, tag = "3")]
    pub vendor: String,
    /// Major version.
    #[prost(uint32, tag = "4")]
    pub version_maj: u32,
    /// Minor version.
    #[prost(uint32, tag = "5")]
    pub version_min: u32,
    /// Revision.
    #[prost(uint32, tag = "6")]
    pub version_rev: u32,
    /// The header's provider id.
    #[prost(uint32, tag = "7")]
    pub id: u32,
    /// Its name in the service's configuration. Numbers follow from the order there; keys belong to the name.
    #[prost(string, tag = "100")]
    pub name: String,
}

/// ListAuthenticators.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListAuthenticatorsOperation {}

/// The authenticators, the one to use by default first.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListAuthenticatorsResult {
    /// Their descriptions.
    #[prost(message, repeated, tag = "1")]
    pub authenticators: Vec<AuthenticatorInfo>,
}

/// One authenticator.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AuthenticatorInfo {
    /// What it is, for people.
    #[prost(string, tag = "1")]
    pub description: String,
    /// Major version.
    #[prost(uint32, tag = "2")]
    pub version_maj: u32,
    /// Minor version.
    #[prost(uint32, tag = "3")]
    pub version_min: u32,
    /// Revision.
    #[prost(uint32, tag = "4")]
    pub version_rev: u32,
    /// The header's authentication type.
    #[prost(uint32, tag = "5")]
    pub id: u32,
}

/// ListOpcodes of one provider.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListOpcodesOperation {
    /// The header's provider id.
    #[prost(uint32, tag = "1")]
    pub provider_id: u32,
}

/// The operations of that provider.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListOpcodesResult {
    /// The numbers of those that are Parsec's.
    #[prost(uint32, repeated, tag = "1")]
    pub opcodes: Vec<u32>,
    /// The numbers of those that are not. They have a field of their own because Parsec's clients take an answer for
    /// malformed in which a number is not Parsec's; this field they do not see.
    #[prost(uint32, repeated, tag = "100")]
    pub extension_opcodes: Vec<u32>,
}
