//! The messages are frozen: their octets, that `proto/*.proto` describe what is compiled, and that no later version of
//! those files breaks a client of an earlier one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/proto.rs"]
mod proto;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message;
use proto::{Field, Schema};
use vouchsafe_agent::wire::Opcode;
use vouchsafe_agent::wire::message::{
    ActivateCredentialOperation, ActivateCredentialResult, AttestKeyOperation, AttestPlatformOperation,
    AttestationResult, AttestingKeyInfo, CreateAttestingKeyOperation, CreateAttestingKeyResult,
    DescribeEndorsementOperation, DescribeEndorsementResult, ErrorDetail, FamilyChain, ImportAttestingKeyOperation,
    ImportAttestingKeyResult, InstallCertificatesOperation, InstallCertificatesResult, KeyMechanism,
    ListAttestingKeysOperation, ListAttestingKeysResult, ListMechanismsOperation, ListMechanismsResult, MechanismInfo,
    PkixEvidence, PlatformMechanism, TpmCertify, TpmCertifyX509, TpmQuote,
};

/// The extension.
const EXTENSION: &str = include_str!("../proto/vouchsafe.proto");

/// Parsec's own operations.
const PARSEC: &str = include_str!("../proto/parsec.proto");

/// What was published, a line for each thing. Lines are added and never changed.
const FROZEN: &str = include_str!("../proto/frozen.txt");

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
        is_pseudonym: true,
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

fn pkix_evidence() -> PkixEvidence {
    PkixEvidence { claims: vec![text("1.2")], with_platform: true, request: vec![5] }
}

fn attestation() -> AttestationResult {
    AttestationResult {
        format: text("f"),
        statement_oid: text("1.2"),
        statement: vec![5],
        certificates: vec![vec![6], vec![7]],
        certificate: vec![8],
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
        (
            "AttestKeyOperation",
            attest_key(KeyMechanism::PkixEvidence(pkix_evidence())).encode_to_vec(),
            "0a016b1201611a0109b2060a0a03312e3210011a0105",
        ),
        ("PkixEvidence", pkix_evidence().encode_to_vec(), "0a03312e3210011a0105"),
        ("TpmCertify", TpmCertify {}.encode_to_vec(), ""),
        ("TpmCertifyX509", certify_x509().encode_to_vec(), "0a04434e3d6b100118022201752a01643201043801"),
        (
            "AttestPlatformOperation",
            AttestPlatformOperation { attesting_key: text("a"), nonce: vec![9], mechanism: Some(platform) }
                .encode_to_vec(),
            "0a0161120109a206070a016212020017",
        ),
        (
            "AttestPlatformOperation",
            AttestPlatformOperation {
                attesting_key: text("a"),
                nonce: vec![9],
                mechanism: Some(PlatformMechanism::PkixEvidence(pkix_evidence())),
            }
            .encode_to_vec(),
            "0a0161120109aa060a0a03312e3210011a0105",
        ),
        ("TpmQuote", quote().encode_to_vec(), "0a016212020017"),
        ("AttestationResult", attestation().encode_to_vec(), "0a01661203312e321a01052201062201072a0108"),
        ("ListMechanismsOperation", ListMechanismsOperation { key_name: text("k") }.encode_to_vec(), "0a016b"),
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
            "0a1f0a016e10011a01672201032a016632090a0161120101120102380140014801",
        ),
        (
            "AttestingKeyInfo",
            key_info().encode_to_vec(),
            "0a016e10011a01672201032a016632090a0161120101120102380140014801",
        ),
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
                spki: vec![5],
                attestation: Some(attestation()),
                endorsement_keys: vec![vec![6]],
            }
            .encode_to_vec(),
            "0a01011201021a01612201032a01043201053a140a01661203312e321a01052201062201072a0108420106",
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
            CreateAttestingKeyOperation { name: text("n"), algorithm: text("g"), for_machine: true, pseudonym: true }
                .encode_to_vec(),
            "0a016e12016718012001",
        ),
        (
            "CreateAttestingKeyResult",
            CreateAttestingKeyResult { key: Some(key_info()) }.encode_to_vec(),
            "0a1f0a016e10011a01672201032a016632090a0161120101120102380140014801",
        ),
        (
            "ImportAttestingKeyOperation",
            ImportAttestingKeyOperation {
                name: text("n"),
                object: vec![1],
                parent_handle: 2,
                handle: 3,
                auth: vec![4],
            }
            .encode_to_vec(),
            "0a016e120101180220032a0104",
        ),
        (
            "ImportAttestingKeyResult",
            ImportAttestingKeyResult { key: Some(key_info()) }.encode_to_vec(),
            "0a1f0a016e10011a01672201032a016632090a0161120101120102380140014801",
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

/// The wire type of a field (protobuf, "Message Structure").
fn wire_type(field: &Field) -> u64 {
    match (field.kind.as_str(), field.cardinality.as_str()) {
        // Repeated numbers are packed in proto3.
        (_, "repeated") => 2,
        ("bool" | "uint32" | "uint64" | "int32" | "int64", _) => 0,
        // Strings, octets and messages.
        _ => 2,
    }
}

#[test]
fn the_proto_file_declares_what_is_sent() {
    let mut sent: BTreeMap<String, BTreeSet<(u64, u64)>> = BTreeMap::new();
    for (name, octets, _) in golden() {
        sent.entry(name.to_owned()).or_default().extend(fields(&octets));
    }
    let number = |(number, field): (&u32, &Field)| (u64::from(*number), wire_type(field));
    let declared: BTreeMap<String, BTreeSet<(u64, u64)>> = Schema::parse(&[EXTENSION])
        .messages
        .iter()
        .map(|(name, message)| (name.clone(), message.fields.iter().map(number).collect()))
        .collect();
    assert_eq!(sent, declared);
}

/// The messages that the sources declare, read from their attributes: what is compiled, and by nobody's copy.
fn compiled() -> BTreeMap<String, BTreeMap<u32, Field>> {
    let mut messages: BTreeMap<String, BTreeMap<u32, Field>> = BTreeMap::new();
    let mut members: BTreeMap<String, Vec<(u32, Field)>> = BTreeMap::new();
    let mut oneofs: Vec<(String, String, String)> = Vec::new();
    let source = sources();
    let mut lines = source.lines().map(str::trim);
    let mut owner = String::new();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            owner = rest.split(' ').next().unwrap().to_owned();
            messages.insert(owner.clone(), BTreeMap::new());
        } else if let Some(rest) = line.strip_prefix("pub enum ") {
            owner = rest.split(' ').next().unwrap().to_owned();
        } else if let Some(attribute) = line.strip_prefix("#[prost(") {
            let declaration = lines.next().unwrap().trim_end_matches(',');
            let quoted = |name: &str| attribute.split_once(name).unwrap().1.split('"').next().unwrap().to_owned();
            if attribute.starts_with("oneof") {
                let name = declaration.strip_prefix("pub ").unwrap().split(':').next().unwrap();
                oneofs.push((owner.clone(), name.to_owned(), quoted("oneof = \"")));
                continue;
            }
            let number: u32 = quoted("tag = \"").parse().unwrap();
            let kind = attribute.split([',', ' ']).next().unwrap();
            if let Some((name, of)) = declaration.strip_prefix("pub ").and_then(|field| field.split_once(": ")) {
                let cardinality = if attribute.contains("repeated") { "repeated" } else { "single" };
                let kind = if kind == "message" { within(of) } else { kind };
                messages.get_mut(&owner).unwrap().insert(number, field(name, kind, cardinality));
            } else {
                let (name, of) = declaration.trim_end_matches(')').split_once('(').unwrap();
                let kind = if kind == "message" { of } else { kind };
                members.entry(owner.clone()).or_default().push((number, field(&snake_case(name), kind, "")));
            }
        }
    }
    for (message, name, variants) in oneofs {
        for (number, member) in &members[&variants] {
            let member = Field { cardinality: format!("oneof:{name}"), ..member.clone() };
            assert!(messages.get_mut(&message).unwrap().insert(*number, member).is_none());
        }
    }
    messages
}

fn field(name: &str, kind: &str, cardinality: &str) -> Field {
    Field { name: name.to_owned(), kind: kind.to_owned(), cardinality: cardinality.to_owned() }
}

/// `T` of `Vec<T>` and `Option<T>`.
fn within(kind: &str) -> &str {
    kind.split_once('<').unwrap().1.trim_end_matches('>')
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// All sources of messages.
fn sources() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/message");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 5);
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn the_proto_files_declare_what_is_compiled() {
    let declared = Schema::parse(&[PARSEC, EXTENSION]);
    let compiled = compiled();
    for (name, message) in &declared.messages {
        assert_eq!(compiled.get(name), Some(&message.fields), "{name}");
    }
    assert_eq!(compiled.len(), declared.messages.len());
}

#[test]
fn the_proto_files_list_the_operations() {
    let declared = Schema::parse(&[PARSEC, EXTENSION]);
    let served: BTreeMap<u32, &str> = Opcode::ALL.into_iter().map(|opcode| (opcode.number(), opcode.name())).collect();
    let listed: BTreeMap<u32, &str> =
        declared.operations.iter().map(|(number, operation)| (*number, operation.name.as_str())).collect();
    assert_eq!(listed, served);
    for operation in declared.operations.values() {
        assert!(declared.messages.contains_key(&operation.request), "{operation:?}");
        assert!(declared.messages.contains_key(&operation.result), "{operation:?}");
    }
    // Those of the extension stand in its own file.
    for number in Schema::parse(&[EXTENSION]).operations.keys() {
        assert!(*number >= Opcode::FIRST_EXTENSION);
    }
}

#[test]
fn nothing_that_is_published_has_changed() {
    let breaks = Schema::parse(&[PARSEC, EXTENSION]).breaks(FROZEN);
    assert!(breaks.is_empty(), "clients in the field would break:\n{}", breaks.join("\n"));
}

#[test]
fn what_is_added_is_frozen_with_it() {
    let frozen: BTreeSet<String> = FROZEN.lines().map(str::to_owned).collect();
    let added: Vec<String> = Schema::parse(&[PARSEC, EXTENSION]).lines().difference(&frozen).cloned().collect();
    assert!(added.is_empty(), "add to proto/frozen.txt, once it is as it shall stay:\n{}", added.join("\n"));
}

const SMALL: &str = "//   0x0100  Ask  A -> B\nmessage A {\n  string a = 1; // a\n  repeated uint32 b = 2;\n\
    oneof c {\n B d = 100;\n A e = 101;\n }\n}\nmessage B {\n}\n";

/// What breaks between the small schema and another one made of it.
fn breaks_after(from: &str, to: &str) -> Vec<String> {
    let earlier: Vec<String> = Schema::parse(&[SMALL]).lines().into_iter().collect();
    assert!(SMALL.contains(from), "{from}");
    Schema::parse(&[&SMALL.replace(from, to)]).breaks(&earlier.join("\n"))
}

#[test]
fn breaking_changes_are_found() {
    for (change, from, to) in [
        ("renumbered field", "string a = 1;", "string a = 3;"),
        ("changed type", "string a = 1;", "bytes a = 1;"),
        ("changed name", "string a = 1;", "string z = 1;"),
        ("changed cardinality", "repeated uint32 b", "uint32 b"),
        ("another message as type", "B d = 100;", "A d = 100;"),
        ("removed field", "string a = 1;", ""),
        ("removed field, its number reserved but not its name", "string a = 1;", "reserved 1;"),
        ("reused number", "string a = 1;", "bytes other = 1;"),
        ("number that is reserved and used", "string a = 1;", "string a = 1; reserved 100;"),
        ("name that is reserved and used", "string a = 1;", "string a = 1; reserved \"d\";"),
        ("field that left its oneof", "oneof c {\n B d = 100;", "B d = 100; oneof c {\n"),
        ("renamed message", "message B {", "message C {"),
        ("renumbered operation", "0x0100  Ask", "0x0101  Ask"),
        ("another request", "A -> B", "B -> B"),
        ("another result", "A -> B", "A -> A"),
    ] {
        assert!(!breaks_after(from, to).is_empty(), "{change}");
    }
}

#[test]
fn additions_break_nobody() {
    for (addition, from, to) in [
        ("field", "string a = 1;", "string a = 1; bytes z = 3;"),
        ("member of a oneof", "B d = 100;", "B d = 100; A z = 102;"),
        ("message", "message B {", "message C {\n string a = 1;\n}\nmessage B {"),
        ("operation", "// ", "//  0x0101  Other  B -> A\n//"),
        ("field that is withdrawn, number and name", "string a = 1;", "reserved 1; reserved \"a\";"),
        ("reserved range", "string a = 1;", "string a = 1; reserved 5 to 9, 12;"),
    ] {
        assert_eq!(breaks_after(from, to), Vec::<String>::new(), "{addition}");
    }
}

#[test]
fn a_withdrawn_number_stays_withdrawn() {
    let withdrawn = Schema::parse(&[&SMALL.replace("string a = 1;", "reserved 1; reserved \"a\";")]);
    let earlier: Vec<String> = withdrawn.lines().into_iter().collect();
    assert_eq!(Schema::parse(&[SMALL]).breaks(&earlier.join("\n")).len(), 2);
}

#[test]
fn the_proposal_names_every_operation_and_message() {
    let proposal = include_str!("../../../docs/parsec-proposal.md");
    let words: BTreeSet<&str> =
        proposal.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').collect();
    let declared = Schema::parse(&[EXTENSION]);
    for (number, operation) in &declared.operations {
        let heading = format!("\n### {} (opcode 0x{number:04X})\n", operation.name);
        assert!(proposal.contains(&heading), "no section{heading}");
    }
    for (name, message) in &declared.messages {
        assert!(words.contains(name.as_str()), "{name}");
        for field in message.fields.values() {
            assert!(words.contains(field.name.as_str()), "{name}.{}", field.name);
        }
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
