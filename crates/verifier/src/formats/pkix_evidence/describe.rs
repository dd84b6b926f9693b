//! What Evidence says, in the common vocabulary.

use std::collections::HashMap;

use serde_json::Value;
use vouchsafe_evidence::formats::pkix_evidence::{Elements, Platform, ReportedKey};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::{PublicKey, SpkiView};

use super::codes;
use crate::claims::{Claims, Source};
use crate::describe::base64;
use crate::formats::TestifiedKey;
use crate::hex;
use crate::rejection::Rejection;

/// The same of two keys that are one, however they are encoded.
#[derive(PartialEq, Eq, Hash)]
enum Identity<'a> {
    Rsa { modulus: &'a [u8], exponent: &'a [u8] },
    Unknown(&'a [u8]),
    Other(&'a PublicKey),
}

impl<'a> Identity<'a> {
    fn of(key: &'a SpkiView) -> Self {
        match key.key() {
            PublicKey::Rsa { modulus, exponent, .. } => Self::Rsa { modulus, exponent },
            PublicKey::Unknown { .. } => Self::Unknown(key.as_der()),
            other @ (PublicKey::Ec { .. } | PublicKey::Ed25519(_) | PublicKey::MlDsa65(_)) => Self::Other(other),
        }
    }
}

/// The keys, each once, with what is said of each, or of `wanted` alone where a key was named. Where several elements are about one key, they must say the same of it, since nobody could tell
/// which of them a certificate would rest on.
pub(super) fn keys(
    elements: &Elements<'_>,
    wanted: Option<&SpkiView>,
    (source, statement): (Source, usize),
) -> Result<Vec<TestifiedKey>, Rejection> {
    let mut known: HashMap<Identity<'_>, usize> = HashMap::with_capacity(elements.keys.len());
    let mut groups: Vec<(&ReportedKey<'_>, Vec<&str>)> = Vec::with_capacity(elements.keys.len());
    for key in &elements.keys {
        let place = match key.spki.as_deref() {
            Some(spki) => *known.entry(Identity::of(spki)).or_insert(groups.len()),
            None => groups.len(),
        };
        match groups.get_mut(place) {
            None => groups.push((key, identifiers(key).collect())),
            Some((first, names)) if says_the_same(first, key) => names.extend(identifiers(key)),
            Some((first, _)) => {
                let message = format!(
                    "Two key elements say different things of one public key: those of {} and {}.",
                    printable(first.identifier),
                    printable(key.identifier)
                );
                return Err(Rejection::new(codes::KEY_CONTRADICTION, message));
            }
        }
    }
    let is_wanted = |key: &ReportedKey<'_>| match (wanted, key.spki.as_deref()) {
        (Some(wanted), Some(spki)) => spki.same_key(wanted),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let testified = groups.into_iter().map(|(key, names)| TestifiedKey {
        spki: key.spki.as_deref().cloned(),
        claims: if is_wanted(key) { key_claims(key, &names, source, statement) } else { Claims::new() },
        is_attesting: false,
    });
    Ok(testified.collect())
}

fn identifiers<'a>(key: &ReportedKey<'a>) -> impl Iterator<Item = &'a str> {
    std::iter::once(key.identifier).chain(key.further_identifiers.clone())
}

fn says_the_same(one: &ReportedKey<'_>, other: &ReportedKey<'_>) -> bool {
    let attributes = |key: &ReportedKey<'_>| {
        (key.extractable, key.sensitive, key.never_extractable, key.local, key.expiry.map(|time| time.to_rfc3339()))
    };
    attributes(one) == attributes(other) && one.purposes == other.purposes
}

fn key_claims(key: &ReportedKey<'_>, names: &[&str], source: Source, at: usize) -> Claims {
    let mut claims = Claims::new();
    match names {
        [only] => claims.put("identifier", printable(only), source, at),
        several => {
            let names: Vec<String> = several.iter().map(|name| printable(name)).collect();
            claims.put("identifier", names, source, at);
        }
    }
    if let Some(spki) = &key.spki {
        claims.put("spki", base64(spki.as_der()), source, at);
    }
    let attributes = [
        ("extractable", key.extractable),
        ("sensitive", key.sensitive),
        ("never_extractable", key.never_extractable),
        ("local", key.local),
        // PKCS #11, 4.9: what is not CKA_LOCAL came from outside, however it came in.
        ("device_bound", is_device_bound(key)),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            claims.put(name, value, source, at);
        }
    }
    if let Some(local) = key.local {
        claims.put("origin", if local { "generated" } else { "imported" }, source, at);
    }
    if let Some(expiry) = key.expiry {
        claims.put("expiry", expiry.to_rfc3339(), source, at);
    }
    if let Some(purposes) = key.purposes {
        claims.put("purposes", purposes.words().collect::<Vec<_>>(), source, at);
    }
    claims
}

/// Whether the key can be nowhere but in this module: made there, and never to leave it, now or before. `None` where too
/// little is said to tell.
fn is_device_bound(key: &ReportedKey<'_>) -> Option<bool> {
    let said = [key.extractable.map(|extractable| !extractable), key.never_extractable, key.local];
    if said.contains(&Some(false)) {
        return Some(false);
    }
    if said.contains(&None) { None } else { Some(true) }
}

/// The claims about the module.
pub(super) fn platform(platform: &Platform<'_>, is_virtual: bool, source: Source, at: usize) -> Claims {
    let mut claims = Claims::new();
    // The mark on an anchor says "virtual"; that an unmarked one is of real modules is its maker's promise. Where software
    // on the host speaks nobody promised anything: any library can stand behind its words.
    if is_virtual {
        claims.put("kind", "virtual", Source::Endorsed, at);
    } else if source != Source::HostAsserted {
        claims.put("kind", "physical", Source::Implied, at);
    }
    let texts = [
        ("vendor", platform.vendor.map(printable)),
        ("oem_id", platform.oem_id.map(hex::encode)),
        ("model", platform.hw_model.map(text_or_hex)),
        ("hw_version", platform.hw_version.map(printable)),
        ("serial", platform.hw_serial.map(printable)),
        ("fw_name", platform.sw_name.map(printable)),
        ("fw_version", platform.sw_version.map(printable)),
        ("debug", platform.debug.map(|status| status.label().to_owned())),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            claims.put(name, text, source, at);
        }
    }
    for (name, number) in [("uptime", platform.uptime_seconds), ("boot_count", platform.boot_count)] {
        if let Some(number) = number {
            claims.put(name, number, source, at);
        }
    }
    let fips = fips(platform);
    if !fips.is_empty() {
        claims.put("fips", Value::Object(fips), source, at);
    }
    claims
}

fn fips(platform: &Platform<'_>) -> serde_json::Map<String, Value> {
    let members = [
        ("mode", platform.fips_boot.map(Value::from)),
        ("version", platform.fips_version.map(|text| Value::from(printable(text)))),
        ("level", platform.fips_level.map(Value::from)),
        ("module", platform.fips_module.map(|text| Value::from(printable(text)))),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Octets that RFC 9711 leaves to the maker: as text where they are printable ASCII, else in hexadecimal.
fn text_or_hex(octets: &[u8]) -> String {
    let is_text = !octets.is_empty() && octets.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ');
    match std::str::from_utf8(octets) {
        Ok(text) if is_text => text.to_owned(),
        Ok(_) | Err(_) => hex::encode(octets),
    }
}
