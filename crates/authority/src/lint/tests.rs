//! One certificate that breaks no rule, and every way to break one.

use vouchsafe_evidence::x509::NamedCurve;
use vouchsafe_evidence::x509::build::{CertificateTemplate, CrlTemplate, DerWriter, RevokedEntry};
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::extensions::GeneralName;

use super::*;
use crate::certificate::{DAY_SECONDS, SigningKey, key_identifier};

const NOW: i64 = 1_796_083_200;

struct Case {
    issuer_key: SigningKey,
    issuer_identifier: Vec<u8>,
    name: NameView,
    /// What the issuer says of where its list and its certificate are had.
    published: Vec<Vec<u8>>,
    template: CertificateTemplate,
}

fn named(text: &str) -> NameView {
    build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap()
}

/// A name of one attribute of this string type.
fn attribute(attribute: Oid, tag: Tag, text: &[u8]) -> NameView {
    let mut writer = DerWriter::new();
    writer.sequence(|fields| {
        fields.oid(attribute).primitive(tag, text);
    });
    build::name_from_attributes(&[vec![writer.into_der()]]).unwrap()
}

impl Case {
    fn new() -> Self {
        let (issuer_key, _) = SigningKey::generate().unwrap();
        let (key, _) = SigningKey::generate().unwrap();
        let name = named("Issuer");
        let template = CertificateTemplate {
            serial: vec![0x41; 20],
            algorithm: build::algorithm_identifier(oid::ECDSA_WITH_SHA256),
            issuer: name.clone(),
            not_before: NOW,
            not_after: NOW + DAY_SECONDS,
            subject: named("device-1"),
            spki: key.spki().clone(),
            extensions: vec![
                build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
                build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
                build::extended_key_usage(false, &[oid::KP_CLIENT_AUTH]),
                build::subject_key_identifier(&key_identifier(key.spki())),
                build::authority_key_identifier(&key_identifier(issuer_key.spki())),
            ],
        };
        Self { issuer_identifier: key_identifier(issuer_key.spki()), issuer_key, name, published: Vec::new(), template }
    }

    fn issuer(&self) -> IssuerView<'_> {
        IssuerView {
            name: &self.name,
            key: &self.issuer_key,
            not_after: NOW + 2 * DAY_SECONDS,
            key_identifier: &self.issuer_identifier,
            published: &self.published,
        }
    }

    fn check(&self) -> Result<(), LintError> {
        check_certificate(&self.template.tbs_der(), &self.issuer())
    }

    fn with(change: impl FnOnce(&mut CertificateTemplate)) -> Result<(), LintError> {
        let mut case = Self::new();
        change(&mut case.template);
        case.check()
    }

    /// With another extension in the place of the one at `index`.
    fn replaced(index: usize, extension: Vec<u8>) -> Result<(), LintError> {
        Self::with(|template| template.extensions[index] = extension)
    }

    fn without(index: usize) -> Result<(), LintError> {
        Self::with(|template| drop(template.extensions.remove(index)))
    }
}

#[test]
fn what_breaks_no_rule_is_signed() {
    assert_eq!(Case::new().check(), Ok(()));
    let empty = || NameView::parse(&[0x30, 0]).unwrap();
    let names = [GeneralName::Dns(b"*.a.example".to_vec()), GeneralName::Uri(b"urn:a:b".to_vec())];
    assert_eq!(
        Case::with(|template| {
            template.subject = empty();
            template.extensions.push(build::subject_alt_name(true, &names));
        }),
        Ok(())
    );
}

#[test]
fn where_a_list_is_had_is_what_the_issuer_says_of_itself() {
    let point = |uri: &str| build::crl_distribution_points(uri);
    let access = |uri: &str| build::authority_info_access(uri);
    let checked = |published: &[Vec<u8>], held: &[Vec<u8>]| {
        let mut case = Case::new();
        case.published = published.to_vec();
        case.template.extensions.extend_from_slice(held);
        case.check()
    };
    let own = [access("http://pki.example/ca/a.cer"), point("http://pki.example/crl/a.crl")];
    assert_eq!(checked(&own, &own), Ok(()));
    let none = Vec::new();
    let (own, access_alone, point_alone) = (own.to_vec(), own[..1].to_vec(), own[1..].to_vec());
    // Of another issuer.
    let others_point = vec![own[0].clone(), point("http://pki.example/crl/b.crl")];
    let others_access = vec![access("http://pki.example/ca/b.cer"), own[1].clone()];
    for (published, held) in [
        (&own, &none),
        (&own, &access_alone),
        (&own, &point_alone),
        (&none, &own),
        (&point_alone, &own),
        (&own, &others_point),
        (&own, &others_access),
    ] {
        assert_eq!(checked(published, held), Err(LintError::Distribution), "{held:02x?}");
    }
    // What nobody can fetch, and what is not the whole list, is not signed though the issuer says it.
    let value = |of: &[u8]| {
        let certificate = CertView::parse(&build::assemble(
            &CertificateTemplate { extensions: vec![of.to_vec()], ..Case::new().template }.tbs_der(),
            &build::algorithm_identifier(oid::ECDSA_WITH_SHA256),
            &[0],
        ));
        certificate.unwrap().extension(oid::CRL_DISTRIBUTION_POINTS).unwrap().unwrap().value().to_vec()
    };
    let own_value = value(&own[1]);
    let mut twice = DerWriter::new();
    // Both points of a list of two.
    twice.sequence(|points| drop_ref(points.raw(&own_value[2..]).raw(&own_value[2..])));
    for wrong in [
        point("https://pki.example/crl/a.crl"),
        point("ldap://pki.example/crl/a.crl"),
        build::extension(oid::CRL_DISTRIBUTION_POINTS, true, &own_value),
        build::extension(oid::CRL_DISTRIBUTION_POINTS, false, &twice.into_der()),
    ] {
        assert_eq!(checked(std::slice::from_ref(&wrong), std::slice::from_ref(&wrong)), Err(LintError::Distribution));
    }
}

/// The writer's methods return the writer, which closures must not.
const fn drop_ref(_: &mut DerWriter) {}

#[test]
fn serial_numbers_are_positive_and_long_enough_to_be_random() {
    for serial in [vec![0x41; 8], vec![0x81; 19]] {
        assert_eq!(Case::with(|template| template.serial = serial.clone()), Err(LintError::Serial), "{serial:02x?}");
    }
    for serial in [vec![0], vec![0x41; 21]] {
        assert!(Case::with(|template| template.serial = serial).is_err());
    }
}

#[test]
fn times_are_in_order_and_within_the_issuers() {
    for (not_before, not_after) in [(NOW, NOW), (NOW + 1, NOW), (NOW, NOW + 2 * DAY_SECONDS + 1)] {
        let times = |template: &mut CertificateTemplate| {
            (template.not_before, template.not_after) = (not_before, not_after);
        };
        assert_eq!(Case::with(times), Err(LintError::Validity));
    }
}

#[test]
fn algorithm_and_issuer_are_the_issuers_own() {
    let other = build::algorithm_identifier(oid::ECDSA_WITH_SHA384);
    // Read back, the two algorithms differ, which is malformed already.
    assert!(Case::with(|template| template.algorithm = other).is_err());
    assert_eq!(Case::with(|template| template.issuer = named("issuer")), Err(LintError::Issuer));
}

#[test]
fn identifiers_name_the_keys() {
    assert_eq!(Case::without(3), Err(LintError::SubjectKeyIdentifier));
    assert_eq!(Case::without(4), Err(LintError::AuthorityKeyIdentifier));
    let other = [1; 20];
    assert_eq!(Case::replaced(3, build::subject_key_identifier(&other)), Err(LintError::SubjectKeyIdentifier));
    assert_eq!(Case::replaced(4, build::authority_key_identifier(&other)), Err(LintError::AuthorityKeyIdentifier));
}

#[test]
fn usages_fit_the_key_and_one_another() {
    let usage = |critical, bits| Case::replaced(1, build::key_usage(critical, KeyUsage::from_bits(bits)));
    assert!(matches!(usage(false, KeyUsage::DIGITAL_SIGNATURE), Err(LintError::KeyUsage(_))));
    assert!(matches!(Case::without(1), Err(LintError::KeyUsage(_))));
    let encipherment = KeyUsage::DIGITAL_SIGNATURE | KeyUsage::KEY_ENCIPHERMENT;
    assert!(matches!(usage(true, encipherment), Err(LintError::KeyUsage(_))));
    assert!(matches!(usage(true, KeyUsage::KEY_AGREEMENT), Err(LintError::KeyUsage(_))));
    assert_eq!(usage(true, KeyUsage::KEY_CERT_SIGN), Err(LintError::BasicConstraints));
    assert_eq!(Case::without(0), Err(LintError::BasicConstraints));
    let constraints = |critical, ca| build::basic_constraints(critical, BasicConstraints { ca, path_length: None });
    assert_eq!(Case::replaced(0, constraints(false, false)), Err(LintError::BasicConstraints));
    assert_eq!(Case::replaced(0, constraints(true, true)), Err(LintError::BasicConstraints));
}

#[test]
fn purposes_are_named_once_and_go_together() {
    let purposes = |purposes: &[Oid]| Case::replaced(2, build::extended_key_usage(false, purposes));
    for bad in [
        &[oid::KP_CLIENT_AUTH, oid::KP_CLIENT_AUTH][..],
        &[oid::ANY_EXTENDED_KEY_USAGE],
        &[oid::KP_CODE_SIGNING, oid::KP_SERVER_AUTH],
    ] {
        let found = purposes(bad);
        assert!(matches!(found, Err(LintError::ExtendedKeyUsage(_) | LintError::Malformed(_))), "{bad:?} {found:?}");
    }
    assert!(matches!(Case::without(2), Err(LintError::ExtendedKeyUsage(_))));
    let critical = build::extended_key_usage(true, &[oid::KP_CLIENT_AUTH]);
    assert_eq!(Case::replaced(2, critical), Err(LintError::Criticality(oid::EXTENDED_KEY_USAGE)));
    assert_eq!(purposes(&[oid::KP_CLIENT_AUTH, oid::KP_SERVER_AUTH]), Ok(()));
}

#[test]
fn extensions_are_there_once_and_critical_where_they_must_be() {
    let again = build::extended_key_usage(false, &[oid::KP_SERVER_AUTH]);
    assert_eq!(
        Case::with(|template| template.extensions.push(again)),
        Err(LintError::DuplicateExtension(oid::EXTENDED_KEY_USAGE))
    );
    let unknown = build::extension(oid::NONCE, true, &[4, 0]);
    assert_eq!(Case::with(|template| template.extensions.push(unknown)), Err(LintError::Criticality(oid::NONCE)));
    let policies = build::certificate_policies(true, &[oid::ENVIRONMENT_HOST]);
    assert_eq!(
        Case::with(|template| template.extensions.push(policies)),
        Err(LintError::Criticality(oid::CERTIFICATE_POLICIES))
    );
    let constraints = build::name_constraints(true, &[GeneralName::Directory(named("a"))], &[]);
    assert_eq!(Case::with(|template| template.extensions.push(constraints)), Err(LintError::NameConstraints));
}

#[test]
fn a_subject_is_named_and_its_alternative_name_critical_where_it_stands_alone() {
    let empty = || NameView::parse(&[0x30, 0]).unwrap();
    assert_eq!(Case::with(|template| template.subject = empty()), Err(LintError::SubjectEmpty));
    let names = |critical| build::subject_alt_name(critical, &[GeneralName::Dns(b"a.example".to_vec())]);
    let criticality = Err(LintError::Criticality(oid::SUBJECT_ALT_NAME));
    assert_eq!(Case::with(|template| template.extensions.push(names(true))), criticality);
    assert_eq!(
        Case::with(|template| {
            template.subject = empty();
            template.extensions.push(names(false));
        }),
        criticality
    );
    for bad in [
        GeneralName::Dns(b"a_b.example".to_vec()),
        GeneralName::Dns(b"".to_vec()),
        GeneralName::Dns(b"a..b".to_vec()),
        GeneralName::Dns(b"-a.example".to_vec()),
        GeneralName::Ip(vec![0; 8]),
        GeneralName::Email(b"a.example".to_vec()),
        GeneralName::Uri(b"/relative".to_vec()),
        GeneralName::Directory(empty()),
    ] {
        let extension = build::subject_alt_name(false, std::slice::from_ref(&bad));
        let found = Case::with(|template| template.extensions.push(extension));
        assert!(matches!(found, Err(LintError::SubjectAltName(_))), "{bad:?} {found:?}");
    }
}

#[test]
fn attributes_of_names_keep_their_bounds() {
    let long = "a".repeat(65);
    for (oid, tag, text) in [
        (oid::COMMON_NAME, Tag::UTF8_STRING, ""),
        (oid::COMMON_NAME, Tag::UTF8_STRING, long.as_str()),
        (oid::COMMON_NAME, Tag::UTF8_STRING, "a\nb"),
        (oid::COMMON_NAME, Tag::UTF8_STRING, " a"),
        (oid::COMMON_NAME, Tag::TELETEX_STRING, "a"),
        (oid::COMMON_NAME, Tag::PRINTABLE_STRING, "a@b"),
        (oid::COUNTRY_NAME, Tag::PRINTABLE_STRING, "de"),
        (oid::COUNTRY_NAME, Tag::UTF8_STRING, "DE"),
        (oid::COUNTRY_NAME, Tag::PRINTABLE_STRING, "DEU"),
        (oid::SERIAL_NUMBER, Tag::UTF8_STRING, "1"),
    ] {
        let subject = attribute(oid, tag, text.as_bytes());
        let found = Case::with(|template| template.subject = subject);
        assert!(matches!(found, Err(LintError::Name(_))), "{oid} {text:?} {found:?}");
    }
    let fits = attribute(oid::COMMON_NAME, Tag::UTF8_STRING, "\u{20AC}".repeat(64).as_bytes());
    assert_eq!(Case::with(|template| template.subject = fits), Ok(()), "characters are counted, not octets");
}

#[test]
fn weak_and_unknown_keys_are_not_certified() {
    let small = SpkiView::from_rsa(&[0xFF; 128], &[1, 0, 1]).unwrap();
    let large = |exponent: &[u8]| SpkiView::from_rsa(&[0xFF; 256], exponent).unwrap();
    let point = SpkiView::from_ec(NamedCurve::P256, &[1; 32], &[1; 32]).unwrap();
    for spki in [small, large(&[1]), large(&[1, 0, 0])] {
        assert!(matches!(check_key(&spki), Err(LintError::Key(_))));
    }
    assert_eq!((check_key(&large(&[1, 0, 1])), check_key(&point)), (Ok(()), Ok(())));
}

fn list_of(case: &Case) -> CrlTemplate {
    CrlTemplate {
        algorithm: case.template.algorithm.clone(),
        issuer: case.name.clone(),
        this_update: NOW,
        next_update: Some(NOW + DAY_SECONDS),
        entries: vec![RevokedEntry {
            serial: vec![0x41; 20],
            revoked_at: NOW,
            extensions: vec![build::extension(oid::CRL_REASON, false, &[10, 1, 4])],
        }],
        extensions: vec![
            build::authority_key_identifier(&key_identifier(case.issuer_key.spki())),
            build::extension(oid::CRL_NUMBER, false, &[2, 1, 9]),
        ],
    }
}

#[test]
fn lists_break_no_rule_either() {
    let case = Case::new();
    let check = |change: &dyn Fn(&mut CrlTemplate)| {
        let mut list = list_of(&case);
        change(&mut list);
        check_list(&list, &case.issuer())
    };
    assert_eq!(check(&|_| {}), Ok(()));
    assert_eq!(check(&|list| list.entries.clear()), Ok(()));
    assert_eq!(check(&|list| list.next_update = None), Err(LintError::Validity));
    assert_eq!(check(&|list| list.next_update = Some(NOW)), Err(LintError::Validity));
    assert_eq!(check(&|list| list.next_update = Some(NOW + 11 * DAY_SECONDS)), Err(LintError::Validity));
    assert_eq!(check(&|list| list.issuer = named("other")), Err(LintError::Issuer));
    assert_eq!(check(&|list| list.algorithm = Vec::new()), Err(LintError::Algorithm));
    assert_eq!(check(&|list| drop(list.extensions.remove(0))), Err(LintError::AuthorityKeyIdentifier));
    assert_eq!(check(&|list| drop(list.extensions.remove(1))), Err(LintError::Number));
    let long = [&[2, 21, 1][..], &[0; 20]].concat();
    let number = |value: &[u8]| build::extension(oid::CRL_NUMBER, false, value);
    assert_eq!(check(&|list| list.extensions[1] = number(&long)), Err(LintError::Number));
    assert!(check(&|list| list.extensions[1] = number(&[2, 1, 0x80])).is_err());
    assert_eq!(
        check(&|list| list.extensions.push(number(&[2, 1, 3]))),
        Err(LintError::DuplicateExtension(oid::CRL_NUMBER))
    );
    let changes: [&dyn Fn(&mut CrlTemplate); 5] = [
        &|list| list.entries.push(list.entries[0].clone()),
        &|list| list.entries[0].revoked_at = NOW + 1,
        &|list| list.entries[0].serial.clear(),
        &|list| list.entries[0].extensions = vec![build::extension(oid::CRL_REASON, false, &[10, 1, 0])],
        &|list| list.entries[0].extensions = vec![build::extension(oid::CRL_REASON, true, &[10, 1, 1])],
    ];
    for change in changes {
        assert!(matches!(check(change), Err(LintError::Entry(_))));
    }
}
