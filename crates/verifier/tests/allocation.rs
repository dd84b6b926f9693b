//! No parser holds more of the heap than 4 times its input and 64 KiB, neither over the vectors nor over what was made
//! to be as dear as possible. The fuzz targets demand the same of whatever they find.
//!
//! One test, since all allocations of the process count.
#![allow(clippy::disallowed_methods, reason = "tests read files")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::path::{Path, PathBuf};

use vouchsafe_evidence::base64url;
use vouchsafe_evidence::ceremony::{Record, STEPS, SignedTranscript, Step};
use vouchsafe_evidence::limits;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::{CertView, SpkiView};

#[path = "../../../fuzz/src/allocation.rs"]
mod allocation;
#[path = "../../../fuzz/src/parsers.rs"]
mod parsers;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// One element, as DER.
fn der(write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    let mut writer = DerWriter::new();
    write(&mut writer);
    writer.into_der()
}

/// An algorithm of one octet.
const ALGORITHM: [u8; 5] = [0x30, 3, 6, 1, 42];
/// A key of that algorithm, of no octet.
const KEY: [u8; 10] = [0x30, 8, 0x30, 3, 6, 1, 42, 3, 1, 0];
/// A time.
const TIME: &[u8] = b"\x17\x0d200101000000Z";

/// A certificate that has as little in it as one can have beside its version, its key, what follows the key, and a
/// signature of this length.
fn certificate(version: &[u8], key: &[u8], rest: &[u8], signature_octets: usize) -> Vec<u8> {
    der(|writer| {
        writer.sequence(|certificate| {
            certificate.sequence(|tbs| {
                tbs.raw(version).unsigned(&[1]).raw(&ALGORITHM).sequence(|_| {});
                tbs.sequence(|validity| {
                    validity.raw(TIME).raw(TIME);
                });
                tbs.sequence(|_| {}).raw(key).raw(rest);
            });
            certificate.raw(&ALGORITHM).bit_string(&vec![0; signature_octets], 0);
        });
    })
}

/// The smallest certificate that is read.
fn least_certificate() -> Vec<u8> {
    (0..).map(|octets| certificate(&[], &KEY, &[], octets)).find(|der| CertView::parse(der).is_ok()).unwrap()
}

/// A certificate with as many extensions of one octet as are read.
fn certificate_of_extensions() -> Vec<u8> {
    let extensions = der(|writer| {
        writer.constructed(Tag::context_constructed(3), |tagged| {
            tagged.sequence(|list| {
                for arc in 0..u8::try_from(limits::EXTENSIONS).unwrap() {
                    list.sequence(|extension| {
                        extension.raw(&[6, 1, arc]).octet_string(&[]);
                    });
                }
            });
        });
    });
    certificate(&[0xA0, 3, 2, 1, 2], &KEY, &extensions, 0)
}

/// A certificate that is next to nothing but its key.
fn certificate_of_a_key() -> Vec<u8> {
    let key = SpkiView::from_rsa(&[0xFF; limits::RSA_BITS_MAX / 8], &[1, 0, 1]).unwrap();
    certificate(&[], key.as_der(), &[], 0)
}

/// A certificate that is next to nothing but its names.
fn certificate_of_names() -> Vec<u8> {
    let attribute = [0x31, 7, 0x30, 5, 6, 1, 42, 5, 0].repeat(limits::RDNS);
    let name = [&[0x30, 0x82, 0x02, 0x40][..], &attribute].concat();
    der(|writer| {
        writer.sequence(|certificate| {
            certificate.sequence(|tbs| {
                tbs.unsigned(&[1]).raw(&ALGORITHM).raw(&name);
                tbs.sequence(|validity| {
                    validity.raw(TIME).raw(TIME);
                });
                tbs.raw(&name).raw(&KEY);
            });
            certificate.raw(&ALGORITHM).bit_string(&[], 0);
        });
    })
}

fn bundle(statements: &[Vec<u8>], certs: &[Vec<u8>]) -> Vec<u8> {
    der(|writer| {
        writer.sequence(|bundle| {
            bundle.sequence(|list| {
                statements.iter().for_each(|statement| {
                    list.sequence(|fields| {
                        fields.raw(&[6, 1, 42]).raw(statement);
                    });
                });
            });
            bundle.sequence(|list| {
                certs.iter().for_each(|certificate| {
                    list.raw(certificate);
                });
            });
        });
    })
}

/// A request with these values of the attestation attribute and these attributes beside it.
fn request(value: Option<&[u8]>, others: &[Vec<u8>]) -> Vec<u8> {
    der(|writer| {
        writer.sequence(|request| {
            request.sequence(|info| {
                info.raw(&[2, 1, 0]).sequence(|_| {});
                info.raw(&KEY);
                info.constructed(Tag::context_constructed(0), |attributes| {
                    if let Some(value) = value {
                        attributes.sequence(|attribute| {
                            attribute.oid(oid::AA_ATTESTATION).constructed(Tag::SET, |values| {
                                values.raw(value);
                            });
                        });
                    }
                    others.iter().for_each(|other| {
                        attributes.raw(other);
                    });
                });
            });
            request.raw(&ALGORITHM).bit_string(&[], 0);
        });
    })
}

/// An attribute with as many values as are read, each as short as one can be.
fn attribute_of_nulls() -> Vec<u8> {
    der(|writer| {
        writer.sequence(|attribute| {
            attribute.raw(&[6, 1, 42]).constructed(Tag::SET, |values| {
                (0..limits::CSR_ATTRIBUTE_VALUES).for_each(|_| {
                    values.raw(&[5, 0]);
                });
            });
        });
    })
}

/// A revocation list whose only entry names as many issuers as are read.
fn list_of_issuers() -> Vec<u8> {
    let names = der(|writer| {
        writer.sequence(|names| {
            (0..256).for_each(|_| {
                names.raw(&[0xA4, 2, 0x30, 0]);
            });
        });
    });
    der(|writer| {
        writer.sequence(|list| {
            list.sequence(|tbs| {
                tbs.raw(&[2, 1, 1]).raw(&ALGORITHM).sequence(|_| {}).raw(TIME);
                tbs.sequence(|entries| {
                    entries.sequence(|entry| {
                        entry.raw(&[2, 1, 1]).raw(TIME).sequence(|extensions| {
                            extensions.sequence(|extension| {
                                extension.oid(oid::CERTIFICATE_ISSUER).octet_string(&names);
                            });
                        });
                    });
                });
            });
            list.raw(&ALGORITHM).bit_string(&[], 0);
        });
    })
}

/// Wrappers whose members lie beneath long labels, in many small values, or in lists of nothing.
fn dear_wrappers() -> Vec<(&'static str, Vec<u8>)> {
    let record = r#"["text/plain","MAA"]"#;
    let members: Vec<String> = (0..64).map(|number| format!(r#""{number}":{record}"#)).collect();
    let members = members.join(",");
    let nested = |label: &str, depth: usize| {
        let open = format!(r#"{{"{label}":"#).repeat(depth);
        format!("{open}{{{members}}}{}", "}".repeat(depth)).into_bytes()
    };
    let arrays = |one: &str, count: usize| format!("[{}]", vec![one; count].join(",")).into_bytes();
    let names: Vec<String> = (0..500).map(|number| format!(r#""{number}":0"#)).collect();
    vec![
        ("wrapper beneath a long label", nested(&"x".repeat(256), 1)),
        ("wrapper beneath a label that is too long", nested(&"x".repeat(1 << 16), 1)),
        ("wrapper beneath many labels", nested(&"x".repeat(200), 7)),
        ("JSON of lists", arrays("[0]", 250)),
        ("JSON of lists of lists", arrays("[[[0]]]", 125)),
        ("JSON of numbers", arrays("0", 500)),
        ("JSON of names", format!("{{{}}}", names.join(",")).into_bytes()),
        ("JSON of escapes", format!(r#"["{}","MAA"]"#, "\\n".repeat(100_000)).into_bytes()),
        ("CBOR of lists", [&[0x99, 0x01, 0xF4][..], &[0x81, 0x00].repeat(500)].concat()),
        ("CBOR of tags", [&[0x99, 0x01, 0xF4][..], &[0xC0, 0x00].repeat(500)].concat()),
        ("CBOR of maps", [&[0x99, 0x01, 0x40][..], &[0xA1, 0x00, 0x00].repeat(320)].concat()),
    ]
}

/// Inputs that cost a presenter little and a parser as much as can be.
fn dear() -> Vec<(&'static str, Vec<u8>)> {
    let many = |one: Vec<u8>| vec![one; limits::CERTIFICATES_PARSED];
    let statement = vec![vec![5, 0]];
    let least = bundle(&statement, &many(least_certificate()));
    let other = bundle(&statement, &many(vec![0xA3, 5, 6, 1, 42, 5, 0]));
    let unreadable = bundle(&statement, &many(vec![0x30, 0]));
    let extended = bundle(&statement, &many(certificate_of_extensions()));
    let statements = bundle(&vec![vec![5, 0]; limits::STATEMENTS], &many(vec![0x30, 0]));
    let large = bundle(
        &[der(|w| {
            w.octet_string(&vec![0; 1 << 20]);
        })],
        &many(vec![0x30, 0]),
    );
    let pem: String =
        (0..limits::CERTIFICATES_PARSED).map(|_| pem::encode("CERTIFICATE", &least_certificate())).collect();
    let blocks = "-----BEGIN A-----\n-----END A-----\n".repeat(limits::CERTIFICATES_PARSED);
    let keys = bundle(&statement, &many(certificate_of_a_key()));
    let names = bundle(&statement, &many(certificate_of_names()));
    vec![
        ("request of certificates of keys", request(Some(&keys), &[])),
        ("request of certificates of names", request(Some(&names), &[])),
        (
            "PEM request of certificates of keys",
            pem::encode("CERTIFICATE REQUEST", &request(Some(&keys), &[])).into_bytes(),
        ),
        ("request of certificates of extensions", request(Some(&extended), &[])),
        ("request of least certificates", request(Some(&least), &[])),
        ("request of everything", request(Some(&least), &vec![attribute_of_nulls(); limits::CSR_ATTRIBUTES - 1])),
        ("request of a large statement", request(Some(&large), &[])),
        (
            "PEM request of a large statement",
            pem::encode("CERTIFICATE REQUEST", &request(Some(&large), &[])).into_bytes(),
        ),
        ("request of values", request(None, &vec![attribute_of_nulls(); limits::CSR_ATTRIBUTES])),
        ("least certificates", least),
        ("certificates of another format", other),
        ("unreadable certificates", unreadable),
        ("certificates of extensions", extended),
        ("statements", statements),
        ("large statement", large),
        ("PEM of least certificates", pem.into_bytes()),
        ("empty PEM blocks", blocks.into_bytes()),
        ("issuers of an entry", list_of_issuers()),
        ("certificate of extensions", certificate_of_extensions()),
    ]
}

/// What every parser holds at most for every input, in order of how near it comes to its bound.
fn measure(inputs: &[(String, Vec<u8>)]) -> Vec<(f64, String)> {
    let mut found = Vec::new();
    for (name, input) in inputs {
        for (parser, parse) in parsers::PARSERS {
            let (peak, limit) = (allocation::peak(|| parse(input)), allocation::parse_octets(input.len()));
            let share = f64::from(u32::try_from(peak).unwrap()) / f64::from(u32::try_from(limit).unwrap());
            found.push((share, format!("{parser} of {name}: {peak} octets for {}, {limit} allowed", input.len())));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
}

/// Octets on the heap while any file of a ceremony is read, as docs/fuzzing.md has it: it is compared with its own
/// encoding, which takes more than four times its octets, and is bounded by its size instead.
const CEREMONY_OCTETS: usize = 16 * 1024 * 1024;

/// Files of ceremonies that are as dear as can be.
fn dear_ceremonies() -> Vec<Vec<u8>> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/ceremony/two-of-three/ceremony.json");
    let good = SignedTranscript::parse(&std::fs::read(vectors).unwrap()).unwrap();
    let mut large = good.transcript().clone();
    let step = large.steps[0].clone();
    large.steps = vec![Step { record: Record::Asked { typed: "\u{1}".repeat(600) }, ..step.clone() }; STEPS];
    let mut many = good.transcript().clone();
    many.steps = vec![Step { record: Record::Withheld, ..step }; STEPS];
    let of_values = |json: String| {
        format!("{{\"payload\":\"{}\",\"signatures\":[]}}\n", base64url::encode(json.as_bytes())).into_bytes()
    };
    vec![
        SignedTranscript::unsigned(large).to_json().into_bytes(),
        SignedTranscript::unsigned(many).to_json().into_bytes(),
        of_values(format!("[{}0]", "0,".repeat(500_000))),
        of_values(format!("{{\"version\":1,\"head\":[{}0]}}", "{\"\":0},".repeat(120_000))),
    ]
}

#[test]
fn parsers_hold_no_more_than_their_bound() {
    for file in dear_ceremonies() {
        let peak = allocation::peak(|| drop(std::hint::black_box(SignedTranscript::parse(&file))));
        println!("ceremony: {peak} octets for {}", file.len());
        assert!(peak <= CEREMONY_OCTETS, "{peak} octets for a ceremony of {}", file.len());
    }
    let mut vectors = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors"), &mut vectors);
    let mut inputs: Vec<(String, Vec<u8>)> =
        vectors.iter().map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect();
    assert!(inputs.len() > 100, "the vectors moved");
    let dear = dear();
    for certificate in
        [least_certificate(), certificate_of_extensions(), certificate_of_a_key(), certificate_of_names()]
    {
        CertView::parse(&certificate).unwrap();
    }
    for (name, input) in &dear {
        let is_read = parsers::PARSERS.iter().any(|(_, parse)| allocation::peak(|| parse(input)) > input.len());
        assert!(is_read, "{name} is refused before anything is held");
    }
    inputs.extend(dear_wrappers().into_iter().map(|(name, input)| (name.to_owned(), input)));
    inputs.extend(dear.into_iter().map(|(name, input)| (name.to_owned(), input)));
    let found = measure(&inputs);
    found.iter().take(12).for_each(|(share, what)| println!("{share:.2} {what}"));
    assert!(found[0].0 <= 1.0, "{}", found[0].1);
}
