//! Evidence of listed formats among the files of a presenter.

use super::classify::is_long_der;
use super::{Form, InputError, InputFile, Submission};
use crate::bundle::CertChoice;
use crate::formats::{ListedFormat, Offer, OfferedCertificate, OfferedFile, Recognized, unsupported};
use crate::statement::FormatId;
use crate::x509::der::Tag;
use crate::x509::{CertView, CsrView};
use crate::{limits, pem};

/// The submission that these files are, if they are evidence of one listed format: of the forced one, where one is.
pub(super) fn recognize(
    files: &[InputFile<'_>],
    forced: Option<FormatId>,
    client_data: Option<&[u8]>,
) -> Result<Option<Submission>, InputError> {
    let forced = match forced {
        Some(FormatId::Listed(format)) => Some(format),
        None => None,
        Some(
            FormatId::TpmCertify
            | FormatId::TpmQuote
            | FormatId::TpmCertifyX509
            | FormatId::TpmEk
            | FormatId::KeyPop
            | FormatId::Cmw,
        ) => return Ok(None),
    };
    let Some(offer) = offer(files, client_data)? else { return Ok(None) };
    let mut found: Option<(ListedFormat, Recognized)> = None;
    for format in ListedFormat::all().filter(|format| forced.is_none_or(|forced| forced == *format)) {
        let Some(recognized) = (format.row().recognize)(&offer)? else { continue };
        if let Some((other, _)) = &found {
            let (first, second) = (other.row().id.to_owned(), format.row().id.to_owned());
            return Err(InputError::Ambiguous { part: "format", first, second });
        }
        found = Some((format, recognized));
    }
    match (found, forced) {
        (Some((format, recognized)), _) => submission(format, recognized).map(Some),
        (None, Some(format)) => Err(InputError::NotOfFormat(format.into())),
        (None, None) => match unsupported::name_of(&offer) {
            Some(name) => Err(InputError::Unverifiable { name }),
            None => Ok(None),
        },
    }
}

fn submission(format: ListedFormat, recognized: Recognized) -> Result<Submission, InputError> {
    if recognized.certificates.len() > limits::CERTIFICATES_PARSED {
        return Err(InputError::OverLimit { what: "certificates", limit: limits::CERTIFICATES_PARSED });
    }
    Ok(Submission {
        form: Form::Evidence,
        format: Some(format.into()),
        statements: vec![format.statement(&recognized.content)],
        certs: recognized.certificates.into_iter().map(CertChoice::Certificate).collect(),
    })
}

/// The files, told apart into certificates and others; `None` where a certification request is among them.
fn offer<'a>(files: &[InputFile<'a>], client_data: Option<&'a [u8]>) -> Result<Option<Offer<'a>>, InputError> {
    let mut offer = Offer { client_data, ..Offer::default() };
    for file in files {
        let (name, bytes) = (file.name, file.bytes);
        let blocks = if is_long_der(bytes) || !pem::is_pem(bytes) { None } else { pem::read(bytes).ok() };
        match blocks {
            Some(blocks) => {
                if blocks.iter().any(|block| block.kind() == pem::Kind::CertificationRequest) {
                    return Ok(None);
                }
                let (certificates, others): (Vec<_>, Vec<_>) =
                    blocks.into_iter().partition(|block| block.kind() == pem::Kind::Certificate);
                offer.certificates.extend(
                    certificates
                        .iter()
                        .filter_map(|block| CertView::parse(block.contents()).ok())
                        .map(|certificate| OfferedCertificate { file: name, certificate }),
                );
                if !others.is_empty() {
                    offer.files.push(OfferedFile { name, bytes, blocks: others });
                }
            }
            None => match CertView::parse(bytes) {
                Ok(certificate) => offer.certificates.push(OfferedCertificate { file: name, certificate }),
                Err(_) if request(bytes).is_some() => return Ok(None),
                Err(_) => offer.files.push(OfferedFile { name, bytes, blocks: Vec::new() }),
            },
        }
        if offer.certificates.len() > limits::CERTIFICATES_PARSED {
            return Err(InputError::OverLimit { what: "certificates", limit: limits::CERTIFICATES_PARSED });
        }
    }
    Ok(Some(offer))
}

/// The request that a file in DER is.
pub(super) fn request(bytes: &[u8]) -> Option<CsrView> {
    if bytes.first() == Some(&Tag::SEQUENCE.leading_octet()) { CsrView::parse(bytes).ok() } else { None }
}

/// The request that the files are, where that is all they are and its octets cannot be text.
pub(super) fn only_request(files: &[InputFile<'_>]) -> Option<CsrView> {
    match files {
        [only] if is_long_der(only.bytes) => request(only.bytes),
        _ => None,
    }
}
