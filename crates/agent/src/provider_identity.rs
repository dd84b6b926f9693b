//! What a provider is called: its name in the configuration, its number on the wire, its UUID.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use thiserror::Error;

use crate::wire::ProviderId;

/// The UUID that Parsec gave its TPM provider.
const PARSEC_TPM_UUID: &str = "1e4954a4-ff21-46d3-ab0c-661eeb667e1d";

/// The UUID that Parsec gave its PKCS#11 provider.
const PARSEC_PKCS11_UUID: &str = "30e39502-eba6-4d60-a4af-c518b7f5e38f";

/// What stands for the service itself where a provider is named.
pub const CORE_NAME: &str = "core";

/// What the UUIDs of further providers are made from, together with kind and name.
const UUID_DOMAIN: &[u8] = b"vouchsafe provider";

/// A provider's name in the configuration: `[providers.NAME]`. Keys belong to the name, so that neither numbers nor the order
/// of the file move them. A letter of a to z, then at most 63 of a to z, 0 to 9, hyphen and underscore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderName(String);

impl ProviderName {
    /// Longest name, in octets.
    pub const MAX_OCTETS: usize = 64;

    /// What the one provider of a kind is called where nothing else is said.
    #[must_use]
    pub fn of_kind(kind: ProviderKind) -> ProviderName {
        ProviderName(kind.name().to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no name for a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a provider's name is a letter of a-z, then at most 63 of a-z, 0-9, hyphen and underscore")]
pub struct ProviderNameFault;

impl FromStr for ProviderName {
    type Err = ProviderNameFault;

    fn from_str(text: &str) -> Result<ProviderName, ProviderNameFault> {
        let follows = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let is_name = text.len() <= ProviderName::MAX_OCTETS
            && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
            && text.bytes().all(follows);
        if is_name { Ok(ProviderName(text.to_owned())) } else { Err(ProviderNameFault) }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A kind of module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// A TPM 2.0.
    Tpm,
    /// A token behind PKCS#11.
    Pkcs11,
}

impl ProviderKind {
    /// Every kind.
    pub const ALL: [ProviderKind; 2] = [ProviderKind::Tpm, ProviderKind::Pkcs11];

    /// The name in the configuration; also what the one provider of its kind is called where nothing else is said.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ProviderKind::Tpm => "tpm",
            ProviderKind::Pkcs11 => "pkcs11",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<ProviderKind> {
        ProviderKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it is, for people.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            ProviderKind::Tpm => "Keys in a TPM 2.0",
            ProviderKind::Pkcs11 => "Keys in a PKCS#11 token",
        }
    }

    /// Whether modules of this kind open credentials that were made for them, as [`Attester::activate`] does.
    ///
    /// [`Attester::activate`]: crate::provider::Attester::activate
    #[must_use]
    pub const fn opens_credentials(self) -> bool {
        match self {
            ProviderKind::Tpm => true,
            ProviderKind::Pkcs11 => false,
        }
    }

    /// The number that Parsec gave this kind.
    const fn parsec_id(self) -> ProviderId {
        match self {
            ProviderKind::Tpm => ProviderId::TPM,
            ProviderKind::Pkcs11 => ProviderId::PKCS11,
        }
    }

    const fn parsec_uuid(self) -> &'static str {
        match self {
            ProviderKind::Tpm => PARSEC_TPM_UUID,
            ProviderKind::Pkcs11 => PARSEC_PKCS11_UUID,
        }
    }
}

/// What a provider is called, in all the ways there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderIdentity {
    /// Its name in the configuration.
    pub name: ProviderName,
    /// Its kind.
    pub kind: ProviderKind,
    /// Its number in headers.
    pub id: ProviderId,
    /// Its UUID in ListProviders.
    pub uuid: String,
}

impl ProviderIdentity {
    /// The identities of these providers, in their order. The first of each kind is what Parsec's clients know as the
    /// provider of that kind; further ones count from [`ProviderId::FIRST_FURTHER`] and have a UUID of their own. Those for
    /// which no number is left are not among them.
    #[must_use]
    pub fn assign(providers: &[(ProviderName, ProviderKind)]) -> Vec<ProviderIdentity> {
        let mut seen = BTreeSet::new();
        let mut further = ProviderId::FIRST_FURTHER.0..=u8::MAX;
        let identity = |(name, kind): &(ProviderName, ProviderKind)| {
            let (id, uuid) = if seen.insert(*kind) {
                (kind.parsec_id(), kind.parsec_uuid().to_owned())
            } else {
                (ProviderId(further.next()?), uuid_of(*kind, name))
            };
            Some(ProviderIdentity { name: name.clone(), kind: *kind, id, uuid })
        };
        providers.iter().filter_map(identity).collect()
    }
}

/// A UUID of version 8 (RFC 9562 section 5.8) that follows from kind and name.
fn uuid_of(kind: ProviderKind, name: &ProviderName) -> String {
    let mut context = Context::new(&SHA256);
    for part in [UUID_DOMAIN, kind.name().as_bytes(), name.as_str().as_bytes()] {
        context.update(part);
    }
    let mut octets = [0_u8; 16];
    for (octet, digest) in octets.iter_mut().zip(context.finish().as_ref()) {
        *octet = *digest;
    }
    let number = u128::from_be_bytes(octets);
    // Version in bits 48 to 51, variant in bits 64 and 65.
    let number = number & !(0xF << 76) | (0x8 << 76);
    let number = number & !(0x3 << 62) | (0x2 << 62);
    let digits = format!("{number:032x}");
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::{PARSEC_PKCS11_UUID, PARSEC_TPM_UUID, ProviderIdentity, ProviderKind, ProviderName};

    fn assign(providers: &[(&str, ProviderKind)]) -> Vec<ProviderIdentity> {
        let named: Vec<_> = providers.iter().map(|(name, kind)| (name.parse().unwrap(), *kind)).collect();
        ProviderIdentity::assign(&named)
    }

    #[test]
    fn the_first_of_a_kind_is_parsecs_and_the_others_are_their_own() {
        use ProviderKind::{Pkcs11, Tpm};
        let found = assign(&[("card", Pkcs11), ("hsm", Pkcs11), ("tpm", Tpm), ("second", Tpm)]);
        let numbers: Vec<u8> = found.iter().map(|identity| identity.id.0).collect();
        assert_eq!(numbers, [2, 0x80, 3, 0x81]);
        assert_eq!(found[0].uuid, PARSEC_PKCS11_UUID);
        assert_eq!(found[2].uuid, PARSEC_TPM_UUID);
        // Frozen: SHA-256 of "vouchsafe providerpkcs11hsm", its first 16 octets, version 8, variant 10.
        assert_eq!(found[1].uuid, "8102e7ac-0d44-8457-8d63-71f06a2a7d9d");
        assert_eq!(&found[3].uuid[14..15], "8");
        assert!(["8", "9", "a", "b"].contains(&&found[3].uuid[19..20]));
        // A provider of a name has one UUID wherever it stands, as long as it is not the first.
        let moved = assign(&[("first", Pkcs11), ("other", Pkcs11), ("hsm", Pkcs11)]);
        assert_eq!((moved[2].id.0, &moved[2].uuid), (0x81, &found[1].uuid));
        assert_ne!(moved[1].uuid, moved[2].uuid);
    }

    #[test]
    fn names_are_short_and_plain() {
        for name in ["tpm", "a", "hsm-1", "x_y", &"a".repeat(64)] {
            assert_eq!(name.parse::<ProviderName>().unwrap().as_str(), name);
        }
        for kind in ProviderKind::ALL {
            assert_eq!(kind.name().parse(), Ok(ProviderName::of_kind(kind)));
        }
        for name in ["", "1", "-a", "Tpm", "a/b", "a.b", "a b", "ä", &"a".repeat(65)] {
            assert!(name.parse::<ProviderName>().is_err(), "{name}");
        }
    }
}
