//! webauthn-tpm: Web Authentication Level 3, section 8.3, with the rules for TPMs on top.

mod signature;

use vouchsafe_evidence::formats::webauthn_tpm::{
    AttestationObject, AuthenticatorData, ClientData, TpmStatement, WebauthnTpm,
};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::{Attested, Name, ObjectAttributes, TpmsAttest, TpmtPublic};
use vouchsafe_evidence::x509::extensions::SubjectAltName;
use vouchsafe_evidence::x509::{CertView, SpkiView, Version};
use vouchsafe_evidence::{Malformed, text::printable};

use super::vendor::chain_claims;
use super::{Evidence, NonceField, Row, TestifiedKey, Testimony};
use crate::authenticate::{Context, ModuleSigner, TpmKey, parse_attest, strong_name};
use crate::claims::{Claims, Source};
use crate::crypto::SignatureBudget;
use crate::describe::base64;
use crate::describe::{tpm_key, tpm_module};
use crate::hex;
use crate::path::{ChainProfile, PathInputs, ValidatedPath, validate_path};
use crate::rejection::{Code, Rejection, codes};
use signature::Algorithm;

/// Trust folder of this format.
const ID: &str = "webauthn-tpm";
/// What client data of a registration says of itself.
const REGISTRATION: &str = "webauthn.create";
/// The statement format that is read, and the version of TPMs that it is of.
const FORMAT: &str = "tpm";
const TPM_VERSION: &str = "2.0";
/// The manufacturer that the FIDO conformance tools give to their TPMs in software.
const CONFORMANCE_MANUFACTURER: &str = "id:FFFFF1D0";

const MALFORMED: Code = Code {
    id: "webauthn.malformed",
    clause: "Web Authentication Level 3, 6.5.4 and 8.3",
    meaning: "The attestation object does not have the form of its type.",
};
const OTHER_FORMAT: Code = Code {
    id: "webauthn.other-format",
    clause: "Web Authentication Level 3, 8.3",
    meaning: "The attestation object is of another format than that of TPMs.",
};
const VERSION: Code = Code {
    id: "webauthn.version",
    clause: "Web Authentication Level 3, 8.3",
    meaning: "The statement is of a TPM of another version than 2.0.",
};
const CLIENT_DATA: Code = Code {
    id: "webauthn.client-data",
    clause: "Web Authentication Level 3, 7.1 and 5.8.1",
    meaning: "The client data is not that of a registration with a challenge.",
};
const ALGORITHM: Code = Code {
    id: "webauthn.algorithm",
    clause: "Web Authentication Level 3, 8.3; RFC 9053, 2; RFC 8812, 2",
    meaning: "The signature algorithm is not one that TPMs sign by, or not the signature's.",
};
const EXTRA_DATA: Code = Code {
    id: "webauthn.extra-data",
    clause: "Web Authentication Level 3, 8.3",
    meaning: "What the TPM attested does not carry the digest of authenticator data and client data.",
};
const KEY_MISMATCH: Code = Code {
    id: "webauthn.key-mismatch",
    clause: "Web Authentication Level 3, 8.3",
    meaning: "The credential's key is not the key of the public area.",
};
const CERTIFICATE: Code = Code {
    id: "webauthn.aik-certificate",
    clause: "Web Authentication Level 3, 8.3.1",
    meaning: "The attesting key's certificate does not meet the requirements for such certificates.",
};
const AAGUID: Code = Code {
    id: "webauthn.aaguid",
    clause: "Web Authentication Level 3, 8.3",
    meaning: "The attesting key's certificate is for another kind of authenticator.",
};
const CONFORMANCE: Code = Code {
    id: "webauthn.conformance-tpm",
    clause: "FIDO Conformance Test Tools; TCG Vendor ID Registry",
    meaning: "The attesting key's certificate names the manufacturer of conformance tests, whose TPMs are software.",
};

/// The row of this format.
pub(super) static ROW: Row = Row {
    id: ID,
    authenticate,
    codes: &[
        MALFORMED,
        OTHER_FORMAT,
        VERSION,
        CLIENT_DATA,
        ALGORITHM,
        EXTRA_DATA,
        KEY_MISMATCH,
        CERTIFICATE,
        AAGUID,
        CONFORMANCE,
    ],
};

fn malformed(error: Malformed) -> Rejection {
    Rejection::new(MALFORMED, format!("The attestation object is malformed: {error}."))
}

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let parts = WebauthnTpm::parse(evidence.content).map_err(malformed)?;
    let object = AttestationObject::parse(parts.attestation_object).map_err(malformed)?;
    if object.fmt != FORMAT {
        return Err(Rejection::new(
            OTHER_FORMAT,
            format!("The attestation object is of format {:?}; {FORMAT:?} is read.", printable(object.fmt)),
        ));
    }
    let statement = TpmStatement::read(&object.statement).map_err(malformed)?;
    if statement.version != TPM_VERSION {
        return Err(Rejection::plain(VERSION));
    }
    let client = client_data(parts.client_data)?;
    let data = AuthenticatorData::parse(object.auth_data).map_err(malformed)?;
    let (aik, above) = statement.certificates.split_first().ok_or_else(|| Rejection::plain(MALFORMED))?;
    check_certificate(aik, data.aaguid)?;
    let path = validate(aik, above, context)?;
    let attest = parse_attest(statement.cert_info)?;
    let algorithm = signature::verify(&statement, aik.spki(), &mut context.budget)?;
    let names = certified_names(&attest)?;
    if attest.extra_data() != algorithm.hash.digest(&[object.auth_data, &sha256(parts.client_data)]) {
        return Err(Rejection::plain(EXTRA_DATA));
    }
    let (spki, key) = certified(names, statement.pub_area)?;
    if !data.key.spki.same_key(&spki) {
        return Err(Rejection::plain(KEY_MISMATCH));
    }
    Ok(testimony(spki, key, &path, algorithm, (&data, client.challenge), evidence.statement))
}

fn sha256(octets: &[u8]) -> Vec<u8> {
    vouchsafe_evidence::tpm::HashAlg::Sha256.digest(&[octets])
}

fn client_data(bytes: &[u8]) -> Result<ClientData, Rejection> {
    let client = ClientData::parse(bytes)
        .map_err(|error| Rejection::new(CLIENT_DATA, format!("The client data is malformed: {error}.")))?;
    if client.kind != REGISTRATION {
        return Err(Rejection::new(
            CLIENT_DATA,
            format!("The client data is of type {:?}, not {REGISTRATION:?}.", printable(&client.kind)),
        ));
    }
    Ok(client)
}

/// The requirements for the attesting key's certificate that are no matter of its path (section 8.3.1).
fn check_certificate(certificate: &CertView, aaguid: &[u8]) -> Result<(), Rejection> {
    let refused = |why: &str| Rejection::new(CERTIFICATE, format!("The attesting key's certificate {why}."));
    let unreadable = |error: Malformed| refused(&format!("is malformed: {error}"));
    if certificate.version() != Version::V3 {
        return Err(refused("is not of version 3"));
    }
    let names = certificate.extension(oid::SUBJECT_ALT_NAME).map_err(unreadable)?;
    let names = names.ok_or_else(|| refused("does not name its TPM"))?;
    let names = SubjectAltName::parse(names.value()).map_err(unreadable)?;
    let attribute = |oid| {
        let text = names.tpm_attribute(oid).map_err(unreadable)?;
        text.ok_or_else(|| refused("does not name manufacturer, model and version of its TPM"))
    };
    let manufacturer = attribute(oid::TPM_MANUFACTURER)?;
    attribute(oid::TPM_MODEL)?;
    attribute(oid::TPM_VERSION)?;
    if manufacturer.eq_ignore_ascii_case(CONFORMANCE_MANUFACTURER) {
        return Err(Rejection::plain(CONFORMANCE));
    }
    let is_identifier = |text: &str| {
        text.strip_prefix("id:").is_some_and(|id| id.len() == 8 && id.bytes().all(|octet| octet.is_ascii_hexdigit()))
    };
    if !is_identifier(&manufacturer) {
        return Err(refused("names no manufacturer by an identifier of the TCG"));
    }
    if !certificate.subject().is_empty() {
        return Err(refused("has a subject, which must be empty"));
    }
    let known = certificate.extension(oid::FIDO_AAGUID).map_err(unreadable)?;
    if let Some(known) = known {
        let expected = vouchsafe_evidence::x509::build::octet_string(aaguid);
        if known.is_critical() || known.value() != expected {
            return Err(Rejection::plain(AAGUID));
        }
    }
    Ok(())
}

/// The path of the attesting key's certificate to an anchor of this format.
fn validate(aik: &CertView, above: &[CertView], context: &mut Context<'_>) -> Result<ValidatedPath, Rejection> {
    let pool: Vec<CertView> = above.iter().chain(context.certificates).cloned().collect();
    let inputs = PathInputs { profile: ChainProfile::WebauthnAk, at: context.at, revocation: context.revocation };
    let budget: &mut SignatureBudget = &mut context.budget;
    Ok(validate_path(aik, &pool, context.trust.format(ID), inputs, budget)?)
}

/// Name and qualified name of the key that the TPM certified.
fn certified_names(attest: &TpmsAttest) -> Result<(&Name, &Name), Rejection> {
    match attest.attested() {
        Attested::Certify { name, qualified_name } => Ok((name, qualified_name)),
        Attested::CommandAudit { .. }
        | Attested::Creation { .. }
        | Attested::Nv { .. }
        | Attested::NvDigest { .. }
        | Attested::Quote { .. }
        | Attested::SessionAudit { .. }
        | Attested::Time { .. } => Err(Rejection::plain(codes::TPM_WRONG_TYPE)),
    }
}

/// The key whose Name the TPM certified.
fn certified((name, qualified_name): (&Name, &Name), pub_area: &[u8]) -> Result<(SpkiView, TpmKey), Rejection> {
    let public = TpmtPublic::parse(pub_area)
        .map_err(|e| Rejection::new(codes::TPM_MALFORMED_PUBLIC, format!("The public area is malformed: {e}.")))?;
    if strong_name(&public)? != *name {
        return Err(Rejection::plain(codes::TPM_NAME_MISMATCH));
    }
    if public.attributes().has_reserved() {
        return Err(Rejection::plain(codes::TPM_KEY_RESERVED));
    }
    let spki = public.spki().ok_or_else(|| Rejection::plain(codes::TPM_KEY_TYPE))?;
    let attributes: ObjectAttributes = public.attributes();
    Ok((
        spki,
        TpmKey {
            attributes,
            public: Some(public),
            qualified_name: Some(qualified_name.clone()),
            firmware_version: None,
        },
    ))
}

fn testimony(
    spki: SpkiView,
    key: TpmKey,
    path: &ValidatedPath,
    algorithm: Algorithm,
    (data, challenge): (&AuthenticatorData<'_>, Vec<u8>),
    at: usize,
) -> Testimony {
    let mut claims = tpm_key(Some(&spki), &key, at);
    claims.put("identifier", hex::encode(data.credential_id), Source::Signed, at);
    let is_attesting = key.is_restricted_signer();
    // Clock and firmware version are left out: a TPM blurs them unless the attesting key is of its endorsement
    // hierarchy (Part 1, "Obfuscation"), which nothing here tells.
    let mut platform = Claims::new();
    let names = path.leaf().extension(oid::SUBJECT_ALT_NAME).ok().flatten();
    let is_virtual = path.anchor().is_virtual();
    let names = names.map(|names| names.value());
    tpm_module(&mut platform, names, is_virtual, at);
    // The same for policy that leaves platforms out, and joins lists of modules all the same.
    let mut attesting = attesting_key(path, algorithm, at);
    tpm_module(&mut attesting, names, is_virtual, at);
    Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            key: path.leaf().spki().clone(),
            module: None,
            claims: attesting,
            device: None,
            is_virtual,
        },
        nonce: NonceField::Value(challenge),
        keys: vec![TestifiedKey { spki: Some(spki), claims, is_attesting }],
        platform: Some(platform),
    }
}

/// What is known of the attesting key. A weak signature is said here, for policy to decide on.
fn attesting_key(path: &ValidatedPath, algorithm: Algorithm, at: usize) -> Claims {
    let mut claims = Claims::new();
    claims.put("spki", base64(path.leaf().spki().as_der()), Source::Signed, at);
    claims.put("environment", "module", Source::Implied, at);
    chain_claims(&mut claims, path, at);
    claims.put("issuer", printable(&path.leaf().issuer().to_display()), Source::Endorsed, at);
    if !algorithm.hash.is_strong() {
        claims.put("weak_signature", algorithm.hash.label(), Source::Signed, at);
    }
    claims
}
