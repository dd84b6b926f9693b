//! Requests that are made to cost as much as they can.

use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};

use super::device::{Key, Site, ca_extensions, certificate, name, request, statements};

/// Each with what it is.
pub fn requests(site: &Site) -> Vec<(&'static str, Vec<u8>)> {
    let short = |index: usize| name(&format!("CN=clique {index}"));
    let long = |index: usize| {
        let parts: Vec<String> = (0..60).map(|part| format!("OU=clique {index} {part} of a long name")).collect();
        name(&parts.join(","))
    };
    let root = site.root().0.subject().clone();
    vec![
        ("2,000 certificates, cross-signed by 45 CAs", clique(45, 2_000, short)),
        ("512 of them", clique(23, 508, short)),
        ("64 certificates, cross-signed by 8 CAs", clique(8, 64, short)),
        ("64 that all claim the anchor's name", clique(8, 64, move |_| root.clone())),
        ("435 certificates of long names", clique(23, 435, long)),
        ("512 attesting keys, 16 statements", many_attesting_keys()),
        ("one attribute of 2 MB", with_attribute(octets(&vec![0x04; 2_090_000]))),
        ("an attribute of 1,000,000 values", with_attribute([0x05, 0x00].repeat(1_000_000))),
    ]
}

/// The certificate of an attesting key.
fn ak_certificate(ak: &Key, issuer: (&NameView, &Key), serial: &[u8]) -> CertView {
    let extensions = vec![
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
        build::extended_key_usage(false, &[oid::KP_AIK_CERTIFICATE]),
    ];
    certificate((&name("CN=ak"), &ak.spki()), issuer, serial, extensions)
}

/// True statements of an attesting key whose certificate hangs beneath CAs that certify each other without end.
fn clique(cas: usize, count: usize, named: impl Fn(usize) -> NameView) -> Vec<u8> {
    let keys: Vec<Key> = (0..cas).map(|_| Key::new()).collect();
    let names: Vec<NameView> = (0..cas).map(named).collect();
    let spkis: Vec<SpkiView> = keys.iter().map(Key::spki).collect();
    let (ak, user) = (Key::new(), Key::new());
    let own = ak_certificate(&ak, (&names[cas - 1], &keys[cas - 1]), &[4]);
    let pairs = (0..cas).flat_map(|issuer| (0..cas).map(move |own| (own, issuer)));
    let crossed = pairs.cycle().filter(|(own, issuer)| own != issuer).zip(1_u32..).map(|((own, issuer), serial)| {
        let serial = [&[1], &serial.to_be_bytes()[..]].concat();
        certificate((&names[own], &spkis[own]), (&names[issuer], &keys[issuer]), &serial, ca_extensions())
    });
    let certificates: Vec<CertView> = std::iter::once(own).chain(crossed).take(count).collect();
    with_bundle(&user, &statements(&ak, &user).0, &certificates)
}

/// Statements that none of as many attesting keys as may be there signed.
fn many_attesting_keys() -> Vec<u8> {
    let (issuer, user) = (Key::new(), Key::new());
    let issuer = (&name("CN=issuer"), &issuer);
    let certificates: Vec<CertView> = (0..512_u32)
        .map(|serial| ak_certificate(&Key::new(), issuer, &[&[1], &serial.to_be_bytes()[..]].concat()))
        .collect();
    let statements: Vec<AttestationStatement> = (0..8).flat_map(|_| statements(&Key::new(), &user).0).collect();
    with_bundle(&user, &statements, &certificates)
}

/// A request with this bundle, written by hand: the builder keeps to the limits that this may exceed.
fn with_bundle(user: &Key, statements: &[AttestationStatement], certificates: &[CertView]) -> Vec<u8> {
    let mut bundle = DerWriter::new();
    bundle.sequence(|fields| {
        fields.sequence(|list| {
            for statement in statements {
                list.sequence(|attestation| {
                    attestation.oid(statement.oid()).raw(statement.stmt());
                });
            }
        });
        fields.sequence(|list| {
            for certificate in certificates {
                list.raw(certificate.as_der());
            }
        });
    });
    request(user, &[build::attribute(oid::AA_ATTESTATION, &[bundle.into_der()])]).2
}

/// A request with an attribute of these values, in DER, and no attestation.
fn with_attribute(values: Vec<u8>) -> Vec<u8> {
    let unknown = Oid::from_dotted("1.3.6.1.4.1.32473.9.9").unwrap();
    request(&Key::new(), &[build::attribute(unknown, &[values])]).2
}

fn octets(contents: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.octet_string(contents);
    writer.into_der()
}
