//! What was authenticated, put into the one vocabulary of claims (DESIGN, "Claims").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vouchsafe_evidence::bundle::BundleDefect;
use vouchsafe_evidence::input::InputError;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::tpm::{HashAlg, ObjectAttributes, PublicParameters, TpmsAttest};
use vouchsafe_evidence::x509::extensions::{self, CertificatePolicies, SubjectAltName};
use vouchsafe_evidence::x509::{CsrDefect, SpkiView};
use vouchsafe_evidence::{Malformed, Reason};

use crate::authenticate::{
    AkCertificates, AttestedKey, AttestedPlatform, Authenticated, Authentication, KeyProperties, Signer, TpmKey,
};
use crate::bind::Binding;
use crate::claims::{Claims, Source};
use crate::enrolment::Method;
use crate::hex;
use crate::policy::ReferenceValues;
use crate::rejection::{Code, Rejection, codes};
use crate::verdict::Freshness;

/// Octets as reports write them.
pub(crate) fn base64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// A platform configuration register as a quote reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its bank.
    pub bank: HashAlg,
    /// Its number.
    pub index: u8,
    /// Its value.
    pub value: Vec<u8>,
}

/// What authenticated statements say, in the common vocabulary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Descriptions {
    /// About the key, for each of [`Binding::keys`] in their order.
    pub keys: Vec<Claims>,
    /// About the platform that is bound to it.
    pub platform: Claims,
    /// About the keys that attested it, by the place of each statement about it, the first one's first.
    pub attesting_keys: Vec<(usize, Claims)>,
    /// A claim about the platform of which two statements say different things, and the second of them.
    pub contradiction: Option<(usize, &'static str)>,
    /// The PCR values of the bound platform statement.
    pub registers: Vec<Register>,
}

/// Describes what is bound, with `references` to tell PCR values that match one.
pub(crate) fn describe(
    authentication: &Authentication,
    binding: &Binding,
    references: &[&ReferenceValues],
) -> Descriptions {
    let at = |place: usize| authentication.statements.get(place);
    let keys = binding.keys.iter().map(|place| {
        let statement = at(place.statement);
        let key = statement.and_then(|statement| Some((statement.keys().get(place.key)?, statement.index())));
        let mut claims = key.map(|(key, index)| describe_key(key, index)).unwrap_or_default();
        if let Some(statement) = statement.filter(|found| found.freshness() == Freshness::ProofOfPossession) {
            let evidence = statement.dated().map_or_else(|| "undated".to_owned(), |dated| dated.time.to_string());
            claims.put("possession", json!({"fresh": true, "evidence": evidence}), Source::Signed, statement.index());
        }
        claims
    });
    let mut attesting_keys: Vec<(usize, Claims)> = Vec::new();
    for place in &binding.keys {
        if !attesting_keys.iter().any(|(known, _)| *known == place.statement)
            && let Some(statement) = at(place.statement)
        {
            attesting_keys.push((place.statement, describe_attesting_key(statement)));
        }
    }
    let mut reports: Vec<usize> = binding.platform.into_iter().collect();
    reports.extend(attesting_keys.iter().map(|(place, _)| *place).filter(|place| Some(*place) != binding.platform));
    let (platform, contradiction) = all_of_platform(reports.into_iter().filter_map(at), references);
    Descriptions {
        keys: keys.collect(),
        platform,
        attesting_keys,
        contradiction,
        registers: registers(binding.platform.and_then(at)),
    }
}

/// Claims about a platform that differ from one statement to the next although both are true.
const VARYING: [&str; 2] = ["attested_at", "uptime"];

/// What all bound statements together say of the platform: what the key's own statement says is never displaced by
/// another one's word.
fn all_of_platform<'a>(
    statements: impl Iterator<Item = &'a Authenticated>,
    references: &[&ReferenceValues],
) -> (Claims, Option<(usize, &'static str)>) {
    let mut all = Claims::new();
    let mut contradiction = None;
    for statement in statements {
        let said = describe_platform(statement, references);
        if all.is_empty() {
            all = said;
            continue;
        }
        for (name, claim) in said.iter() {
            match all.named(name) {
                None => all.add(name, claim.clone()),
                Some(known) if known.value == claim.value || VARYING.contains(&name) => {}
                Some(_) => {
                    contradiction.get_or_insert((statement.index(), name));
                }
            }
        }
    }
    (all, contradiction)
}

fn describe_key(key: &AttestedKey, at: usize) -> Claims {
    match &key.properties {
        KeyProperties::Claims { claims, .. } => claims.clone(),
        KeyProperties::Tpm(properties) => tpm_key(key.spki.as_ref(), properties, at),
    }
}

/// What is said of a key by the public area that its TPM certified.
pub(crate) fn tpm_key(spki: Option<&SpkiView>, key: &TpmKey, at: usize) -> Claims {
    let mut claims = Claims::new();
    let has = |bit| key.attributes.contains(bit);
    let fixed = has(ObjectAttributes::FIXED_TPM | ObjectAttributes::FIXED_PARENT);
    let generated = has(ObjectAttributes::SENSITIVE_DATA_ORIGIN);
    let duplicable = has(ObjectAttributes::ENCRYPTED_DUPLICATION);
    if let Some(spki) = spki {
        claims.put("spki", base64(spki.as_der()), Source::Signed, at);
    }
    claims.put("origin", if generated { "generated" } else { "imported" }, Source::Signed, at);
    claims.put("local", generated, Source::Signed, at);
    claims.put("extractable", !fixed || duplicable, Source::Signed, at);
    // fixedTPM cannot be set later, so a key that has it and was generated here was never elsewhere.
    claims.put("never_extractable", fixed && generated && !duplicable, Source::Signed, at);
    claims.put("device_bound", key.is_device_bound(), Source::Signed, at);
    // Every TPM keeps private parts encrypted outside; no structure says so.
    claims.put("sensitive", true, Source::Implied, at);
    claims.put("user_auth", has(ObjectAttributes::USER_WITH_AUTH), Source::Signed, at);
    claims.put("purposes", purposes(key), Source::Signed, at);
    claims.put("tpm_attributes", attribute_names(key.attributes), Source::Signed, at);
    let attributes = if key.is_extension_only() { "extension-only" } else { "name" };
    claims.put("attributes", attributes, Source::Signed, at);
    if let Some(public) = &key.public {
        let policy = public.auth_policy();
        if !policy.is_empty() {
            claims.put("auth_policy", hex::encode(policy), Source::Signed, at);
        }
    }
    if let Some(qualified_name) = &key.qualified_name {
        let parent = object([
            ("fixed", Value::from(has(ObjectAttributes::FIXED_PARENT))),
            ("qualified_name", Value::from(hex::encode(qualified_name.as_bytes()))),
        ]);
        claims.put("parent", parent, Source::Signed, at);
    }
    claims
}

/// A JSON object that takes its values over, where a macro would copy them.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn attribute_names(attributes: ObjectAttributes) -> Vec<&'static str> {
    attributes.names().collect()
}

/// What the key may be used for, in the words of PKCS #11.
fn purposes(key: &TpmKey) -> Vec<&'static str> {
    let agreement = key.public.as_ref().is_some_and(|public| match public.parameters() {
        PublicParameters::Ecc { .. } => true,
        PublicParameters::Rsa { .. } | PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => false,
    });
    let mut purposes = Vec::new();
    if key.attributes.contains(ObjectAttributes::SIGN) {
        purposes.push("sign");
    }
    if key.attributes.contains(ObjectAttributes::DECRYPT) {
        purposes.push(if agreement { "derive" } else { "decrypt" });
    }
    purposes
}

/// The claims about the platform of an authenticated statement.
fn describe_platform(statement: &Authenticated, references: &[&ReferenceValues]) -> Claims {
    let mut claims = Claims::new();
    let platform = match statement.platform() {
        None => return claims,
        Some(AttestedPlatform::Claims(claims)) => return claims.clone(),
        Some(AttestedPlatform::Quote(quoted)) => quoted,
    };
    let at = statement.index();
    if let Some(key) = statement.signer().tpm() {
        module(&mut claims, key.root(), at);
    }
    clock(&mut claims, &platform.attest, at);
    let registers: Vec<Value> = platform
        .registers
        .iter()
        .enumerate()
        .map(|(place, (bank, index))| {
            let value = platform.values.as_ref().and_then(|values| values.get(place)).map(Vec::as_slice);
            let reference = references.iter().find_map(|references| references.value(*bank, *index));
            let matches = reference.is_some() && reference == value;
            object([
                ("bank", Value::from(bank.label())),
                ("index", Value::from(*index)),
                ("value", Value::from(value.map(hex::encode))),
                ("status", Value::from(if matches { "matches-reference" } else { "recorded" })),
            ])
        })
        .collect();
    claims.put("measured_boot", object([("registers", Value::from(registers))]), Source::Signed, at);
    claims
}

/// The values of a quote's registers; none where the statement carries none.
fn registers(statement: Option<&Authenticated>) -> Vec<Register> {
    let Some(platform) = statement.and_then(Authenticated::platform).and_then(AttestedPlatform::quote) else {
        return Vec::new();
    };
    let values = platform.values.iter().flatten();
    platform
        .registers
        .iter()
        .zip(values)
        .map(|((bank, index), value)| Register { bank: *bank, index: *index, value: value.clone() })
        .collect()
}

fn clock(claims: &mut Claims, attest: &TpmsAttest, at: usize) {
    claims.put("fw_version", hex::encode(&attest.firmware_version().to_be_bytes()), Source::Signed, at);
    claims.put("boot_count", attest.clock_info().reset_count, Source::Signed, at);
}

/// What AK certificates say of the module: copied there from the EK certificate.
fn module(claims: &mut Claims, certificates: &AkCertificates, at: usize) {
    tpm_module(claims, extension(certificates, oid::SUBJECT_ALT_NAME), certificates.is_virtual(), at);
}

/// What a certificate for a key of a TPM says of the TPM: manufacturer, model and version, as the TCG names them, in
/// its alternative name.
pub(crate) fn tpm_module(claims: &mut Claims, alternative_name: Option<&[u8]>, is_virtual: bool, at: usize) {
    // The mark on an anchor says "virtual"; that an unmarked one is of real chips is its maker's promise.
    let (kind, source) = if is_virtual { ("virtual", Source::Endorsed) } else { ("physical", Source::Implied) };
    claims.put("kind", kind, source, at);
    let names = alternative_name.and_then(|value| SubjectAltName::parse(value).ok());
    let Some(names) = names else { return };
    let attributes = [("vendor", oid::TPM_MANUFACTURER), ("model", oid::TPM_MODEL), ("hw_version", oid::TPM_VERSION)];
    for (claim, attribute) in attributes {
        if let Ok(Some(text)) = names.tpm_attribute(attribute) {
            claims.put(claim, printable(&text), Source::Endorsed, at);
        }
    }
}

fn extension(certificates: &AkCertificates, oid: Oid) -> Option<&[u8]> {
    let mut found = certificates.iter().filter_map(|certificate| certificate.view().extension(oid).ok().flatten());
    found.next().map(|extension| extension.value())
}

/// The claims about the key that signed a statement.
fn describe_attesting_key(statement: &Authenticated) -> Claims {
    let key = match statement.signer() {
        Signer::Module(signer) => return signer.claims.clone(),
        Signer::Tpm(key) => key,
    };
    let mut claims = Claims::new();
    let at = statement.index();
    let root = key.root();
    claims.put("spki", base64(key.spki().as_der()), Source::Signed, at);
    let policies = extension(root, oid::CERTIFICATE_POLICIES).and_then(|value| CertificatePolicies::parse(value).ok());
    let policies = policies.as_ref().map(CertificatePolicies::policies).unwrap_or_default();
    if let Some(method) = Method::ALL.into_iter().find(|method| policies.contains(&method.policy())) {
        claims.put("bootstrap", method.label(), Source::Endorsed, at);
    }
    if policies.contains(&oid::ENVIRONMENT_HOST) {
        claims.put("environment", "host", Source::Endorsed, at);
    } else if policies.contains(&oid::ENVIRONMENT_MODULE) {
        claims.put("environment", "module", Source::Endorsed, at);
    } else {
        claims.put("environment", "module", Source::Implied, at);
    }
    claims.put_chain(root.revocation(), root.deviations().map(|deviation| deviation.label()).collect(), at);
    module(&mut claims, root, at);
    let firmware = statement.keys().iter().find_map(|key| key.tpm().and_then(|key| key.firmware_version));
    if let Some(version) = firmware {
        claims.put("fw_version", hex::encode(&version.to_be_bytes()), Source::Signed, at);
    }
    if let Some(name) = root.name() {
        claims.put("name", hex::encode(name.as_bytes()), Source::Endorsed, at);
    }
    let attributes = extension(root, oid::TPMA_OBJECT).and_then(|value| extensions::tpma_object(value).ok());
    if let Some(bits) = attributes {
        claims.put("attributes", attribute_names(ObjectAttributes::from_bits(bits)), Source::Endorsed, at);
    }
    claims
}

/// Whether a violation of the binding is about the key itself, rather than about what stands beside it.
pub(crate) fn is_about_key(rejection: &Rejection) -> bool {
    [codes::BIND_KEY_MISMATCH, codes::BIND_CSR_KEY_IS_AK, codes::BIND_EXPECTED_KEY]
        .iter()
        .any(|code| code.id == rejection.code())
}

/// The refusal of input that is no submission.
pub(crate) fn input_rejection(error: &InputError) -> Rejection {
    let message = format!("The input cannot be used: {}.", printable(&error.to_string()));
    let code = match error {
        InputError::Ambiguous { .. } => codes::INPUT_AMBIGUOUS,
        InputError::Bundle(defect) => return bundle_rejection(defect),
        InputError::Csr(defect) => return csr_rejection(defect),
        InputError::ClientDataUnused
        | InputError::Empty
        | InputError::FormatWithCsr
        | InputError::NotOfFormat(_)
        | InputError::Unrecognized { .. }
        | InputError::UnsupportedFormat(_) => codes::INPUT_UNRECOGNIZED,
        InputError::Incomplete { part, .. } if *part == "tpmTPublic" => codes::TPM_PUBLIC_MISSING,
        InputError::Incomplete { .. } => codes::INPUT_INCOMPLETE,
        InputError::Malformed { malformed, .. } => {
            return malformed_rejection(malformed, codes::INPUT_UNRECOGNIZED, message);
        }
        InputError::OverLimit { .. } => codes::LIMIT_INPUT,
        InputError::Unverifiable { .. } => codes::INPUT_UNSUPPORTED_FORMAT,
    };
    Rejection::new(code, message)
}

/// The refusal of a request that does not carry one bundle.
pub(crate) fn csr_rejection(defect: &CsrDefect) -> Rejection {
    let code = match defect {
        CsrDefect::Bundle(defect) => return bundle_rejection(defect),
        CsrDefect::Malformed(malformed) => {
            let message = format!("The certification request is malformed: {malformed}.");
            return malformed_rejection(malformed, codes::CSR_MALFORMED, message);
        }
        CsrDefect::SeveralAttributes { .. } => codes::CSR_SEVERAL_ATTRIBUTES,
        CsrDefect::ValueCount { .. } => codes::CSR_SEVERAL_BUNDLES,
    };
    Rejection::new(code, format!("{} ({defect})", code.meaning))
}

fn bundle_rejection(defect: &BundleDefect) -> Rejection {
    match defect {
        BundleDefect::Empty => Rejection::plain(codes::CSR_EMPTY_BUNDLE),
        BundleDefect::LegacyStatement { statement } => {
            Rejection::plain(codes::CSR_LEGACY_STATEMENT).in_statement(*statement)
        }
        BundleDefect::Malformed(malformed) => {
            let message = format!("The attestation bundle is malformed: {malformed}.");
            malformed_rejection(malformed, codes::CSR_MALFORMED_BUNDLE, message)
        }
    }
}

/// The refusal of malformed bytes: by the bound that they exceed, or else as `otherwise`.
fn malformed_rejection(malformed: &Malformed, otherwise: Code, message: String) -> Rejection {
    let code = match malformed.reason {
        Reason::OverLimit { what, .. } => match what {
            "statements" => codes::LIMIT_STATEMENTS,
            "certificates" => codes::LIMIT_CERTIFICATES,
            "nesting" => codes::LIMIT_NESTING,
            "request octets" => codes::LIMIT_CSR,
            "RSA modulus bits" => codes::LIMIT_RSA,
            _ => otherwise,
        },
        Reason::BadValue(_)
        | Reason::Duplicate(_)
        | Reason::Missing(_)
        | Reason::NotDer(_)
        | Reason::Trailing(_)
        | Reason::Truncated(_)
        | Reason::Unexpected(_) => otherwise,
    };
    Rejection::new(code, message)
}

/// What reports call the format of input that is no submission.
pub(crate) fn format_of_error(error: &InputError) -> &'static str {
    match error {
        InputError::Csr(_) | InputError::FormatWithCsr => "csr",
        InputError::Incomplete { format, .. }
        | InputError::NotOfFormat(format)
        | InputError::UnsupportedFormat(format) => format.id(),
        InputError::Ambiguous { .. }
        | InputError::Bundle(_)
        | InputError::ClientDataUnused
        | InputError::Empty
        | InputError::Malformed { .. }
        | InputError::OverLimit { .. }
        | InputError::Unrecognized { .. }
        | InputError::Unverifiable { .. } => "unknown",
    }
}
