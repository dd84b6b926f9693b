//! Pseudonyms over the wire.

use std::os::unix::net::UnixStream;

use prost::Message;
use vouchsafe_agent::config::{CertifyX509Config, ModuleConfig};
use vouchsafe_agent::wire::message::{CreateAttestingKeyOperation, TpmCertifyX509};
use vouchsafe_agent::wire::{Opcode, ProviderId, Status};

use crate::device::Device;
use crate::support::{self, p256};
use crate::{NONCE, certificate, certify, certify_x509, contains, family, quote};

/// A28: what the configuration says of this machine goes into certificates, but not under a pseudonym.
#[test]
fn a_certificate_under_a_pseudonym_says_nothing_of_the_machine() {
    let mut device = Device::start();
    let named = CertifyX509Config {
        subject: "CN={key} of rack7-node3".to_owned(),
        san: vec!["dns:rack7-node3.example".to_owned()],
        ..CertifyX509Config::default()
    };
    match &mut device.config.providers[0].module {
        ModuleConfig::Tpm(tpm) => tpm.certify_x509 = named,
        ModuleConfig::Pkcs11(_) => panic!("no TPM"),
    }
    device.restart_agent();
    let mut client = device.client();
    client.generate_key("payroll", p256()).unwrap();
    let made = client.create_pseudonym("p1", "").unwrap();
    assert!(made.is_pseudonym && !made.is_own);
    assert_eq!(made.families, ["certify-x509"]);
    let own = client.create_attesting_key("mine", "", false).unwrap();
    assert!(!own.is_pseudonym);
    let default = client.list_attesting_keys().unwrap().remove(0);
    for (name, public) in [("p1", &made.public), ("", &default.public), ("mine", &own.public)] {
        let chain = vec![family("certify-x509", vec![certificate(public, "CN=5d41402a")])];
        client.install_certificates(name, chain).unwrap();
        let attested = client.attest_key("payroll", name, &NONCE, certify_x509(TpmCertifyX509::default())).unwrap();
        let says = |part: &[u8]| contains(&attested.certificate, part) || contains(&attested.statement, part);
        assert_eq!(says(b"rack7-node3"), name != "p1", "{name}");
        assert_eq!(says(b"payroll"), name != "p1", "{name}");
    }
    // What carries the clock is refused by name.
    let fault = client.attest_key("payroll", "p1", &NONCE, certify()).unwrap_err();
    assert_eq!(fault.code(), Some("agent.mechanism-missing"), "{fault}");
    let fault = client.attest_platform("p1", &NONCE, quote()).unwrap_err();
    assert_eq!(fault.code(), Some("agent.mechanism-missing"), "{fault}");
    // The machine's alone, until a client's own key can be activated in its place.
    let operation = CreateAttestingKeyOperation { name: "p2".to_owned(), pseudonym: true, ..Default::default() };
    let mut stream = UnixStream::connect(device.socket()).unwrap();
    let body = operation.encode_to_vec();
    let uid = rustix::process::geteuid().as_raw();
    let request = support::authenticated(ProviderId::TPM, Opcode::CreateAttestingKey.number(), &body, uid);
    assert_eq!(support::status(&mut stream, &request), Status::PsaErrorInvalidArgument);
}
