//! Transactions that another server on the same records began, or that this one has forgotten: what must be known of them
//! comes back in recipNonce, which repeats the senderNonce of the answer before.
//!
//! Beside a nonce for evidence that is the nonce itself: its MAC binds it to account, profile and transaction, and the store
//! spends it once, whichever server is asked. Beside a certificate that awaits its confirmation it is a nonce of the same
//! kind, of no other use, certReqId and the serial number, to which it is bound. Either lives as long as nonces do.

use vouchsafe_evidence::x509::CertView;

use super::transactions::{Place, Unconfirmed};
use crate::error::Error;
use crate::nonce::{Mint, NONCE_OCTETS, Purpose, Session};
use crate::service::Service;

/// Precedes what a nonce for a confirmation is bound to. It is longer than any transactionID
/// ([`super::limits::TRANSACTION_ID_OCTETS_MAX`]), so that no such nonce is one for evidence, nor the other way round.
const CONFIRMATION: [u8; super::limits::TRANSACTION_ID_OCTETS_MAX + 1] =
    [b'c'; super::limits::TRANSACTION_ID_OCTETS_MAX + 1];
/// certReqId in an octet: 0, and -1 in two's complement.
const IDS: [(i64, u8); 2] = [(0, 0), (-1, 0xFF)];

/// The nonce that recipNonce holds, if it is of the length of one. Whether it is one, the core finds.
pub(super) fn evidence_nonce(place: &Place) -> Option<[u8; NONCE_OCTETS]> {
    place.recipient_nonce.as_deref()?.try_into().ok()
}

/// The senderNonce of an answer that holds this certificate.
pub(super) fn awaiting_confirmation(
    mint: &Mint,
    place: &Place,
    unconfirmed: &Unconfirmed,
    now: i64,
) -> Result<Vec<u8>, Error> {
    let certificate = CertView::parse(&unconfirmed.certificate).map_err(|_| Error::Worker)?;
    let (id, serial) = (unconfirmed.id, certificate.serial());
    let id = IDS.into_iter().find_map(|(known, octet)| (known == id).then_some(octet)).ok_or(Error::Worker)?;
    let context = context(place, id, serial);
    let nonce = mint.mint(purpose(&context), &place.account, now)?;
    Ok([&nonce[..], &[id], serial].concat())
}

/// What the confirmation of a certificate is about that another server handed out.
pub(super) fn unconfirmed(service: &Service, place: &Place) -> Result<Option<Unconfirmed>, Error> {
    let Some(octets) = place.recipient_nonce.as_deref() else { return Ok(None) };
    let Some((nonce, rest)) = octets.split_first_chunk::<NONCE_OCTETS>() else { return Ok(None) };
    let Some((octet, serial)) = rest.split_first() else { return Ok(None) };
    let context = context(place, *octet, serial);
    let recognized = service.mint.recognize(nonce, purpose(&context), &place.account);
    if recognized.and_then(|nonce| nonce.fresh(service.now())).is_err() {
        return Ok(None);
    }
    let id = IDS.into_iter().find_map(|(id, known)| (known == *octet).then_some(id));
    let issued = service.store.issued(serial)?.filter(|issued| issued.account == place.account);
    Ok(id.zip(issued).map(|(id, issued)| Unconfirmed { certificate: issued.der, id }))
}

fn context(place: &Place, id: u8, serial: &[u8]) -> Vec<u8> {
    let length = u8::try_from(place.id.len()).unwrap_or(u8::MAX);
    [&CONFIRMATION[..], &[length], &place.id, &[id], serial].concat()
}

const fn purpose(context: &[u8]) -> Purpose<'_> {
    Purpose::Certificate { profile: "", session: Session::CmpTransaction(context) }
}
