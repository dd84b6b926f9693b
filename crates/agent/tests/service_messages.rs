//! The extension's messages are frozen: their octets, and that `proto/vouchsafe.proto` describes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use vouchsafe_agent::wire::Opcode;
use vouchsafe_agent::wire::message::{
    ActivateCredentialOperation, ActivateCredentialResult, AttestKeyOperation, AttestPlatformOperation,
    AttestationResult, AttestingKeyInfo, CreateAttestingKeyOperation, CreateAttestingKeyResult,
    DescribeEndorsementOperation, DescribeEndorsementResult, ErrorDetail, FamilyChain, InstallCertificatesOperation,
    InstallCertificatesResult, KeyMechanism, ListAttestingKeysOperation, ListAttestingKeysResult,
    ListMechanismsOperation, ListMechanismsResult, MechanismInfo, PlatformMechanism, TpmCertify, TpmCertifyX509,
    TpmQuote,
};

const PROTO: &str = include_str!("../proto/vouchsafe.proto");

const SOURCES: [&str; 3] = [
    include_str!("../src/wire/message/attestation.rs"),
    include_str!("../src/wire/message/enrollment.rs"),
    include_str!("../src/wire/message/detail.rs"),
];

fn text(value: &str) -> String {
    value.to_owned()
}

fn chain() -> FamilyChain {
    FamilyChain { family: text("a"), certificates: vec![vec![1], vec![2]] }
}

fn key_info() -> AttestingKeyInfo {
    AttestingKeyInfo {
        name: text("n"),
        is_default: true,
        algorithm: text("g"),
        public: vec![3],
        families: vec![text("f")],
        certificates: vec![chain()],
        made_here: true,
        is_own: true,
    }
}

fn mechanism_info() -> MechanismInfo {
    MechanismInfo { name: text("n"), version: 1, stability: text("s"), statement_oid: text("1.2"), subject: text("k") }
}

fn attest_key(mechanism: KeyMechanism) -> AttestKeyOperation {
    AttestKeyOperation { key_name: text("k"), attesting_key: text("a"), nonce: vec![9], mechanism: Some(mechanism) }
}

fn certify_x509() -> TpmCertifyX509 {
    TpmCertifyX509 {
        subject: text("CN=k"),
        not_before: 1,
        not_after: 2,
        key_usage: vec![text("u")],
        san: vec![text("d")],
        chain: vec![vec![4]],
        subject_beneath_issuer: true,
    }
}

fn quote() -> TpmQuote {
    TpmQuote { bank: text("b"), indices: vec![0, 23] }
}

/// Every message with all its fields set, by its name in the `.proto` file, and its octets.
fn golden() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let platform = PlatformMechanism::TpmQuote(quote());
    vec![
        (
            "ErrorDetail",
            ErrorDetail { code: text("c"), message: text("m"), next_step: text("n") }.encode_to_vec(),
            "0a016312016d1a016e",
        ),
        (
            "AttestKeyOperation",
            attest_key(KeyMechanism::TpmCertify(TpmCertify {})).encode_to_vec(),
            "0a016b1201611a0109a20600",
        ),
        (
            "AttestKeyOperation",
            attest_key(KeyMechanism::TpmCertifyX509(certify_x509())).encode_to_vec(),
            "0a016b1201611a0109aa06150a04434e3d6b100118022201752a01643201043801",
        ),
        ("TpmCertify", TpmCertify {}.encode_to_vec(), ""),
        ("TpmCertifyX509", certify_x509().encode_to_vec(), "0a04434e3d6b100118022201752a01643201043801"),
        (
            "AttestPlatformOperation",
            AttestPlatformOperation { attesting_key: text("a"), nonce: vec![9], mechanism: Some(platform) }
                .encode_to_vec(),
            "0a0161120109a206070a016212020017",
        ),
        ("TpmQuote", quote().encode_to_vec(), "0a016212020017"),
        (
            "AttestationResult",
            AttestationResult {
                format: text("f"),
                statement_oid: text("1.2"),
                statement: vec![5],
                certificates: vec![vec![6], vec![7]],
                certificate: vec![8],
            }
            .encode_to_vec(),
            "0a01661203312e321a01052201062201072a0108",
        ),
        ("ListMechanismsOperation", ListMechanismsOperation {}.encode_to_vec(), ""),
        (
            "ListMechanismsResult",
            ListMechanismsResult { mechanisms: vec![mechanism_info()] }.encode_to_vec(),
            "0a100a016e10011a01732203312e322a016b",
        ),
        ("MechanismInfo", mechanism_info().encode_to_vec(), "0a016e10011a01732203312e322a016b"),
        ("ListAttestingKeysOperation", ListAttestingKeysOperation {}.encode_to_vec(), ""),
        (
            "ListAttestingKeysResult",
            ListAttestingKeysResult { keys: vec![key_info()] }.encode_to_vec(),
            "0a1d0a016e10011a01672201032a016632090a016112010112010238014001",
        ),
        ("AttestingKeyInfo", key_info().encode_to_vec(), "0a016e10011a01672201032a016632090a016112010112010238014001"),
        ("FamilyChain", chain().encode_to_vec(), "0a0161120101120102"),
        (
            "DescribeEndorsementOperation",
            DescribeEndorsementOperation { attesting_key: text("a") }.encode_to_vec(),
            "0a0161",
        ),
        (
            "DescribeEndorsementResult",
            DescribeEndorsementResult {
                certificates: vec![vec![1]],
                chain: vec![vec![2]],
                attesting_key: text("a"),
                public: vec![3],
                name: vec![4],
            }
            .encode_to_vec(),
            "0a01011201021a01612201032a0104",
        ),
        (
            "ActivateCredentialOperation",
            ActivateCredentialOperation { attesting_key: text("a"), credential: vec![1], secret: vec![2] }
                .encode_to_vec(),
            "0a01611201011a0102",
        ),
        ("ActivateCredentialResult", ActivateCredentialResult { credential: vec![1] }.encode_to_vec(), "0a0101"),
        (
            "InstallCertificatesOperation",
            InstallCertificatesOperation { attesting_key: text("a"), certificates: vec![chain()] }.encode_to_vec(),
            "0a016112090a0161120101120102",
        ),
        ("InstallCertificatesResult", InstallCertificatesResult {}.encode_to_vec(), ""),
        (
            "CreateAttestingKeyOperation",
            CreateAttestingKeyOperation { name: text("n"), algorithm: text("g"), for_machine: true }.encode_to_vec(),
            "0a016e1201671801",
        ),
        (
            "CreateAttestingKeyResult",
            CreateAttestingKeyResult { key: Some(key_info()) }.encode_to_vec(),
            "0a1d0a016e10011a01672201032a016632090a016112010112010238014001",
        ),
    ]
}

#[test]
fn octets_are_frozen() {
    for (name, octets, expected) in golden() {
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, expected, "{name}");
    }
}

/// A field as the `.proto` file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: String,
    wire_type: u64,
}

/// The messages of the `.proto` file: fields by number.
fn declared() -> BTreeMap<String, BTreeMap<u64, Field>> {
    let mut messages: BTreeMap<String, BTreeMap<u64, Field>> = BTreeMap::new();
    let mut current = None;
    for line in PROTO.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        if let Some(name) = line.strip_prefix("message ").and_then(|rest| rest.strip_suffix(" {")) {
            current = Some(name.to_owned());
            assert!(messages.insert(name.to_owned(), BTreeMap::new()).is_none(), "{name} twice");
        } else if let Some((declaration, number)) = line.strip_suffix(';').and_then(|line| line.split_once(" = ")) {
            let Some(message) = &current else { continue };
            let words: Vec<&str> = declaration.split(' ').collect();
            let (repeated, kind, name) = match words.as_slice() {
                ["repeated", kind, name] => (true, *kind, *name),
                [kind, name] => (false, *kind, *name),
                _ => panic!("{line}"),
            };
            let wire_type = match kind {
                "bool" | "uint32" | "int64" if !repeated => 0,
                // Strings, octets and messages; repeated numbers are packed in proto3.
                _ => 2,
            };
            let field = Field { name: name.to_owned(), wire_type };
            let number = number.parse().unwrap();
            assert!(messages.get_mut(message).unwrap().insert(number, field).is_none(), "{line}");
        }
    }
    messages
}

/// Numbers and wire types of the fields in an encoded message.
fn fields(mut octets: &[u8]) -> BTreeSet<(u64, u64)> {
    fn varint(octets: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let octet = octets[0];
            *octets = &octets[1..];
            value |= u64::from(octet & 0x7F) << shift;
            if octet & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = BTreeSet::new();
    while !octets.is_empty() {
        let key = varint(&mut octets);
        let value = varint(&mut octets);
        if key & 7 == 2 {
            octets = &octets[usize::try_from(value).unwrap()..];
        }
        found.insert((key >> 3, key & 7));
    }
    found
}

#[test]
fn the_proto_file_declares_what_is_sent() {
    let mut sent: BTreeMap<String, BTreeSet<(u64, u64)>> = BTreeMap::new();
    for (name, octets, _) in golden() {
        sent.entry(name.to_owned()).or_default().extend(fields(&octets));
    }
    let declared: BTreeMap<String, BTreeSet<(u64, u64)>> = declared()
        .into_iter()
        .map(|(name, fields)| (name, fields.into_iter().map(|(number, field)| (number, field.wire_type)).collect()))
        .collect();
    assert_eq!(sent, declared);
}

#[test]
fn fields_have_the_same_names() {
    let declared = declared();
    let mut seen = 0;
    let mut current = None;
    let mut tag = None;
    for line in SOURCES.iter().flat_map(|source| source.lines()).map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|rest| rest.split(' ').next()) {
            current = Some(name.to_owned());
        } else if let Some((_, rest)) = line.split_once("tag = \"") {
            tag = rest.split('"').next().map(|number| number.parse::<u64>().unwrap());
        } else if let (Some(number), Some((name, _))) =
            (tag, line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')))
        {
            let message = current.as_ref().unwrap();
            assert_eq!(declared[message][&number].name, name, "{message}");
            tag = None;
            seen += 1;
        }
    }
    let in_oneofs = 3;
    let all: usize = declared.values().map(BTreeMap::len).sum();
    assert_eq!(seen, all - in_oneofs);
}

#[test]
fn the_proto_file_lists_the_operations() {
    for opcode in Opcode::ALL.into_iter().filter(|opcode| opcode.is_extension()) {
        let line = format!("//   0x{:04X}  {opcode:?} ", opcode.number());
        assert!(PROTO.contains(&line), "{line}");
    }
}

#[test]
fn new_mechanisms_are_absent_to_an_old_service() {
    // A oneof member 150 that is not declared yet.
    let octets = [0x0A, 0x01, b'k', 0xB2, 0x09, 0x00];
    let operation = AttestKeyOperation::decode(octets.as_slice()).unwrap();
    assert_eq!(operation.key_name, "k");
    assert_eq!(operation.mechanism, None);
}
