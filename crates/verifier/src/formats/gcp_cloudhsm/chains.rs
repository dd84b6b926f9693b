//! The two chains that vouch for the key of a partition: the manufacturer's and the owner's.
//!
//! The manufacturer certifies cards, and a card its partitions; certificates of cards are of version 1 or say nothing of
//! being authorities, so that the validated path ends with the card's and the partition's hangs beneath. The owner
//! certifies card and partition directly. Both must name the same two keys. Which root is whose is known of the makers'
//! and Google's own; of others their place in the evidence says so, and one root cannot be both.

use vouchsafe_evidence::formats::gcp_cloudhsm::ROW as EVIDENCE;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};
use vouchsafe_evidence::x509::{CertView, Quirk, SpkiView};

use super::{MAKER, MANUFACTURER_MISSING, OWNER_CARD_KEY, OWNER_MISSING, ROOTS};
use crate::authenticate::Context;
use crate::claims::{Claims, Source};
use crate::describe::base64;
use crate::path::{
    ChainProfile, Deviation, Examined, PathDefect, PathError, PathInputs, ValidatedPath, VendorProfile, VendorRules,
    check_beneath, validate_path,
};
use crate::rejection::Rejection;
use crate::trust::Allowances;

/// What a root vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Manufacturer,
    Owner,
}

/// SHA-256 of the SubjectPublicKeyInfo of roots whose role is known. The roots of Cavium of 2015 and 2024 have one key.
const KNOWN_ROOTS: [([u8; 32], Role); 3] = [
    // localca.liquidsecurity.cavium.com
    (
        [
            0x78, 0xad, 0xcb, 0xa1, 0xf3, 0x8b, 0xee, 0x30, 0x4b, 0xc4, 0x4d, 0x6a, 0x08, 0x65, 0x03, 0xf2, 0x94, 0x00,
            0x37, 0xd4, 0xb3, 0xd5, 0x8a, 0x1b, 0xf6, 0x6a, 0x32, 0x82, 0xef, 0x58, 0xcd, 0x41,
        ],
        Role::Manufacturer,
    ),
    // cavium-liquidsecurity-ls2
    (
        [
            0xf8, 0x4b, 0x06, 0x10, 0xf2, 0xca, 0x68, 0xf1, 0xf9, 0x36, 0xc1, 0x2c, 0x37, 0xa2, 0x27, 0x94, 0xb5, 0x9a,
            0x2a, 0xfa, 0x54, 0xf5, 0x5f, 0x8d, 0x3c, 0x97, 0x72, 0x32, 0xc5, 0xb9, 0x7d, 0x7c,
        ],
        Role::Manufacturer,
    ),
    // Hawksbill Root v1 prod
    (
        [
            0x11, 0xfa, 0x0c, 0x80, 0x42, 0x3f, 0x28, 0xee, 0x49, 0x7a, 0x18, 0x9b, 0xed, 0x4f, 0x70, 0x43, 0x62, 0x9b,
            0xe7, 0xa7, 0x64, 0x2d, 0x20, 0xee, 0xe9, 0x34, 0x7a, 0x73, 0xc1, 0xff, 0x46, 0xe8,
        ],
        Role::Owner,
    ),
];

/// Deviations that certificates of these modules are known to show.
const QUIRKS: [Quirk; 4] =
    [Quirk::ExplicitDefault, Quirk::NegativeOrZeroSerial, Quirk::NonMinimalSerial, Quirk::UnsortedRdnSet];

/// The root of the manufacturer: its certificate of 2015 ended in 2025, and the one of 2024 has the same key.
const MARVELL_ROOT: ([u8; 32], Allowances) = (
    [
        0x78, 0xad, 0xcb, 0xa1, 0xf3, 0x8b, 0xee, 0x30, 0x4b, 0xc4, 0x4d, 0x6a, 0x08, 0x65, 0x03, 0xf2, 0x94, 0x00,
        0x37, 0xd4, 0xb3, 0xd5, 0x8a, 0x1b, 0xf6, 0x6a, 0x32, 0x82, 0xef, 0x58, 0xcd, 0x41,
    ],
    Allowances { reissued: true, ..Allowances::NONE },
);

static CARD: VendorRules = VendorRules {
    name: "gcp-cloudhsm card",
    quirks: &QUIRKS,
    processed: &[],
    check_last: check_card,
    pinned: &[MARVELL_ROOT],
};
static PARTITION: VendorRules =
    VendorRules { name: "gcp-cloudhsm partition", quirks: &QUIRKS, processed: &[], check_last: check_end, pinned: &[] };

/// A card signs certificates of partitions.
fn check_card(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    match certificate.key_usage() {
        Some(usage) if !usage.contains(KeyUsage::KEY_CERT_SIGN) => Err(PathDefect::KeyUsage),
        Some(_) | None => Ok(Vec::new()),
    }
}

/// What the owner certifies, and the partition: keys that issue nothing.
fn check_end(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    match certificate.key_usage() {
        Some(usage) if !usage.contains(KeyUsage::DIGITAL_SIGNATURE) => Err(PathDefect::KeyUsage),
        Some(_) | None => Ok(Vec::new()),
    }
}

/// Both chains of one partition's key.
pub(super) struct Chains {
    partition: CertView,
    card: ValidatedPath,
    owner: ValidatedPath,
    owner_card: ValidatedPath,
    beneath: Vec<Deviation>,
}

impl Chains {
    /// Validates both chains for the key that signed an attestation.
    pub(super) fn validate(key: &SpkiView, context: &mut Context<'_>) -> Result<Self, Rejection> {
        let (partition, card, beneath) = manufacturer(key, context)?;
        let owner = owner(key, &card, context)?;
        let owner_card = owner_card(&card, &owner, context)?;
        Ok(Self { partition, card, owner, owner_card, beneath })
    }

    /// The manufacturer's certificate of the partition.
    pub(super) const fn partition(&self) -> &CertView {
        &self.partition
    }

    fn paths(&self) -> [&ValidatedPath; 3] {
        [&self.card, &self.owner, &self.owner_card]
    }

    /// Whether a root is marked as one of modules in software.
    pub(super) fn is_virtual(&self) -> bool {
        self.paths().iter().any(|path| path.anchor().is_virtual())
    }

    /// What is known of the partition's key and its certificates.
    pub(super) fn describe(&self, at: usize) -> Claims {
        let mut claims = Claims::new();
        claims.put("spki", base64(self.partition.spki().as_der()), Source::Signed, at);
        claims.put("issuer", printable(&self.partition.issuer().to_display()), Source::Endorsed, at);
        claims.promise("environment", "module", MAKER, at);
        let mut quirks: Vec<&str> = Vec::new();
        let deviations = self.paths().into_iter().flat_map(ValidatedPath::deviations).chain(&self.beneath);
        for label in deviations.map(|deviation| deviation.label()) {
            if !quirks.contains(&label) {
                quirks.push(label);
            }
        }
        if let Some(least) = self.paths().map(ValidatedPath::revocation).into_iter().min() {
            claims.put_chain(least, quirks, at);
        }
        claims
    }
}

fn profile(rules: &'static VendorRules) -> ChainProfile {
    ChainProfile::Vendor(VendorProfile::new(rules))
}

fn inputs(rules: &'static VendorRules, context: &Context<'_>) -> PathInputs {
    PathInputs { profile: profile(rules), at: context.at, revocation: context.revocation }
}

/// Whether the root of a path may vouch in this role.
fn may_be(path: &ValidatedPath, role: Role) -> bool {
    fits(&path.anchor().key().sha256(), role)
}

/// Whether a root with this fingerprint is none whose role is known to be another.
fn fits(fingerprint: &[u8; 32], role: Role) -> bool {
    KNOWN_ROOTS.iter().all(|(known, its)| known != fingerprint || *its == role)
}

/// Whether a certificate does not say that it is no authority's, as the owner's certificate of a card does.
fn may_issue(card: &CertView) -> bool {
    match card.extension(oid::BASIC_CONSTRAINTS) {
        Ok(Some(extension)) => BasicConstraints::parse(extension.value()).is_ok_and(|constraints| constraints.ca),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Certificates that came along and those of the trust folder: none is trusted by itself.
fn helpers<'a>(context: &Context<'a>) -> impl Iterator<Item = &'a CertView> + use<'a> {
    context.certificates.iter().chain(context.trust.format(EVIDENCE.id).intermediates())
}

/// The first path that may vouch, or the best reason why there is none.
struct Outcome<T> {
    refusal: Option<PathError>,
    wrong_root: bool,
    found: Option<T>,
}

impl<T> Outcome<T> {
    const NOTHING: Self = Self { refusal: None, wrong_root: false, found: None };

    fn refuse(&mut self, error: PathError) {
        self.refusal = Some(match self.refusal.take() {
            Some(known) => known.more_specific(error),
            None => error,
        });
    }

    fn conclude(self, missing: crate::rejection::Code) -> Result<T, Rejection> {
        match (self.found, self.wrong_root, self.refusal) {
            (Some(found), _, _) => Ok(found),
            (None, true, _) => Err(Rejection::plain(ROOTS)),
            (None, false, Some(error)) => Err(error.into()),
            (None, false, None) => Err(Rejection::plain(missing)),
        }
    }
}

/// The partition's certificate by its card, and the path of the card's. A certificate of the partition that no other
/// certificate could have issued, by names, is the owner's.
fn manufacturer(
    key: &SpkiView,
    context: &mut Context<'_>,
) -> Result<(CertView, ValidatedPath, Vec<Deviation>), Rejection> {
    let (pool, trust) = (context.certificates, context.trust.format(EVIDENCE.id));
    let mut outcome = Outcome::NOTHING;
    for partition in pool.iter().filter(|certificate| certificate.spki().same_key(key)) {
        let is_card = |card: &&CertView| {
            let is_root = card.issuer().matches(card.subject());
            card.subject().matches(partition.issuer()) && !card.spki().same_key(key) && !is_root && may_issue(card)
        };
        for card in helpers(context).filter(is_card) {
            let found = check_beneath(partition, card, (profile(&PARTITION), context.at), &mut context.budget)
                .and_then(|beneath| {
                    validate_path(card, pool, trust, inputs(&CARD, context), &mut context.budget)
                        .map(|path| (path, beneath))
                });
            match found {
                Ok((path, _)) if !may_be(&path, Role::Manufacturer) => outcome.wrong_root = true,
                Ok((path, beneath)) => {
                    outcome.found = Some((partition.clone(), path, beneath));
                    return outcome.conclude(MANUFACTURER_MISSING);
                }
                Err(error) => outcome.refuse(error),
            }
        }
    }
    outcome.conclude(MANUFACTURER_MISSING)
}

/// The path of the owner's certificate of the partition, to a root that is not the manufacturer's.
fn owner(key: &SpkiView, card: &ValidatedPath, context: &mut Context<'_>) -> Result<ValidatedPath, Rejection> {
    let (pool, trust) = (context.certificates, context.trust.format(EVIDENCE.id));
    let mut outcome = Outcome::NOTHING;
    let by_card = |certificate: &CertView| certificate.issuer().matches(card.leaf().subject());
    for partition in pool.iter().filter(|certificate| certificate.spki().same_key(key) && !by_card(certificate)) {
        match validate_path(partition, pool, trust, inputs(&PARTITION, context), &mut context.budget) {
            Ok(path) if may_be(&path, Role::Owner) && !path.anchor().key().same_key(card.anchor().key()) => {
                outcome.found = Some(path);
                return outcome.conclude(OWNER_MISSING);
            }
            Ok(_) => outcome.wrong_root = true,
            Err(error) => outcome.refuse(error),
        }
    }
    outcome.conclude(OWNER_MISSING)
}

/// The path of the owner's certificate of the card, to the same root as that of the partition.
fn owner_card(
    card: &ValidatedPath,
    owner: &ValidatedPath,
    context: &mut Context<'_>,
) -> Result<ValidatedPath, Rejection> {
    let (pool, trust) = (context.certificates, context.trust.format(EVIDENCE.id));
    let mut outcome = Outcome::NOTHING;
    let is_of_card = |certificate: &&CertView| {
        certificate.spki().same_key(card.leaf().spki()) && certificate.issuer().matches(owner.leaf().issuer())
    };
    for certificate in pool.iter().filter(is_of_card) {
        match validate_path(certificate, pool, trust, inputs(&PARTITION, context), &mut context.budget) {
            Ok(path) if path.anchor().key().same_key(owner.anchor().key()) => {
                outcome.found = Some(path);
                return outcome.conclude(OWNER_CARD_KEY);
            }
            Ok(_) => outcome.wrong_root = true,
            Err(error) => outcome.refuse(error),
        }
    }
    outcome.conclude(OWNER_CARD_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_of_a_known_role_have_no_other() {
        for (root, role) in KNOWN_ROOTS {
            let other = if role == Role::Owner { Role::Manufacturer } else { Role::Owner };
            assert!(fits(&root, role));
            assert!(!fits(&root, other));
        }
        assert!(fits(&[0; 32], Role::Owner) && fits(&[0; 32], Role::Manufacturer));
    }
}
