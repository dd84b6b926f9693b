//! Telling what a file is, by its content.

use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement, BundleDefect};
use vouchsafe_evidence::cmw::{self, Likeness};
use vouchsafe_evidence::limits::INPUT_OCTETS;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{TpmCertify, TpmCertifyX509};
use vouchsafe_evidence::tpm::{Attested, Name, TpmsAttest, TpmtPublic, TpmtSignature};
use vouchsafe_evidence::x509::der::{Element, Reader, Tag};
use vouchsafe_evidence::x509::{CertView, CsrView, SpkiView};
use vouchsafe_evidence::{Malformed, pem};
use vouchsafe_verifier::hex;

use super::tree::Item;
use super::{statement, tpm, x509};

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Recognized {
    /// The things in it.
    pub items: Vec<Item>,
    /// Whether all of it is known and well-formed.
    pub is_known: bool,
}

impl Recognized {
    fn known(item: Item) -> Self {
        Self { items: vec![item], is_known: true }
    }

    fn broken(item: Item) -> Self {
        Self { items: vec![item], is_known: false }
    }
}

/// What the contents of one file are.
pub fn file(contents: &[u8]) -> Recognized {
    if contents.is_empty() {
        return Recognized::broken(Item::leaf("empty file", "nothing is in it"));
    }
    if contents.len() > INPUT_OCTETS {
        return Recognized::broken(Item::leaf("large file", format!("more than {INPUT_OCTETS} octets are not read")));
    }
    if !pem::is_pem(contents) {
        return octets(contents);
    }
    match pem::read(contents) {
        Err(malformed) => Recognized::broken(Item::malformed("PEM", malformed)),
        Ok(blocks) => {
            let mut all = Recognized { items: Vec::new(), is_known: true };
            for block in blocks {
                let found = if block.label().contains("PRIVATE KEY") {
                    Recognized::known(Item::leaf("private key", "not read; keep it out of other people's hands"))
                } else {
                    octets(block.contents())
                };
                all.is_known &= found.is_known;
                all.items.extend(found.items);
            }
            all
        }
    }
}

fn octets(contents: &[u8]) -> Recognized {
    if contents.first() == Some(&Tag::SEQUENCE.leading_octet())
        && let Some(found) = der(contents)
    {
        return found;
    }
    match cmw::likeness(contents) {
        Likeness::Wrapper => {
            return Recognized::known(statement::statement(0, &cmw::statement_of_file(contents)));
        }
        Likeness::Signed => {
            return Recognized::broken(Item::leaf("CMW", "signed as a whole, by JWS or COSE, which is not read"));
        }
        Likeness::None => {}
    }
    tpm_structure(contents).unwrap_or_else(|| unknown(contents))
}

/// The kinds of DER, the strictest to tell first.
fn der(contents: &[u8]) -> Option<Recognized> {
    if let Ok(certificate) = CertView::parse_padded(contents) {
        return Some(Recognized::known(x509::certificate(&certificate)));
    }
    if let Ok(csr) = CsrView::parse(contents) {
        return Some(Recognized::known(x509::request(&csr)));
    }
    if let Ok(key) = SpkiView::parse(contents) {
        return Some(Recognized::known(x509::public_key("public key", &key)));
    }
    if let Some(found) = bare_statement(contents) {
        return Some(Recognized::known(statement::statement(0, &found)));
    }
    if is_ecdsa_signature(contents) {
        return Some(Recognized::known(Item::leaf("ECDSA signature", "r and s in DER; it says no hash")));
    }
    match AttestationBundle::parse(contents) {
        Ok(bundle) => Some(Recognized::known(statement::bundle(&bundle))),
        Err(defect @ (BundleDefect::Empty | BundleDefect::LegacyStatement { .. })) => {
            Some(Recognized::broken(Item::malformed("attestation bundle", defect)))
        }
        Err(BundleDefect::Malformed(_)) => explain(contents),
    }
}

/// What broken DER seems to be: signed structures are a SEQUENCE in a SEQUENCE, of which requests begin with version 0.
fn explain(contents: &[u8]) -> Option<Recognized> {
    let fields = behind_header(behind_header(contents)?)?;
    let (name, malformed) = match fields {
        [0x02, 0x01, 0x00, ..] => ("certification request", CsrView::parse(contents).err()?),
        _ => ("certificate", CertView::parse_padded(contents).err()?),
    };
    Some(Recognized::broken(Item::malformed(format!("perhaps a {name}"), malformed)))
}

/// What follows the header of a SEQUENCE, whatever form its length has.
fn behind_header(contents: &[u8]) -> Option<&[u8]> {
    match contents {
        [leading, length, rest @ ..] if *leading == Tag::SEQUENCE.leading_octet() => {
            rest.get(if *length > 0x80 { usize::from(length & 0x7F) } else { 0 }..)
        }
        _ => None,
    }
}

/// A statement with its type, or without where its content tells the type.
fn bare_statement(contents: &[u8]) -> Option<AttestationStatement> {
    if let Ok(statement) = typed_statement(contents) {
        return Some(statement);
    }
    if TpmCertifyX509::parse(contents).is_ok() {
        return Some(AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY_X509, contents));
    }
    let attest = TpmsAttest::parse(&TpmCertify::parse(contents).ok()?.attest).ok()?;
    let is_quote = matches!(attest.attested(), Attested::Quote { .. });
    let oid = if is_quote { oid::STATEMENT_TPM_QUOTE } else { oid::STATEMENT_TPM_CERTIFY };
    Some(AttestationStatement::new(oid, contents))
}

fn typed_statement(contents: &[u8]) -> Result<AttestationStatement, Malformed> {
    let mut outer = Reader::new(contents, "AttestationStatement");
    let mut fields = outer.sequence("AttestationStatement")?;
    outer.finish()?;
    let oid = fields.oid("type")?;
    let stmt = fields.element()?;
    fields.finish()?;
    Ok(AttestationStatement::new(oid, stmt.as_der()))
}

fn is_ecdsa_signature(contents: &[u8]) -> bool {
    let read = || -> Result<(), Malformed> {
        let element = Element::parse(contents, "ECDSA-Sig-Value")?;
        let mut fields = element.reader();
        fields.unsigned("r")?;
        fields.unsigned("s")?;
        fields.finish()
    };
    read().is_ok()
}

/// A TPM structure, bare or with the size field that makes it a TPM2B.
fn tpm_structure(contents: &[u8]) -> Option<Recognized> {
    if let Some(found) = bare_tpm_structure(contents) {
        return Some(found);
    }
    let (size, inner) = contents.split_at_checked(2)?;
    let size: [u8; 2] = size.try_into().ok()?;
    if usize::from(u16::from_be_bytes(size)) != inner.len() {
        return None;
    }
    let found = bare_tpm_structure(inner)?;
    let items = vec![Item::group("TPM2B", found.items).says(format!("a size field, then {} octets", inner.len()))];
    Some(Recognized { items, is_known: found.is_known })
}

fn bare_tpm_structure(contents: &[u8]) -> Option<Recognized> {
    if TpmsAttest::has_magic(contents) {
        return Some(match TpmsAttest::parse(contents) {
            Ok(attest) => Recognized::known(tpm::attest(&attest)),
            Err(malformed) => Recognized::broken(Item::malformed("TPMS_ATTEST", malformed)),
        });
    }
    if let Ok(signature) = TpmtSignature::parse(contents) {
        return Some(Recognized::known(tpm::signature(&signature)));
    }
    if let Ok(public) = TpmtPublic::parse(contents) {
        return Some(Recognized::known(tpm::public(&public)));
    }
    Name::parse(contents).ok().map(|name| Recognized::known(Item::leaf("Name of a TPM object", tpm::name(&name))))
}

fn unknown(contents: &[u8]) -> Recognized {
    let digest = vouchsafe_evidence::tpm::HashAlg::Sha256.digest(&[contents]);
    let guess = match contents.len() {
        128 | 192 | 256 | 384 | 512 => ", as many as an RSA signature or a list of PCR values",
        octets if octets % 32 == 0 => ", as many as a list of PCR values",
        _ => "",
    };
    Recognized::broken(Item::group(
        "octets of no form that is known here",
        vec![
            Item::leaf("length", format!("{} octets{guess}", contents.len())),
            Item::leaf("SHA-256", hex::encode(&digest)),
        ],
    ))
}
