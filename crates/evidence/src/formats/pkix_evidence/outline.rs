//! What Evidence says, for a person to read.

use super::claims::{Platform, ReportedKey, Transaction};
use super::view::{EvidenceView, SignatureBlock};
use crate::Malformed;
use crate::formats::Outline;
use crate::x509::SpkiView;

/// The outline of Evidence. Nothing of it is verified.
pub(super) fn outline(content: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let view = EvidenceView::parse(content).map_err(|defect| defect.as_malformed())?;
    let elements = view.elements();
    let mut parts = Vec::new();
    parts.extend(elements.transaction.as_ref().map(transaction));
    parts.extend(elements.platform.as_ref().map(platform));
    parts.extend(elements.keys.iter().map(key));
    parts.extend(elements.ignored.iter().map(|oid| Outline::leaf("skipped, not known here", oid.to_string())));
    parts.extend(view.signatures().iter().map(signature));
    let certificates = view.intermediates().iter();
    parts.extend(certificates.map(|certificate| Outline::certificate("intermediate", certificate.clone())));
    Ok(parts)
}

fn transaction(transaction: &Transaction<'_>) -> Outline {
    let mut parts = Vec::new();
    parts.extend(transaction.nonce.map(|nonce| Outline::leaf("nonce", hex(nonce))));
    parts.extend(transaction.timestamp.map(|time| Outline::leaf("timestamp", time.to_rfc3339())));
    parts.extend(transaction.attestation_keys.iter().map(|key| public_key("attestation key", key)));
    Outline::group("transaction", parts)
}

fn platform(platform: &Platform<'_>) -> Outline {
    let texts = [
        ("vendor", platform.vendor.map(str::to_owned)),
        ("OEM identifier", platform.oem_id.map(hex)),
        ("hardware model", platform.hw_model.map(text_or_hex)),
        ("hardware version", platform.hw_version.map(str::to_owned)),
        ("hardware serial number", platform.hw_serial.map(str::to_owned)),
        ("firmware name", platform.sw_name.map(str::to_owned)),
        ("firmware version", platform.sw_version.map(str::to_owned)),
        ("debug", platform.debug.map(|status| status.label().to_owned())),
        ("uptime in seconds", platform.uptime_seconds.map(|number| number.to_string())),
        ("boot count", platform.boot_count.map(|number| number.to_string())),
        ("in FIPS mode", platform.fips_boot.map(yes_or_no)),
        ("FIPS standard", platform.fips_version.map(str::to_owned)),
        ("FIPS level", platform.fips_level.map(|number| number.to_string())),
        ("FIPS module", platform.fips_module.map(str::to_owned)),
    ];
    Outline::group("platform", leaves(texts))
}

fn key(key: &ReportedKey<'_>) -> Outline {
    let mut parts = vec![Outline::leaf("identifier", key.identifier)];
    parts.extend(key.further_identifiers.iter().map(|identifier| Outline::leaf("identifier", *identifier)));
    parts.extend(key.spki.as_deref().map(|spki| public_key("public key", spki)));
    let texts = [
        ("extractable", key.extractable.map(yes_or_no)),
        ("never extractable", key.never_extractable.map(yes_or_no)),
        ("sensitive", key.sensitive.map(yes_or_no)),
        ("local", key.local.map(yes_or_no)),
        ("expiry", key.expiry.map(|time| time.to_rfc3339())),
        ("purposes", key.purposes.map(|purposes| purposes.words().collect::<Vec<_>>().join(", "))),
    ];
    parts.extend(leaves(texts));
    Outline::group("key", parts)
}

fn signature(block: &SignatureBlock<'_>) -> Outline {
    let signer = &block.signer;
    let mut parts = Vec::new();
    parts.extend(signer.key_id.map(|key_id| Outline::leaf("signer by identifier", hex(key_id))));
    parts.extend(signer.spki.as_ref().map(|spki| public_key("signer by public key", spki)));
    parts.extend(signer.certificate.clone().map(|certificate| Outline::certificate("signer", certificate)));
    Outline::group("signature", parts)
}

fn leaves<const N: usize>(texts: [(&'static str, Option<String>); N]) -> Vec<Outline> {
    texts.into_iter().filter_map(|(name, text)| Some(Outline::leaf(name, text?))).collect()
}

fn public_key(name: &'static str, key: &SpkiView) -> Outline {
    Outline::leaf(name, format!("SPKI SHA-256 {}", hex(&key.sha256())))
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Text, where octets are printable ASCII, else hexadecimal digits.
fn text_or_hex(octets: &[u8]) -> String {
    let printable = octets.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ');
    match core::str::from_utf8(octets) {
        Ok(text) if printable && !octets.is_empty() => text.to_owned(),
        Ok(_) | Err(_) => hex(octets),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
