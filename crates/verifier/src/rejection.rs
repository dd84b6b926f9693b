//! Why evidence was refused: one table of stable codes, each with its meaning and the clause it rests on.

use std::fmt;

use crate::path::PathError;

/// A reason for refusal that programs may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    /// The stable identifier, such as `tpm.key-not-fixed`.
    pub id: &'static str,
    /// The draft, specification or rule it rests on, with its section.
    pub clause: &'static str,
    /// What it means, as one sentence for people.
    pub meaning: &'static str,
}

/// One violation found in one piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    code: Code,
    message: String,
    statement: Option<usize>,
}

impl Rejection {
    /// A violation of `code`, described by what was found.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), statement: None }
    }

    /// A violation of `code` with nothing to add to its meaning.
    #[must_use]
    pub fn plain(code: Code) -> Self {
        Self::new(code, code.meaning)
    }

    /// The same violation, found in statement `index` of the bundle.
    #[must_use]
    pub fn in_statement(mut self, index: usize) -> Self {
        self.statement = Some(index);
        self
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code.id
    }

    /// The row of the table of codes.
    #[must_use]
    pub const fn row(&self) -> Code {
        self.code
    }

    /// One sentence: what was found, and what was wanted.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The statement it concerns, counted from zero in the order of the bundle; `None` for the whole.
    #[must_use]
    pub const fn statement(&self) -> Option<usize> {
        self.statement
    }

    /// The clause it rests on.
    #[must_use]
    pub const fn clause(&self) -> &'static str {
        self.code.clause
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.id, self.message)?;
        if let Some(index) = self.statement {
            write!(f, " (statement {index})")?;
        }
        write!(f, " [{}]", self.code.clause)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $clause:literal, $meaning:literal;)*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $meaning, " (", $clause, ")")]
            pub const $name: Code = Code { id: $id, clause: $clause, meaning: $meaning };
        )*
        /// Every code of this module, in order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

/// The codes, grouped by what refuses. `docs/rejections.md` is generated from this table.
pub mod codes {
    use super::Code;

    codes! {
        AK_CERTIFICATE_MISSING = "ak.certificate-missing", "csr-attestation-29, 4.1", "No certificate of the key that signed this statement is in the bundle.";
        AK_NAME_MALFORMED = "ak.name-malformed", "Vouchsafe DESIGN, AK certificates", "The AK Name extension of an attestation key certificate is not a Name.";
        AK_NAME_MISMATCH = "ak.name-mismatch", "Vouchsafe DESIGN, AK certificates", "Two valid certificates of one attestation key pin different Names.";
        AK_ATTRIBUTES = "ak.attributes", "Vouchsafe DESIGN, The attesting key", "The attestation key's attributes are not those of a key that can only attest.";
        AK_ATTESTATION_FORMAT = "ak.attestation-format", "Vouchsafe DESIGN, AK enrolment", "No maker vouches for attesting keys in evidence of this format.";
        AK_ATTESTATION_NOT_MAKERS = "ak.attestation-not-makers", "Vouchsafe DESIGN, AK enrolment", "The attestation of the attesting key rests on an owner or on another authority, not on the maker of its module.";
        AK_DEVICE_LINK_MALFORMED = "ak.device-link-malformed", "Vouchsafe DESIGN, Binding graph", "The deviceLink extension of an attestation key certificate is malformed or empty.";
        AK_NAME_ALGORITHM = "ak.name-algorithm", "Vouchsafe DESIGN, The attesting key", "The attestation key's nameAlg is weaker than SHA-256.";
        AK_POSSESSION = "ak.possession", "Vouchsafe DESIGN, AK enrolment", "The challenge is not signed with the attesting key, for this device and this purpose.";
        AK_POLICY = "ak.policy-present", "Vouchsafe DESIGN, The attesting key", "The attestation key carries an authorization policy, which could let others use it.";
        AK_PUBLIC_MALFORMED = "ak.public-malformed", "TPM 2.0 Part 2, TPMT_PUBLIC", "The attestation key's public area is malformed.";
        AK_SCHEME = "ak.scheme", "Vouchsafe DESIGN, The attesting key", "The attestation key lets its user choose the signature scheme, or fixes a weak one.";
        AK_SYMMETRIC = "ak.symmetric", "Vouchsafe DESIGN, The attesting key", "The attestation key names a symmetric algorithm, which only parents have.";
        AK_KEY_TYPE = "ak.key-type", "Vouchsafe DESIGN, The attesting key", "The attestation key is of a kind or size that is not accepted.";
        AK_WRONG_FAMILY = "ak.wrong-family", "Vouchsafe DESIGN, One AK certificate, one family of statements", "The certificate of the attestation key is not for this family of statements alone.";
        BIND_AMBIGUOUS_KEY = "bind.ambiguous-key", "Vouchsafe DESIGN, Binding graph", "The statements attest several keys and nothing says which one is meant.";
        BIND_CSR_KEY_IS_AK = "bind.csr-key-is-ak", "Vouchsafe DESIGN, Binding graph", "The key to be certified is an attestation key.";
        BIND_EXPECTED_KEY = "bind.expected-key", "CSBR 6.2.7.4.2(2); Vouchsafe CONTRACT, --key", "The evidence is about another key than the one that was expected.";
        BIND_KEY_MISMATCH = "bind.key-mismatch", "csr-attestation-29, 6.1", "No key statement is about the key of the certification request.";
        BIND_KEY_NOT_DEVICE_BOUND = "bind.key-not-device-bound", "Vouchsafe DESIGN, Binding graph", "A key that may leave its TPM cannot be bound to a platform.";
        BIND_NO_KEY_STATEMENT = "bind.no-key-statement", "csr-attestation-29, 4.1", "The bundle has no key statement.";
        BIND_OTHER_DEVICE = "bind.other-device", "Vouchsafe CONTRACT, Device", "The evidence comes from another device than the one that was expected.";
        BIND_SEVERAL_PLATFORMS = "bind.several-platforms", "Vouchsafe DESIGN, Binding graph", "The bundle has more than one platform statement.";
        BIND_UNCONNECTED = "bind.unconnected-statement", "csr-attestation-29, 6.1; Vouchsafe DESIGN, Binding graph", "A true statement is not connected to the certified key: another device may have made it.";
        CMW_MALFORMED = "cmw.malformed", "RFC 9999, 3", "The Conceptual Message Wrapper does not have the form of its type, or holds more than is read.";
        CMW_SIGNED = "cmw.signed", "RFC 9999, 5", "The Conceptual Message Wrapper is signed as a whole, by JWS or COSE, which is not read.";
        CSR_BAD_SIGNATURE = "csr.bad-signature", "RFC 2986, 4.2", "The certification request is not signed by the key it carries.";
        CSR_EMPTY_BUNDLE = "csr.empty-bundle", "csr-attestation-29, 4.1", "The attestation bundle holds no statement.";
        CSR_LEGACY_STATEMENT = "csr.legacy-statement", "csr-attestation-29, 4.1", "An attestation statement has a trailing element, as old drafts had.";
        CSR_MALFORMED = "csr.malformed", "RFC 2986, 4", "The certification request is malformed.";
        CSR_MALFORMED_BUNDLE = "csr.malformed-bundle", "csr-attestation-29, 4.1", "The attestation bundle is malformed.";
        CSR_NO_ATTESTATION = "csr.no-attestation", "csr-attestation-29, 4.3", "The certification request carries no attestation.";
        CSR_SEVERAL_ATTRIBUTES = "csr.several-attributes", "csr-attestation-29, 4.3", "The certification request has more than one attestation attribute.";
        CSR_SEVERAL_BUNDLES = "csr.several-bundles", "csr-attestation-29, 4.3", "The attestation attribute does not hold exactly one bundle.";
        CSR_WEAK_SIGNATURE = "csr.weak-signature", "RFC 9155", "The certification request is signed with an algorithm that is weak or unknown.";
        CSBR_MODULE_NOT_CERTIFIED = "csbr.module-not-certified", "CSBR 6.2.7.4.1; CSBR 6.2.7.4.2(2)", "No list of certified modules shows the certification that policy asks for.";
        CX509_ALGORITHM = "cx509.algorithm", "RFC 5280, 4.1.1.2; Vouchsafe DESIGN, Leaf profile", "The signature algorithm of the TPM-made certificate is not the attestation key's, or is named in two ways.";
        CX509_ATTRIBUTES_DISAGREE = "cx509.attributes-disagree", "Vouchsafe DESIGN, Leaf profile", "The public area and the certificate's tcg-tpmaObject name different attributes.";
        CX509_ATTRIBUTES_MISSING = "cx509.attributes-missing", "Vouchsafe DESIGN, Leaf profile", "Nothing authenticates the key's attributes: no tcg-tpmaObject, and no public area under an AK certificate that carries the AK's Name.";
        CX509_BAD_SIGNATURE = "cx509.bad-signature", "Vouchsafe DESIGN, Leaf profile", "The TPM-made certificate is not signed directly by the key of an attestation key certificate.";
        CX509_CA = "cx509.ca", "Vouchsafe DESIGN, Leaf profile", "The TPM-made certificate is, or could act as, a certification authority.";
        CX509_DUPLICATE_EXTENSION = "cx509.duplicate-extension", "RFC 5280, 4.2; Vouchsafe DESIGN, Leaf profile", "The TPM-made certificate has an extension twice.";
        CX509_EXTENSION = "cx509.extension", "Vouchsafe DESIGN, Leaf profile", "The TPM-made certificate has an extension that is not in its profile.";
        CX509_EXPIRED = "cx509.expired", "RFC 5280, 4.1.2.5", "The TPM-made certificate is not valid at this time.";
        CX509_KEY_USAGE = "cx509.key-usage", "TPM 2.0 Part 3, TPM2_CertifyX509; Vouchsafe DESIGN, Leaf profile", "The key usage of the TPM-made certificate is missing, malformed or not that of an end entity.";
        CX509_NOT_DER = "cx509.not-der", "Vouchsafe DESIGN, Leaf profile", "The TPM-made certificate is not strict DER.";
        CX509_SERIAL = "cx509.serial", "TPM 2.0 Part 3, TPM2_CertifyX509", "The serial number is not the digest that ties the certificate to this public area and attestation key.";
        CX509_SPKI_MISMATCH = "cx509.spki-mismatch", "TPM 2.0 Part 3, TPM2_CertifyX509", "The public area is of another key than the TPM-made certificate.";
        CX509_SUBJECT = "cx509.subject-outside-device", "RFC 5280, 4.2.1.10; Vouchsafe DESIGN, Leaf profile", "The subject of the TPM-made certificate does not lie beneath the attestation key's name.";
        CX509_TPMA_OBJECT = "cx509.tpma-object", "TPM 2.0 Part 3, TPM2_CertifyX509", "The tcg-tpmaObject extension is not exactly the 32 attribute bits with the reserved ones zero.";
        CX509_WEAK_HASH = "cx509.weak-hash", "Vouchsafe DESIGN, Leaf profile", "The TPM-made certificate is signed over a hash weaker than SHA-256.";
        EK_TEMPLATE = "ek.template", "TCG EK Credential Profile, Default EK Templates", "The endorsement key fits no template whose parameters are known.";
        EK_MISSING = "ek.missing", "TCG EK Credential Profile, 3.2", "No endorsement key certificate was presented.";
        FORMAT_WRAPPER = "input.malformed-wrapper", "csr-attestation-29, 4.1", "The statement is not the OCTET STRING that carries evidence of its format.";
        INPUT_AMBIGUOUS = "input.ambiguous", "Vouchsafe CONTRACT, Input", "Two parts of the input are candidates for one place in the evidence.";
        INPUT_INCOMPLETE = "input.incomplete", "Vouchsafe CONTRACT, Input", "A part of the evidence is missing.";
        INPUT_UNRECOGNIZED = "input.unrecognized", "Vouchsafe CONTRACT, Input", "The input is nothing that is known here.";
        INPUT_UNSUPPORTED_FORMAT = "input.unsupported-format", "Vouchsafe CONTRACT, Input", "The evidence is of a format that is told apart and not verified here.";
        KEY_EXTRACTABLE = "key.extractable", "CSBR 6.2.7.4.2(2); PKCS #11, CKA_EXTRACTABLE", "Nothing shows that the key cannot leave its module.";
        KEY_CURVE = "key.curve", "CSBR 6.1.5.2; NIST SP 800-186", "The key is not on a curve that policy takes.";
        KEY_DEVICE_BOUND = "key.device-bound", "Vouchsafe DESIGN, Policy", "The key is not bound to its module, or not free of it, as policy asks.";
        KEY_DUAL_CONTROL = "key.dual-control", "Vouchsafe DESIGN, Policy", "Whether using the key takes two persons is not as policy asks.";
        KEY_LOCAL = "key.local", "PKCS #11, CKA_LOCAL", "Whether the module made the key is not as policy asks.";
        KEY_NOT_GENERATED = "key.not-generated", "CSBR 6.2.7.4.2(2); PKCS #11, CKA_LOCAL", "Nothing shows that the key was generated in its module.";
        KEY_ONCE_EXTRACTABLE = "key.once-extractable", "CSBR 6.2.7.4.2(2); PKCS #11, CKA_NEVER_EXTRACTABLE", "Nothing shows that the key could never leave its module.";
        KEY_PURPOSES = "key.purposes", "CSBR 6.1.7; PKCS #11, CKA_SIGN", "The key's purposes are not those that policy asks for.";
        KEY_RECOVERABLE = "key.recoverable", "Vouchsafe DESIGN, Policy", "Whether the key can be restored from a backup is not as policy asks.";
        KEY_SENSITIVE = "key.sensitive", "CSBR 6.2.7.4.2(2); PKCS #11, CKA_SENSITIVE", "Whether the key is kept from being shown is not as policy asks.";
        KEY_SIZE = "key.size", "CSBR 6.1.5.2; NIST SP 800-131A", "The RSA key is shorter than policy takes.";
        KEY_USER_AUTH = "key.user-auth", "Vouchsafe DESIGN, Policy", "Nothing shows that using the key takes an act of its user.";
        LIMIT_CERTIFICATES = "limit.certificates", "Vouchsafe CONTRACT, Limits", "The bundle holds more certificates than are read.";
        LIMIT_CSR = "limit.csr-size", "Vouchsafe CONTRACT, Limits", "The certification request is larger than is read.";
        LIMIT_INPUT = "limit.input-size", "Vouchsafe CONTRACT, Limits", "The input is larger than is read.";
        LIMIT_NESTING = "limit.nesting", "Vouchsafe CONTRACT, Limits", "Values are nested deeper than is read.";
        LIMIT_RSA = "limit.rsa-bits", "Vouchsafe CONTRACT, Limits", "An RSA key is larger than is read.";
        LIMIT_SIGNATURE_CHECKS = "limit.signature-checks", "Vouchsafe CONTRACT, Limits", "The evidence needs more signature checks than are made.";
        LIMIT_STATEMENTS = "limit.statements", "Vouchsafe CONTRACT, Limits", "The bundle holds more statements than are read.";
        NONCE_MALFORMED = "nonce.malformed", "Vouchsafe DESIGN, Statement types", "The nonce extension is not one OCTET STRING.";
        NONCE_MISMATCH = "nonce.mismatch", "RFC 9334, 10.2", "The statement answers another nonce than the one that was given.";
        NONCE_MISSING = "nonce.missing", "RFC 9334, 10.2", "The statement carries no nonce although one was given.";
        PUBLISH_PLATFORM_STATEMENT = "publish.platform-statement", "csr-attestation-29, 6.3; RFC 9334, 10", "The certificate publishes a statement about a platform, which was true at some time that nobody can tell.";
        POLICY_ADVISORY_KEY = "policy.advisory-key", "Vouchsafe DESIGN, Policy", "A key shows a known flaw.";
        POLICY_ADVISORY_MODULE = "policy.advisory-module", "Vouchsafe DESIGN, Policy", "Modules of this vendor, model and firmware have a known flaw.";
        POLICY_BOOTSTRAP = "policy.bootstrap", "Vouchsafe DESIGN, Policy", "The attesting key was tied to its module by a method that policy does not take.";
        POLICY_COMMON_CRITERIA = "policy.common-criteria", "ISO/IEC 15408", "What is said of a Common Criteria certificate is not what policy asks for.";
        POLICY_DEBUG = "policy.debug", "RFC 9711, 4.2.9", "The module can be debugged, or nothing shows that it cannot.";
        POLICY_ENVIRONMENT = "policy.environment", "Vouchsafe DESIGN, Claims", "The attesting key is used by software beside the module, which can have it sign anything.";
        POLICY_EVIDENCE_FROM_FUTURE = "policy.evidence-from-future", "RFC 9334, 10.1", "The evidence says that it was made at a time that is not yet.";
        POLICY_EVIDENCE_TOO_OLD = "policy.evidence-too-old", "RFC 9334, 10.1", "The evidence is older than policy takes, by its own time.";
        POLICY_EVIDENCE_UNDATED = "policy.evidence-undated", "RFC 9334, 10.1", "Policy bounds the age of evidence, and this neither says its time nor answers a nonce.";
        POLICY_EXPRESSION = "policy.expression", "Vouchsafe DESIGN, Policy", "An expression of the policy is not true of the claims.";
        POLICY_EXTENSION_ONLY = "policy.extension-only", "Vouchsafe DESIGN, TPM2_CertifyX509", "Policy wants the key's attributes from its Name, not from the certificate's extension alone.";
        POLICY_FIPS = "policy.fips", "FIPS 140-3; pkix-key-attestation, 10.1", "What the module says of its FIPS mode is not what policy asks for.";
        POLICY_HOST_ASSERTED = "policy.host-asserted", "Vouchsafe DESIGN, Claims", "Only host software asserts what a rule asks for.";
        POLICY_IDENTITY_ONLY = "policy.identity-only", "TCG EK Credential Profile, 1; CSBR 6.2.7.4.2(2)", "The evidence is the certificate of an endorsement key alone: it identifies a module, and no key was attested.";
        POLICY_IMPLIED = "policy.implied", "Vouchsafe DESIGN, Claims", "Only a maker's promise says what a rule asks for.";
        POLICY_MODEL = "policy.model", "Vouchsafe DESIGN, Policy", "The module is of a model that policy does not take.";
        POLICY_MISSING_SIGNERS = "policy.missing-signers", "pkix-key-attestation-07, 5.3.3 and 10.3", "The evidence names an attestation key whose signature is not there: it may have been stripped.";
        POLICY_NONCE = "policy.nonce-required", "RFC 9334, 10.2", "Policy demands freshness by nonce and none was given.";
        POLICY_PLATFORM = "policy.platform-required", "Vouchsafe DESIGN, Policy", "Policy demands a platform statement and there is none.";
        POLICY_POSSESSION = "policy.possession", "RFC 9334, 10.2", "Policy wants a nonce in the evidence, not a proof of possession in its place.";
        POLICY_SIGNATURE_ALGORITHMS = "policy.signature-algorithms", "pkix-key-attestation, 6", "The signatures that were verified are not by all the algorithms that policy asks for.";
        POLICY_UNCHECKED_HSS = "policy.unchecked-hss", "RFC 8554", "Policy asks that hash-based signatures are checked, and one was not.";
        POLICY_VENDOR = "policy.vendor", "Vouchsafe DESIGN, Policy", "The module is of a vendor that policy does not take.";
        POLICY_VIRTUAL = "policy.virtual-module", "Vouchsafe DESIGN, Claims", "Policy refuses virtual modules and the trust anchor is marked as one of theirs.";
        POLICY_WEAK_SIGNATURE = "policy.weak-signature", "NIST SP 800-131A", "The evidence holds only by a weak signature algorithm.";
        POP_CONTEXT = "pop.context", "Vouchsafe DESIGN, Statement types", "The proof of possession is bound to another session, transaction or account.";
        POP_MALFORMED = "pop.malformed", "Vouchsafe DESIGN, Statement types", "The key-pop statement does not have the form of its type.";
        POP_NO_REQUEST = "pop.no-request", "Vouchsafe DESIGN, Statement types", "A proof of possession counts only in a certification request, whose signature covers it.";
        POP_SEVERAL = "pop.several", "Vouchsafe DESIGN, Statement types", "The request holds more than one proof of possession.";
        TPM_BAD_SIGNATURE = "tpm.bad-signature", "TPM 2.0 Part 1, Attestation", "The signature over the attestation does not verify with the attestation key.";
        TPM_KEY_DUPLICABLE = "tpm.key-duplicable", "TPM 2.0 Part 2, TPMA_OBJECT", "The key has encryptedDuplication set: it was made to be duplicated.";
        TPM_KEY_NOT_FIXED = "tpm.key-not-fixed", "TPM 2.0 Part 2, TPMA_OBJECT", "The key has fixedTPM clear: it may leave this TPM or come from outside.";
        TPM_KEY_NOT_GENERATED = "tpm.key-not-generated", "TPM 2.0 Part 2, TPMA_OBJECT", "The key has sensitiveDataOrigin clear: its private part was made outside or derived.";
        TPM_KEY_PARENT_NOT_FIXED = "tpm.key-parent-not-fixed", "TPM 2.0 Part 2, TPMA_OBJECT", "The key has fixedParent clear: it may be moved under another parent.";
        TPM_KEY_RESERVED = "tpm.key-reserved-attributes", "TPM 2.0 Part 2, TPMA_OBJECT", "The key has attribute bits set that no specification defines.";
        TPM_KEY_TYPE = "tpm.key-type", "TPM 2.0 Part 2, TPMT_PUBLIC", "The attested object is not an asymmetric key that certificates can carry.";
        TPM_MAGIC = "tpm.magic", "TPM 2.0 Part 2, TPM_GENERATED", "The signed bytes do not begin as TPM-generated structures do: the TPM did not attest them.";
        TPM_MALFORMED_ATTEST = "tpm.malformed-attest", "TPM 2.0 Part 2, TPMS_ATTEST", "The attestation structure is malformed.";
        TPM_MALFORMED_PUBLIC = "tpm.malformed-public", "TPM 2.0 Part 2, TPMT_PUBLIC", "The public area is malformed.";
        TPM_MALFORMED_SIGNATURE = "tpm.malformed-signature", "TPM 2.0 Part 2, TPMT_SIGNATURE", "The signature is neither a TPMT_SIGNATURE nor a bare signature of the attestation key.";
        TPM_MALFORMED_STATEMENT = "tpm.malformed-statement", "Vouchsafe DESIGN, Statement types", "The statement does not have the form of its type.";
        TPM_NAME_MISMATCH = "tpm.name-mismatch", "TPM 2.0 Part 1, Names", "The attested Name is not that of the public area.";
        TPM_NAME_ALGORITHM = "tpm.name-algorithm", "TPM 2.0 Part 1, Names", "The key's nameAlg is weaker than SHA-256, so its Name proves little.";
        TPM_PCR_DIGEST = "tpm.pcr-digest", "TPM 2.0 Part 3, TPM2_Quote", "The PCR values are not those that the quote's digest covers.";
        TPM_PCR_REFERENCE = "tpm.pcr-reference", "RFC 9334, 8.3", "A PCR does not have its reference value.";
        TPM_PCR_SELECTION = "tpm.pcr-selection", "TPM 2.0 Part 3, TPM2_Quote", "The quote does not cover the PCRs that policy asks for.";
        TPM_PCR_VALUES = "tpm.pcr-values-missing", "Vouchsafe DESIGN, Statement types", "Reference values are to be compared and the statement carries no PCR values.";
        TPM_PUBLIC_MISSING = "tpm.public-missing", "TPM 2.0 Part 1, Names; Vouchsafe DESIGN, Statement types", "The statement carries no public area, so the attested Name cannot be tied to a key.";
        TPM_SIGNATURE_ALGORITHM = "tpm.signature-algorithm", "TPM 2.0 Part 2, TPMT_SIGNATURE", "The signature is of another kind than the attestation key.";
        TPM_WEAK_HASH = "tpm.weak-hash", "NIST SP 800-131A", "The attestation is signed over a hash weaker than SHA-256.";
        TPM_WRONG_TYPE = "tpm.wrong-attestation-type", "TPM 2.0 Part 2, TPMI_ST_ATTEST", "The attestation is of another type than the statement.";
    }
}

/// Every code that a verdict or an enrolment can carry, sorted by its identifier.
#[must_use]
pub fn all_codes() -> Vec<Code> {
    let of_paths = PathError::ALL.iter().map(|(id, clause, meaning)| Code { id, clause, meaning });
    let mut all: Vec<Code> = codes::ALL.iter().copied().chain(of_paths).chain(crate::formats::codes()).collect();
    all.extend(crate::ceremony::codes::ALL);
    all.sort_by_key(|code| code.id);
    all.dedup_by_key(|code| code.id);
    all
}

impl From<PathError> for Rejection {
    fn from(error: PathError) -> Self {
        let meaning =
            PathError::ALL.iter().find(|(id, _, _)| *id == error.code()).map_or("", |(_, _, meaning)| *meaning);
        let code = Code { id: error.code(), clause: error.clause(), meaning };
        Self::new(code, error.message())
    }
}
