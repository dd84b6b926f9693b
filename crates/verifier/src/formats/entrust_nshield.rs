//! Key attestation bundles of Entrust nShield modules: the steps of Entrust's "Key Attestation Format", Verifying a
//! bundle, and what the access control list of the key lets happen to it.
//!
//! Five things are signed by four keys, and each must be tied to the next: the warrant by the makers' root names a
//! module and its key KLF2; KLF2 signs the module's state, which names KML, the security officer's key and the module
//! keys; the security officer's key ties the module key to the world; KML signs the generation of the key. All of these
//! stay valid with another public key beside them: its nCore hash must be the one that was signed. Warrants and messages
//! carry no times, so none are judged.

use vouchsafe_evidence::formats::entrust_nshield::acl::{self, Acl, Action, Certifier, WorkingBlob};
use vouchsafe_evidence::formats::entrust_nshield::ncore::{KeyData, KeyHash, Signature, SignatureAlgorithm};
use vouchsafe_evidence::formats::entrust_nshield::warrant::{Signed, Warrant, WarrantKind};
use vouchsafe_evidence::formats::entrust_nshield::{Bundle, ROW as EVIDENCE, World};
use vouchsafe_evidence::tpm::{HashAlg, TpmtSignature};
use vouchsafe_evidence::x509::SpkiView;

use super::vendor::budget_rejection;
use super::{Evidence, NonceField, Row, TestifiedKey, Testimony};
use crate::authenticate::{Context, ModuleSigner};
use crate::bind::Device;
use crate::claims::{Claims, Source};
use crate::crypto::{DsaError, DsaKey, SignatureError, verify_dsa, verify_tpm_signature};
use crate::describe::base64;
use crate::hex;
use crate::path::{PathDefect, PathError, Revocation};
use crate::rejection::{Code, Rejection};
use crate::trust::TrustAnchor;

/// How bundles are authenticated.
pub(super) static ROW: Row = Row { id: EVIDENCE.id, authenticate, codes: &CODES };

const BAD_SIGNATURE: Code = Code {
    id: "nshield.bad-signature",
    clause: "Entrust, Key Attestation Format, Verifying a bundle, MSCV1, WBCV5 and KGCV1",
    meaning: "A message of the bundle is not signed by the key that must have signed it.",
};
const BAD_WARRANT: Code = Code {
    id: "nshield.bad-warrant",
    clause: "Entrust, Key Attestation Format, Verifying a bundle, WV1",
    meaning: "The warrant of the module is not signed by a trusted root, or by the keys that it names.",
};
const KEY_MISMATCH: Code = Code {
    id: "nshield.key-mismatch",
    clause: "Entrust, Key Attestation Format, Verifying a bundle, KGCV2",
    meaning: "The public key of the bundle is not the one whose generation the module signed.",
};
const MALFORMED: Code = Code {
    id: "nshield.malformed",
    clause: "Entrust, Key Attestation Format, Attestation bundle format",
    meaning: "The evidence does not have the form of an nShield key attestation bundle, or uses parts that are not read.",
};
const OTHER_MODULE: Code = Code {
    id: "nshield.other-module",
    clause: "Entrust, Key Attestation Format, Verifying a bundle, MSCV2",
    meaning: "The state is of another module than the warrant.",
};
const OTHER_WORLD: Code = Code {
    id: "nshield.other-world",
    clause: "Entrust, Key Attestation Format, Verifying a bundle, MSCV4 and MSCV5",
    meaning: "The security world of the bundle is not the one that the module is in.",
};
const CODES: [Code; 6] = [BAD_SIGNATURE, BAD_WARRANT, KEY_MISMATCH, MALFORMED, OTHER_MODULE, OTHER_WORLD];

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let malformed = |malformed| Rejection::new(MALFORMED, format!("The bundle cannot be read: {malformed}."));
    let bundle = Bundle::parse(evidence.content).map_err(malformed)?;
    let is_virtual = check_warrant(&bundle, context)?.is_virtual();
    let world = check_state(&bundle, context)?;
    let signing_key = &bundle.state.value.signing_key;
    let generation = &bundle.generation;
    check_message(signing_key, &generation.signature, &generation.octets, "key generation", context)?;
    if !generation.value.fits(&bundle.public_key) || bundle.public_key.hash() != generation.value.key {
        return Err(Rejection::plain(KEY_MISMATCH));
    }
    let at = evidence.statement;
    let spki = bundle.public_key.spki().map_err(malformed)?;
    let signer = signing_key.spki().map_err(malformed)?;
    let serial = &bundle.warrant.module.serial;
    Ok(Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            claims: describe_signer(&signer, bundle.warrant.module.kind, at),
            key: signer,
            // Each module makes a KML of its own.
            module: None,
            device: Some(Device {
                id: format!("{}:{serial}", EVIDENCE.id),
                source: "electronic serial number in the warrant and in the module's state",
            }),
            is_virtual,
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey {
            claims: describe_key(&spki, &bundle, world, at),
            spki: Some(spki),
            is_attesting: false,
        }],
        platform: Some(describe_platform(&bundle, world, is_virtual, at)),
    })
}

/// Checks the warrant from a trusted root down, and returns that root (WV1).
fn check_warrant<'a>(bundle: &Bundle, context: &mut Context<'a>) -> Result<&'a TrustAnchor, Rejection> {
    let warrant = &bundle.warrant;
    if warrant.root != bundle.root {
        return Err(Rejection::new(BAD_WARRANT, "The bundle and its warrant name different roots."));
    }
    let anchors = context.trust.format(EVIDENCE.id).anchors();
    if anchors.is_empty() {
        return Err(PathError::of_path(PathDefect::NoAnchor).into());
    }
    let first = warrant.delegations.first().map_or(&warrant.module.signed, |delegation| &delegation.signed);
    let mut root = None;
    for anchor in anchors {
        if is_signed(anchor.key(), first, context)? {
            root = Some(anchor);
            break;
        }
    }
    let Some(root) = root else {
        return Err(Rejection::new(BAD_WARRANT, "No trusted root signed the first certificate of the warrant."));
    };
    check_delegations(warrant, context)?;
    Ok(root)
}

fn check_delegations(warrant: &Warrant, context: &mut Context<'_>) -> Result<(), Rejection> {
    let beneath = warrant.delegations.iter().skip(1).map(|delegation| &delegation.signed);
    let beneath = beneath.chain([&warrant.module.signed]);
    for (above, certificate) in warrant.delegations.iter().zip(beneath) {
        if !is_signed(&above.key, certificate, context)? {
            let message = "A certificate of the warrant is not signed by the key above it.";
            return Err(Rejection::new(BAD_WARRANT, message));
        }
    }
    Ok(())
}

/// Whether a key signed a certificate of a warrant: ECDSA with SHA-512.
fn is_signed(key: &SpkiView, certificate: &Signed, context: &mut Context<'_>) -> Result<bool, Rejection> {
    let (r, s) = (certificate.r.clone(), certificate.s.clone());
    let signature = TpmtSignature::Ecdsa { hash: HashAlg::Sha512, r, s };
    match verify_tpm_signature(&mut context.budget, key, &signature, &certificate.payload) {
        Ok(()) => Ok(true),
        Err(error @ SignatureError::BudgetExhausted { .. }) => Err(budget_rejection(error)),
        Err(
            SignatureError::Invalid
            | SignatureError::KeyMismatch { .. }
            | SignatureError::WeakAlgorithm { .. }
            | SignatureError::WeakKey { .. },
        ) => Ok(false),
    }
}

/// Checks that `key` signed a message of a module or of a security officer.
fn check_message(
    key: &KeyData,
    signature: &Signature,
    message: &[u8],
    what: &'static str,
    context: &mut Context<'_>,
) -> Result<(), Rejection> {
    let bad = || Rejection::new(BAD_SIGNATURE, format!("The signature over the {what} is not that of its key."));
    match (key, signature.algorithm) {
        (KeyData::Dsa { p, q, g, y }, SignatureAlgorithm::DsaSha256) => {
            let key = DsaKey { p, q, g, y };
            match verify_dsa(&mut context.budget, key, message, (&signature.r, &signature.s)) {
                Ok(()) => Ok(()),
                Err(DsaError::WeakKey) => Err(Rejection::new(
                    BAD_SIGNATURE,
                    format!("The {what} is signed with a weak key: {}.", DsaError::WeakKey),
                )),
                Err(DsaError::Signature(error @ SignatureError::BudgetExhausted { .. })) => {
                    Err(budget_rejection(error))
                }
                Err(DsaError::Signature(_)) => Err(bad()),
            }
        }
        (KeyData::Ec { .. }, SignatureAlgorithm::EcdsaSha512) => {
            let spki = key.spki().map_err(|_| bad())?;
            let signed = Signed { payload: message.to_vec(), r: signature.r.clone(), s: signature.s.clone() };
            if is_signed(&spki, &signed, context)? { Ok(()) } else { Err(bad()) }
        }
        (KeyData::Dsa { .. }, SignatureAlgorithm::EcdsaSha512)
        | (KeyData::Ec { .. }, SignatureAlgorithm::DsaSha256)
        | (KeyData::Rsa { .. }, SignatureAlgorithm::DsaSha256 | SignatureAlgorithm::EcdsaSha512) => Err(bad()),
    }
}

/// Checks the module's state and the world that it is in (MSCV, WBCV).
fn check_state<'a>(bundle: &'a Bundle, context: &mut Context<'_>) -> Result<Option<&'a World>, Rejection> {
    let module = &bundle.warrant.module;
    let (state, signature) = (&bundle.state.value, &bundle.state.signature);
    let by_module = signature.algorithm == SignatureAlgorithm::EcdsaSha512;
    let signed = Signed { payload: bundle.state.octets.clone(), r: signature.r.clone(), s: signature.s.clone() };
    if !by_module || !is_signed(&module.key, &signed, context)? {
        return Err(Rejection::new(BAD_SIGNATURE, "The signature over the module's state is not that of the module."));
    }
    if state.serial != module.serial {
        return Err(Rejection::new(
            OTHER_MODULE,
            format!("The state is of module {}, the warrant of module {}.", state.serial, module.serial),
        ));
    }
    let Some(world) = &bundle.world else { return Ok(None) };
    if world.officer_key.hash() != state.officer_key {
        return Err(Rejection::new(OTHER_WORLD, "The security officer's key is not that of the module's world."));
    }
    if !state.module_keys.contains(&world.module_key) {
        return Err(Rejection::new(OTHER_WORLD, "The module key of the world is not one that the module holds."));
    }
    check_binding(world, &state.officer_key, context)?;
    Ok(Some(world))
}

/// What the security officer signed of the world's keys.
fn check_binding(world: &World, officer: &KeyHash, context: &mut Context<'_>) -> Result<(), Rejection> {
    let keys = [officer.as_slice(), &world.module_key, &world.certifying_key].concat();
    let (title, keys) = match &world.fips_key {
        None => ("Module keys:", keys),
        Some(fips) => ("Module setup, FIPS3;", [keys.as_slice(), fips].concat()),
    };
    let title = format!("{title} suite = {}\0", world.suite);
    let body = [title.as_bytes(), &keys].concat();
    check_message(&world.officer_key, &world.binding, &body, "keys of the world", context)?;
    if let Some(recovery) = &world.recovery {
        let keys = [officer.as_slice(), &recovery.archive_key, &recovery.authorizing_key].concat();
        let body = [b"Card Recovery\0".as_slice(), &keys].concat();
        check_message(&world.officer_key, &recovery.binding, &body, "recovery keys of the world", context)?;
    }
    Ok(())
}

/// What a list of permissions means for its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Permissions {
    /// The private part can come out of the world, in clear or under a key of anybody's choice.
    extractable: bool,
    /// Administrators of the world can add permissions, that to export the key included.
    expandable: bool,
    /// Administrators of the world can restore the key.
    recoverable: bool,
    /// Operations of anybody, all groups together.
    operations: u32,
    /// The weakest protection of blobs, of those that there are.
    protection: Option<Protection>,
}

/// What stands between a blob and the use of its key, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Protection {
    Module,
    Softcard,
    Cardset { shares: u32 },
}

impl Permissions {
    /// Reads a list. Conditions narrow what it allows and are left out of account, except that what takes the security
    /// officer's certificate is for administrators.
    fn read(acl: &Acl, world: Option<&World>, officer: &KeyHash) -> Self {
        let mut permissions = Self::default();
        for group in &acl.groups {
            let for_administrators = match &group.certifier {
                Certifier::SecurityOfficer => true,
                Certifier::Key(key) => key == officer,
                Certifier::Anybody => false,
            };
            permissions.recoverable |= for_administrators;
            for action in &group.actions {
                permissions.add(action, for_administrators, world);
            }
        }
        permissions
    }

    fn add(&mut self, action: &Action, for_administrators: bool, world: Option<&World>) {
        match action {
            Action::Operations(bits) => {
                self.extractable |= bits & acl::EXPORT_AS_PLAIN != 0;
                // Who may add permissions may add that one.
                let is_expandable = bits & acl::EXPAND_ACL != 0;
                self.extractable |= is_expandable && !for_administrators;
                self.expandable |= is_expandable && for_administrators;
                if !for_administrators {
                    self.operations |= bits;
                }
            }
            Action::MakeArchiveBlob { key } => {
                let recovery = world.and_then(|world| world.recovery.as_ref()).map(|recovery| recovery.archive_key);
                if key.is_some() && *key == recovery {
                    self.recoverable = true;
                } else {
                    self.extractable = true;
                }
            }
            // Of other derivations nothing shows that the result does not reveal the key.
            Action::Derive { mechanism } => self.extractable |= *mechanism != acl::DERIVE_PUBLIC,
            Action::MakeBlob(blob) => match protection(blob, world) {
                Some(protection) => {
                    self.protection = Some(self.protection.map_or(protection, |other| other.min(protection)))
                }
                None => self.extractable = true,
            },
        }
    }

    /// Purposes that the operations show, in the words of PKCS #11.
    fn purposes(&self) -> Vec<&'static str> {
        let words =
            [(acl::DECRYPT, "decrypt"), (acl::ENCRYPT, "encrypt"), (acl::SIGN_AMONG, "sign"), (acl::VERIFY, "verify")];
        words.iter().filter(|(bits, _)| self.operations & bits == *bits).map(|(_, word)| *word).collect()
    }
}

/// How a blob is protected; `None`, where the module key of the world does not protect it.
fn protection(blob: &WorkingBlob, world: Option<&World>) -> Option<Protection> {
    let module_key = world.map(|world| world.module_key)?;
    if blob.module_key != Some(module_key) || blob.null_module_key {
        return None;
    }
    match (blob.module_alone, blob.token, blob.token_parameters) {
        (true, ..) => Some(Protection::Module),
        (false, Some(_), Some(token)) if token.is_softcard => Some(Protection::Softcard),
        (false, Some(_), Some(token)) => Some(Protection::Cardset { shares: token.shares_needed }),
        (false, ..) => None,
    }
}

fn describe_key(spki: &SpkiView, bundle: &Bundle, world: Option<&World>, at: usize) -> Claims {
    let generation = &bundle.generation.value;
    let permissions = Permissions::read(&generation.acl, world, &bundle.state.value.officer_key);
    let mut claims = Claims::new();
    let mut signed = |name, value: serde_json::Value| claims.put(name, value, Source::Signed, at);
    signed("spki", base64(spki.as_der()).into());
    signed("identifier", hex::encode(&generation.key).into());
    // The message exists only for keys that a module generated.
    signed("origin", "generated".into());
    signed("local", true.into());
    // Where administrators can expand the list, it says nothing of what they make of it.
    if permissions.extractable || !permissions.expandable {
        signed("extractable", permissions.extractable.into());
        // The list is the one that the key was generated with; none that allows less came before it.
        signed("never_extractable", (!permissions.extractable).into());
        signed("sensitive", (!permissions.extractable).into());
    }
    signed("recoverable", permissions.recoverable.into());
    // A key that is kept in blobs can be loaded by every module of its world, and so can one that is restored.
    let is_kept = permissions.protection.is_some() || permissions.recoverable;
    signed("device_bound", (!permissions.extractable && !is_kept).into());
    let purposes = permissions.purposes();
    if !purposes.is_empty() {
        signed("purposes", purposes.into());
    }
    match permissions.protection {
        None => {}
        Some(Protection::Module) => signed("user_auth", false.into()),
        Some(Protection::Softcard) => signed("user_auth", "softcard".into()),
        Some(Protection::Cardset { shares }) => {
            signed("user_auth", "cardset".into());
            signed("dual_control", (shares > 1).into());
        }
    }
    claims
}

fn describe_signer(key: &SpkiView, kind: WarrantKind, at: usize) -> Claims {
    let mut claims = Claims::new();
    claims.put("spki", base64(key.as_der()), Source::Signed, at);
    claims.promise("environment", "module", "Entrust", at);
    // There are no revocation lists for warrants.
    claims.put("revocation", Revocation::Unknown.label(), Source::Endorsed, at);
    match kind {
        WarrantKind::Factory => {}
        // The makers issued it on the word of the module's older key.
        WarrantKind::FieldUpgrade => claims.put("weak_signature", "dsa-1024", Source::Endorsed, at),
    }
    claims
}

fn describe_platform(bundle: &Bundle, world: Option<&World>, is_virtual: bool, at: usize) -> Claims {
    let module = &bundle.warrant.module;
    let mut claims = Claims::new();
    claims.promise("vendor", "Entrust", "Entrust", at);
    claims.promise("model", "nShield", "Entrust", at);
    claims.put("serial", module.serial.as_str(), Source::Signed, at);
    claims.put_kind(is_virtual, "Entrust", at);
    let mut fips = serde_json::Map::new();
    if let Some((version, level)) = module.fips140 {
        fips.insert("version".to_owned(), format!("FIPS 140-{version}").into());
        fips.insert("level".to_owned(), level.into());
    }
    if let Some(world) = world {
        fips.insert("mode".to_owned(), world.fips_key.is_some().into());
    }
    if !fips.is_empty() {
        claims.put("fips", fips, Source::Endorsed, at);
    }
    claims
}
