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

/// Certificates, each once, with what is known of their issuers.
pub struct Chains<'a> {
    nodes: Vec<Node<'a>>,
    left_out: usize,
}

impl<'a> Chains<'a> {
    /// Finds out who signed whom.
    pub fn of(certificates: &'a [CertView]) -> Self {
        let mut distinct: Vec<&CertView> = Vec::new();
        for certificate in certificates {
            if !distinct.contains(&certificate) {
                distinct.push(certificate);
            }
        }
        let left_out = distinct.len().saturating_sub(CERTIFICATES);
        distinct.truncate(CERTIFICATES);
        let mut budget = SignatureBudget::with_limit(limits::SIGNATURE_CHECKS);
        let issuers: Vec<_> = (0..distinct.len()).map(|place| issuer(place, &distinct, &mut budget)).collect();
        let nodes = distinct.into_iter().zip(issuers).map(|(certificate, issuer)| Node { certificate, issuer });
        Self { nodes: nodes.collect(), left_out }
    }

    /// The certificates as a tree, issuers first; `None` where there are none.
    pub fn tree(&self) -> Option<Item> {
        if self.nodes.is_empty() {
            return None;
        }
        let topmost = self.nodes.iter().enumerate().filter(|(_, node)| node.issuer.is_none());
        let mut items: Vec<Item> = topmost.map(|(place, _)| item(place, &self.nodes, 0)).collect();
        if self.left_out > 0 {
            items.push(Item::leaf("and", format!("{} certificates more", self.left_out)));
        }
        Some(Item::group("who signed whom", items))
    }

    /// The topmost certificates: those that no other one issued.
    pub fn topmost(&self) -> impl Iterator<Item = &'a CertView> {
        self.nodes.iter().filter(|node| node.issuer.is_none()).map(|node| node.certificate)
    }
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
