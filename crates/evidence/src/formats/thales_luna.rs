//! Public key confirmations (PKC) of Thales Luna modules (Thales, "Public Key Confirmations"; luna-pkc-validator): a
//! certificate for the key, "Proof of Origin", with the certificates above it in a PKCS #7 bag without signers.

use super::{Offer, OfferedFile, Outline, Recognized, Row, Wrapping};
use crate::input::InputError;
use crate::oid::{self, Oid};
use crate::x509::der::{Element, Tag};
use crate::x509::extensions::{CertificatePolicies, ExtendedKeyUsage};
use crate::x509::{CertView, PublicKey};
use crate::{Malformed, Reason};

/// What the format is called, how it travels, and how it is recognized.
pub static ROW: Row = Row {
    id: "thales-luna",
    title: "Thales Luna public key confirmation",
    statement: oid::STATEMENT_THALES_LUNA,
    wrapping: Wrapping::Bare,
    recognize,
    in_request: super::not_in_requests,
    takes_client_data: false,
    outline,
};

/// Octets of one confirmation: five certificates have about seven thousand.
pub const CONFIRMATION_OCTETS: usize = 128 * 1024;
/// Certificates in one confirmation.
pub const CERTIFICATES: usize = 16;
/// Octets of a module's serial number.
const SERIAL_OCTETS: usize = 4;

const PRODUCTION: &str = "public key confirmation";
/// Of bags that hold certificates alone.
const VERSION: u64 = 1;
/// The arc of Luna's purposes, as it stands in DER behind its length.
const PURPOSES: [u8; 8] = [0x2B, 0x06, 0x01, 0x04, 0x01, 0xE0, 0x5F, 0x01];

/// A confirmation.
///
/// ```asn1
/// ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER (id-signedData), content [0] EXPLICIT SignedData }
/// SignedData  ::= SEQUENCE { version INTEGER, digestAlgorithms SET (SIZE (0)), SEQUENCE { id-data },
///                            certificates [0] IMPLICIT SET OF Certificate, signerInfos SET (SIZE (0)) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    proof: CertView,
    others: Vec<CertView>,
}

/// The hierarchies of which confirmations are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// For RSA keys, under the Chrysalis-ITS root.
    Rsa,
    /// For keys on elliptic curves, under a root of its own.
    Ecc,
    /// In the style of TC TrustCenter.
    TcTrustCenter,
}

impl Confirmation {
    /// Reads the bag, or the one certificate for the key.
    ///
    /// # Errors
    /// [`Malformed`] for anything else: other contents, signers, revocation lists, no or more than one certificate that
    /// proves an origin, and beyond [`CONFIRMATION_OCTETS`] and [`CERTIFICATES`].
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        if input.len() > CONFIRMATION_OCTETS {
            let reason = Reason::OverLimit { what: "confirmation octets", limit: CONFIRMATION_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason));
        }
        let mut certificates = match is_content_info(input) {
            true => read_bag(input)?,
            false => vec![CertView::parse(input)?],
        };
        let places: Vec<usize> = certificates
            .iter()
            .enumerate()
            .filter(|(_, certificate)| purposes(certificate).contains(&oid::KP_LUNA_PROOF_OF_ORIGIN))
            .map(|(place, _)| place)
            .collect();
        match places.as_slice() {
            [] => Err(Malformed::new(PRODUCTION, 0, Reason::Missing("proof of origin"))),
            [place] => Ok(Self { proof: certificates.remove(*place), others: certificates }),
            _ => Err(Malformed::new(PRODUCTION, 0, Reason::Duplicate("proof of origin"))),
        }
    }

    /// The certificate for the key.
    #[must_use]
    pub const fn proof(&self) -> &CertView {
        &self.proof
    }

    /// The certificates beside it, in the order of the bag: nothing but hints.
    #[must_use]
    pub fn others(&self) -> &[CertView] {
        &self.others
    }

    /// The hierarchy that it is of, by what its certificates and `beside` say of themselves.
    #[must_use]
    pub fn hierarchy(&self, beside: &[CertView]) -> Hierarchy {
        let all = || core::iter::once(&self.proof).chain(&self.others).chain(beside);
        let is_ecc =
            |purpose: &Oid| [oid::KP_LUNA_MANUFACTURING_ECC, oid::KP_LUNA_HARDWARE_ORIGIN_ECC].contains(purpose);
        let names_ecc = all().any(|certificate| purposes(certificate).iter().any(is_ecc));
        if names_ecc || !matches!(self.proof.spki().key(), PublicKey::Rsa { .. }) {
            Hierarchy::Ecc
        } else if all().any(is_of_trustcenter) {
            Hierarchy::TcTrustCenter
        } else {
            Hierarchy::Rsa
        }
    }
}

/// The purposes that a certificate states; none, where it states none or they cannot be read.
#[must_use]
pub fn purposes(certificate: &CertView) -> Vec<Oid> {
    let extension = certificate.extension(oid::EXTENDED_KEY_USAGE).ok().flatten();
    let usage = extension.and_then(|extension| ExtendedKeyUsage::parse(extension.value()).ok());
    usage.map(|usage| usage.purposes().to_vec()).unwrap_or_default()
}

/// The serial number of the module in a certificate of its own, where one is there.
///
/// # Errors
/// [`Malformed`] where it is there twice, or is not four octets.
pub fn serial(certificate: &CertView) -> Result<Option<u32>, Malformed> {
    let Some(extension) = certificate.extension(oid::LUNA_SERIAL)? else { return Ok(None) };
    let octets: [u8; SERIAL_OCTETS] = extension
        .value()
        .try_into()
        .map_err(|_| Malformed::new(PRODUCTION, 0, Reason::Unexpected("a serial number of four octets")))?;
    Ok(Some(u32::from_le_bytes(octets)))
}

/// Whether a certificate names TC TrustCenter, by a policy or in a name.
fn is_of_trustcenter(certificate: &CertView) -> bool {
    let extension = certificate.extension(oid::CERTIFICATE_POLICIES).ok().flatten();
    let policies = extension.and_then(|extension| CertificatePolicies::parse(extension.value()).ok());
    let by_policy = policies
        .is_some_and(|policies| policies.policies().iter().any(|policy| policy.is_within(&oid::TC_TRUSTCENTER)));
    let named = |name: &crate::x509::NameView| {
        let letters: String = name.to_display().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        letters.to_ascii_lowercase().contains("tctrustcenter")
    };
    by_policy || named(certificate.issuer()) || named(certificate.subject())
}

fn read_bag(input: &[u8]) -> Result<Vec<CertView>, Malformed> {
    let mut info = Element::parse(input, PRODUCTION)?.reader();
    if info.oid("contentType")? != oid::SIGNED_DATA {
        return Err(info.error(Reason::Unexpected("id-signedData")));
    }
    let mut content = info.expect(Tag::context_constructed(0), "content")?.reader();
    info.finish()?;
    let mut data = content.sequence("SignedData")?;
    content.finish()?;
    if data.uint("version")? != VERSION {
        return Err(data.error(Reason::Unexpected("version 1")));
    }
    let algorithms = data.expect(Tag::SET, "digestAlgorithms")?;
    let mut encapsulated = data.sequence("contentInfo")?;
    if encapsulated.oid("contentType")? != oid::PKCS7_DATA {
        return Err(encapsulated.error(Reason::Unexpected("id-data")));
    }
    encapsulated.finish()?;
    let mut members = data.expect(Tag::context_constructed(0), "certificates")?.reader();
    let signers = data.expect(Tag::SET, "signerInfos")?;
    data.finish()?;
    // What nobody signed has no digests and no signers; whoever puts some there means something else.
    if !algorithms.contents().is_empty() || !signers.contents().is_empty() {
        return Err(signers.error(Reason::Unexpected("no signers")));
    }
    let mut certificates: Vec<CertView> = Vec::new();
    while !members.is_empty() {
        if certificates.len() >= CERTIFICATES {
            return Err(members.error(Reason::OverLimit { what: "certificates", limit: CERTIFICATES }));
        }
        let certificate = CertView::parse(members.element()?.as_der())?;
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    members.finish()?;
    Ok(certificates)
}

/// Whether DER begins as a ContentInfo: a SEQUENCE whose first element is the identifier of signed data.
fn is_content_info(input: &[u8]) -> bool {
    let contents = Element::parse(input, PRODUCTION).map(|element| (element.tag(), element.contents()));
    matches!(contents, Ok((Tag::SEQUENCE, [0x06, ..])))
}

/// Whether octets are a bag, or were meant to be one, of a Luna module: signed data in which its purposes stand.
fn is_confirmation(octets: &[u8]) -> bool {
    let signed_data = oid::SIGNED_DATA;
    let identifier = signed_data.as_der_contents();
    let start = octets.get(..octets.len().min(16 + identifier.len())).unwrap_or_default();
    octets.first() == Some(&Tag::SEQUENCE.leading_octet())
        && start.windows(identifier.len()).any(|window| window == identifier)
        && octets.windows(PURPOSES.len()).any(|window| window == PURPOSES)
}

/// The bags in a file.
fn bags<'a>(file: &'a OfferedFile<'_>) -> Vec<&'a [u8]> {
    let parts: Vec<&[u8]> = match file.blocks.as_slice() {
        [] => vec![file.bytes],
        blocks => blocks.iter().map(|block| block.contents()).collect(),
    };
    parts.into_iter().filter(|octets| is_confirmation(octets)).collect()
}

fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    // Certificates alone are told by what is in them only where nothing else is there to tell.
    let has_no_files = offer.files.is_empty();
    let in_bags = offer.files.iter().flat_map(|file| bags(file).into_iter().map(|bag| (file.name, bag)));
    let is_proof = |certificate: &CertView| purposes(certificate).contains(&oid::KP_LUNA_PROOF_OF_ORIGIN);
    let loose = offer.certificates.iter().filter(|offered| has_no_files && is_proof(&offered.certificate));
    let loose = loose.map(|offered| (offered.file, offered.certificate.as_der()));
    let mut found: Option<(&str, &[u8])> = None;
    for (name, octets) in in_bags.chain(loose) {
        match found {
            Some((_, first)) if first == octets => {}
            Some((first, _)) => {
                let (first, second) = (first.to_owned(), name.to_owned());
                return Err(InputError::Ambiguous { part: "public key confirmation", first, second });
            }
            None => found = Some((name, octets)),
        }
    }
    let Some((_, content)) = found else { return Ok(None) };
    if let Some(other) = offer.files.iter().find(|file| bags(file).is_empty()) {
        return Err(InputError::Unrecognized { file: other.name.to_owned() });
    }
    let others = offer.certificates.iter().map(|offered| &offered.certificate);
    let certificates = others.filter(|certificate| certificate.as_der() != content).cloned().collect();
    Ok(Some(Recognized { content: content.to_vec(), certificates }))
}

fn outline(input: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let confirmation = Confirmation::parse(input)?;
    let hierarchy = match confirmation.hierarchy(&[]) {
        Hierarchy::Rsa => "for RSA keys",
        Hierarchy::Ecc => "for keys on elliptic curves; cannot be verified",
        Hierarchy::TcTrustCenter => "in the style of TC TrustCenter; cannot be verified",
    };
    let mut items = vec![Outline::leaf("hierarchy", hierarchy)];
    if let Some(serial) = serial(confirmation.proof())? {
        items.push(Outline::leaf("module", serial.to_string()));
    }
    items.push(Outline::certificate("proof of origin", confirmation.proof().clone()));
    let others = confirmation.others().iter().cloned();
    items.push(Outline::group(
        "certificates beside it",
        others.map(|certificate| Outline::certificate("certificate", certificate)).collect(),
    ));
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element of a length below 128 octets.
    fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(contents.len()).unwrap()], contents].concat()
    }

    fn bag(content_type: &[u8], signers: &[u8]) -> Vec<u8> {
        let signed_data = element(0x06, oid::SIGNED_DATA.as_der_contents());
        let data = element(0x30, &element(0x06, content_type));
        let signed = [vec![0x02, 0x01, 0x01], element(0x31, &[]), data, element(0xA0, &[]), element(0x31, signers)];
        element(0x30, &[signed_data, element(0xA0, &element(0x30, &signed.concat()))].concat())
    }

    #[test]
    fn bags_of_other_things_are_refused() {
        let data = oid::PKCS7_DATA;
        let reason = |input: &[u8]| Confirmation::parse(input).unwrap_err().reason;
        assert_eq!(reason(&bag(data.as_der_contents(), &[])), Reason::Missing("proof of origin"));
        assert_eq!(reason(&bag(data.as_der_contents(), &[0x05, 0x00])), Reason::Unexpected("no signers"));
        assert_eq!(reason(&bag(oid::SIGNED_DATA.as_der_contents(), &[])), Reason::Unexpected("id-data"));
        let trailing = [bag(data.as_der_contents(), &[]), vec![0]].concat();
        assert!(Confirmation::parse(&trailing).is_err());
        assert!(matches!(reason(&vec![0; CONFIRMATION_OCTETS + 1]), Reason::OverLimit { .. }));
    }

    #[test]
    fn only_bags_with_purposes_of_luna_are_recognized() {
        let plain = bag(oid::PKCS7_DATA.as_der_contents(), &[]);
        assert!(!is_confirmation(&plain));
        assert!(is_confirmation(&[plain, PURPOSES.to_vec()].concat()));
        assert!(!is_confirmation(&PURPOSES));
    }
}
