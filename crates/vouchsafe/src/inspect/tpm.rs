//! TPM structures in words.

use vouchsafe_evidence::tpm::{
    Attested, ClockInfo, EccScheme, KeyedHashScheme, Name, ObjectAttributes, PcrSelection, PublicParameters, RsaScheme,
    Symmetric, TpmsAttest, TpmtPublic, TpmtSignature, alg,
};
use vouchsafe_verifier::hex;

use super::tree::Item;

/// TPMS_ATTEST.
pub fn attest(attest: &TpmsAttest) -> Item {
    let mut items = vec![Item::leaf("type", attest.attested().label())];
    items.extend(attested(attest.attested()));
    let extra = attest.extra_data();
    items.push(Item::leaf(
        "qualifying data",
        if extra.is_empty() { "none: it answers no nonce".to_owned() } else { hex::encode(extra) },
    ));
    items.push(Item::leaf("qualified signer", name(attest.qualified_signer())));
    items.push(clock(attest.clock_info()));
    items.push(Item::leaf("firmware version", format!("{:016x}", attest.firmware_version())));
    Item::group("TPMS_ATTEST", items).says(meaning(attest.attested()))
}

fn meaning(attested: &Attested) -> &'static str {
    match attested {
        Attested::Certify { .. } => "a TPM says: an object with this Name is loaded in me (TPM2_Certify)",
        Attested::Quote { .. } => "a TPM says: my PCRs have these values (TPM2_Quote)",
        Attested::Creation { .. } => "a TPM says: I created the object with this Name (TPM2_CertifyCreation)",
        Attested::Nv { .. } | Attested::NvDigest { .. } => "a TPM says what an NV index holds (TPM2_NV_Certify)",
        Attested::CommandAudit { .. } | Attested::SessionAudit { .. } => "a TPM says which commands it ran",
        Attested::Time { .. } => "a TPM says what its clock shows (TPM2_GetTime)",
    }
}

fn attested(attested: &Attested) -> Vec<Item> {
    match attested {
        Attested::Certify { name: object, qualified_name } => {
            vec![Item::leaf("name of the object", name(object)), Item::leaf("qualified name", name(qualified_name))]
        }
        Attested::Quote { selection: selected, pcr_digest } => {
            vec![Item::leaf("PCRs", selection(selected)), Item::leaf("digest of their values", hex::encode(pcr_digest))]
        }
        Attested::Creation { name: object, creation_hash } => vec![
            Item::leaf("name of the object", name(object)),
            Item::leaf("digest of the creation data", hex::encode(creation_hash)),
        ],
        Attested::Nv { name: index, offset, contents } => vec![
            Item::leaf("name of the index", name(index)),
            Item::leaf("offset", offset.to_string()),
            Item::leaf("contents", hex::encode(contents)),
        ],
        Attested::NvDigest { name: index, digest } => {
            vec![Item::leaf("name of the index", name(index)), Item::leaf("digest", hex::encode(digest))]
        }
        Attested::CommandAudit { counter, digest_alg, audit_digest, command_digest } => vec![
            Item::leaf("audit counter", counter.to_string()),
            Item::leaf("digest algorithm", format!("{digest_alg:#06x}")),
            Item::leaf("digest of the log", hex::encode(audit_digest)),
            Item::leaf("digest of the audited commands", hex::encode(command_digest)),
        ],
        Attested::SessionAudit { exclusive, digest } => {
            vec![Item::leaf("exclusive", yes(*exclusive)), Item::leaf("digest of the session", hex::encode(digest))]
        }
        Attested::Time { time_ms, clock: at, firmware_version } => vec![
            Item::leaf("time since start", format!("{time_ms} ms")),
            clock(*at),
            Item::leaf("firmware version", format!("{firmware_version:016x}")),
        ],
    }
}

fn yes(fact: bool) -> &'static str {
    if fact { "yes" } else { "no" }
}

fn clock(clock: ClockInfo) -> Item {
    Item::leaf(
        "clock",
        format!(
            "{} ms powered, {} resets, {} restarts since the last clear, {}",
            clock.clock_ms,
            clock.reset_count,
            clock.restart_count,
            if clock.safe { "safe" } else { "not safe: a larger value may have been reported before" }
        ),
    )
}

/// A Name: algorithm and digest.
pub fn name(name: &Name) -> String {
    let digest = name.as_bytes().get(2..).unwrap_or_default();
    format!("{} {}", name.alg().label(), hex::encode(digest))
}

/// PCRs by bank.
pub fn selection(selection: &PcrSelection) -> String {
    let banks: Vec<String> = selection
        .banks()
        .iter()
        .map(|bank| {
            let indices: Vec<String> = bank.indices().map(|index| index.to_string()).collect();
            format!("{} {}", bank.hash.label(), indices.join(" "))
        })
        .collect();
    if selection.is_empty() { "none".to_owned() } else { banks.join("; ") }
}

/// TPMT_PUBLIC.
pub fn public(public: &TpmtPublic) -> Item {
    let mut items = parameters(public.parameters());
    items.push(attributes(public.attributes()));
    items.push(Item::leaf(
        "authorization policy",
        if public.auth_policy().is_empty() { "none".to_owned() } else { hex::encode(public.auth_policy()) },
    ));
    items.push(match public.name() {
        Some(object) => Item::leaf("name", name(&object)),
        None => Item::leaf("name", "none: without a nameAlg nothing ties these bytes to anything"),
    });
    if let Some(spki) = public.spki() {
        items.push(Item::leaf("SPKI SHA-256", hex::encode(&spki.sha256())));
    }
    Item::group("TPMT_PUBLIC", items).says("the public area of a TPM object")
}

/// TPMA_OBJECT in words.
pub fn attributes(attributes: ObjectAttributes) -> Item {
    let names: Vec<&str> = attributes.names().collect();
    let has = |mask| attributes.contains(mask);
    let mut items = vec![Item::leaf("bits", format!("{:#010x}: {}", attributes.bits(), names.join(", ")))];
    if attributes.has_reserved() {
        items.push(Item::malformed("reserved bits", "bits are set that no specification defines"));
    }
    let fixed = has(ObjectAttributes::FIXED_TPM | ObjectAttributes::FIXED_PARENT);
    items.push(Item::leaf("may leave the TPM", yes(!fixed)));
    items.push(Item::leaf("made by the TPM itself", yes(has(ObjectAttributes::SENSITIVE_DATA_ORIGIN))));
    let signs = has(ObjectAttributes::SIGN);
    let use_of_key = match (signs, has(ObjectAttributes::RESTRICTED), has(ObjectAttributes::X509_SIGN)) {
        (true, true, true) => "signs only what TPMs attest, and certificates through TPM2_CertifyX509",
        (true, true, false) => "signs what TPMs attest, and anything else that does not begin as that does",
        (true, false, true) => "signs certificates through TPM2_CertifyX509 alone",
        (true, false, false) => "signs anything",
        (false, true, _) => "protects other keys",
        (false, false, _) => "does not sign",
    };
    items.push(Item::leaf("use", use_of_key));
    Item::group("attributes", items)
}

fn parameters(parameters: &PublicParameters) -> Vec<Item> {
    match parameters {
        PublicParameters::Rsa { symmetric, scheme, key_bits, exponent, modulus } => vec![
            Item::leaf("kind", format!("RSA, {key_bits} bits")),
            Item::leaf("scheme", rsa_scheme(*scheme)),
            protection(*symmetric),
            Item::leaf("exponent", if *exponent == 0 { "65537".to_owned() } else { exponent.to_string() }),
            Item::leaf(
                "modulus",
                if modulus.is_empty() { "none: a template".to_owned() } else { hex::encode(modulus) },
            ),
        ],
        PublicParameters::Ecc { symmetric, scheme, curve, x, y } => vec![
            Item::leaf("kind", format!("ECC, {curve:?}")),
            Item::leaf("scheme", ecc_scheme(*scheme)),
            protection(*symmetric),
            Item::leaf(
                "point",
                if x.is_empty() {
                    "none: a template".to_owned()
                } else {
                    format!("{} {}", hex::encode(x), hex::encode(y))
                },
            ),
        ],
        PublicParameters::KeyedHash { scheme, unique } => {
            let scheme = match scheme {
                KeyedHashScheme::Null => "none: sealed data, or chosen at use".to_owned(),
                KeyedHashScheme::Hmac(hash) => format!("HMAC with {}", hash.label()),
                KeyedHashScheme::Xor { hash, .. } => format!("XOR with {}: a derivation parent", hash.label()),
            };
            vec![
                Item::leaf("kind", "keyed hash: an HMAC key, sealed data or a derivation parent"),
                Item::leaf("scheme", scheme),
                Item::leaf("unique", hex::encode(unique)),
            ]
        }
        PublicParameters::SymCipher { symmetric, unique } => vec![
            Item::leaf("kind", "symmetric cipher"),
            protection(*symmetric),
            Item::leaf("unique", hex::encode(unique)),
        ],
    }
}

fn protection(symmetric: Symmetric) -> Item {
    Item::leaf(
        "symmetric",
        match symmetric {
            Symmetric::Null => "none: not a parent of other keys".to_owned(),
            Symmetric::Aes { key_bits, mode: alg::CFB } => format!("AES-{key_bits}-CFB"),
            Symmetric::Aes { key_bits, mode } => format!("AES-{key_bits}, mode {mode:#06x}"),
        },
    )
}

fn rsa_scheme(scheme: RsaScheme) -> String {
    match scheme {
        RsaScheme::Null => "none: whoever uses the key chooses".to_owned(),
        RsaScheme::Rsassa(hash) => format!("RSASSA with {}", hash.label()),
        RsaScheme::Rsapss(hash) => format!("RSAPSS with {}", hash.label()),
        RsaScheme::Rsaes => "RSAES".to_owned(),
        RsaScheme::Oaep(hash) => format!("OAEP with {}", hash.label()),
    }
}

fn ecc_scheme(scheme: EccScheme) -> String {
    match scheme {
        EccScheme::Null => "none: whoever uses the key chooses".to_owned(),
        EccScheme::Ecdsa(hash) => format!("ECDSA with {}", hash.label()),
        EccScheme::Ecdh(hash) => format!("ECDH with {}", hash.label()),
    }
}

/// TPMT_SIGNATURE.
pub fn signature(signature: &TpmtSignature) -> Item {
    let items = match signature {
        TpmtSignature::Ecdsa { hash, r, s } => vec![
            Item::leaf("scheme", format!("ECDSA with {}", hash.label())),
            Item::leaf("r", hex::encode(r)),
            Item::leaf("s", hex::encode(s)),
        ],
        TpmtSignature::Rsapss { hash, signature } => rsa_signature("RSAPSS", hash.label(), signature),
        TpmtSignature::Rsassa { hash, signature } => rsa_signature("RSASSA", hash.label(), signature),
    };
    Item::group("TPMT_SIGNATURE", items)
}

fn rsa_signature(scheme: &str, hash: &str, signature: &[u8]) -> Vec<Item> {
    vec![Item::leaf("scheme", format!("{scheme} with {hash}")), Item::leaf("signature", hex::encode(signature))]
}
