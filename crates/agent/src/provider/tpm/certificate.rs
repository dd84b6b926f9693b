//! Certificates that TPM2_CertifyX509 makes: the partial certificate that goes in, and the whole one that comes of it.

use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::{HashAlg, ObjectAttributes, TpmtPublic, TpmtSignature};
use vouchsafe_evidence::x509::build::{self, DerWriter, PartialCertificate};
use vouchsafe_evidence::x509::der::{Element, Reader, Tag};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView, extensions};
use vouchsafe_evidence::{Malformed, Reason};

use crate::provider::{CertificateTemplate, Fault, KeyUsage, SubjectName, Template};
use crate::tpm::CertifiedX509;

/// Octets of a partial certificate that TPMs take.
const PARTIAL_OCTETS: usize = 1024;
/// 1950-01-01T00:00:00Z, the first second that RFC 5280 can express.
const FIRST_SECOND: i64 = -631_152_000;
/// 9999-12-31T23:59:59Z, the last one.
const LAST_SECOND: i64 = 253_402_300_799;

/// The partial certificate for a key with these attributes under the first certificate of `chain`, whose key must be the
/// attesting key `signer`.
pub(super) fn partial(
    template: &CertificateTemplate,
    chain: &[Vec<u8>],
    signer: &SpkiView,
    attributes: ObjectAttributes,
    nonce: &[u8],
) -> Result<Vec<u8>, Fault> {
    build_partial(template, chain, signer, attributes, nonce).map_err(Fault::Template)
}

fn build_partial(
    template: &CertificateTemplate,
    chain: &[Vec<u8>],
    signer: &SpkiView,
    attributes: ObjectAttributes,
    nonce: &[u8],
) -> Result<Vec<u8>, Template> {
    let issuer = chain.first().ok_or(Template::IssuerMissing)?;
    let issuer = CertView::parse(issuer).map_err(|_| Template::NotDer("the chain's first certificate"))?;
    if !issuer.spki().same_key(signer) {
        return Err(Template::IssuerNotAttestingKey);
    }
    let subject = subject_beneath(&template.subject, issuer.subject())?;
    let expressible = FIRST_SECOND..=LAST_SECOND;
    let ordered = template.not_before < template.not_after;
    if !(ordered && expressible.contains(&template.not_before) && expressible.contains(&template.not_after)) {
        return Err(Template::Validity);
    }
    let partial = PartialCertificate {
        issuer: issuer.subject().clone(),
        not_before: template.not_before,
        not_after: template.not_after,
        subject,
        extensions: extension_list(template, &issuer, attributes, nonce)?,
    };
    let der = partial.to_der();
    if der.len() > PARTIAL_OCTETS {
        return Err(Template::TooLong { found: der.len(), limit: PARTIAL_OCTETS });
    }
    Ok(der)
}

fn extension_list(
    template: &CertificateTemplate,
    issuer: &CertView,
    attributes: ObjectAttributes,
    nonce: &[u8],
) -> Result<Vec<Vec<u8>>, Template> {
    let mut list =
        vec![build::key_usage(true, pkix_usage(template.key_usage)), build::tpma_object(false, attributes.bits())];
    let issuer_key = issuer
        .extension(oid::SUBJECT_KEY_IDENTIFIER)
        .map_err(|_| Template::NotDer("the issuer's extensions"))?
        .map(|extension| extensions::subject_key_identifier(extension.value()).map(<[u8]>::to_vec))
        .transpose()
        .map_err(|_| Template::NotDer("the issuer's key identifier"))?;
    if let Some(identifier) = issuer_key {
        list.push(build::authority_key_identifier(&identifier));
    }
    if let Some(names) = &template.subject_alt_names {
        const NOT_NAMES: Template = Template::NotDer("the subject alternative name");
        let element = Element::parse(names, "GeneralNames").map_err(|_| NOT_NAMES)?;
        element.check_strict().map_err(|_| NOT_NAMES)?;
        if element.tag() != Tag::SEQUENCE || element.contents().is_empty() {
            return Err(NOT_NAMES);
        }
        list.push(build::extension(oid::SUBJECT_ALT_NAME, false, names));
    }
    if !nonce.is_empty() {
        list.push(build::nonce(nonce));
    }
    Ok(list)
}

fn pkix_usage(usage: KeyUsage) -> extensions::KeyUsage {
    // Bit 0 of the BIT STRING is the most significant here and the least significant there.
    extensions::KeyUsage::from_bits(usage.bits().reverse_bits())
}

/// The subject, which must be the issuer's name with at least one RDN more.
fn subject_beneath(subject: &SubjectName, issuer: &NameView) -> Result<NameView, Template> {
    const NOT_NAME: Template = Template::NotDer("the subject");
    let name = match subject {
        SubjectName::Absolute(der) => NameView::parse(der).map_err(|_| NOT_NAME)?,
        SubjectName::BeneathIssuer(der) => {
            let relative = NameView::parse(der).map_err(|_| NOT_NAME)?;
            let rdns = |name: &NameView| -> Result<Vec<u8>, Template> {
                Element::parse(name.as_der(), "Name").map(|name| name.contents().to_vec()).map_err(|_| NOT_NAME)
            };
            let (above, below) = (rdns(issuer)?, rdns(&relative)?);
            let mut writer = DerWriter::new();
            writer.sequence(|name| {
                name.raw(&above).raw(&below);
            });
            NameView::parse(&writer.into_der()).map_err(|_| NOT_NAME)?
        }
    };
    if name.is_within(issuer) && !name.matches(issuer) { Ok(name) } else { Err(Template::SubjectOutsideDevice) }
}

/// The whole certificate, after checking that the TPM signed exactly the TBSCertificate that is put into it, for `object`.
pub(super) fn assemble(
    partial: &[u8],
    certified: &CertifiedX509,
    hash: HashAlg,
    object: &TpmtPublic,
) -> Result<CertView, Fault> {
    let other = |what| Fault::ResponseNotAuthentic { command: "TPM2_CertifyX509", what };
    let tbs = build::merge_partial(partial, &certified.added)?;
    if hash.digest(&[&tbs]) != certified.tbs_digest {
        return Err(other("digest of the certificate"));
    }
    let signature = match &certified.signature {
        TpmtSignature::Ecdsa { r, s, .. } => build::ecdsa_signature(r, s),
        TpmtSignature::Rsassa { signature, .. } | TpmtSignature::Rsapss { signature, .. } => signature.clone(),
    };
    let certificate = build::assemble(&tbs, added_algorithm(&certified.added)?, &signature);
    let certificate = CertView::parse(&certificate)?;
    if object.spki().is_none_or(|spki| !spki.same_key(certificate.spki())) {
        return Err(other("key of the certificate"));
    }
    Ok(certificate)
}

/// The AlgorithmIdentifier that the TPM put into the certificate.
fn added_algorithm(added: &[u8]) -> Result<&[u8], Malformed> {
    let mut outer = Reader::new(added, "addedToCertificate");
    let mut fields = outer.sequence("addedToCertificate")?;
    fields.expect(Tag::context_constructed(0), "version")?;
    fields.expect(Tag::INTEGER, "serialNumber")?;
    let algorithm = fields.expect(Tag::SEQUENCE, "signature")?;
    if algorithm.as_der().is_empty() {
        return Err(fields.error(Reason::Missing("signature")));
    }
    Ok(algorithm.as_der())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_evidence::x509::build::name_from_text;

    fn name(text: &str) -> NameView {
        name_from_text(text).unwrap()
    }

    #[test]
    fn a_subject_lies_strictly_beneath_the_issuer() {
        let issuer = name("CN=device,O=Example");
        let beneath = SubjectName::BeneathIssuer(name("CN=key").as_der().to_vec());
        let subject = subject_beneath(&beneath, &issuer).unwrap();
        assert_eq!(subject, name("CN=key,CN=device,O=Example"));
        for text in ["CN=device,O=Example", "O=Example", "CN=key,CN=other,O=Example", "CN=device"] {
            let absolute = SubjectName::Absolute(name(text).as_der().to_vec());
            assert_eq!(subject_beneath(&absolute, &issuer), Err(Template::SubjectOutsideDevice), "{text}");
        }
        let empty = SubjectName::BeneathIssuer(vec![0x30, 0]);
        assert_eq!(subject_beneath(&empty, &issuer), Err(Template::SubjectOutsideDevice));
        let garbage = SubjectName::Absolute(vec![0x30, 1]);
        assert_eq!(subject_beneath(&garbage, &issuer), Err(Template::NotDer("the subject")));
    }

    #[test]
    fn usages_keep_their_meaning() {
        let usage = KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_AGREEMENT);
        let expected = extensions::KeyUsage::DIGITAL_SIGNATURE | extensions::KeyUsage::KEY_AGREEMENT;
        assert_eq!(pkix_usage(usage).bits(), expected);
    }
}
