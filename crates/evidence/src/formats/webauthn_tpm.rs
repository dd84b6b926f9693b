//! webauthn-tpm: keys of TPMs as web authentication attests them (Web Authentication Level 3, section 8.3).
//!
//! The evidence is two byte strings that a browser hands out side by side, the attestation object and the client data.
//! In a statement they stand in one SEQUENCE:
//!
//! ```asn1
//! WebauthnTpm ::= SEQUENCE { attestationObject OCTET STRING, clientDataJSON OCTET STRING }
//! ```

mod authenticator_data;

pub use authenticator_data::{AuthenticatorData, CredentialKey};

use super::{ListedFormat, Offer, OfferedFile, Outline, Recognized, Row, Wrapping, not_in_requests};
use crate::cbor::Value;
use crate::input::InputError;
use crate::json;
use crate::oid;
use crate::x509::CertView;
use crate::x509::build::DerWriter;
use crate::x509::der::Reader;
use crate::{Malformed, Reason, base64url};

/// The row of this format.
pub static ROW: Row = Row {
    id: "webauthn-tpm",
    title: "Web authentication with a TPM",
    statement: oid::STATEMENT_WEBAUTHN_TPM,
    wrapping: Wrapping::OctetString,
    recognize,
    in_request: not_in_requests,
    takes_client_data: true,
    outline,
};

const PRODUCTION: &str = "attestationObject";
/// Certificates in `x5c`: an attesting key's, and those above it.
const CERTIFICATES: usize = 8;

/// Both byte strings of the evidence, as they were handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebauthnTpm<'a> {
    /// CBOR of the attestation object.
    pub attestation_object: &'a [u8],
    /// JSON of the client data; its octets are what was hashed.
    pub client_data: &'a [u8],
}

impl<'a> WebauthnTpm<'a> {
    /// Reads the format's bytes.
    ///
    /// # Errors
    /// [`Malformed`] unless they are exactly the two strings, in strict DER.
    pub fn parse(content: &'a [u8]) -> Result<Self, Malformed> {
        const TYPE: &str = "WebauthnTpm";
        let mut outer = Reader::new(content, TYPE);
        let mut fields = outer.sequence(TYPE)?;
        outer.finish()?;
        let attestation_object = fields.octet_string("attestationObject")?;
        let client_data = fields.octet_string("clientDataJSON")?;
        fields.finish()?;
        Ok(Self { attestation_object, client_data })
    }

    /// The format's bytes.
    #[must_use]
    pub fn to_der(self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|fields| {
            fields.octet_string(self.attestation_object).octet_string(self.client_data);
        });
        writer.into_der()
    }
}

/// An attestation object (section 6.5.4), its statement not interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationObject<'a> {
    /// Which kind of statement it holds.
    pub fmt: &'a str,
    /// The statement.
    pub statement: Value<'a>,
    /// The authenticator data, which the statement vouches for.
    pub auth_data: &'a [u8],
}

impl<'a> AttestationObject<'a> {
    /// Reads the CBOR of an attestation object: the three members that are defined, in any order.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let object = Value::parse(bytes)?;
        check_members(&object, &["fmt", "attStmt", "authData"])?;
        let fmt = required(&object, "fmt")?.text().ok_or_else(|| unexpected("fmt as text"))?;
        let auth_data = octets(&object, "authData")?;
        let statement = required(&object, "attStmt")?.clone();
        if !matches!(statement, Value::Map(_)) {
            return Err(unexpected("attStmt as a map"));
        }
        Ok(Self { fmt, statement, auth_data })
    }
}

/// The statement of format `tpm` (section 8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmStatement<'a> {
    /// The version of the TPM's specification.
    pub version: &'a str,
    /// The COSE identifier of the algorithm of `signature`.
    pub algorithm: i128,
    /// The attesting key's certificate, and those above it, in that order.
    pub certificates: Vec<CertView>,
    /// The signature over `cert_info`: bare, or a TPMT_SIGNATURE.
    pub signature: &'a [u8],
    /// TPMS_ATTEST.
    pub cert_info: &'a [u8],
    /// TPMT_PUBLIC of the credential's key.
    pub pub_area: &'a [u8],
}

impl<'a> TpmStatement<'a> {
    /// Reads a statement of format `tpm`.
    ///
    /// # Errors
    /// [`Malformed`] unless it has exactly the members that are defined, and one to eight certificates that can be
    /// read.
    pub fn read(statement: &Value<'a>) -> Result<Self, Malformed> {
        check_members(statement, &["ver", "alg", "x5c", "sig", "certInfo", "pubArea"])?;
        let Value::Array(chain) = required(statement, "x5c")? else { return Err(unexpected("x5c as an array")) };
        if chain.len() > CERTIFICATES {
            return Err(Malformed::new(PRODUCTION, 0, Reason::OverLimit { what: "certificates", limit: CERTIFICATES }));
        }
        let mut certificates = Vec::with_capacity(chain.len());
        for certificate in chain {
            let der = certificate.bytes().ok_or_else(|| unexpected("a certificate in x5c"))?;
            certificates.push(CertView::parse(der)?);
        }
        if certificates.is_empty() {
            return Err(Malformed::new(PRODUCTION, 0, Reason::Missing("a certificate in x5c")));
        }
        Ok(Self {
            version: required(statement, "ver")?.text().ok_or_else(|| unexpected("ver as text"))?,
            algorithm: required(statement, "alg")?.integer().ok_or_else(|| unexpected("alg as an integer"))?,
            certificates,
            signature: octets(statement, "sig")?,
            cert_info: octets(statement, "certInfo")?,
            pub_area: octets(statement, "pubArea")?,
        })
    }
}

/// The client data (section 5.8.1) as far as a Verifier judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientData {
    /// What the browser was asked to do.
    pub kind: String,
    /// The challenge that was given to it.
    pub challenge: Vec<u8>,
    /// For which web origin it did so.
    pub origin: Option<String>,
}

impl ClientData {
    /// Reads the JSON of client data. Members beyond those that are judged may be there, as the specification says.
    ///
    /// # Errors
    /// [`Malformed`] unless it is one object with a type and a challenge in base64url.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        const TYPE: &str = "clientDataJSON";
        let missing = |what| Malformed::new(TYPE, 0, Reason::Missing(what));
        let data = json::Value::parse(bytes)?;
        let text = |name| data.member(name).and_then(json::Value::text);
        let challenge = text("challenge").ok_or_else(|| missing("challenge"))?;
        Ok(Self {
            kind: text("type").ok_or_else(|| missing("type"))?.to_owned(),
            challenge: base64url::decode(challenge)
                .ok_or_else(|| Malformed::new(TYPE, 0, Reason::Unexpected("a challenge in base64url")))?,
            origin: text("origin").map(ToOwned::to_owned),
        })
    }
}

const fn unexpected(wanted: &'static str) -> Malformed {
    Malformed::new(PRODUCTION, 0, Reason::Unexpected(wanted))
}

fn check_members(map: &Value<'_>, known: &[&str]) -> Result<(), Malformed> {
    let Value::Map(members) = map else { return Err(unexpected("a map")) };
    let is_known = |key: &Value<'_>| key.text().is_some_and(|text| known.contains(&text));
    if members.iter().all(|(key, _)| is_known(key)) { Ok(()) } else { Err(unexpected("no other member")) }
}

fn required<'v, 'a>(map: &'v Value<'a>, key: &'static str) -> Result<&'v Value<'a>, Malformed> {
    map.member(key).ok_or_else(|| Malformed::new(PRODUCTION, 0, Reason::Missing(key)))
}

fn octets<'a>(map: &Value<'a>, key: &'static str) -> Result<&'a [u8], Malformed> {
    required(map, key)?.bytes().ok_or_else(|| unexpected("a byte string"))
}

/// The attestation object that a file is, or is the base64 of.
fn attestation_object(file: &OfferedFile<'_>) -> Option<Vec<u8>> {
    if !file.blocks.is_empty() {
        return None;
    }
    if looks_like_object(file.bytes) {
        return Some(file.bytes.to_vec());
    }
    base64url::decode_lenient(file.bytes).filter(|decoded| looks_like_object(decoded))
}

/// Whether octets begin as a CBOR map and hold two keys of an attestation object, however broken the rest is.
fn looks_like_object(bytes: &[u8]) -> bool {
    let holds = |key: &[u8]| bytes.windows(key.len()).any(|window| window == key);
    bytes.first().is_some_and(|first| first >> 5 == 5) && holds(b"\x67attStmt") && holds(b"\x68authData")
}

/// Whether a file is client data rather than anything else: a JSON object that names itself.
fn is_client_data(file: &OfferedFile<'_>) -> bool {
    let text = file.bytes.trim_ascii_start();
    text.starts_with(b"{") && json::Value::parse(text).is_ok_and(|data| data.member("challenge").is_some())
}

fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let mut objects: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut rest: Vec<&OfferedFile<'_>> = Vec::new();
    for file in &offer.files {
        match attestation_object(file) {
            Some(object) => objects.push((file.name, object)),
            None => rest.push(file),
        }
    }
    let ambiguous = |part, first: &str, second: &str| {
        Err(InputError::Ambiguous { part, first: first.to_owned(), second: second.to_owned() })
    };
    let object = match objects.as_slice() {
        [] => return Ok(None),
        [(_, object)] => object,
        [(first, _), (second, _), ..] => return ambiguous("attestation object", first, second),
    };
    let mut client_data: Option<(&str, &[u8])> = offer.client_data.map(|bytes| ("client data", bytes));
    for file in rest {
        match client_data {
            _ if !is_client_data(file) => return Err(InputError::Unrecognized { file: file.name.to_owned() }),
            Some((first, _)) => return ambiguous("client data", first, file.name),
            None => client_data = Some((file.name, file.bytes)),
        }
    }
    let Some((_, client_data)) = client_data else {
        return Err(InputError::Incomplete { format: ListedFormat(&ROW).into(), part: "client data" });
    };
    Ok(Some(Recognized {
        content: WebauthnTpm { attestation_object: object, client_data }.to_der(),
        certificates: offer.certificates.iter().map(|offered| offered.certificate.clone()).collect(),
    }))
}

fn outline(content: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let evidence = WebauthnTpm::parse(content)?;
    let object = AttestationObject::parse(evidence.attestation_object)?;
    let mut items = vec![Outline::leaf("format", object.fmt)];
    if object.fmt == "tpm" {
        let statement = TpmStatement::read(&object.statement)?;
        items.push(Outline::leaf("version", statement.version));
        items.push(Outline::leaf("algorithm", statement.algorithm.to_string()));
        items.push(Outline::leaf("TPMS_ATTEST", format!("{} octets", statement.cert_info.len())));
        items.push(Outline::leaf("TPMT_PUBLIC", format!("{} octets", statement.pub_area.len())));
        let chain = statement.certificates.into_iter().enumerate();
        let named = chain.map(|(place, certificate)| Outline::certificate(format!("x5c[{place}]"), certificate));
        items.push(Outline::group("certificates", named.collect()));
    }
    let data = AuthenticatorData::parse(object.auth_data)?;
    items.push(Outline::group(
        "authenticator data",
        vec![
            Outline::leaf("rpIdHash", hex(data.rp_id_hash)),
            Outline::leaf("flags", format!("{:#04x}", data.flags)),
            Outline::leaf("aaguid", hex(data.aaguid)),
            Outline::leaf("credential", hex(data.credential_id)),
        ],
    ));
    let client = ClientData::parse(evidence.client_data)?;
    let mut members = vec![Outline::leaf("type", client.kind), Outline::leaf("challenge", hex(&client.challenge))];
    members.extend(client.origin.map(|origin| Outline::leaf("origin", origin)));
    items.push(Outline::group("client data", members));
    Ok(items)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
