//! Whatever comes in at the door: parsed or refused, never a panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../fuzz/src/agent.rs"]
mod agent;
#[path = "../../../fuzz/src/wrapped_key.rs"]
mod wrapped_key;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::sample::select;
use prost::Message;
use vouchsafe_agent::provider::Unfit;
use vouchsafe_agent::provider::tpm::read_wrapped_attesting_key;
use vouchsafe_agent::wire::header::{AuthType, HEADER_OCTETS, Refusal, RequestHeader};
use vouchsafe_agent::wire::message::{
    AsymmetricDecryptOperation, AsymmetricEncryption, AsymmetricEncryptionVariant, AttestKeyOperation,
    AttestPlatformOperation, EccPublicKey, FamilyChain, ImportAttestingKeyOperation, ImportKeyOperation,
    InstallCertificatesOperation, KeyAttributes, KeyMechanism, KeyType, KeyTypeVariant, ListMechanismsOperation,
    ParsecActivateCredential, ParsecAttestKeyOperation, ParsecAttestKeyParameters, ParsecMechanism, PkixEvidence,
    PlatformMechanism, RsaOaep, SignHashOperation, TpmCertifyX509, TpmQuote, hash,
};
use vouchsafe_agent::wire::{
    CoreOperation, Opcode, Operation, ProviderId, ProviderOperation, Request, RequestFault, Status,
};
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, SigningKey, USER_KEY_ATTRIBUTES, signing_key};
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::Tag;

/// A request as a client would make it.
fn request(opcode: Opcode, auth_type: AuthType, body: &[u8]) -> Vec<u8> {
    let header =
        RequestHeader { provider: ProviderId::TPM, auth_type, body_octets: body.len(), opcode: opcode.number() };
    let auth = vec![0; auth_type.field_octets()];
    [header.to_octets().unwrap().as_slice(), body, &auth].concat()
}

/// Bodies with something of every operation in them.
fn bodies() -> Vec<(Opcode, Vec<u8>)> {
    let x509 = TpmCertifyX509 {
        subject: "CN=a".to_owned(),
        key_usage: vec!["digitalSignature".to_owned()],
        san: vec!["dns:a".to_owned()],
        chain: vec![vec![0x30, 0]],
        ..TpmCertifyX509::default()
    };
    let attest_key = AttestKeyOperation {
        key_name: "k".to_owned(),
        nonce: vec![1; 16],
        mechanism: Some(KeyMechanism::TpmCertifyX509(x509)),
        ..AttestKeyOperation::default()
    };
    let evidence = PkixEvidence {
        claims: vec!["1.3.6.1.5.5.999.1.2.1".to_owned(); 2],
        with_platform: true,
        request: vec![0x30, 0x05, 2, 1, 1, 0x30, 0],
    };
    let attest_by_evidence = AttestKeyOperation {
        mechanism: Some(KeyMechanism::PkixEvidence(evidence.clone())),
        ..AttestKeyOperation::default()
    };
    let platform_evidence = AttestPlatformOperation {
        mechanism: Some(PlatformMechanism::PkixEvidence(evidence)),
        ..AttestPlatformOperation::default()
    };
    let list = ListMechanismsOperation { key_name: "k".to_owned() };
    let import_attesting = ImportAttestingKeyOperation {
        name: "site".to_owned(),
        object: vec![0x30, 0],
        parent_handle: 0x8100_0001,
        auth: vec![9; 16],
        ..ImportAttestingKeyOperation::default()
    };
    let quote = TpmQuote { bank: "sha256".to_owned(), indices: vec![0, 7, 23] };
    let attest_platform = AttestPlatformOperation {
        mechanism: Some(PlatformMechanism::TpmQuote(quote)),
        ..AttestPlatformOperation::default()
    };
    let chain = FamilyChain { family: "attest".to_owned(), certificates: vec![vec![0x30, 0]; 3] };
    let install = InstallCertificatesOperation { attesting_key: String::new(), certificates: vec![chain; 2] };
    let sign = SignHashOperation { key_name: "k".to_owned(), alg: None, hash: vec![7; 32] };
    let import = ImportKeyOperation {
        key_name: "k".to_owned(),
        attributes: Some(KeyAttributes {
            key_type: Some(KeyType { variant: Some(KeyTypeVariant::EccPublicKey(EccPublicKey { curve_family: 2 })) }),
            ..KeyAttributes::default()
        }),
        data: vec![4; 65],
    };
    let oaep = AsymmetricEncryptionVariant::RsaOaep(RsaOaep { hash_alg: hash::SHA_256 });
    let decrypt = AsymmetricDecryptOperation {
        alg: Some(AsymmetricEncryption { variant: Some(oaep) }),
        ciphertext: vec![1; 256],
        ..AsymmetricDecryptOperation::default()
    };
    let credential = ParsecActivateCredential { credential_blob: vec![1; 68], secret: vec![2; 256] };
    let mechanism = Some(ParsecMechanism::ActivateCredential(credential));
    let activate = ParsecAttestKeyOperation {
        parameters: Some(ParsecAttestKeyParameters { mechanism }),
        ..ParsecAttestKeyOperation::default()
    };
    let mut bodies: Vec<_> = Opcode::ALL.into_iter().map(|opcode| (opcode, Vec::new())).collect();
    bodies.extend([
        (Opcode::AttestKey, attest_key.encode_to_vec()),
        (Opcode::AttestPlatform, attest_platform.encode_to_vec()),
        (Opcode::AttestKey, attest_by_evidence.encode_to_vec()),
        (Opcode::AttestPlatform, platform_evidence.encode_to_vec()),
        (Opcode::ListMechanisms, list.encode_to_vec()),
        (Opcode::ImportAttestingKey, import_attesting.encode_to_vec()),
        (Opcode::InstallCertificates, install.encode_to_vec()),
        (Opcode::PsaSignHash, sign.encode_to_vec()),
        (Opcode::PsaImportKey, import.encode_to_vec()),
        (Opcode::PsaAsymmetricDecrypt, decrypt.encode_to_vec()),
        (Opcode::ParsecAttestKey, activate.encode_to_vec()),
    ]);
    bodies
}

/// A good request with some octets changed, and perhaps cut.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let auth_types = select(vec![AuthType::UnixPeerCredentials, AuthType::None, AuthType::Direct { octets: 5 }]);
    let good = (select(bodies()), auth_types).prop_map(|((opcode, body), auth_type)| request(opcode, auth_type, &body));
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (good, edits, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(mut octets, edits, end, cut)| {
        for (index, value) in edits {
            let position = index.index(octets.len());
            octets[position] = value;
        }
        if cut {
            octets.truncate(end.index(octets.len()));
        }
        octets
    })
}

proptest! {
    #[test]
    fn any_octets_are_parsed_or_refused(octets in vec(any::<u8>(), 0..300)) {
        agent::front_door(&octets);
    }

    #[test]
    fn any_octets_are_a_wrapped_attesting_key_or_refused(octets in vec(any::<u8>(), 0..300)) {
        wrapped_key::wrapped_key(&octets);
    }

    #[test]
    fn changed_requests_are_parsed_or_refused(octets in mutated()) {
        agent::front_door(&octets);
        agent::front_door(octets.get(HEADER_OCTETS..).unwrap_or_default());
    }
}

#[test]
fn every_operation_is_parsed() {
    for (opcode, body) in bodies() {
        let octets = request(opcode, AuthType::UnixPeerCredentials, &body);
        let parsed = Request::parse(&octets).unwrap();
        assert_eq!((parsed.header.opcode, parsed.auth), (opcode.number(), &[0; 4][..]));
        let is_core = matches!(parsed.operation, Operation::Core(_));
        assert_eq!(is_core, opcode.route() == vouchsafe_agent::wire::Route::Core, "{opcode:?}");
    }
    let ping = request(Opcode::Ping, AuthType::None, &[]);
    assert_eq!(Request::parse(&ping).unwrap().operation, Operation::Core(CoreOperation::Ping));
    let sign = request(Opcode::PsaSignHash, AuthType::None, &[0x0A, 1, b'k']);
    let operation = Request::parse(&sign).unwrap().operation;
    assert!(matches!(operation, Operation::Provider(ProviderOperation::SignHash(op)) if op.key_name == "k"));
}

#[test]
fn each_defect_has_its_fault() {
    let ping = request(Opcode::Ping, AuthType::None, &[]);
    let found = ping.len();
    assert_eq!(
        Request::parse(&ping[..found - 1]),
        Err(RequestFault::Length { expected: HEADER_OCTETS, found: found - 1 })
    );
    let longer = [ping.as_slice(), &[0]].concat();
    assert_eq!(Request::parse(&longer), Err(RequestFault::Length { expected: found, found: found + 1 }));
    let mut other = ping.clone();
    other[0] ^= 1;
    assert!(matches!(Request::parse(&other), Err(RequestFault::Header(Refusal::Magic { .. }))));
    let mut other = ping;
    other[28] = 0x77;
    assert_eq!(Request::parse(&other), Err(RequestFault::Opcode { found: 0x77, status: Status::OpcodeDoesNotExist }));
    let body = request(Opcode::PsaSignHash, AuthType::None, &[0x0A, 5, b'x']);
    assert!(matches!(Request::parse(&body), Err(RequestFault::Body(_))));
}

/// An attesting key as it is handed in, under the parent of this INTEGER: both structures, and a PEM file of them.
fn wrapped_attesting_keys(attributes: u32, parent: &[u8]) -> [Vec<u8>; 2] {
    let public = signing_key(SigningKey::EccP256, attributes, Some(HashAlg::Sha256), b"ak");
    let two = |octets: &[u8]| [&u16::try_from(octets.len()).unwrap().to_be_bytes(), octets].concat();
    let (public, private) = (two(public.as_bytes()), two(&[1; 40]));
    let mut key = DerWriter::new();
    key.sequence(|fields| {
        fields.oid(Oid::constant("2.23.133.10.1.3")).primitive(Tag::INTEGER, parent);
        fields.octet_string(&public).octet_string(&private);
    });
    let pem = vouchsafe_evidence::pem::encode("TSS2 PRIVATE KEY", &key.into_der()).into_bytes();
    [[public, private].concat(), pem]
}

#[test]
fn a_wrapped_attesting_key_is_read_and_altered_ones_are_refused_or_can_attest_alone() {
    let owner = [0x40, 0, 0, 1];
    for good in wrapped_attesting_keys(AK_ATTRIBUTES, &owner) {
        assert!(read_wrapped_attesting_key(&good).is_ok());
        wrapped_key::wrapped_key(&good);
        for place in 0..good.len() {
            for change in [1, 0x80, 0xFF] {
                let mut altered = good.clone();
                altered[place] ^= change;
                wrapped_key::wrapped_key(&altered);
            }
            wrapped_key::wrapped_key(&good[..place]);
        }
    }
    for plain in wrapped_attesting_keys(USER_KEY_ATTRIBUTES, &owner) {
        assert_eq!(read_wrapped_attesting_key(&plain), Err(Unfit::NotRestricted("restricted")));
    }
    // A handle in more octets than handles have: what stands before its last four was passed over.
    for parent in [&[0, 0x81, 0, 0, 1][..], &[0x81, 0, 0, 1]] {
        let [_, pem] = wrapped_attesting_keys(AK_ATTRIBUTES, parent);
        assert!(read_wrapped_attesting_key(&pem).is_ok());
    }
    for parent in [&[1, 0, 0x40, 0, 0, 1][..], &[1, 0, 0, 0, 0, 0x40, 0, 0, 1]] {
        let [_, pem] = wrapped_attesting_keys(AK_ATTRIBUTES, parent);
        assert_eq!(read_wrapped_attesting_key(&pem), Err(Unfit::Unreadable), "{parent:02x?}");
    }
}
