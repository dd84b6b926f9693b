//! The DER of whole extensions.

use super::DerWriter;
use crate::oid::{self, Oid};
use crate::x509::der::Tag;
use crate::x509::extensions::{BasicConstraints, GeneralName, KeyUsage};

/// The DER of an Extension whose extnValue holds `value`.
#[must_use]
pub fn extension(oid: Oid, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|extension| {
        extension.oid(oid);
        if critical {
            extension.boolean(true);
        }
        extension.octet_string(value);
    });
    writer.into_der()
}

fn extension_of(oid: Oid, critical: bool, write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
    let mut value = DerWriter::new();
    write(&mut value);
    extension(oid, critical, &value.into_der())
}

/// basicConstraints.
#[must_use]
pub fn basic_constraints(critical: bool, constraints: BasicConstraints) -> Vec<u8> {
    extension_of(oid::BASIC_CONSTRAINTS, critical, |value| {
        value.sequence(|fields| {
            if constraints.ca {
                fields.boolean(true);
            }
            if let Some(path_length) = constraints.path_length {
                fields.uint(path_length);
            }
        });
    })
}

/// keyUsage, of the bits of [`KeyUsage`].
#[must_use]
pub fn key_usage(critical: bool, usage: KeyUsage) -> Vec<u8> {
    let bits = usage.bits();
    let [high, low] = bits.to_be_bytes();
    let octets = [low.reverse_bits(), high.reverse_bits()];
    let used: &[u8] = if high == 0 { octets.split_at(1).0 } else { &octets };
    let unused = used.last().map_or(0, |last| last.trailing_zeros().min(7));
    extension_of(oid::KEY_USAGE, critical, |value| {
        value.bit_string(used, u8::try_from(unused).unwrap_or(0));
    })
}

/// extKeyUsage.
#[must_use]
pub fn extended_key_usage(critical: bool, purposes: &[Oid]) -> Vec<u8> {
    extension_of(oid::EXTENDED_KEY_USAGE, critical, |value| {
        value.sequence(|list| {
            for purpose in purposes {
                list.oid(*purpose);
            }
        });
    })
}

/// subjectKeyIdentifier, never critical.
#[must_use]
pub fn subject_key_identifier(identifier: &[u8]) -> Vec<u8> {
    extension_of(oid::SUBJECT_KEY_IDENTIFIER, false, |value| {
        value.octet_string(identifier);
    })
}

/// authorityKeyIdentifier with a key identifier alone, never critical.
#[must_use]
pub fn authority_key_identifier(identifier: &[u8]) -> Vec<u8> {
    extension_of(oid::AUTHORITY_KEY_IDENTIFIER, false, |value| {
        value.sequence(|fields| {
            fields.primitive(Tag::context(0), identifier);
        });
    })
}

/// subjectAltName.
#[must_use]
pub fn subject_alt_name(critical: bool, names: &[GeneralName]) -> Vec<u8> {
    extension_of(oid::SUBJECT_ALT_NAME, critical, |value| {
        value.sequence(|list| {
            for name in names {
                write_general_name(list, name);
            }
        });
    })
}

/// nameConstraints; a list that is empty is left out.
#[must_use]
pub fn name_constraints(critical: bool, permitted: &[GeneralName], excluded: &[GeneralName]) -> Vec<u8> {
    extension_of(oid::NAME_CONSTRAINTS, critical, |value| {
        value.sequence(|fields| {
            for (number, bases) in [(0, permitted), (1, excluded)] {
                if bases.is_empty() {
                    continue;
                }
                fields.constructed(Tag::context_constructed(number), |list| {
                    for base in bases {
                        list.sequence(|subtree| write_general_name(subtree, base));
                    }
                });
            }
        });
    })
}

fn write_general_name(writer: &mut DerWriter, name: &GeneralName) {
    match name {
        GeneralName::Email(text) => writer.primitive(Tag::context(1), text),
        GeneralName::Dns(text) => writer.primitive(Tag::context(2), text),
        GeneralName::Directory(name) => writer.constructed(Tag::context_constructed(4), |tagged| {
            tagged.raw(name.as_der());
        }),
        GeneralName::Uri(text) => writer.primitive(Tag::context(6), text),
        GeneralName::Ip(octets) => writer.primitive(Tag::context(7), octets),
        GeneralName::Other(der) => writer.raw(der),
    };
}

/// certificatePolicies without qualifiers.
#[must_use]
pub fn certificate_policies(critical: bool, policies: &[Oid]) -> Vec<u8> {
    extension_of(oid::CERTIFICATE_POLICIES, critical, |value| {
        value.sequence(|list| {
            for policy in policies {
                list.sequence(|information| {
                    information.oid(*policy);
                });
            }
        });
    })
}

/// cRLDistributionPoints with one point, whose list is had at this URI and covers every reason; never critical (RFC 5280,
/// section 4.2.1.13).
#[must_use]
pub fn crl_distribution_points(uri: &str) -> Vec<u8> {
    extension_of(oid::CRL_DISTRIBUTION_POINTS, false, |value| {
        value.sequence(|points| {
            points.sequence(|point| {
                point.constructed(Tag::context_constructed(0), |name| {
                    name.constructed(Tag::context_constructed(0), |full| {
                        write_general_name(full, &GeneralName::Uri(uri.as_bytes().to_vec()));
                    });
                });
            });
        });
    })
}

/// authorityInfoAccess that says where the issuer's certificate is had; never critical (RFC 5280, section 4.2.2.1).
#[must_use]
pub fn authority_info_access(ca_issuers: &str) -> Vec<u8> {
    extension_of(oid::AUTHORITY_INFO_ACCESS, false, |value| {
        value.sequence(|list| {
            list.sequence(|description| {
                description.oid(oid::AD_CA_ISSUERS);
                write_general_name(description, &GeneralName::Uri(ca_issuers.as_bytes().to_vec()));
            });
        });
    })
}

/// tcg-tpmaObject of this TPMA_OBJECT.
#[must_use]
pub fn tpma_object(critical: bool, attributes: u32) -> Vec<u8> {
    extension_of(oid::TPMA_OBJECT, critical, |value| {
        value.bit_string(&attributes.to_be_bytes(), 0);
    })
}

/// The nonce extension, never critical: an OCTET STRING inside extnValue.
#[must_use]
pub fn nonce(nonce: &[u8]) -> Vec<u8> {
    octets_extension(oid::NONCE, nonce)
}

/// The AK Name extension, never critical.
#[must_use]
pub fn ak_name(name: &[u8]) -> Vec<u8> {
    octets_extension(oid::AK_NAME, name)
}

/// The deviceLink extension, never critical.
#[must_use]
pub fn device_link(link: &[u8]) -> Vec<u8> {
    octets_extension(oid::DEVICE_LINK, link)
}

fn octets_extension(oid: Oid, octets: &[u8]) -> Vec<u8> {
    extension_of(oid, false, |value| {
        value.octet_string(octets);
    })
}

#[cfg(test)]
mod tests {
    use super::super::writer::integer_contents;
    use super::*;

    #[test]
    fn key_usage_is_minimal() {
        for (bits, expected) in [
            (KeyUsage::DIGITAL_SIGNATURE, &[0x03, 0x02, 0x07, 0x80][..]),
            (KeyUsage::KEY_CERT_SIGN, &[0x03, 0x02, 0x02, 0x04]),
            (KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN, &[0x03, 0x02, 0x01, 0x06]),
            (KeyUsage::DECIPHER_ONLY, &[0x03, 0x03, 0x07, 0x00, 0x80]),
            (KeyUsage::ENCIPHER_ONLY, &[0x03, 0x02, 0x00, 0x01]),
        ] {
            let der = key_usage(false, KeyUsage::from_bits(bits));
            assert!(der.ends_with(expected), "{bits:#x} {der:02x?}");
            assert_eq!(KeyUsage::parse(expected).unwrap(), KeyUsage::from_bits(bits));
        }
        assert_eq!(integer_contents(&[]), [0]);
        assert_eq!(integer_contents(&[0, 0x80]), [0, 0x80]);
    }
}
