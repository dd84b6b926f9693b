//! Authenticator data (Web Authentication Level 3, section 6.1) and the COSE key in it (RFC 9053, section 7; RFC 8230).

use crate::cbor::Value;
use crate::x509::{NamedCurve, SpkiView};
use crate::{Malformed, Reason};

const PRODUCTION: &str = "authenticatorData";
/// Flag AT: attested credential data follows.
const ATTESTED_CREDENTIAL: u8 = 0x40;
/// Flag ED: extensions follow.
const EXTENSIONS: u8 = 0x80;
/// Octets of the longest credential identifier (section 5.8.3).
const CREDENTIAL_ID_OCTETS: usize = 1023;

/// Authenticator data with an attested credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatorData<'a> {
    /// SHA-256 of the identifier of whom the credential is for.
    pub rp_id_hash: &'a [u8],
    /// Flags: user presence 0x01, user verification 0x04, and others.
    pub flags: u8,
    /// The kind of authenticator, 16 octets.
    pub aaguid: &'a [u8],
    /// What the authenticator calls the credential.
    pub credential_id: &'a [u8],
    /// The credential's public key.
    pub key: CredentialKey,
}

/// A public key in COSE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialKey {
    /// The COSE identifier of the algorithm that it signs by.
    pub algorithm: i128,
    /// The key.
    pub spki: SpkiView,
}

impl<'a> AuthenticatorData<'a> {
    /// Reads authenticator data, all of it.
    ///
    /// # Errors
    /// [`Malformed`] where no credential is attested, the key is of no kind that TPMs have, or octets are left over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let rp_id_hash = take(&mut rest, bytes, 32)?;
        let flags = first(take(&mut rest, bytes, 1)?);
        let _count = take(&mut rest, bytes, 4)?;
        if flags & ATTESTED_CREDENTIAL == 0 {
            return Err(error(Reason::Missing("attested credential data")));
        }
        let aaguid = take(&mut rest, bytes, 16)?;
        let length = take(&mut rest, bytes, 2)?.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
        if length > CREDENTIAL_ID_OCTETS {
            let limit = CREDENTIAL_ID_OCTETS;
            return Err(error(Reason::OverLimit { what: "credential identifier octets", limit }));
        }
        let credential_id = take(&mut rest, bytes, length)?;
        let (key, mut rest) = Value::parse_prefix(rest)?;
        if flags & EXTENSIONS != 0 {
            let (extensions, after) = Value::parse_prefix(rest)?;
            if !matches!(extensions, Value::Map(_)) {
                return Err(error(Reason::Unexpected("extensions as a map")));
            }
            rest = after;
        }
        if !rest.is_empty() {
            return Err(error(Reason::Trailing(rest.len())));
        }
        Ok(Self { rp_id_hash, flags, aaguid, credential_id, key: CredentialKey::read(&key)? })
    }
}

const fn error(reason: Reason) -> Malformed {
    Malformed::new(PRODUCTION, 0, reason)
}

fn take<'a>(rest: &mut &'a [u8], whole: &[u8], count: usize) -> Result<&'a [u8], Malformed> {
    let offset = whole.len().saturating_sub(rest.len());
    let short = Reason::Truncated(count.saturating_sub(rest.len()));
    let (taken, after) = rest.split_at_checked(count).ok_or(Malformed::new(PRODUCTION, offset, short))?;
    *rest = after;
    Ok(taken)
}

fn first(octets: &[u8]) -> u8 {
    octets.first().copied().unwrap_or_default()
}

/// COSE key parameters: kty and alg; crv, x and y of EC2 keys; n and e of RSA keys.
mod label {
    pub(super) const KTY: i64 = 1;
    pub(super) const ALG: i64 = 3;
    pub(super) const CRV_OR_N: i64 = -1;
    pub(super) const X_OR_E: i64 = -2;
    pub(super) const Y: i64 = -3;
}

impl CredentialKey {
    /// Reads a COSE key, none of whose members is left unread.
    fn read(key: &Value<'_>) -> Result<Self, Malformed> {
        let Value::Map(members) = key else { return Err(error(Reason::Unexpected("a COSE key"))) };
        let integer = |label| key.labelled(label).and_then(Value::integer);
        let octets = |label| key.labelled(label).and_then(Value::bytes);
        let incomplete = || error(Reason::Missing("a member of the COSE key"));
        let (spki, count) = match integer(label::KTY) {
            Some(2) => {
                let curve = match integer(label::CRV_OR_N) {
                    Some(1) => NamedCurve::P256,
                    Some(2) => NamedCurve::P384,
                    Some(3) => NamedCurve::P521,
                    _ => return Err(error(Reason::Unexpected("a curve of COSE"))),
                };
                let (x, y) = octets(label::X_OR_E).zip(octets(label::Y)).ok_or_else(incomplete)?;
                (SpkiView::from_ec(curve, x, y)?, 5)
            }
            Some(3) => {
                let (n, e) = octets(label::CRV_OR_N).zip(octets(label::X_OR_E)).ok_or_else(incomplete)?;
                (SpkiView::from_rsa(n, e)?, 4)
            }
            _ => return Err(error(Reason::Unexpected("a COSE key of type EC2 or RSA"))),
        };
        if members.len() != count {
            return Err(error(Reason::Unexpected("no other member of the COSE key")));
        }
        let algorithm = integer(label::ALG).ok_or_else(incomplete)?;
        Ok(Self { algorithm, spki })
    }
}
