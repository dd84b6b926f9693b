//! Name constraints (RFC 5280, section 4.2.1.10).

use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::extensions::{GeneralName, NameConstraints};

use super::certificate::alternative_names;
use super::error::PathDefect;

/// The name constraints that one certificate puts on everything beneath it.
///
/// Those of several certificates are not merged: a name obeys all of them if it obeys each.
#[derive(Debug)]
pub(super) struct Constraints(NameConstraints);

/// Whether a name lies in a subtree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Inside,
    Outside,
    /// It cannot be told; such a name neither counts as permitted nor as not excluded.
    Unknown,
}

impl Constraints {
    pub(super) const fn new(constraints: NameConstraints) -> Self {
        Self(constraints)
    }

    /// Whether every name of `certificate` obeys: its subject, unless empty, its alternative names, and where
    /// those hold no e-mail address, the e-mail addresses of its subject.
    pub(super) fn check(&self, certificate: &CertView) -> Result<(), PathDefect> {
        let mut names = alternative_names(certificate).map_err(PathDefect::MalformedExtension)?;
        if !names.iter().any(|name| matches!(name, GeneralName::Email(_))) {
            names.extend(
                certificate
                    .subject()
                    .attributes(oid::EMAIL_ADDRESS)
                    .map(|address| GeneralName::Email(address.value().contents().to_vec())),
            );
        }
        if !certificate.subject().is_empty() {
            names.push(GeneralName::Directory(certificate.subject().clone()));
        }
        if names.iter().all(|name| self.obeyed_by(name)) { Ok(()) } else { Err(PathDefect::NameConstraints) }
    }

    fn obeyed_by(&self, name: &GeneralName) -> bool {
        let mut permitted = self.0.permitted.iter().filter(|base| is_same_form(name, base)).peekable();
        let is_permitted = permitted.peek().is_none() || permitted.any(|base| relation(name, base) == Relation::Inside);
        let mut excluded = self.0.excluded.iter().filter(|base| is_same_form(name, base));
        let is_excluded = excluded.any(|base| exclusion(name, base) != Relation::Outside);
        is_permitted && !is_excluded
    }
}

fn is_same_form(name: &GeneralName, base: &GeneralName) -> bool {
    match (name, base) {
        (GeneralName::Dns(_), GeneralName::Dns(_))
        | (GeneralName::Directory(_), GeneralName::Directory(_))
        | (GeneralName::Email(_), GeneralName::Email(_))
        | (GeneralName::Ip(_), GeneralName::Ip(_))
        | (GeneralName::Uri(_), GeneralName::Uri(_)) => true,
        // The tag tells which of the other forms it is.
        (GeneralName::Other(name), GeneralName::Other(base)) => name.first() == base.first(),
        (
            GeneralName::Dns(_)
            | GeneralName::Directory(_)
            | GeneralName::Email(_)
            | GeneralName::Ip(_)
            | GeneralName::Other(_)
            | GeneralName::Uri(_),
            _,
        ) => false,
    }
}

/// As [`relation`], but a wildcard also lies in an excluded subtree that some of its names may lie in.
fn exclusion(name: &GeneralName, base: &GeneralName) -> Relation {
    if let (GeneralName::Dns(name), GeneralName::Dns(base)) = (name, base)
        && let Some(parent) = name.strip_prefix(b"*.")
        && in_domain(base.strip_prefix(b".").unwrap_or(base), parent)
    {
        return Relation::Inside;
    }
    relation(name, base)
}

fn relation(name: &GeneralName, base: &GeneralName) -> Relation {
    let inside = match (name, base) {
        (GeneralName::Dns(_) | GeneralName::Email(_) | GeneralName::Uri(_), base) if is_everything(base) => true,
        (GeneralName::Dns(name), GeneralName::Dns(base)) => match base.strip_prefix(b".") {
            Some(parent) => beneath_domain(name, parent),
            None => in_domain(name, base),
        },
        (GeneralName::Directory(name), GeneralName::Directory(base)) => name.is_within(base),
        (GeneralName::Email(name), GeneralName::Email(base)) => return email_relation(name, base),
        (GeneralName::Ip(name), GeneralName::Ip(base)) => return ip_relation(name, base),
        (GeneralName::Uri(name), GeneralName::Uri(base)) => match uri_host(name) {
            Some(host) => in_host_constraint(host, base),
            None => return Relation::Unknown,
        },
        (GeneralName::Other(_), _) => return Relation::Unknown,
        (
            GeneralName::Dns(_)
            | GeneralName::Directory(_)
            | GeneralName::Email(_)
            | GeneralName::Ip(_)
            | GeneralName::Uri(_),
            _,
        ) => false,
    };
    if inside { Relation::Inside } else { Relation::Outside }
}

/// Whether a base is the empty text, beneath which every name of its form lies.
fn is_everything(base: &GeneralName) -> bool {
    match base {
        GeneralName::Dns(text) | GeneralName::Email(text) | GeneralName::Uri(text) => text.is_empty(),
        GeneralName::Directory(_) | GeneralName::Ip(_) | GeneralName::Other(_) => false,
    }
}

/// Whether `name` is `domain` or lies beneath it, label by label.
fn in_domain(name: &[u8], domain: &[u8]) -> bool {
    domain.is_empty() || name.eq_ignore_ascii_case(domain) || beneath_domain(name, domain)
}

fn beneath_domain(name: &[u8], domain: &[u8]) -> bool {
    let Some(split) = name.len().checked_sub(domain.len()) else { return false };
    let Some((labels, tail)) = name.split_at_checked(split) else { return false };
    tail.eq_ignore_ascii_case(domain) && labels.len() > 1 && labels.last() == Some(&b'.')
}

/// A host constraint as e-mail addresses and URIs have it: one host, or with a leading dot all beneath it.
fn in_host_constraint(host: &[u8], base: &[u8]) -> bool {
    match base.strip_prefix(b".") {
        Some(domain) => beneath_domain(host, domain),
        None => host.eq_ignore_ascii_case(base),
    }
}

fn email_relation(address: &[u8], base: &[u8]) -> Relation {
    let Some(at) = address.iter().rposition(|octet| *octet == b'@') else { return Relation::Unknown };
    let (local, host) = address.split_at(at);
    let Some(host) = host.strip_prefix(b"@") else { return Relation::Unknown };
    let inside = match base.iter().rposition(|octet| *octet == b'@') {
        None => in_host_constraint(host, base),
        Some(at) => {
            let (base_local, base_host) = base.split_at(at);
            local == base_local && base_host.strip_prefix(b"@").is_some_and(|base| base.eq_ignore_ascii_case(host))
        }
    };
    if inside { Relation::Inside } else { Relation::Outside }
}

fn ip_relation(address: &[u8], base: &[u8]) -> Relation {
    let (network, mask) = base.split_at(base.len() / 2);
    let is_range = matches!(base.len(), 8 | 32) && is_contiguous(mask);
    if !is_range || !matches!(address.len(), 4 | 16) {
        return Relation::Unknown;
    }
    let masked = |octets: &[u8]| -> Vec<u8> { octets.iter().zip(mask).map(|(octet, mask)| octet & mask).collect() };
    let inside = address.len() == network.len() && masked(address) == masked(network);
    if inside { Relation::Inside } else { Relation::Outside }
}

/// Whether a mask is ones followed by zeros (RFC 4632).
fn is_contiguous(mask: &[u8]) -> bool {
    let mut bits = mask.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1));
    bits.by_ref().take_while(|bit| *bit == 1).for_each(drop);
    bits.all(|bit| bit == 0)
}

/// The host of a URI, if it has one that is a name.
fn uri_host(uri: &[u8]) -> Option<&[u8]> {
    let colon = uri.iter().position(|octet| *octet == b':')?;
    let (_, rest) = uri.split_at_checked(colon)?;
    let authority = rest.strip_prefix(b"://")?.split(|octet| matches!(octet, b'/' | b'?' | b'#')).next()?;
    let host = authority.rsplit(|octet| *octet == b'@').next()?.split(|octet| *octet == b':').next()?;
    let is_name = host.iter().any(u8::is_ascii_alphabetic) && !host.contains(&b'[');
    is_name.then_some(host)
}

#[cfg(test)]
mod tests {
    use vouchsafe_evidence::x509::build::name_from_text;
    use vouchsafe_evidence::x509::extensions::{GeneralName, NameConstraints};

    use super::Constraints;

    fn dns(text: &str) -> GeneralName {
        GeneralName::Dns(text.into())
    }

    fn email(text: &str) -> GeneralName {
        GeneralName::Email(text.into())
    }

    fn uri(text: &str) -> GeneralName {
        GeneralName::Uri(text.into())
    }

    fn ip(octets: &[u8]) -> GeneralName {
        GeneralName::Ip(octets.into())
    }

    fn directory(text: &str) -> GeneralName {
        GeneralName::Directory(name_from_text(text).unwrap())
    }

    #[test]
    fn names_lie_in_permitted_and_outside_excluded_subtrees() {
        let any_ip4 = [0; 8];
        let net = [10, 1, 0, 0, 255, 255, 0, 0];
        let other = |tag| GeneralName::Other(vec![tag, 0]);
        // Name, base, whether it is permitted by it alone, whether it is allowed when it is excluded.
        for (name, base, permitted, allowed) in [
            (dns("a.example.com"), dns("example.com"), true, false),
            (dns("EXAMPLE.com"), dns("example.COM"), true, false),
            (dns("badexample.com"), dns("example.com"), false, true),
            (dns("example.com"), dns(".example.com"), false, true),
            (dns("a.example.com"), dns(".example.com"), true, false),
            (dns(".example.com"), dns("example.com"), false, true),
            (dns("anything"), dns(""), true, false),
            (dns("*.example.com"), dns("a.example.com"), false, false),
            (dns("*.example.com"), dns("example.org"), false, true),
            (email("u@example.com"), email("example.com"), true, false),
            (email("u@a.example.com"), email("example.com"), false, true),
            (email("u@a.example.com"), email(".example.com"), true, false),
            (email("u@Example.com"), email("u@example.com"), true, false),
            (email("U@example.com"), email("u@example.com"), false, true),
            (email("no address"), email("example.com"), false, false),
            (uri("https://u@a.example.com:8/x"), uri(".example.com"), true, false),
            (uri("https://example.com?x"), uri("example.com"), true, false),
            (uri("https://example.com.evil.org/"), uri("example.com"), false, true),
            (uri("https://10.0.0.1/"), uri("example.com"), false, false),
            (uri("https://[::1]/"), uri("example.com"), false, false),
            (uri("urn:example.com"), uri("example.com"), false, false),
            (uri("urn:x"), uri(""), true, false),
            (ip(&[10, 1, 2, 3]), ip(&net), true, false),
            (ip(&[10, 2, 2, 3]), ip(&net), false, true),
            (ip(&[9; 4]), ip(&any_ip4), true, false),
            (ip(&[9; 16]), ip(&any_ip4), false, true),
            (ip(&[10, 1, 2, 3]), ip(&[10, 1, 0, 0, 255, 0, 255, 0]), false, false),
            (ip(&[10, 1, 2]), ip(&net), false, false),
            (directory("CN=x,O=Example"), directory("O=example"), true, false),
            (directory("O=Example,CN=x"), directory("O=Example"), false, true),
            (directory("CN=x"), directory(""), true, false),
            (other(0xA0), other(0xA0), false, false),
            (other(0xA0), other(0x88), true, true),
            (dns("example.com"), email("example.org"), true, true),
        ] {
            let permit = NameConstraints { permitted: vec![base.clone()], excluded: vec![] };
            let exclude = NameConstraints { permitted: vec![], excluded: vec![base.clone()] };
            assert_eq!(Constraints::new(permit).obeyed_by(&name), permitted, "{name:?} permitted by {base:?}");
            assert_eq!(Constraints::new(exclude).obeyed_by(&name), allowed, "{name:?} excluded by {base:?}");
        }
    }

    #[test]
    fn one_of_several_permitted_subtrees_is_enough() {
        let constraints =
            NameConstraints { permitted: vec![dns("a.org"), dns("b.org")], excluded: vec![dns("x.b.org")] };
        let constraints = Constraints::new(constraints);
        for (name, obeys) in [("h.a.org", true), ("h.b.org", true), ("h.x.b.org", false), ("c.org", false)] {
            assert_eq!(constraints.obeyed_by(&dns(name)), obeys, "{name}");
        }
    }
}
