//! The issuers of certificates of devices' keys: the one that `init` makes, and those that the configuration names.
//!
//! Issuers that follow one another are a succession. Whoever trusts one of a succession is told of all: of the next before
//! certificates come from it, of the last for as long as its certificates are valid.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};
use vouchsafe_evidence::x509::{CertView, build};

use super::{CertificationAuthority, HierarchyError, ISSUING_CA, ISSUING_ROOT, load_certificate, load_key, read};
use crate::certificate::{SigningKey, signed_by};
use crate::config::{Config, DEFAULT_ISSUER, DistributionConfig, IssuerConfig, IssuerKey};
use crate::error::Error;
use crate::init::ca_folder;

/// Certificates in one file of an issuer.
const ISSUER_CERTIFICATES_MAX: usize = 8;

/// One issuer, with what its certificates are verified by.
#[derive(Debug)]
pub(crate) struct Issuer {
    name: String,
    ca: CertificationAuthority,
    /// Its own certificate first.
    chain_below_root: Vec<CertView>,
    /// Where it is known here.
    root: Option<CertView>,
    /// Between its root and others.
    links: Vec<CertView>,
    follows: Option<String>,
}

impl Issuer {
    /// Its name in the configuration.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn ca(&self) -> &CertificationAuthority {
        &self.ca
    }

    /// The issuer, unless it has expired.
    ///
    /// # Errors
    /// [`Error::IssuerExpired`].
    pub(crate) fn while_valid(&self, now: i64) -> Result<&Self, Error> {
        if self.ca.certificate().not_after() > now { Ok(self) } else { Err(Error::IssuerExpired) }
    }

    /// The certificates between a leaf and the root, the one that signed the leaf first; DER.
    pub(crate) fn chain_below_root(&self) -> Vec<Vec<u8>> {
        self.chain_below_root.iter().map(|certificate| certificate.as_der().to_vec()).collect()
    }

    /// The root that it is under, where that is known here.
    pub(crate) const fn root(&self) -> Option<&CertView> {
        self.root.as_ref()
    }

    /// Certificates of roots of its succession by one another.
    pub(crate) fn links(&self) -> impl Iterator<Item = &CertView> {
        self.links.iter()
    }

    /// Chain, root and links.
    fn certificates(&self) -> impl Iterator<Item = &CertView> {
        self.chain_below_root.iter().chain(&self.root).chain(&self.links)
    }

    /// The one that `init` made.
    fn made(config: &Config) -> Result<Self, HierarchyError> {
        let folder = ca_folder(config);
        let ca = CertificationAuthority::load(&folder, ISSUING_CA)?;
        Ok(Self {
            name: DEFAULT_ISSUER.to_owned(),
            chain_below_root: vec![ca.certificate().clone()],
            ca: ca.publishing(published(config, DEFAULT_ISSUER)),
            root: Some(load_certificate(&folder, ISSUING_ROOT)?),
            links: Vec::new(),
            follows: None,
        })
    }

    /// One that the configuration names, with its key in a token or in a file. `own_root` is this installation's.
    fn named(config: &Config, issuer: &IssuerConfig, own_root: Option<&CertView>) -> Result<Self, HierarchyError> {
        let (chain_below_root, root) = read_chain(&issuer.certificate, own_root)?;
        let Some(certificate) = chain_below_root.first() else {
            return Err(HierarchyError::Chain { path: issuer.certificate.clone() });
        };
        let key = signing_key(issuer, certificate)?;
        let malformed = |malformed| HierarchyError::Malformed { path: issuer.certificate.clone(), malformed };
        let ca = CertificationAuthority::new(certificate.clone(), key).map_err(malformed)?;
        if root.is_none() {
            tracing::warn!(
                issuer = issuer.name,
                file = %issuer.certificate.display(),
                "the root of this issuer is not known here, so that clients do not get it: append it to the file"
            );
        }
        let links = match &issuer.links {
            Some(path) => read_certificates(path)?,
            None => Vec::new(),
        };
        let ca = ca.publishing(published(config, &issuer.name));
        Ok(Self { name: issuer.name.clone(), ca, chain_below_root, root, links, follows: issuer.follows.clone() })
    }
}

/// What certificates of an issuer say of where its list and its certificate are had.
fn published(config: &Config, issuer: &str) -> Vec<Vec<u8>> {
    let extensions = |distribution: &DistributionConfig| {
        vec![
            build::authority_info_access(&distribution.certificate(issuer)),
            build::crl_distribution_points(&distribution.revocation_list(issuer)),
        ]
    };
    config.distribution.as_ref().map(extensions).unwrap_or_default()
}

fn signing_key(issuer: &IssuerConfig, certificate: &CertView) -> Result<SigningKey, HierarchyError> {
    let key = match &issuer.key {
        IssuerKey::Token(token) => SigningKey::in_token(token, certificate.spki())?,
        IssuerKey::File(file) => {
            tracing::warn!(
                issuer = issuer.name,
                file = %file.display(),
                "the issuing key lies in a file, which is for labs: whoever reads it signs; name a token with pkcs11"
            );
            load_key(file)?
        }
    };
    if certificate.spki().same_key(key.spki()) {
        Ok(key)
    } else {
        Err(HierarchyError::Mismatch { path: issuer.certificate.clone() })
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertView>, HierarchyError> {
    let pem = read(path)?;
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|_| HierarchyError::Pem { path: path.to_owned() })?;
        if certificates.len() == ISSUER_CERTIFICATES_MAX {
            return Err(HierarchyError::Chain { path: path.to_owned() });
        }
        let malformed = |malformed| HierarchyError::Malformed { path: path.to_owned(), malformed };
        certificates.push(CertView::parse(&der).map_err(malformed)?);
    }
    if certificates.is_empty() { Err(HierarchyError::Pem { path: path.to_owned() }) } else { Ok(certificates) }
}

fn is_self_signed(certificate: &CertView) -> bool {
    is_issued_by(certificate, certificate)
}

fn is_issued_by(certificate: &CertView, issuer: &CertView) -> bool {
    certificate.issuer().matches(issuer.subject()) && signed_by(certificate, issuer)
}

/// The certificates of an issuer below its root, its own first, and the root: the last of the file where that signs itself,
/// else `own_root` where that signed the last. An issuer that signs itself is its own root.
///
/// # Errors
/// [`HierarchyError::Chain`] and [`HierarchyError::NotCa`], besides what is wrong with the file.
pub(crate) fn read_chain(
    path: &Path,
    own_root: Option<&CertView>,
) -> Result<(Vec<CertView>, Option<CertView>), HierarchyError> {
    let mut chain = read_certificates(path)?;
    for certificate in &chain {
        check_is_ca(certificate, path)?;
    }
    let refused = || HierarchyError::Chain { path: path.to_owned() };
    let (last, below) = chain.split_last().ok_or_else(refused)?;
    let is_row = chain.windows(2).all(|pair| matches!(pair, [below, above] if is_issued_by(below, above)));
    // Above what signs itself nothing stands.
    if !is_row || below.iter().any(is_self_signed) {
        return Err(refused());
    }
    if !is_self_signed(last) {
        let root = own_root.filter(|root| is_issued_by(last, root)).cloned();
        return Ok((chain, root));
    }
    let root = last.clone();
    if !below.is_empty() {
        chain.pop();
    }
    Ok((chain, Some(root)))
}

/// RFC 5280, sections 4.2.1.3 and 4.2.1.9: what an issuer of certificates and of revocation lists must be allowed.
fn check_is_ca(certificate: &CertView, path: &Path) -> Result<(), HierarchyError> {
    let malformed = |malformed| HierarchyError::Malformed { path: path.to_owned(), malformed };
    let constraints = certificate.extension(oid::BASIC_CONSTRAINTS).map_err(malformed)?;
    let usage = certificate.extension(oid::KEY_USAGE).map_err(malformed)?;
    let (Some(constraints), Some(usage)) = (constraints, usage) else {
        return Err(HierarchyError::NotCa { path: path.to_owned() });
    };
    let is_ca = BasicConstraints::parse(constraints.value()).map_err(malformed)?.ca;
    let usage = KeyUsage::parse(usage.value()).map_err(malformed)?;
    if is_ca && usage.contains(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN) {
        Ok(())
    } else {
        Err(HierarchyError::NotCa { path: path.to_owned() })
    }
}

/// What certificates of devices' keys are signed with.
#[derive(Debug)]
pub(crate) struct Issuing {
    issuers: Vec<Issuer>,
}

impl Issuing {
    pub(super) fn load(config: &Config) -> Result<Self, HierarchyError> {
        let folder = ca_folder(config);
        let mut issuers = Vec::new();
        // Where every certificate comes from others, the one that `init` made may be gone, certificate and key.
        if folder.join(format!("{ISSUING_CA}.crt")).exists() || config.names_issuer(DEFAULT_ISSUER) {
            issuers.push(Issuer::made(config)?);
        }
        let has_root = folder.join(format!("{ISSUING_ROOT}.crt")).exists();
        let own_root = if has_root { Some(load_certificate(&folder, ISSUING_ROOT)?) } else { None };
        for issuer in &config.issuers {
            issuers.push(Issuer::named(config, issuer, own_root.as_ref())?);
        }
        let issuing = Self { issuers };
        for issuer in &config.issuers {
            issuing.check_links(issuer)?;
        }
        Ok(issuing)
    }

    /// Every issuer, the one that `init` made first.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &Issuer> {
        self.issuers.iter()
    }

    pub(crate) fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.name == name)
    }

    /// Those that the issuer of this name follows and that follow it, the oldest first, itself among them.
    fn succession(&self, name: &str) -> Vec<&Issuer> {
        let before = |issuer: &&Issuer| issuer.follows.as_deref().and_then(|name| self.issuer(name));
        let after = |issuer: &&Issuer| self.issuers.iter().find(|next| next.follows.as_deref() == Some(issuer.name()));
        let (own, limit) = (self.issuer(name), self.issuers.len());
        let mut row: Vec<&Issuer> = std::iter::successors(own, before).skip(1).take(limit).collect();
        row.reverse();
        row.extend(std::iter::successors(own, after).take(limit));
        row
    }

    /// What clients of an issuer trust and build chains with: of every issuer of its succession the chain, the root and the
    /// links between roots (RFC 7030, section 4.1.3). DER, none twice.
    pub(crate) fn certificates_for(&self, name: &str) -> Vec<Vec<u8>> {
        let mut certificates: Vec<Vec<u8>> = Vec::new();
        for certificate in self.succession(name).into_iter().flat_map(Issuer::certificates) {
            if !certificates.iter().any(|known| known == certificate.as_der()) {
                certificates.push(certificate.as_der().to_vec());
            }
        }
        certificates
    }

    /// A link is the certificate of the root of an issuer of the succession, by that of another (RFC 4210, section 4.4):
    /// whoever trusts the one comes to the other by it. Anything else would be trusted in the name of neither.
    fn check_links(&self, config: &IssuerConfig) -> Result<(), HierarchyError> {
        let Some(path) = &config.links else { return Ok(()) };
        let roots: Vec<&CertView> = self.succession(&config.name).into_iter().filter_map(Issuer::root).collect();
        let is_link = |link: &CertView| {
            let is_of = |root: &&&CertView| root.subject() == link.subject() && root.spki().same_key(link.spki());
            let is_by = |root: &&&CertView| !root.spki().same_key(link.spki()) && is_issued_by(link, root);
            roots.iter().any(|root| is_of(&root)) && roots.iter().any(|root| is_by(&root))
        };
        for link in self.issuer(&config.name).map(|issuer| issuer.links.as_slice()).unwrap_or_default() {
            check_is_ca(link, path)?;
            if !is_link(link) {
                return Err(HierarchyError::Link { path: path.clone() });
            }
        }
        Ok(())
    }
}
