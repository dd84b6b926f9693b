//! Key attestations of Google Cloud HSM.
//!
//! A partition of a Marvell module signs the attributes of a key's objects. Two parties vouch for the partition's key:
//! the maker of the module, by the chain of its card, and the owner of the partition, who is Google. Both are needed. The
//! maker's chain alone would accept the partition of anybody's module, the owner's alone anything that the owner says is
//! one. What is claimed of the key stands in its private object: the public object beside it is extractable, of course.

mod chains;

use serde_json::{Value, json};
use vouchsafe_evidence::formats::gcp_cloudhsm::{
    Attestation, Class, Defect, Object, ROW as EVIDENCE, attribute, is_partition,
};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::{CertView, SpkiView};

use super::vendor::budget_rejection;
use super::{Evidence, NonceField, Row, TestifiedKey, Testimony};
use crate::authenticate::{Context, ModuleSigner};
use crate::claims::{Claims, Source};
use crate::crypto::{SignatureAlgorithm, SignatureError, verify_signature};
use crate::describe::base64;
use crate::hex;
use crate::rejection::{Code, Rejection};
use chains::Chains;
use vouchsafe_evidence::tpm::HashAlg;

/// How attestations are authenticated.
pub(super) static ROW: Row = Row { id: EVIDENCE.id, authenticate, codes: &CODES };

const MAKER: &str = "Marvell";
const GOOGLE: &str = "Google Cloud, Verifying attestations";
const MARVELL: &str = "Marvell LiquidSecurity, Software key attestation";

const AZURE: Code = Code {
    id: "cloudhsm.azure",
    clause: MARVELL,
    meaning: "The attestation is one of Azure Managed HSM, which is not read.",
};
const BAD_SIGNATURE: Code = Code {
    id: "cloudhsm.bad-signature",
    clause: GOOGLE,
    meaning: "No partition whose certificate came with the attestation signed it.",
};
const KEY_MALFORMED: Code = Code {
    id: "cloudhsm.key-malformed",
    clause: MARVELL,
    meaning: "An attribute of the key cannot be read, or the key is of a type that is not known.",
};
const MALFORMED: Code = Code {
    id: "cloudhsm.malformed",
    clause: MARVELL,
    meaning: "The attestation does not have the form of a Marvell module's.",
};
const MANUFACTURER_MISSING: Code = Code {
    id: "cloudhsm.manufacturer-chain-missing",
    clause: GOOGLE,
    meaning: "No certificates of the module's manufacturer for the partition's key came with the attestation.",
};
const NO_ATTESTATION: Code = Code {
    id: "cloudhsm.no-key-attestation",
    clause: MARVELL,
    meaning: "There are certificates of a module and its partition, as AWS CloudHSM has them, and nothing about a key.",
};
const OBJECTS: Code = Code {
    id: "cloudhsm.objects",
    clause: MARVELL,
    meaning: "The attestation is not about exactly one private or symmetric key, with its own public key at most beside it.",
};
const OWNER_CARD_KEY: Code = Code {
    id: "cloudhsm.owner-card-key",
    clause: GOOGLE,
    meaning: "The owner of the partition certifies no card, or one with another key than the manufacturer does.",
};
const OWNER_MISSING: Code = Code {
    id: "cloudhsm.owner-chain-missing",
    clause: GOOGLE,
    meaning: "No certificate of the partition's owner for the key that signed came with the attestation.",
};
const ROOTS: Code = Code {
    id: "cloudhsm.roots",
    clause: GOOGLE,
    meaning: "The two chains do not end at a manufacturer's root and at an owner's root that is another one.",
};
const VERSION_1: Code = Code {
    id: "cloudhsm.version-1",
    clause: MARVELL,
    meaning: "The attestation is of the older layout CAVIUM_V1, which is not read.",
};
const CODES: [Code; 11] = [
    AZURE,
    BAD_SIGNATURE,
    KEY_MALFORMED,
    MALFORMED,
    MANUFACTURER_MISSING,
    NO_ATTESTATION,
    OBJECTS,
    OWNER_CARD_KEY,
    OWNER_MISSING,
    ROOTS,
    VERSION_1,
];

/// Attributes that say what a key may be used for, in the words of PKCS #11.
const PURPOSES: [(u32, &str); 9] = [
    (attribute::SIGN, "sign"),
    (attribute::VERIFY, "verify"),
    (attribute::ENCRYPT, "encrypt"),
    (attribute::DECRYPT, "decrypt"),
    (attribute::WRAP, "wrap"),
    (attribute::UNWRAP, "unwrap"),
    (attribute::DERIVE, "derive"),
    (attribute::SIGN_RECOVER, "sign-recover"),
    (attribute::VERIFY_RECOVER, "verify-recover"),
];
/// What the name of a partition ends in whose module was set up for FIPS 140.
const FIPS_MODE: &str = "for FIPS mode";

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let attestation = Attestation::parse(evidence.content).map_err(|defect| match defect {
        Defect::Malformed(malformed) => {
            Rejection::new(MALFORMED, format!("The attestation cannot be read: {malformed}."))
        }
        Defect::Version1 => Rejection::plain(VERSION_1),
        Defect::Azure => Rejection::plain(AZURE),
        Defect::NoAttestation => Rejection::plain(NO_ATTESTATION),
    })?;
    let key = signer_of(&attestation, context)?;
    let chains = Chains::validate(&key, context)?;
    let object = key_object(&attestation)?;
    let spki = public_key(&attestation, &object)?;
    let at = evidence.statement;
    Ok(Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            claims: chains.describe(at),
            // Each partition has its own key.
            key,
            module: None,
            device: None,
            is_virtual: chains.is_virtual(),
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey {
            claims: describe_key(&object, spki.as_ref(), at).map_err(key_malformed)?,
            spki,
            is_attesting: false,
        }],
        platform: Some(describe_platform(&chains, at)),
    })
}

/// The key that signed, among those of all certificates; those that name a partition are tried first.
fn signer_of(attestation: &Attestation, context: &mut Context<'_>) -> Result<SpkiView, Rejection> {
    let mut keys: Vec<&SpkiView> = Vec::new();
    let (partitions, others): (Vec<&CertView>, Vec<&CertView>) =
        context.certificates.iter().partition(|certificate| is_partition(certificate));
    for key in partitions.into_iter().chain(others).map(CertView::spki) {
        if !keys.iter().any(|known| known.same_key(key)) {
            keys.push(key);
        }
    }
    let algorithm = SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256);
    for key in keys {
        match verify_signature(&mut context.budget, key, algorithm, attestation.signed(), attestation.signature()) {
            Ok(()) => return Ok(key.clone()),
            Err(error @ SignatureError::BudgetExhausted { .. }) => return Err(budget_rejection(error)),
            Err(
                SignatureError::Invalid
                | SignatureError::KeyMismatch { .. }
                | SignatureError::WeakAlgorithm { .. }
                | SignatureError::WeakKey { .. },
            ) => {}
        }
    }
    Err(Rejection::plain(BAD_SIGNATURE))
}

/// The one private or symmetric key of which the attestation speaks.
fn key_object(attestation: &Attestation) -> Result<Object<'_>, Rejection> {
    let mut keys = attestation.objects().filter(|object| object.class() != Class::Public);
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key),
        _ => Err(Rejection::plain(OBJECTS)),
    }
}

/// The public key by the private object; a public object beside it that holds one must hold the same.
fn public_key(attestation: &Attestation, object: &Object<'_>) -> Result<Option<SpkiView>, Rejection> {
    let spki = object.spki().map_err(key_malformed)?;
    let holds_key = |object: &Object<'_>| object.value(attribute::MODULUS).is_some();
    for public in attestation.objects().filter(|object| object.class() == Class::Public && holds_key(object)) {
        let beside = public.spki().map_err(key_malformed)?;
        let is_same = matches!((&spki, &beside), (Some(key), Some(beside)) if key.same_key(beside));
        if !is_same {
            return Err(Rejection::plain(OBJECTS));
        }
    }
    Ok(spki)
}

fn key_malformed(malformed: vouchsafe_evidence::Malformed) -> Rejection {
    Rejection::new(KEY_MALFORMED, format!("The key cannot be read: {malformed}."))
}

fn describe_key(
    object: &Object<'_>,
    spki: Option<&SpkiView>,
    at: usize,
) -> Result<Claims, vouchsafe_evidence::Malformed> {
    let mut claims = Claims::new();
    if let Some(spki) = spki {
        claims.put("spki", base64(spki.as_der()), Source::Signed, at);
    }
    if let Some(local) = object.flag(attribute::LOCAL)? {
        claims.put("local", local, Source::Signed, at);
        claims.put("origin", if local { "generated" } else { "imported" }, Source::Signed, at);
    }
    let flags = [
        ("extractable", attribute::EXTRACTABLE),
        ("never_extractable", attribute::NEVER_EXTRACTABLE),
        ("sensitive", attribute::SENSITIVE),
    ];
    for (claim, kind) in flags {
        if let Some(flag) = object.flag(kind)? {
            claims.put(claim, flag, Source::Signed, at);
        }
    }
    let mut purposes = Vec::new();
    for (kind, word) in PURPOSES {
        if object.flag(kind)? == Some(true) {
            purposes.push(word);
        }
    }
    claims.put("purposes", purposes, Source::Signed, at);
    if let Some(label) = object.text(attribute::LABEL) {
        claims.put("label", printable(label), Source::Signed, at);
    }
    let check_value = object.value(attribute::CHECK_VALUE).map(|value| format!("kcv:{}", hex::encode(value)));
    match (object.text(attribute::ID).map(printable), check_value.filter(|_| object.class() == Class::Secret)) {
        (Some(id), Some(check_value)) => claims.put("identifier", vec![id, check_value], Source::Signed, at),
        (Some(only), None) | (None, Some(only)) => claims.put("identifier", only, Source::Signed, at),
        (None, None) => {}
    }
    Ok(claims)
}

fn describe_platform(chains: &Chains, at: usize) -> Claims {
    let mut claims = Claims::new();
    claims.promise("vendor", MAKER, MAKER, at);
    claims.promise("model", "LiquidSecurity", MAKER, at);
    let name = chains.partition().subject().attributes(oid::COMMON_NAME).next().and_then(|attribute| attribute.text());
    let name = name.unwrap_or_default();
    let serial = name.strip_prefix("HSM:").and_then(|rest| rest.split([':', ',']).next());
    if let Some(serial) = serial.filter(|serial| !serial.is_empty()) {
        claims.put("serial", printable(serial), Source::Endorsed, at);
    }
    if name.ends_with(FIPS_MODE) {
        let fips: Value = json!({ "mode": true });
        claims.promise("fips", fips, MAKER, at);
    }
    claims.put_kind(chains.is_virtual(), MAKER, at);
    claims
}
