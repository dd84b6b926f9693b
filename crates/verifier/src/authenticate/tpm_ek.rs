//! tpm-ek: the certificate of an endorsement key, on its own. It proves that such a TPM exists, not that whoever shows
//! the certificate has it: to be answered the key must be asked (enrolment, ActivateCredential).

use vouchsafe_evidence::oid;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, PublicKey};

use super::{Context, ModuleSigner};
use crate::bind::Device;
use crate::claims::{Claims, Source};
use crate::describe;
use crate::enrolment::{AuthenticatedEk, authenticate_ek_within};
use crate::formats::{NonceField, TestifiedKey, Testimony};
use crate::hex;
use crate::path::{ChainProfile, PathInputs};
use crate::rejection::Rejection;

/// Who promises what no certificate says: the profile that its maker follows.
const PROFILE: &str = "TCG EK Credential Profile";

/// What the certificate of an endorsement key says, once it has a path to a vendor's root.
pub(super) fn authenticate(certificate: &CertView, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let inputs = PathInputs { profile: ChainProfile::EkShown, at: context.at, revocation: context.revocation };
    let (candidates, pool) = ([certificate], context.certificates);
    let ek = authenticate_ek_within(&candidates, pool, context.trust, inputs, &mut context.budget)?;
    let spki = ek.spki().clone();
    let is_virtual = ek.is_virtual();
    let mut platform = Claims::new();
    let names = ek.certificate().extension(oid::SUBJECT_ALT_NAME).ok().flatten();
    let names = names.map(|names| names.value());
    describe::tpm_module(&mut platform, names, is_virtual, 0);
    let mut claims = endorser(&ek);
    describe::tpm_module(&mut claims, names, is_virtual, 0);
    let device =
        Device { id: format!("tpm-ek:{}", hex::encode(&spki.sha256())), source: "endorsement key certificate" };
    Ok(Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            key: ek.issuer_key().clone(),
            module: Some(spki.sha256().to_vec()),
            claims,
            device: Some(device),
            is_virtual,
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey { spki: Some(spki), claims: key(&ek), is_attesting: false }],
        platform: Some(platform),
    })
}

/// What is known of the key: its vendor vouches for it, and the profile of such certificates says the rest.
fn key(ek: &AuthenticatedEk) -> Claims {
    let mut claims = Claims::new();
    claims.put("spki", describe::base64(ek.spki().as_der()), Source::Endorsed, 0);
    claims.put("device_bound", true, Source::Endorsed, 0);
    // Whatever the certificate lets the key do, nothing was signed here: certificates can be copied.
    claims.put("identity_only", true, Source::Endorsed, 0);
    claims.put("purposes", purposes(ek), Source::Endorsed, 0);
    claims.promise("origin", "generated", PROFILE, 0);
    claims.promise("extractable", false, PROFILE, 0);
    claims.promise("never_extractable", true, PROFILE, 0);
    claims.promise("sensitive", true, PROFILE, 0);
    claims
}

/// What the key may be used for, in the words of PKCS #11.
fn purposes(ek: &AuthenticatedEk) -> Vec<&'static str> {
    let usage = ek.certificate().extension(oid::KEY_USAGE).ok().flatten();
    let usage = usage.and_then(|usage| KeyUsage::parse(usage.value()).ok());
    match usage {
        Some(usage) => [
            (KeyUsage::KEY_ENCIPHERMENT, "decrypt"),
            (KeyUsage::KEY_AGREEMENT, "derive"),
            (KeyUsage::DIGITAL_SIGNATURE, "sign"),
        ]
        .into_iter()
        .filter(|(bit, _)| usage.contains(*bit))
        .map(|(_, purpose)| purpose)
        .collect(),
        None if matches!(ek.spki().key(), PublicKey::Rsa { .. }) => vec!["decrypt"],
        None => vec!["derive"],
    }
}

/// What is known of who endorsed it.
fn endorser(ek: &AuthenticatedEk) -> Claims {
    let mut claims = Claims::new();
    claims.put("spki", describe::base64(ek.issuer_key().as_der()), Source::Endorsed, 0);
    claims.put("issuer", printable(&ek.certificate().issuer().to_display()), Source::Endorsed, 0);
    // No key of the module attests anything here, and nothing beside the module holds the one that is endorsed.
    claims.promise("environment", "module", PROFILE, 0);
    claims.put("bootstrap", "manufacturer", Source::Endorsed, 0);
    claims.put_chain(ek.revocation(), ek.deviations().iter().map(|deviation| deviation.label()).collect(), 0);
    claims
}
