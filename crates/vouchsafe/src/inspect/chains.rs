//! Who signed whom among the certificates of some evidence, as far as their own signatures show.

use vouchsafe_evidence::limits;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, SignatureError, verify_signature};

use super::tree::Item;

/// Certificates that are put in order; more are only counted.
const CERTIFICATES: usize = 32;

/// A certificate among others.
struct Node<'a> {
    certificate: &'a CertView,
    /// The certificate that issued it, and whether its signature shows that.
    issuer: Option<(usize, Shown)>,
}

/// How it is known that one certificate issued another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    BySignature,
    ByNameAlone,
}

/// The certificates as a tree, issuers first; `None` where there are none.
pub fn tree(certificates: &[CertView]) -> Option<Item> {
    if certificates.is_empty() {
        return None;
    }
    let mut distinct: Vec<&CertView> = Vec::new();
    for certificate in certificates {
        if !distinct.contains(&certificate) {
            distinct.push(certificate);
        }
    }
    let left_out = distinct.len().saturating_sub(CERTIFICATES);
    distinct.truncate(CERTIFICATES);
    let mut budget = SignatureBudget::with_limit(limits::SIGNATURE_CHECKS);
    let nodes: Vec<Node<'_>> = distinct
        .iter()
        .enumerate()
        .map(|(place, certificate)| Node { certificate, issuer: issuer(place, &distinct, &mut budget) })
        .collect();
    let mut items: Vec<Item> = (0..nodes.len())
        .filter(|place| nodes.get(*place).is_some_and(|node| node.issuer.is_none()))
        .map(|place| item(place, &nodes, 0))
        .collect();
    if left_out > 0 {
        items.push(Item::leaf("and", format!("{left_out} certificates more")));
    }
    Some(Item::group("who signed whom", items))
}

/// The topmost of some certificates: those that no other one issued.
pub fn topmost(certificates: &[CertView]) -> Vec<&CertView> {
    let all: Vec<&CertView> = certificates.iter().take(CERTIFICATES).collect();
    let mut budget = SignatureBudget::with_limit(limits::SIGNATURE_CHECKS);
    all.iter().enumerate().filter(|(place, _)| issuer(*place, &all, &mut budget).is_none()).map(|(_, c)| *c).collect()
}

/// Which other certificate issued the one at `place`. Names differ where makers' do, so signatures decide, and names only
/// where a signature is of a kind that is not checked here.
fn issuer(place: usize, all: &[&CertView], budget: &mut SignatureBudget) -> Option<(usize, Shown)> {
    let certificate = all.get(place)?;
    let algorithm = SignatureAlgorithm::from_der(certificate.outer_algorithm().as_der()).ok();
    let mut by_name = None;
    for (other, issuer) in all.iter().enumerate().filter(|(other, _)| *other != place) {
        let named = issuer.subject().matches(certificate.issuer());
        let outcome = algorithm.map(|algorithm| {
            verify_signature(budget, issuer.spki(), algorithm, certificate.tbs(), certificate.signature())
        });
        match outcome {
            Some(Ok(())) if !issuer.spki().same_key(certificate.spki()) => return Some((other, Shown::BySignature)),
            Some(Ok(()) | Err(SignatureError::Invalid | SignatureError::KeyMismatch { .. })) => {}
            Some(Err(
                SignatureError::BudgetExhausted { .. }
                | SignatureError::WeakAlgorithm { .. }
                | SignatureError::WeakKey { .. },
            ))
            | None
                if named && !issuer.spki().same_key(certificate.spki()) =>
            {
                by_name = Some((other, Shown::ByNameAlone));
            }
            Some(Err(
                SignatureError::BudgetExhausted { .. }
                | SignatureError::WeakAlgorithm { .. }
                | SignatureError::WeakKey { .. },
            ))
            | None => {}
        }
    }
    by_name
}

fn item(place: usize, nodes: &[Node<'_>], depth: usize) -> Item {
    let Some(node) = nodes.get(place) else { return Item::group("", Vec::new()) };
    let name = match node.certificate.subject().to_display() {
        empty if empty.is_empty() => "a certificate without a subject".to_owned(),
        subject => subject,
    };
    let issued_by = |other: &Node<'_>| matches!(other.issuer, Some((issuer, _)) if issuer == place);
    let beneath: Vec<Item> = if depth >= limits::CHAIN_LENGTH {
        Vec::new()
    } else {
        let children = nodes.iter().enumerate().filter(|(_, other)| issued_by(other));
        children.map(|(child, _)| item(child, nodes, depth.saturating_add(1))).collect()
    };
    let is_root = node.certificate.subject().matches(node.certificate.issuer());
    let how = match node.issuer {
        None if is_root => "it is issued by itself".to_owned(),
        None => format!("its issuer, {}, is not here", node.certificate.issuer().to_display()),
        Some((_, Shown::BySignature)) => "signed by the key above".to_owned(),
        Some((_, Shown::ByNameAlone)) => "names the one above; its signature is of a kind not checked here".to_owned(),
    };
    Item::group(name, beneath).says(how)
}
