//! Certificates and requests from the field parse, and their deviations are named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    NameConstraints, PolicyConstraints, SubjectAltName, subject_key_identifier,
};
use vouchsafe_evidence::x509::{CertView, CsrView, PublicKey, Quirk};

/// The folder of field vectors, or `None` after a message if it is not there.
fn field_vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("VOUCHSAFE_FIELD_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: 1 test needs the folder that VOUCHSAFE_FIELD_VECTORS names");
    None
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Every block of this kind, and every DER file, below a folder.
fn blocks(folder: &Path, kind: pem::Kind) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths = Vec::new();
    files(folder, &mut paths);
    let mut blocks = Vec::new();
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        if pem::is_pem(&bytes) {
            let read = pem::read(&bytes).unwrap();
            let wanted = read.into_iter().filter(|block| block.kind() == kind);
            blocks.extend(wanted.map(|block| (path.clone(), block.contents().to_vec())));
        }
    }
    assert!(!blocks.is_empty());
    blocks
}

fn parse_every_extension(cert: &CertView) -> Result<(), vouchsafe_evidence::Malformed> {
    for extension in cert.extensions() {
        let value = extension.value();
        match extension.oid() {
            oid::BASIC_CONSTRAINTS => drop(BasicConstraints::parse(value)?),
            oid::KEY_USAGE => drop(KeyUsage::parse(value)?),
            oid::EXTENDED_KEY_USAGE => drop(ExtendedKeyUsage::parse(value)?),
            oid::SUBJECT_ALT_NAME => drop(SubjectAltName::parse(value)?),
            oid::SUBJECT_KEY_IDENTIFIER => drop(subject_key_identifier(value)?),
            oid::AUTHORITY_KEY_IDENTIFIER => drop(AuthorityKeyIdentifier::parse(value)?),
            oid::NAME_CONSTRAINTS => drop(NameConstraints::parse(value)?),
            oid::CERTIFICATE_POLICIES => drop(CertificatePolicies::parse(value)?),
            oid::POLICY_CONSTRAINTS => drop(PolicyConstraints::parse(value)?),
            oid::CRL_DISTRIBUTION_POINTS => drop(CrlDistributionPoints::parse(value)?),
            _ => {}
        }
    }
    Ok(())
}

/// Whether `issuer` signed `cert`, over the original bytes of the signed part.
fn is_signed_by(cert: &CertView, issuer: &CertView) -> bool {
    let (tbs, value) = (cert.tbs(), cert.signature());
    match issuer.spki().key() {
        PublicKey::Rsa { modulus, exponent, .. } => {
            let key = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
            let parameters = match cert.outer_algorithm().oid() {
                oid::SHA1_WITH_RSA => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                oid::SHA256_WITH_RSA => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                oid::SHA384_WITH_RSA => &signature::RSA_PKCS1_2048_8192_SHA384,
                oid::SHA512_WITH_RSA => &signature::RSA_PKCS1_2048_8192_SHA512,
                _ => return false,
            };
            key.verify(parameters, tbs, value).is_ok()
        }
        PublicKey::Ec { x, y, .. } => {
            let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
            let algorithm: &dyn signature::VerificationAlgorithm = match (x.len(), cert.outer_algorithm().oid()) {
                (32, oid::ECDSA_WITH_SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
                (48, oid::ECDSA_WITH_SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
                (48, oid::ECDSA_WITH_SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
                _ => return false,
            };
            signature::UnparsedPublicKey::new(algorithm, point).verify(tbs, value).is_ok()
        }
        PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => false,
    }
}

#[test]
fn endorsement_key_certificates_and_their_authorities_parse() {
    let Some(folder) = field_vectors() else { return };
    let blocks = blocks(&folder.join("vendors/tpm-ek"), pem::Kind::Certificate);
    let mut quirks: BTreeMap<String, usize> = BTreeMap::new();
    let mut certs = Vec::new();
    for (path, der) in &blocks {
        let cert = CertView::parse_padded(der).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        parse_every_extension(&cert).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(cert.as_der(), &der[..cert.as_der().len()]);
        for quirk in cert.quirks() {
            *quirks.entry(format!("{quirk:?}")).or_default() += 1;
        }
        certs.push((path.clone(), cert));
    }
    println!("{} certificates, {quirks:?}", certs.len());
    assert!(certs.len() >= 28, "{}", certs.len());
    let mut signed = 0;
    let mut open = Vec::new();
    for (path, cert) in &certs {
        if certs.iter().any(|(_, issuer)| issuer.subject().matches(cert.issuer()) && is_signed_by(cert, issuer)) {
            signed += 1;
        } else {
            open.push(format!("{} issued by {}", path.display(), cert.issuer().to_display()));
        }
    }
    println!("{signed} signatures verify over original bytes; without issuer here: {open:#?}");
    assert!(signed >= 20, "{signed}");
}

#[test]
fn certificates_of_all_vendors_parse() {
    let Some(folder) = field_vectors() else { return };
    let (mut parsed, mut refused) = (0, Vec::new());
    for (path, der) in blocks(&folder, pem::Kind::Certificate) {
        match CertView::parse(&der).and_then(|cert| parse_every_extension(&cert)) {
            Ok(()) => parsed += 1,
            Err(error) => refused.push(format!("{}: {error}", path.display())),
        }
    }
    println!("{parsed} parse, refused: {refused:#?}");
    assert!(parsed > 150, "{parsed}");
}

#[test]
fn the_sample_authority_is_a_version_1_certificate() {
    let Some(folder) = field_vectors() else { return };
    let read = |name: &str| {
        let file = std::fs::read(folder.join("ietf/tpm-certify").join(name)).unwrap();
        CertView::parse(pem::read(&file).unwrap()[0].contents()).unwrap()
    };
    let (ak, root) = (read("ak.crt"), read("rootCA.crt"));
    assert_eq!(root.version(), vouchsafe_evidence::x509::Version::V1);
    assert_eq!(root.extensions().len(), 0);
    assert!(ak.is_strict_der() && root.is_strict_der());
    assert!(is_signed_by(&ak, &root) && is_signed_by(&root, &root));
    assert!(ak.issuer().matches(root.subject()));
    assert_eq!(ak.subject().to_display(), "CN=test-ak,OU=ietf-lamps-csr,O=ietf-lamps,L=Locality,ST=Province,C=ZZ");
    let usage = ak.extension(oid::EXTENDED_KEY_USAGE).unwrap().unwrap();
    assert_eq!(ExtendedKeyUsage::parse(usage.value()).unwrap().purposes(), [oid::KP_AIK_CERTIFICATE]);
    assert_eq!((ak.not_before(), ak.not_after()), (1_795_347_174, 1_797_939_174));
}

#[test]
fn requests_of_all_vendors_parse() {
    let Some(folder) = field_vectors() else { return };
    let mut refused = Vec::new();
    let blocks = blocks(&folder, pem::Kind::CertificationRequest);
    for (path, der) in &blocks {
        if let Err(error) = CsrView::parse(der) {
            refused.push(format!("{}: {error}", path.display()));
        }
    }
    println!("{} requests, refused: {refused:#?}", blocks.len());
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn known_deviations_are_named() {
    let Some(folder) = field_vectors() else { return };
    let read = |name: &str| {
        let file = std::fs::read(folder.join("vendors/tpm-ek").join(name)).unwrap();
        CertView::parse_padded(pem::read(&file).unwrap()[0].contents()).unwrap()
    };
    assert!(read("ek-intc-cml-ptt-ecc.pem").quirks().contains(&Quirk::ExplicitDefault));
    assert!(read("ek-hirs-3c5e8e.pem").quirks().contains(&Quirk::UnsortedRdnSet));
    assert!(read("ek-hirs-6de7b2.pem").quirks().contains(&Quirk::OaepSpki));
    assert!(read("ek-guard-oss-e54a9d.pem").quirks().contains(&Quirk::NonMinimalKeyUsage));
    assert!(read("ek-go-tpm-tools-2df796.pem").is_strict_der());
}
