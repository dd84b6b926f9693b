//! Warrants of nShield modules: certificates in DDDS, a self-describing encoding, from the makers' root key down to the
//! one that names a module and its key KLF2 (Entrust, Key Attestation Format).

use crate::x509::{NamedCurve, SpkiView};
use crate::{Malformed, Reason};

const PRODUCTION: &str = "nShield warrant";
/// Octets of one warrant.
pub const WARRANT_OCTETS: usize = 16 * 1024;
/// Certificates of one warrant.
const CERTIFICATES: usize = 8;
/// Depth of values in each other.
const DEPTH: usize = 8;
/// Octets of r and of s in a signature by P-521.
const INTEGER_OCTETS: usize = 66;

/// A value of DDDS, as far as warrants use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Octets.
    Block(Vec<u8>),
    /// A non-negative integer, as a magnitude.
    Integer(Vec<u8>),
    /// Values in their order.
    List(Vec<Value>),
    /// Names with their values, no name twice.
    Map(Vec<(Value, Value)>),
    /// A word of the encoding's user.
    Symbol(String),
    /// Text.
    Text(String),
}

impl Value {
    /// Reads one value.
    ///
    /// # Errors
    /// [`Malformed`] if it is not exactly one, of the kinds that warrants use.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        if input.len() > WARRANT_OCTETS {
            return Err(error(0, Reason::OverLimit { what: "warrant octets", limit: WARRANT_OCTETS }));
        }
        let mut reader = Reader { input, position: 0 };
        let value = reader.value(0)?;
        match input.len().saturating_sub(reader.position) {
            0 => Ok(value),
            left => Err(error(reader.position, Reason::Trailing(left))),
        }
    }

    fn member(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        members.iter().find(|(key, _)| key.symbol() == Some(name)).map(|(_, value)| value)
    }

    fn symbol(&self) -> Option<&str> {
        match self {
            Self::Symbol(symbol) => Some(symbol),
            Self::Block(_) | Self::Integer(_) | Self::List(_) | Self::Map(_) | Self::Text(_) => None,
        }
    }

    fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            Self::Block(_) | Self::Integer(_) | Self::Symbol(_) | Self::Map(_) | Self::Text(_) => None,
        }
    }

    fn block(&self) -> Option<&[u8]> {
        match self {
            Self::Block(octets) => Some(octets),
            Self::List(_) | Self::Integer(_) | Self::Symbol(_) | Self::Map(_) | Self::Text(_) => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Integer(_) | Self::Symbol(_) | Self::Map(_) | Self::Block(_) => None,
        }
    }

    fn small(&self) -> Option<u8> {
        match self {
            Self::Integer(octets) => match octets.as_slice() {
                [] => Some(0),
                [only] => Some(*only),
                _ => None,
            },
            Self::List(_) | Self::Block(_) | Self::Symbol(_) | Self::Map(_) | Self::Text(_) => None,
        }
    }
}

const fn error(position: usize, reason: Reason) -> Malformed {
    Malformed::new(PRODUCTION, position, reason)
}

struct Reader<'a> {
    input: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.input.get(self.position..).unwrap_or_default();
        let short = Reason::Truncated(count.saturating_sub(rest.len()));
        let taken = rest.get(..count).ok_or(error(self.position, short))?;
        self.position = self.position.saturating_add(count);
        Ok(taken)
    }

    fn number(&mut self, octets: usize) -> Result<usize, Malformed> {
        Ok(self.take(octets)?.iter().fold(0, |number, octet| (number << 8) | usize::from(*octet)))
    }

    fn characters(&mut self, count: usize) -> Result<String, Malformed> {
        let position = self.position;
        let octets = self.take(count)?;
        if octets.iter().any(|octet| !(0x20..0x7F).contains(octet)) {
            return Err(error(position, Reason::Unexpected("ASCII text")));
        }
        Ok(octets.iter().copied().map(char::from).collect())
    }

    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        let position = self.position;
        if depth >= DEPTH {
            return Err(error(position, Reason::OverLimit { what: "nesting", limit: DEPTH }));
        }
        let tag = self.number(1)?;
        let low = tag & 0x0F;
        match tag {
            0 => Ok(Value::Integer(Vec::new())),
            0x01..=0x1F => Ok(Value::Integer(vec![u8::try_from(tag).unwrap_or_default()])),
            0x20..=0x2F => Ok(Value::Text(self.characters(low)?)),
            0x30..=0x3F => Ok(Value::Symbol(self.characters(low)?)),
            0x90..=0x9F => {
                let mut list = Vec::new();
                for _ in 0..low {
                    list.push(self.value(depth.saturating_add(1))?);
                }
                Ok(Value::List(list))
            }
            0xB0..=0xBF => self.map(low, depth),
            0xC4 => {
                let count = self.number(1)?;
                Ok(Value::Symbol(self.characters(count)?))
            }
            0xC5 => {
                let count = self.number(1)?;
                Ok(Value::Block(self.take(count)?.to_vec()))
            }
            0xD5 => {
                let count = self.number(2)?;
                Ok(Value::Block(self.take(count)?.to_vec()))
            }
            0xF4 => match self.value(depth.saturating_add(1))? {
                Value::Block(octets) => {
                    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
                    Ok(Value::Integer(octets.get(zeros..).unwrap_or_default().to_vec()))
                }
                Value::Integer(_) | Value::List(_) | Value::Map(_) | Value::Symbol(_) | Value::Text(_) => {
                    Err(error(position, Reason::Unexpected("octets of an integer")))
                }
            },
            _ => Err(error(position, Reason::BadValue(u64::try_from(tag).unwrap_or(u64::MAX)))),
        }
    }

    fn map(&mut self, count: usize, depth: usize) -> Result<Value, Malformed> {
        let mut members: Vec<(Value, Value)> = Vec::new();
        for _ in 0..count {
            let position = self.position;
            let key = self.value(depth.saturating_add(1))?;
            if members.iter().any(|(other, _)| *other == key) {
                return Err(error(position, Reason::Duplicate("name")));
            }
            members.push((key, self.value(depth.saturating_add(1))?));
        }
        Ok(Value::Map(members))
    }
}

/// A warrant: certificates from the root's down to the module's. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    /// What the root key is called.
    pub root: String,
    /// Certificates that pass the right to sign on, topmost first.
    pub delegations: Vec<Delegation>,
    /// The certificate of the module.
    pub module: ModuleCertificate,
}

/// What is signed of a certificate, and the signature: ECDSA with P-521 and SHA-512.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The octets that are signed.
    pub payload: Vec<u8>,
    /// The one integer of the signature.
    pub r: Vec<u8>,
    /// The other.
    pub s: Vec<u8>,
}

/// A certificate that passes the right to sign on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// What is signed.
    pub signed: Signed,
    /// The key that may sign the next certificate.
    pub key: SpkiView,
}

/// The certificate of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleCertificate {
    /// What is signed.
    pub signed: Signed,
    /// How it was issued.
    pub kind: WarrantKind,
    /// The electronic serial number.
    pub serial: String,
    /// The module's long-term key (KLF2).
    pub key: SpkiView,
    /// The FIPS 140 approval that it names: the version of the standard, and the level.
    pub fips140: Option<(u8, u8)>,
}

/// How a module's certificate was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarrantKind {
    /// When the module was made.
    Factory,
    /// In the field, on the word of the module's older key, which is DSA of 1024 bits.
    FieldUpgrade,
}

impl Warrant {
    /// Reads a warrant.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        let unexpected = |what| error(0, Reason::Unexpected(what));
        let value = Value::parse(input)?;
        let (root, certificates) = match value.list() {
            Some([root, certificates @ ..]) => (root, certificates),
            Some([]) | None => return Err(unexpected("root and certificates")),
        };
        let root = root.symbol().ok_or(unexpected("name of the root"))?.to_owned();
        let Some((module, delegations)) = certificates.split_last().filter(|_| certificates.len() <= CERTIFICATES)
        else {
            return Err(unexpected("certificates"));
        };
        let delegations: Result<Vec<Delegation>, Malformed> = delegations.iter().map(read_delegation).collect();
        Ok(Self { root, delegations: delegations?, module: read_module(module)? })
    }
}

fn read_signed(certificate: &Value) -> Result<(Signed, Value), Malformed> {
    let unexpected = |what| error(0, Reason::Unexpected(what));
    let is_pair = matches!(certificate, Value::Map(members) if members.len() == 2);
    let payload = certificate.member("Payload").and_then(Value::block).filter(|_| is_pair);
    let payload = payload.ok_or(unexpected("Payload"))?.to_vec();
    let signature = certificate.member("Signature").and_then(Value::block).ok_or(unexpected("Signature"))?;
    let parts = signature.split_at_checked(INTEGER_OCTETS).filter(|(_, s)| s.len() == INTEGER_OCTETS);
    let (r, s) = parts.ok_or(unexpected("signature of 132 octets"))?;
    let body = Value::parse(&payload)?;
    Ok((Signed { payload, r: r.to_vec(), s: s.to_vec() }, body))
}

fn read_delegation(certificate: &Value) -> Result<Delegation, Malformed> {
    let (signed, body) = read_signed(certificate)?;
    if body.member("WarrantCertificateType").and_then(Value::symbol) != Some("Delegation") {
        return Err(error(0, Reason::Unexpected("Delegation")));
    }
    check_mechanism(body.member("SigMech"))?;
    Ok(Delegation { signed, key: read_key(body.member("DelegateKey"))? })
}

fn read_module(certificate: &Value) -> Result<ModuleCertificate, Malformed> {
    let (signed, body) = read_signed(certificate)?;
    let kind = match body.member("WarrantCertificateType").and_then(Value::symbol) {
        Some("ModuleInformation") => WarrantKind::Factory,
        Some("FieldUpgradeModuleInformation") => WarrantKind::FieldUpgrade,
        Some(_) | None => return Err(error(0, Reason::Unexpected("ModuleInformation"))),
    };
    check_mechanism(body.member("KLF2mech"))?;
    let serial = body.member("ElectronicSerialNumber").and_then(Value::text);
    let serial = serial.ok_or(error(0, Reason::Missing("ElectronicSerialNumber")))?.to_owned();
    let approvals = body.member("Approvals").and_then(Value::list).unwrap_or_default();
    let fips140 = approvals.iter().find_map(|approval| match approval.list() {
        Some([standard, version, level, ..]) if standard.symbol() == Some("FIPS140") => {
            Some((version.small()?, level.small()?))
        }
        Some(_) | None => None,
    });
    Ok(ModuleCertificate { signed, kind, serial, key: read_key(body.member("KLF2pub"))?, fips140 })
}

/// `[ECDSA, [EMSA1, SHA512]]`: the one mechanism of warrants.
fn check_mechanism(mechanism: Option<&Value>) -> Result<(), Malformed> {
    let known = match mechanism.and_then(Value::list) {
        Some([scheme, encoding]) => {
            let encoding: Vec<Option<&str>> = encoding.list().unwrap_or_default().iter().map(Value::symbol).collect();
            scheme.symbol() == Some("ECDSA") && encoding == [Some("EMSA1"), Some("SHA512")]
        }
        Some(_) | None => false,
    };
    if known { Ok(()) } else { Err(error(0, Reason::Unexpected("ECDSA with SHA-512"))) }
}

/// `[ECDSA, Public, NISTP521, [x, y]]`.
fn read_key(key: Option<&Value>) -> Result<SpkiView, Malformed> {
    let unexpected = error(0, Reason::Unexpected("public key on P-521"));
    let Some([kind, part, curve, point]) = key.and_then(Value::list) else { return Err(unexpected) };
    let names = [kind, part, curve].map(Value::symbol);
    match point.list() {
        Some([Value::Integer(x), Value::Integer(y)]) if names == [Some("ECDSA"), Some("Public"), Some("NISTP521")] => {
            SpkiView::from_ec(NamedCurve::P521, x, y)
        }
        Some(_) | None => Err(unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_warrants_do_not_use_are_refused() {
        assert_eq!(
            Value::parse(b"\x92\x05\x23abc"),
            Ok(Value::List(vec![Value::Integer(vec![5]), Value::Text("abc".into())]))
        );
        for wrong in [
            &b""[..],
            b"\x92\x05",
            b"\x05\x05",
            b"\xFF",
            b"\xF4\x05",
            b"\xB2\x31a\x01\x31a\x02",
            b"\xC5\x10",
            b"\x21\x07",
        ] {
            assert!(Value::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Value::parse(&[0x91; 64]).is_err());
    }
}
