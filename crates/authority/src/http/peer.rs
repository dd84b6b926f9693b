//! What the TLS handshake of a connection has shown of its client.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, ServerConnection};

use crate::nonce::{EXPORTER_OCTETS, NONCE_OCTETS};

/// Label of the exporter by which a nonce and a proof of possession name their connection.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-vouchsafe-attestation-nonce";

/// The client's end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    address: IpAddr,
    certificates: Vec<CertificateDer<'static>>,
    exporter: Option<[u8; EXPORTER_OCTETS]>,
    nonce: Mutex<Option<[u8; NONCE_OCTETS]>>,
}

impl Peer {
    /// What the finished handshake with a client at this address says.
    ///
    /// The exporter of TLS 1.2 is one of this connection alone only with extended master secrets (RFC 9266, section 4.2), of
    /// which the library does not tell. Connections by TLS 1.2 have none here.
    pub(super) fn of(address: IpAddr, session: &ServerConnection) -> Self {
        let certificates = session.peer_certificates().unwrap_or_default();
        let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let exporter = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => {
                session.export_keying_material([0; EXPORTER_OCTETS], EXPORTER_LABEL, None).ok()
            }
            _ => None,
        };
        Self { address, certificates, exporter, nonce: Mutex::default() }
    }

    /// Of a connection in which anybody may write: nobody is known by it.
    pub(super) const fn unknown(address: IpAddr) -> Self {
        Self { address, certificates: Vec::new(), exporter: None, nonce: Mutex::new(None) }
    }

    /// Where it connects from; of clients behind one address that is all that is seen.
    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether the client has shown a certificate.
    pub(crate) const fn has_certificate(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// The client's certificate, then those that it sent along.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// By what the connection is told from all others.
    pub(crate) const fn exporter(&self) -> Option<&[u8; EXPORTER_OCTETS]> {
        self.exporter.as_ref()
    }

    /// Remembers the last nonce of this connection; there is one at a time.
    pub(crate) fn remember(&self, nonce: [u8; NONCE_OCTETS]) {
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce);
    }

    /// The last nonce that was asked for in this connection.
    pub(crate) fn nonce(&self) -> Option<[u8; NONCE_OCTETS]> {
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
