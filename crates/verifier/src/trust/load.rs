//! Reading a trust store from its files.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use vouchsafe_evidence::json::Value;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::{CertView, CrlView, NamedCurve, SpkiView};

use super::{
    Allowances, AnchorIdentity, AnchorMark, FormatTrust, SHA256_OCTETS, TrustAnchor, TrustCrl, TrustDefect, TrustError,
    TrustFile,
};
use crate::hex;

/// Where a file stands in the store, by its path.
enum Place<'a> {
    Certificates { format: &'a str, role: Role, stem: &'a str, encoding: Encoding },
    Mark { format: &'a str, role: Role, stem: &'a str },
    Key { format: &'a str, stem: &'a str },
    Crl { format: &'a str },
}

/// What certificates are to a format, by their folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Anchor,
    Intermediate,
    Key,
}

impl Role {
    /// The folder, relative to the format's.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Anchor => "",
            Self::Intermediate => "intermediates/",
            Self::Key => "keys/",
        }
    }
}

#[derive(Clone, Copy)]
enum Encoding {
    Der,
    Pem,
    PemOrDer,
    /// A point on a named curve in JSON, as Entrust publishes the root key of its warrants.
    PointJson,
}

/// Marks by format, role and stem, each with its file.
type Marks<'a> = BTreeMap<(&'a str, Role, &'a str), (&'a str, AnchorMark)>;

const SEQUENCE: u8 = 0x30;
/// Label of a revocation list (RFC 7468, section 6).
const CRL_LABEL: &str = "X509 CRL";

/// Whether a path names something that is not part of the store: dot files and READMEs.
pub(super) fn is_ignored(path: &str) -> bool {
    let hidden = path.split('/').any(|part| part.starts_with('.'));
    hidden || path.rsplit('/').next().is_some_and(|name| name.starts_with("README"))
}

/// The formats that the files describe.
pub(super) fn formats(files: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, FormatTrust>, TrustError> {
    let mut formats: BTreeMap<String, FormatTrust> = BTreeMap::new();
    let marks = marks(files)?;
    for (path, contents) in files {
        let fail = |defect| TrustError { file: path.clone(), defect };
        match place(path).map_err(fail)? {
            Place::Certificates { format, role, stem, encoding } => {
                let mark = marks.get(&(format, role, stem));
                let trust = formats.entry(format.to_owned()).or_default();
                add_certificates(trust, path, contents, (role, encoding), mark.map(|(_, mark)| mark)).map_err(
                    |defect| {
                        let marked = mark.filter(|_| defect == TrustDefect::MarkDigest);
                        TrustError { file: marked.map_or(path.as_str(), |(file, _)| *file).to_owned(), defect }
                    },
                )?;
            }
            Place::Mark { .. } => {}
            Place::Key { format, stem } => {
                let marked = marks.get(&(format, Role::Key, stem));
                let mark = marked.map(|(_, mark)| mark.clone()).unwrap_or_default();
                if mark.sha256.is_some_and(|expected| !key_has_digest(contents, expected)) {
                    let file = marked.map_or(path.as_str(), |(file, _)| *file).to_owned();
                    return Err(TrustError { file, defect: TrustDefect::MarkDigest });
                }
                let kept = TrustFile { path: path.clone(), contents: contents.clone(), mark };
                formats.entry(format.to_owned()).or_default().keys.push(kept);
            }
            Place::Crl { format } => {
                let lists = revocation_lists(path, contents).map_err(fail)?;
                formats.entry(format.to_owned()).or_default().crls.extend(lists);
            }
        }
    }
    Ok(formats)
}

/// The marks, every one of which has a file beside it.
fn marks(files: &BTreeMap<String, Vec<u8>>) -> Result<Marks<'_>, TrustError> {
    let mut marks = BTreeMap::new();
    for (path, contents) in files {
        let fail = |defect| TrustError { file: path.clone(), defect };
        if let Place::Mark { format, role, stem } = place(path).map_err(fail)? {
            let prefix = role.prefix();
            let marks_something = match role {
                Role::Anchor | Role::Intermediate => ["pem", "crt", "der", "json"]
                    .iter()
                    .any(|end| files.contains_key(&format!("{format}/{prefix}{stem}.{end}"))),
                // These files may be called anything.
                Role::Key => files.keys().any(|other| {
                    matches!(place(other), Ok(Place::Key { format: of, stem: name }) if (of, name) == (format, stem))
                }),
            };
            if !marks_something {
                return Err(fail(TrustDefect::MarkOrphan));
            }
            let mark = AnchorMark::from_toml(contents).map_err(fail)?;
            if role == Role::Intermediate && (mark.is_virtual || mark.own_signer) {
                return Err(fail(TrustDefect::MarkOfAnchor));
            }
            if role == Role::Key && (mark.own_signer || mark.allowances != Allowances::NONE) {
                return Err(fail(TrustDefect::MarkOfIssuer));
            }
            marks.insert((format, role, stem), (path.as_str(), mark));
        }
    }
    Ok(marks)
}

fn place(path: &str) -> Result<Place<'_>, TrustDefect> {
    let mut parts = path.split('/');
    let (format, second, third, fourth) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(format), Some(second)) = (format, second) else { return Err(TrustDefect::Misplaced) };
    if format.is_empty() || !format.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(TrustDefect::FormatId(format.to_owned()));
    }
    match (second, third, fourth) {
        (file, None, None) => certificates_or_mark(format, Role::Anchor, file),
        ("intermediates", Some(file), None) => certificates_or_mark(format, Role::Intermediate, file),
        ("keys", Some(file), None) => Ok(key_or_mark(format, file)),
        ("crls", Some(_), None) => Ok(Place::Crl { format }),
        (folder, ..) => Err(TrustDefect::UnknownFolder(folder.to_owned())),
    }
}

fn certificates_or_mark<'a>(format: &'a str, role: Role, file: &'a str) -> Result<Place<'a>, TrustDefect> {
    match file.rsplit_once('.') {
        Some((stem, "toml")) => Ok(Place::Mark { format, role, stem }),
        Some((stem, extension)) => Ok(Place::Certificates { format, role, stem, encoding: encoding(extension)? }),
        None => Err(TrustDefect::UnknownName),
    }
}

/// Files of `keys/` may be called anything; one that ends in `.toml` marks those of the same name beside it.
fn key_or_mark<'a>(format: &'a str, file: &'a str) -> Place<'a> {
    match file.rsplit_once('.') {
        Some((stem, "toml")) => Place::Mark { format, role: Role::Key, stem },
        Some((stem, _)) => Place::Key { format, stem },
        None => Place::Key { format, stem: file },
    }
}

/// Whether a file of `keys/`, or a block in it, has this SHA-256.
fn key_has_digest(contents: &[u8], expected: [u8; SHA256_OCTETS]) -> bool {
    let fits = |octets: &[u8]| digest(&SHA256, octets).as_ref() == expected;
    let blocks = pem::read(contents).unwrap_or_default();
    fits(contents) || blocks.iter().any(|block| fits(block.contents()))
}

fn encoding(extension: &str) -> Result<Encoding, TrustDefect> {
    match extension {
        "pem" => Ok(Encoding::Pem),
        "crt" => Ok(Encoding::PemOrDer),
        "der" => Ok(Encoding::Der),
        "json" => Ok(Encoding::PointJson),
        _ => Err(TrustDefect::UnknownName),
    }
}

/// Adds the certificates, or keys, of one file to what its format trusts, and pins what its mark allows them.
fn add_certificates(
    trust: &mut FormatTrust,
    path: &str,
    contents: &[u8],
    (role, encoding): (Role, Encoding),
    mark: Option<&AnchorMark>,
) -> Result<(), TrustDefect> {
    let identities = identities(contents, encoding)?;
    let mark = mark.cloned().unwrap_or_default();
    if let Some(expected) = mark.sha256 {
        let fits = |octets: &[u8]| digest(&SHA256, octets).as_ref() == expected;
        if !fits(contents) && !identities.iter().any(|identity| fits(identity.as_der())) {
            return Err(TrustDefect::MarkDigest);
        }
    }
    for identity in identities {
        if mark.allowances != Allowances::NONE {
            trust.pins.push((identity.key().clone(), mark.allowances));
        }
        match (role, identity) {
            (Role::Anchor, identity) => {
                trust.anchors.push(TrustAnchor { file: path.to_owned(), identity, mark: mark.clone() });
            }
            (Role::Intermediate, AnchorIdentity::Certificate(certificate)) => trust.intermediates.push(certificate),
            (Role::Intermediate, AnchorIdentity::PublicKey(_)) => return Err(TrustDefect::NotCertificate),
            // Files of `keys/` are kept as they are and do not come here.
            (Role::Key, _) => return Err(TrustDefect::Misplaced),
        }
    }
    Ok(())
}

/// The revocation lists of one file, DER or PEM, whatever it is called; never none.
fn revocation_lists(path: &str, contents: &[u8]) -> Result<Vec<TrustCrl>, TrustDefect> {
    let list = |der: &[u8]| Ok(TrustCrl { path: path.to_owned(), list: CrlView::parse(der)? });
    match contents.first() {
        None => Err(TrustDefect::Empty),
        Some(&SEQUENCE) => Ok(vec![list(contents)?]),
        Some(_) => pem::read(contents)?
            .iter()
            .map(|block| match block.label() {
                CRL_LABEL => list(block.contents()),
                other => Err(TrustDefect::UnknownLabel(printable(other))),
            })
            .collect(),
    }
}

/// The certificates and public keys of one file; never none.
fn identities(contents: &[u8], encoding: Encoding) -> Result<Vec<AnchorIdentity>, TrustDefect> {
    let is_der = match encoding {
        Encoding::Der => true,
        Encoding::Pem => false,
        Encoding::PointJson => return Ok(vec![AnchorIdentity::PublicKey(point_from_json(contents)?)]),
        Encoding::PemOrDer => contents.first() == Some(&SEQUENCE),
    };
    if is_der {
        return Ok(vec![identity_from_der(contents)?]);
    }
    let mut identities = Vec::new();
    for block in pem::read(contents)? {
        identities.push(match block.kind() {
            pem::Kind::Certificate => AnchorIdentity::Certificate(CertView::parse(block.contents())?),
            pem::Kind::PublicKey => AnchorIdentity::PublicKey(SpkiView::parse(block.contents())?),
            pem::Kind::CertificationRequest | pem::Kind::Other => {
                return Err(TrustDefect::UnknownLabel(printable(block.label())));
            }
        });
    }
    if identities.is_empty() { Err(TrustDefect::Empty) } else { Ok(identities) }
}

/// A certificate, or else a SubjectPublicKeyInfo; what is neither is reported as a damaged certificate.
fn identity_from_der(contents: &[u8]) -> Result<AnchorIdentity, TrustDefect> {
    if contents.is_empty() {
        return Err(TrustDefect::Empty);
    }
    match (CertView::parse(contents), SpkiView::parse(contents)) {
        (Ok(certificate), _) => Ok(AnchorIdentity::Certificate(certificate)),
        (Err(_), Ok(key)) => Ok(AnchorIdentity::PublicKey(key)),
        (Err(malformed), Err(_)) => Err(malformed.into()),
    }
}

impl AnchorIdentity {
    fn as_der(&self) -> &[u8] {
        match self {
            Self::Certificate(certificate) => certificate.as_der(),
            Self::PublicKey(key) => key.as_der(),
        }
    }
}

/// The public key of an object with the members `curve`, `x` and `y`; others, such as `name`, are for people.
fn point_from_json(contents: &[u8]) -> Result<SpkiView, TrustDefect> {
    let object = Value::parse(contents)?;
    let text = |name: &'static str| object.member(name).and_then(Value::text).ok_or(TrustDefect::Point(name));
    let curve = match text("curve")? {
        "NIST P-256" | "P-256" => NamedCurve::P256,
        "NIST P-384" | "P-384" => NamedCurve::P384,
        "NIST P-521" | "P-521" => NamedCurve::P521,
        _ => return Err(TrustDefect::Point("curve")),
    };
    let coordinate = |name| hex::decode(text(name)?).ok_or(TrustDefect::Point(name));
    Ok(SpkiView::from_ec(curve, &coordinate("x")?, &coordinate("y")?)?)
}
