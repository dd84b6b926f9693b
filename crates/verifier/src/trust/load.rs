//! Reading a trust store from its files.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::{CertView, SpkiView};

use super::{AnchorIdentity, AnchorMark, FormatTrust, TrustAnchor, TrustDefect, TrustError, TrustFile};

/// Where a file stands in the store, by its path.
enum Place<'a> {
    Anchor { format: &'a str, stem: &'a str, encoding: Encoding },
    Mark { format: &'a str, stem: &'a str },
    Intermediate { format: &'a str, encoding: Encoding },
    Key { format: &'a str },
    Crl { format: &'a str },
}

#[derive(Clone, Copy)]
enum Encoding {
    Der,
    Pem,
    PemOrDer,
}

/// Marks by format and stem, each with its file.
type Marks<'a> = BTreeMap<(&'a str, &'a str), (&'a str, AnchorMark)>;

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
        let kept = || TrustFile { path: path.clone(), contents: contents.clone() };
        match place(path).map_err(fail)? {
            Place::Anchor { format, stem, encoding } => {
                let mark = marks.get(&(format, stem));
                let anchors = anchors(path, contents, encoding, mark.map(|(_, mark)| mark)).map_err(|defect| {
                    let marked = mark.filter(|_| defect == TrustDefect::MarkDigest);
                    TrustError { file: marked.map_or(path.as_str(), |(file, _)| *file).to_owned(), defect }
                })?;
                formats.entry(format.to_owned()).or_default().anchors.extend(anchors);
            }
            Place::Mark { .. } => {}
            Place::Intermediate { format, encoding } => {
                let certificates = intermediates(contents, encoding).map_err(fail)?;
                formats.entry(format.to_owned()).or_default().intermediates.extend(certificates);
            }
            Place::Key { format } => formats.entry(format.to_owned()).or_default().keys.push(kept()),
            Place::Crl { format } => formats.entry(format.to_owned()).or_default().crls.push(kept()),
        }
    }
    Ok(formats)
}

/// The marks, every one of which has an anchor file beside it.
fn marks(files: &BTreeMap<String, Vec<u8>>) -> Result<Marks<'_>, TrustError> {
    let mut marks = BTreeMap::new();
    for (path, contents) in files {
        let fail = |defect| TrustError { file: path.clone(), defect };
        if let Place::Mark { format, stem } = place(path).map_err(fail)? {
            let marks_anchor =
                ["pem", "crt", "der"].iter().any(|end| files.contains_key(&format!("{format}/{stem}.{end}")));
            if !marks_anchor {
                return Err(fail(TrustDefect::MarkOrphan));
            }
            marks.insert((format, stem), (path.as_str(), AnchorMark::from_toml(contents).map_err(fail)?));
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
        (file, None, None) => match file.rsplit_once('.') {
            Some((stem, "toml")) => Ok(Place::Mark { format, stem }),
            Some((stem, extension)) => Ok(Place::Anchor { format, stem, encoding: encoding(extension)? }),
            None => Err(TrustDefect::UnknownName),
        },
        ("intermediates", Some(file), None) => {
            let (_, extension) = file.rsplit_once('.').ok_or(TrustDefect::UnknownName)?;
            Ok(Place::Intermediate { format, encoding: encoding(extension)? })
        }
        ("keys", Some(_), None) => Ok(Place::Key { format }),
        ("crls", Some(_), None) => Ok(Place::Crl { format }),
        (folder, ..) => Err(TrustDefect::UnknownFolder(folder.to_owned())),
    }
}

fn encoding(extension: &str) -> Result<Encoding, TrustDefect> {
    match extension {
        "pem" => Ok(Encoding::Pem),
        "crt" => Ok(Encoding::PemOrDer),
        "der" => Ok(Encoding::Der),
        _ => Err(TrustDefect::UnknownName),
    }
}

fn anchors(
    path: &str,
    contents: &[u8],
    encoding: Encoding,
    mark: Option<&AnchorMark>,
) -> Result<Vec<TrustAnchor>, TrustDefect> {
    let identities = identities(contents, encoding)?;
    let mark = mark.cloned().unwrap_or_default();
    if let Some(expected) = mark.sha256 {
        let fits = |octets: &[u8]| digest(&SHA256, octets).as_ref() == expected;
        if !fits(contents) && !identities.iter().any(|identity| fits(identity.as_der())) {
            return Err(TrustDefect::MarkDigest);
        }
    }
    let anchor = |identity| TrustAnchor { file: path.to_owned(), identity, mark: mark.clone() };
    Ok(identities.into_iter().map(anchor).collect())
}

fn intermediates(contents: &[u8], encoding: Encoding) -> Result<Vec<CertView>, TrustDefect> {
    identities(contents, encoding)?
        .into_iter()
        .map(|identity| match identity {
            AnchorIdentity::Certificate(certificate) => Ok(certificate),
            AnchorIdentity::PublicKey(_) => Err(TrustDefect::NotCertificate),
        })
        .collect()
}

/// The certificates and public keys of one file; never none.
fn identities(contents: &[u8], encoding: Encoding) -> Result<Vec<AnchorIdentity>, TrustDefect> {
    const SEQUENCE: u8 = 0x30;
    let is_der = match encoding {
        Encoding::Der => true,
        Encoding::Pem => false,
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
