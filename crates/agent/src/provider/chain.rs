//! Certificates of an attesting key as a provider keeps them: one after the other, each behind its length (u32).

use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::Reason;
use vouchsafe_evidence::limits::{CERTIFICATE_OCTETS, CHAIN_LENGTH};
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::x509::{CertView, SpkiView};

use super::Fault;

/// What is kept of these certificates, if the first is that of `key`.
///
/// # Errors
/// [`Fault::CertificateMismatch`].
pub(super) fn to_bytes(key: &SpkiView, certificates: &[Vec<u8>]) -> Result<Vec<u8>, Fault> {
    let parsed = certificates.iter().map(|der| CertView::parse(der)).collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|_| Fault::CertificateMismatch)?;
    let is_its_own = parsed.first().is_some_and(|own| own.spki().same_key(key));
    if !is_its_own || parsed.len() > CHAIN_LENGTH {
        return Err(Fault::CertificateMismatch);
    }
    let mut w = Writer::new();
    for certificate in certificates {
        w.u32(u32::try_from(certificate.len()).unwrap_or(u32::MAX)).bytes(certificate);
    }
    Ok(w.into_bytes())
}

/// The certificates that were kept so.
///
/// # Errors
/// [`Fault::BlobInvalid`].
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    read(bytes).map_err(Fault::BlobInvalid)
}

fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut r = Reader::new(bytes, "certificates record");
    let mut certificates = Vec::new();
    while r.remaining() > 0 {
        if certificates.len() >= CHAIN_LENGTH {
            return Err(r.error(Reason::OverLimit { what: "certificates", limit: CHAIN_LENGTH }));
        }
        let len = usize::try_from(r.u32()?).unwrap_or(usize::MAX);
        if len > CERTIFICATE_OCTETS {
            return Err(r.error(Reason::OverLimit { what: "certificate", limit: CERTIFICATE_OCTETS }));
        }
        certificates.push(r.take(len)?.to_vec());
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_whole_and_within_its_bounds() {
        let one = [&3_u32.to_be_bytes()[..], &[1, 2, 3]].concat();
        assert_eq!(parse(&[]).unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(parse(&one.repeat(CHAIN_LENGTH)).unwrap(), vec![vec![1, 2, 3]; CHAIN_LENGTH]);
        assert!(parse(&one.repeat(CHAIN_LENGTH + 1)).is_err());
        for len in 1..one.len() {
            assert!(parse(&one[..len]).is_err(), "{len} octets");
        }
        let long = u32::try_from(CERTIFICATE_OCTETS).unwrap() + 1;
        assert!(parse(&[&long.to_be_bytes()[..], &vec![0; CERTIFICATE_OCTETS + 1]].concat()).is_err());
    }
}
