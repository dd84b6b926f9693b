//! What must hold for any bytes. The fuzz targets call these; an ordinary test runs them over the vectors.

#![allow(dead_code, reason = "each fuzz target calls one of them")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::OnceLock;

use vouchsafe_evidence::bundle::{AttestationBundle, CertChoice};
use vouchsafe_evidence::ceremony::{FILE_OCTETS, NamedKey, SignedTranscript, Transcript};
use vouchsafe_evidence::cmw::{self, Cmw};
use vouchsafe_evidence::formats::ListedFormat;
use vouchsafe_evidence::formats::crypto4a_qasm;
use vouchsafe_evidence::formats::entrust_nshield;
use vouchsafe_evidence::formats::fortanix_dsm;
use vouchsafe_evidence::formats::gcp_cloudhsm;
use vouchsafe_evidence::formats::pkix_evidence::EvidenceView;
use vouchsafe_evidence::formats::securosys_primus;
use vouchsafe_evidence::formats::thales_luna;
use vouchsafe_evidence::formats::webauthn_tpm::{
    self, AttestationObject, AuthenticatorData, ClientData, TpmStatement, WebauthnTpm,
};
use vouchsafe_evidence::formats::yubihsm2::{self, KeyAttestation};
use vouchsafe_evidence::formats::yubikey_piv::{self, SlotAttestation};
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::statement::{FormatId, Statement};
use vouchsafe_evidence::tpm::{CreationData, TpmsAttest, TpmtPublic, TpmtSignature};
use vouchsafe_evidence::x509::{CertView, CrlView, CsrView};
use vouchsafe_verifier::ceremony::{self, Witnesses};
use vouchsafe_verifier::{Instant, Policy, Request, TrustStore, Verdict, verify};

/// A TPMS_ATTEST that parses re-encodes to the same bytes.
pub fn attest(data: &[u8]) {
    if let Ok(attest) = TpmsAttest::parse(data) {
        assert_eq!(attest.to_bytes(), data);
    }
}

/// A bundle that parses re-encodes to the same bytes, unless it holds a certificate that cannot be read.
pub fn bundle(data: &[u8]) {
    if let Ok(bundle) = AttestationBundle::parse(data) {
        let readable = bundle.certs().iter().all(|choice| !matches!(choice, CertChoice::Unparsed(_)));
        if readable {
            assert_eq!(bundle.to_der(), data);
        }
        for statement in bundle.statements() {
            let _ = statement.parse();
        }
    }
}

/// A record of a ceremony that parses re-encodes to the same bytes, and nobody's signature makes it count here.
pub fn ceremony(data: &[u8]) {
    if let Ok(transcript) = Transcript::parse(data) {
        assert_eq!(transcript.to_json().as_bytes(), data);
        let _ = (transcript.last_digest(), transcript.next_planned(), ceremony::check_so_far(&transcript));
    }
    let Ok(file) = SignedTranscript::parse(data) else { return };
    assert!(data.len() <= FILE_OCTETS);
    assert_eq!(file.to_json().as_bytes(), data);
    let at = Instant::from_rfc3339("2099-01-01T00:00:00Z").unwrap();
    let _ = ceremony::check_transcript(file.transcript(), at);
    // A witness whom nobody knows: this key signs nothing.
    let key = vouchsafe_evidence::x509::SpkiView::from_rsa(&[0xC1; 256], &[1, 0, 1]).unwrap();
    let stranger = Witnesses::new(vec![NamedKey { name: "nobody".to_owned(), key }], 1).unwrap();
    assert!(ceremony::verify(data, &stranger, at).is_err());
}

/// A certificate that parses is exactly its bytes, and everything in it can be asked for.
pub fn certificate(data: &[u8]) {
    if let Ok(certificate) = CertView::parse(data) {
        assert_eq!(certificate.as_der(), data);
        let _ = (certificate.subject().to_display(), certificate.issuer().to_display());
        let _ = (certificate.not_before(), certificate.not_after(), certificate.spki().sha256());
        for extension in certificate.extensions() {
            let _ = certificate.extension(extension.oid());
        }
    }
    let _ = CertView::parse_padded(data);
}

/// Creation data that parses keeps its bytes.
pub fn creation(data: &[u8]) {
    if let Ok(creation) = CreationData::parse(data) {
        assert_eq!(creation.as_bytes(), data);
    }
}

/// A request that parses is exactly its bytes.
pub fn csr(data: &[u8]) {
    if let Ok(csr) = CsrView::parse(data) {
        assert_eq!(csr.as_der(), data);
        let _ = csr.attestation_bundle();
        let _ = csr.subject().to_display();
    }
}

/// Evidence that parses holds what it signs, and everything in it can be asked for; recognition and outline never fail
/// otherwise than by saying so.
pub fn pkix_evidence(data: &[u8]) {
    if let Ok(view) = EvidenceView::parse(data) {
        assert!(data.windows(view.tbs().len()).any(|window| window == view.tbs()));
        for key in &view.elements().keys {
            let _ = (key.expiry.map(|time| time.to_rfc3339()), key.purposes.map(|purposes| purposes.words().count()));
        }
        let row = ListedFormat::from_id("pkix-evidence").unwrap().row();
        assert!((row.outline)(data).is_ok());
        let files = [InputFile { name: "evidence", bytes: data }];
        let submission = Submission::recognize(&files, None).unwrap();
        assert_eq!(submission.label(), "pkix-evidence");
    }
    let files = [InputFile { name: "evidence", bytes: data }];
    if let Ok(submission) = Submission::recognize(&files, ListedFormat::from_id("pkix-evidence").map(Into::into)) {
        let _ = submission.statements();
    }
}

/// A public area that parses re-encodes to the same bytes.
pub fn public(data: &[u8]) {
    if let Ok(public) = TpmtPublic::parse(data) {
        assert_eq!(public.to_bytes(), data);
        let _ = (public.name(), public.spki());
    }
}

/// A revocation list that parses is exactly its bytes, and every entry can be asked for.
pub fn revocation_list(data: &[u8]) {
    if let Ok(list) = CrlView::parse(data) {
        assert_eq!(list.as_der(), data);
        let entries: usize = list.entries().map(|entry| entry.serial().len()).sum();
        assert!(entries <= data.len());
        let _ = (list.issuer().to_display(), list.tbs_sha256(), list.issuing_distribution_point());
    }
}

/// A signature that parses re-encodes to the same bytes.
pub fn signature(data: &[u8]) {
    if let Ok(signature) = TpmtSignature::parse(data) {
        assert_eq!(signature.to_bytes(), data);
    }
}

/// Whatever comes in, without an anchor nothing is accepted, and every refusal has a reason.
pub fn input(data: &[u8]) {
    let trust = TrustStore::from_files([]).unwrap();
    let verdict = judge(data, &trust);
    assert!(!verdict.is_accepted());
    assert!(!verdict.reasons().is_empty());
    let _ = verdict.to_json();
}

fn judge(data: &[u8], trust: &TrustStore) -> Verdict {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    let policy = POLICY.get_or_init(|| Policy::named("default").unwrap());
    let at = Instant::from_rfc3339("2026-12-01T00:00:00Z").unwrap();
    match Submission::recognize(&[InputFile { name: "input", bytes: data }], None) {
        Ok(submission) => verify(&Request::new(&submission, trust, policy, at)),
        Err(error) => Verdict::on_unusable_input(&error, policy, at),
    }
}

/// A wrapper is read in one way, whatever carries it, and each message of it can be asked for.
pub fn cmw(data: &[u8]) {
    let read = Cmw::parse(data);
    assert_eq!(Cmw::parse_statement(cmw::statement_of_file(data).stmt()), read);
    if let Ok(wrapper) = &read {
        assert!(wrapper.members.len() <= cmw::MEMBERS);
        for member in &wrapper.members {
            let _ = (member.content(), member.kind.to_string());
        }
    }
    let _ = (cmw::likeness(data), Cmw::parse_statement(data));
}

/// The two strings of a registration re-encode to the same bytes, and all that they hold can be read or is refused.
pub fn webauthn_tpm(data: &[u8]) {
    if let Ok(evidence) = WebauthnTpm::parse(data) {
        assert_eq!(evidence.to_der(), data);
    }
    let _ = (webauthn_tpm::ROW.outline)(data);
    if let Ok(object) = AttestationObject::parse(data) {
        let _ = (TpmStatement::read(&object.statement), AuthenticatorData::parse(object.auth_data));
    }
    let _ = (AuthenticatorData::parse(data), ClientData::parse(data));
}

/// A certificate about a key in a YubiKey's slot keeps its bytes, is recognized, and all that it says can be asked for;
/// what a request carries of that kind is read or refused.
pub fn yubikey_piv(data: &[u8]) {
    if let Ok(attestation) = SlotAttestation::parse(data) {
        assert_eq!(attestation.certificate().as_der(), data);
        assert!((yubikey_piv::ROW.outline)(data).is_ok());
        let _ = (attestation.slot(), attestation.serial(), attestation.pin_policy().needs_user());
        let files = [InputFile { name: "slot", bytes: data }];
        let forced = ListedFormat::from_id("yubikey-piv").map(Into::into);
        assert_eq!(Submission::recognize(&files, forced).unwrap().label(), "yubikey-piv");
    }
    if let Ok(certificate) = CertView::parse(data) {
        let _ = yubikey_piv::SignerMarks::read(&certificate);
    }
    if let Ok(request) = CsrView::parse(data) {
        let _ = (yubikey_piv::ROW.in_request)(&request);
    }
}

/// A certificate about a key in a YubiHSM 2 keeps its bytes, is recognized, and all that it says can be asked for.
pub fn yubihsm2(data: &[u8]) {
    if let Ok(attestation) = KeyAttestation::parse(data) {
        assert_eq!(attestation.certificate().as_der(), data);
        assert!((yubihsm2::ROW.outline)(data).is_ok());
        assert!(attestation.domains().all(|domain| (1..=16).contains(&domain)));
        assert!(attestation.capabilities().names().count() <= 64);
        let files = [InputFile { name: "key", bytes: data }];
        let forced = ListedFormat::from_id("yubihsm2").map(Into::into);
        assert_eq!(Submission::recognize(&files, forced).unwrap().label(), "yubihsm2");
    }
    if let Ok(certificate) = CertView::parse(data) {
        let _ = yubihsm2::SignerMarks::read(&certificate);
    }
}

/// An attestation of a Marvell module is bounded, its objects lie within what is signed, and all of them can be shown.
pub fn gcp_cloudhsm(data: &[u8]) {
    if let Ok(attestation) = gcp_cloudhsm::Attestation::parse(data) {
        let (signed, signature) = (attestation.signed(), attestation.signature());
        assert!(signed.len() + signature.len() <= gcp_cloudhsm::ATTESTATION_OCTETS);
        let objects: usize = attestation.objects().flat_map(|object| object.attributes()).map(|(_, v)| v.len()).sum();
        assert!(objects < signed.len());
        for object in attestation.objects() {
            assert!(object.attributes().count() <= gcp_cloudhsm::ATTRIBUTES);
            let _ = (object.spki(), object.class());
            for (kind, value) in object.attributes() {
                assert_eq!(object.value(kind), Some(value));
                let _ = (object.flag(kind), object.text(kind));
            }
        }
        // Expanded it is the same attestation, octet for octet.
        let expanded = [signed, signature].concat();
        assert_eq!(gcp_cloudhsm::Attestation::parse(&expanded), Ok(attestation));
        assert!((gcp_cloudhsm::ROW.outline)(data).is_ok());
        is_recognized(data, "gcp-cloudhsm");
    }
}

/// A public key confirmation holds one proof of origin and no certificate twice, is recognized, and can be shown.
pub fn thales_luna(data: &[u8]) {
    if let Ok(confirmation) = thales_luna::Confirmation::parse(data) {
        assert!(confirmation.others().len() < thales_luna::CERTIFICATES);
        assert!(!confirmation.others().contains(confirmation.proof()));
        let serial = thales_luna::serial(confirmation.proof());
        assert_eq!((thales_luna::ROW.outline)(data).is_ok(), serial.is_ok());
        let _ = confirmation.hierarchy(confirmation.others());
        is_recognized(data, "thales-luna");
    }
}

/// A document of Fortanix DSM is bounded, and its statement can be asked for all that it says.
pub fn fortanix_dsm(data: &[u8]) {
    if let Ok(attestation) = fortanix_dsm::KeyAttestation::parse(data) {
        assert!(data.len() <= fortanix_dsm::DOCUMENT_OCTETS);
        assert!(attestation.authority_chain().len() <= fortanix_dsm::AUTHORITY_CHAIN);
        let _ = (fortanix_dsm::ROW.outline)(data);
        for certificate in attestation.authority_chain() {
            let _ = fortanix_dsm::demands_fx2200(certificate);
        }
        if data.first() != Some(&0x30) {
            is_recognized(data, "fortanix-dsm");
        }
    }
}

/// A message of a QASM is bounded, and recognized where it is read and its first claim is the makers'.
pub fn crypto4a_qasm(data: &[u8]) {
    if let Ok(message) = crypto4a_qasm::Message::parse(data) {
        assert!(message.claims().len() <= crypto4a_qasm::CLAIMS);
        assert!(message.signatures().len() <= crypto4a_qasm::SIGNATURES);
        assert!(data.windows(message.signed().len()).any(|window| window == message.signed()));
        assert!((crypto4a_qasm::ROW.outline)(data).is_ok());
        if message.claims().first().is_some_and(|claim| claim.kind() != crypto4a_qasm::ClaimType::Other) {
            is_recognized(data, "crypto4a-qasm");
        }
    }
}

/// A bundle of an nShield that is read can be shown, and is recognized.
pub fn entrust_nshield(data: &[u8]) {
    if let Ok(bundle) = entrust_nshield::Bundle::parse(data) {
        assert!(data.len() <= entrust_nshield::BUNDLE_OCTETS);
        assert!((entrust_nshield::ROW.outline)(data).is_ok());
        let _ = (bundle.public_key.hash(), bundle.public_key.spki());
    }
    let _ = entrust_nshield::ncore::KeyGeneration::parse(data);
    let _ = entrust_nshield::ncore::ModuleState::parse(data);
    let _ = entrust_nshield::warrant::Warrant::parse(data);
}

/// A document of a Primus is read or refused; with its signature it encodes to the same bytes.
pub fn securosys_primus(data: &[u8]) {
    let _ = securosys_primus::KeyAttestation::parse(data);
    if let Ok(signed) = securosys_primus::SignedDocument::parse(data) {
        assert_eq!(signed.to_der(), data);
        let attestation = securosys_primus::KeyAttestation::parse(signed.document);
        assert_eq!((securosys_primus::ROW.outline)(data).is_ok(), attestation.is_ok());
    }
}

/// Whether a file alone is told to be of this format when that is asked for.
fn is_recognized(data: &[u8], id: &str) {
    let files = [InputFile { name: "file", bytes: data }];
    let forced = ListedFormat::from_id(id).map(Into::into);
    assert_eq!(Submission::recognize(&files, forced).map(|submission| submission.label()), Ok(id));
}

/// A statement of any type is read or refused, and so is what it holds when it is shown.
///
/// The first octet selects the format.
pub fn statement(data: &[u8]) {
    let Some((selector, stmt)) = data.split_first() else { return };
    let Some(format) = FormatId::all().nth(usize::from(*selector) % FormatId::all().count()) else { return };
    if let Some(oid) = format.oid() {
        assert_eq!(Statement::parse(oid, stmt), Statement::parse(oid, stmt));
    }
    if let FormatId::Listed(listed) = format {
        let _ = (listed.row().outline)(stmt);
        let _ = listed.content(stmt).map(listed.row().outline);
    }
}
