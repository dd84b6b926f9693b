//! The bound that a profile sets on a registration authority's word holds for every name in the certificate.

use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::extensions::GeneralName;

use super::*;
use crate::cmp::client::{Answer, CP, CR, IMPLICIT_CONFIRM};

const ALLOW: &str = "name.common_name.startsWith('device-') && name.others == 0 && \
                     name.dns.all(host, host.endsWith('.plant.example')) && \
                     name.permanent_identifiers.all(id, id == name.common_name) && size(name.hardware_modules) == 0";

async fn bounded() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let path = secret(dir.path(), "ra.secret", RA_SECRET);
    let profile = format!(
        "[[profiles]]\nname = 'plain'\nsubject = 'request'\nevidence = 'registration-authority'\n\
         alternative_names = ['dns', 'permanent-identifier', 'hardware-module']\nnames.allow = \"{ALLOW}\"\n"
    );
    let rest = format!("profiles = ['plain']\ncmp_reference = 'ra'\ncmp_secret = '{}'", path.display());
    let mut site = Site::install_for(dir, &profile, &account("registrar", "'issue', 'register'", &rest));
    site.restart().await;
    site
}

async fn asked_for(site: &Site, names: &[GeneralName]) -> Answer {
    let mut client = Client::new(Protection::pbm("ra", RA_SECRET)).on("/p/plain");
    client.info.push((IMPLICIT_CONFIRM, vec![5, 0]));
    let extension = build::subject_alt_name(false, names);
    let spki = SoftwareKey::generate().spki();
    client.send(site, CR, &crmf("device-7", &spki, &[extension], &[0x80, 0])).await
}

fn host(name: &str) -> GeneralName {
    GeneralName::Dns(name.as_bytes().to_vec())
}

/// otherName, with whatever the value holds.
fn other(tag: Tag, kind: Oid, value: impl FnOnce(&mut build::DerWriter)) -> GeneralName {
    let mut writer = build::DerWriter::new();
    writer.constructed(tag, |fields| {
        fields.oid(kind).constructed(Tag::context_constructed(0), |field| {
            field.sequence(value);
        });
    });
    GeneralName::Other(writer.into_der())
}

fn identifier(text: &str) -> GeneralName {
    other(Tag::context_constructed(0), oid::ON_PERMANENT_IDENTIFIER, |fields| {
        fields.string(Tag::UTF8_STRING, text);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_bounds_the_alternative_names_of_a_registration_authority() {
    let site = bounded().await;
    let good = asked_for(&site, &[host("a.plant.example"), identifier("device-7")]).await;
    assert_eq!(good.number, CP, "{:?}", good.reasons());
    assert_eq!(good.codes(), Vec::<String>::new());
    let module = other(Tag::context_constructed(0), oid::ON_HARDWARE_MODULE_NAME, |fields| {
        fields.oid(oid::COMMON_NAME).octet_string(b"device-7");
    });
    for names in [
        vec![host("bank.example")],
        vec![host("a.plant.example"), host("BANK.EXAMPLE")],
        vec![host("*.example")],
        vec![identifier("device-8")],
        vec![identifier("device-7"), identifier("device-8")],
        vec![module],
    ] {
        assert_eq!(asked_for(&site, &names).await.codes(), ["authority.name-not-permitted"], "{names:?}");
    }
}

/// What a condition cannot read, it cannot bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_read_is_none_that_is_given() {
    let site = bounded().await;
    let in_tag = |tag| {
        other(tag, oid::ON_PERMANENT_IDENTIFIER, |fields| {
            fields.string(Tag::UTF8_STRING, "device-7");
        })
    };
    for name in [
        // ediPartyName and x400Address that begin as a permanentIdentifier does.
        in_tag(Tag::context_constructed(5)),
        in_tag(Tag::context_constructed(3)),
        other(Tag::context_constructed(0), oid::ON_PERMANENT_IDENTIFIER, |_| {}),
        other(Tag::context_constructed(0), oid::ON_PERMANENT_IDENTIFIER, |fields| {
            fields.string(Tag::UTF8_STRING, "device-7").string(Tag::UTF8_STRING, "device-8");
        }),
        host("10.0.0.1"),
    ] {
        let codes = asked_for(&site, std::slice::from_ref(&name)).await.codes();
        assert!(codes.iter().any(|code| code == "authority.name-not-permitted"), "{name:?}: {codes:?}");
    }
}
