//! Mechanisms over the wire: which are listed, which are served, and in what forms Evidence is asked for.

use std::sync::Arc;

use vouchsafe_agent::client::Client;
use vouchsafe_agent::provider::MechanismName;
use vouchsafe_agent::wire::Status;
use vouchsafe_agent::wire::message::{KeyMechanism, MechanismInfo, PkixEvidence, PlatformMechanism};
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::build::DerWriter;

use crate::support::{Bench, p256};

#[test]
fn an_experimental_mechanism_is_served_where_the_configuration_names_it() {
    let attest = |client: &mut Client, evidence: PkixEvidence| {
        client.attest_key("k", "", &[1; 16], KeyMechanism::PkixEvidence(evidence))
    };
    let attest_platform = |client: &mut Client| {
        client.attest_platform("", &[1; 16], PlatformMechanism::PkixEvidence(PkixEvidence::default()))
    };
    let bench = Bench::start();
    let mut client = bench.client();
    client.generate_key("k", p256()).unwrap();
    let names = |rows: Vec<MechanismInfo>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    let stable = ["tpm-certify", "tpm-certify-x509", "tpm-activate-credential", "tpm-quote"];
    assert_eq!(names(client.list_mechanisms().unwrap()), stable);
    assert_eq!(names(client.list_mechanisms_of_key("k").unwrap()), stable);
    assert_eq!(client.list_mechanisms_of_key("none").unwrap_err().status(), Some(Status::PsaErrorDoesNotExist));
    let refused = [attest(&mut client, PkixEvidence::default()), attest_platform(&mut client)];
    let endorsement = client.describe_endorsement("token").unwrap_err();
    for refused in refused.map(Result::unwrap_err).into_iter().chain([endorsement]) {
        assert_eq!(refused.code(), Some("agent.mechanism-disabled"), "{refused}");
        assert_eq!(refused.status(), Some(Status::PsaErrorNotSupported));
        // Told is the very line to write.
        assert!(refused.next_step().contains("enable = [\"pkix-evidence\"] under [mechanisms]"), "{refused}");
    }
    drop(bench);
    let enabled = Bench::of(Arc::default(), |config| config.enabled_mechanisms = vec![MechanismName::PkixEvidence]);
    let mut client = enabled.client();
    client.generate_key("k", p256()).unwrap();
    let listed = client.list_mechanisms().unwrap();
    let experimental: Vec<_> = listed.iter().filter(|row| row.stability == "experimental").collect();
    let subjects: Vec<_> = experimental.iter().map(|row| (row.name.as_str(), row.subject.as_str())).collect();
    assert_eq!(subjects, [("pkix-evidence", "key"), ("pkix-evidence", "platform")]);
    attest(&mut client, PkixEvidence::default()).unwrap();
    attest_platform(&mut client).unwrap();
    assert!(client.describe_endorsement("token").unwrap().attestation.is_some());
    let claims = vec!["1.3.6.1.5.5.999.1.2.1".to_owned()];
    attest(&mut client, PkixEvidence { claims, with_platform: true, ..PkixEvidence::default() }).unwrap();
    // What is no request is refused, and so is one in the draft's form beside another, or for another key.
    for evidence in [
        PkixEvidence { claims: vec!["no identifier".to_owned()], ..PkixEvidence::default() },
        PkixEvidence { claims: vec!["1.2.3".to_owned(); 65], ..PkixEvidence::default() },
        PkixEvidence { request: vec![0x30, 0], ..PkixEvidence::default() },
        PkixEvidence { request: form("other", &[1; 16]), ..PkixEvidence::default() },
        PkixEvidence { request: form("k", &[2; 16]), ..PkixEvidence::default() },
        PkixEvidence { request: form("k", &[1; 16]), with_platform: true, ..PkixEvidence::default() },
    ] {
        let refused = attest(&mut client, evidence.clone()).unwrap_err();
        assert_eq!(refused.code(), Some("agent.invalid"), "{evidence:?}: {refused}");
    }
    attest(&mut client, PkixEvidence { request: form("k", &[1; 16]), ..PkixEvidence::default() }).unwrap();
}

/// A request for one key's public half in the draft's form (section 7).
fn form(identifier: &str, nonce: &[u8]) -> Vec<u8> {
    let oid = |text: &str| Oid::from_dotted(text).unwrap();
    let text = [&[0x0C, u8::try_from(identifier.len()).unwrap()][..], identifier.as_bytes()].concat();
    let mut w = DerWriter::new();
    w.sequence(|tbs| {
        tbs.uint(1).sequence(|elements| {
            elements.sequence(|element| {
                element.oid(oid("1.3.6.1.5.5.999.0.0")).sequence(|claims| {
                    claims.sequence(|claim| {
                        claim.oid(oid("1.3.6.1.5.5.999.1.0.0")).octet_string(nonce);
                    });
                });
            });
            elements.sequence(|element| {
                element.oid(oid("1.3.6.1.5.5.999.0.2")).sequence(|claims| {
                    claims.sequence(|claim| {
                        claim.oid(oid("1.3.6.1.5.5.999.1.2.0")).raw(&text);
                    });
                    claims.sequence(|claim| {
                        claim.oid(oid("1.3.6.1.5.5.999.1.2.1"));
                    });
                });
            });
        });
    });
    w.into_der()
}
