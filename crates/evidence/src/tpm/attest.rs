//! TPMS_ATTEST (Part 2, "Attestation structures"): what a TPM signs when it attests.

use super::marshal::{Reader, Writer};
use super::{HashAlg, Name, PcrSelection};
use crate::limits::{TPM_DIGEST_OCTETS, TPM_NAME_OCTETS, TPM_QUALIFYING_OCTETS, TPM_STRUCTURE_OCTETS};
use crate::{Malformed, Reason};

/// TPM_GENERATED_VALUE: the first four octets of everything a TPM attests, and of nothing else that a
/// restricted key signs.
pub const TPM_GENERATED: u32 = 0xFF54_4347;

const PRODUCTION: &str = "TPMS_ATTEST";
const ST_ATTEST_NV: u16 = 0x8014;
const ST_ATTEST_COMMAND_AUDIT: u16 = 0x8015;
const ST_ATTEST_SESSION_AUDIT: u16 = 0x8016;
const ST_ATTEST_CERTIFY: u16 = 0x8017;
const ST_ATTEST_QUOTE: u16 = 0x8018;
const ST_ATTEST_TIME: u16 = 0x8019;
const ST_ATTEST_CREATION: u16 = 0x801A;
const ST_ATTEST_NV_DIGEST: u16 = 0x801C;

/// TPMS_CLOCK_INFO. With a signer in the owner hierarchy `reset_count` and `restart_count` are obfuscated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered since its last clear.
    pub clock_ms: u64,
    /// TPM resets since its last clear.
    pub reset_count: u32,
    /// TPM restarts or resumes since its last reset.
    pub restart_count: u32,
    /// Whether no larger clock value was ever reported.
    pub safe: bool,
}

/// TPMU_ATTEST: the part that depends on what was attested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attested {
    /// TPM2_Certify: an object with this Name is loaded.
    Certify {
        /// The object's Name.
        name: Name,
        /// The object's qualified name.
        qualified_name: Name,
    },
    /// TPM2_GetCommandAuditDigest.
    CommandAudit {
        /// The audit counter.
        counter: u64,
        /// TPM_ALG_ID of the audit digest.
        digest_alg: u16,
        /// Digest of the log.
        audit_digest: Vec<u8>,
        /// Digest of the audited command codes.
        command_digest: Vec<u8>,
    },
    /// TPM2_CertifyCreation: the TPM created this object itself.
    Creation {
        /// The object's Name.
        name: Name,
        /// Digest of its TPMS_CREATION_DATA.
        creation_hash: Vec<u8>,
    },
    /// TPM2_NV_Certify: contents of an NV index.
    Nv {
        /// The index's Name.
        name: Name,
        /// Offset of the contents.
        offset: u16,
        /// The contents.
        contents: Vec<u8>,
    },
    /// TPM2_NV_Certify of a digest.
    NvDigest {
        /// The index's Name.
        name: Name,
        /// Digest of the contents.
        digest: Vec<u8>,
    },
    /// TPM2_Quote: selected PCRs had these values.
    Quote {
        /// Which PCRs.
        selection: PcrSelection,
        /// Digest over their concatenated values.
        pcr_digest: Vec<u8>,
    },
    /// TPM2_GetSessionAuditDigest.
    SessionAudit {
        /// Whether the session was exclusive.
        exclusive: bool,
        /// Digest of the session's commands.
        digest: Vec<u8>,
    },
    /// TPM2_GetTime.
    Time {
        /// Milliseconds since TPM2_Init.
        time_ms: u64,
        /// The clock.
        clock: ClockInfo,
        /// The firmware version.
        firmware_version: u64,
    },
}

impl Attested {
    /// The TCG name of the attestation, as refusals show it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Certify { .. } => "TPM_ST_ATTEST_CERTIFY",
            Self::CommandAudit { .. } => "TPM_ST_ATTEST_COMMAND_AUDIT",
            Self::Creation { .. } => "TPM_ST_ATTEST_CREATION",
            Self::Nv { .. } => "TPM_ST_ATTEST_NV",
            Self::NvDigest { .. } => "TPM_ST_ATTEST_NV_DIGEST",
            Self::Quote { .. } => "TPM_ST_ATTEST_QUOTE",
            Self::SessionAudit { .. } => "TPM_ST_ATTEST_SESSION_AUDIT",
            Self::Time { .. } => "TPM_ST_ATTEST_TIME",
        }
    }
}

/// TPMS_ATTEST, with the exact bytes that the TPM signed.
///
/// ```text
/// magic u32 | type u16 | TPM2B qualifiedSigner | TPM2B extraData
/// clock u64 | resetCount u32 | restartCount u32 | safe u8 | firmwareVersion u64 | attested
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmsAttest {
    bytes: Vec<u8>,
    qualified_signer: Name,
    extra_data: Vec<u8>,
    clock_info: ClockInfo,
    firmware_version: u64,
    attested: Attested,
}

impl TpmsAttest {
    /// Whether `bytes` begin as a TPM-generated structure does.
    #[must_use]
    pub fn has_magic(bytes: &[u8]) -> bool {
        bytes.starts_with(&TPM_GENERATED.to_be_bytes())
    }

    /// Parses exactly one structure.
    ///
    /// # Errors
    /// [`Malformed`] for another magic, an unknown type, sizes out of bounds or octets left over.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, PRODUCTION);
        if bytes.len() > TPM_STRUCTURE_OCTETS {
            return Err(r.error(Reason::OverLimit { what: PRODUCTION, limit: TPM_STRUCTURE_OCTETS }));
        }
        let magic = r.u32()?;
        if magic != TPM_GENERATED {
            return Err(Malformed::new(PRODUCTION, 0, Reason::BadValue(magic.into())));
        }
        let kind = r.u16()?;
        let qualified_signer = Name::parse(r.tpm2b(TPM_NAME_OCTETS)?)?;
        let extra_data = r.tpm2b(TPM_QUALIFYING_OCTETS)?.to_vec();
        let clock_info = read_clock(&mut r)?;
        let firmware_version = r.u64()?;
        let attested = read_attested(kind, &mut r)?;
        r.finish()?;
        Ok(Self { bytes: bytes.to_vec(), qualified_signer, extra_data, clock_info, firmware_version, attested })
    }

    /// The bytes that were parsed, which are the bytes that were signed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The structure marshaled anew; equal to [`TpmsAttest::as_bytes`] for whatever parses.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(TPM_GENERATED);
        write_kind(&mut w, &self.attested);
        w.tpm2b(self.qualified_signer.as_bytes()).tpm2b(&self.extra_data);
        write_clock(&mut w, self.clock_info);
        w.u64(self.firmware_version);
        write_attested(&mut w, &self.attested);
        w.into_bytes()
    }

    /// Qualified name of the key that signed.
    #[must_use]
    pub const fn qualified_signer(&self) -> &Name {
        &self.qualified_signer
    }

    /// The caller's qualifying data, where nonces travel.
    #[must_use]
    pub fn extra_data(&self) -> &[u8] {
        &self.extra_data
    }

    /// The TPM's clock when it signed.
    #[must_use]
    pub const fn clock_info(&self) -> ClockInfo {
        self.clock_info
    }

    /// The vendor's firmware version.
    #[must_use]
    pub const fn firmware_version(&self) -> u64 {
        self.firmware_version
    }

    /// What was attested.
    #[must_use]
    pub const fn attested(&self) -> &Attested {
        &self.attested
    }
}

fn read_clock(r: &mut Reader<'_>) -> Result<ClockInfo, Malformed> {
    Ok(ClockInfo { clock_ms: r.u64()?, reset_count: r.u32()?, restart_count: r.u32()?, safe: read_yes_no(r)? })
}

fn write_clock(w: &mut Writer, clock: ClockInfo) {
    w.u64(clock.clock_ms).u32(clock.reset_count).u32(clock.restart_count).u8(u8::from(clock.safe));
}

/// TPMI_YES_NO: nothing but 0 and 1.
fn read_yes_no(r: &mut Reader<'_>) -> Result<bool, Malformed> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(r.error(Reason::BadValue(other.into()))),
    }
}

fn read_name(r: &mut Reader<'_>) -> Result<Name, Malformed> {
    let at = r.offset();
    Name::parse(r.tpm2b(TPM_NAME_OCTETS)?).map_err(|e| Malformed::new(PRODUCTION, at, e.reason))
}

fn read_digest(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    r.tpm2b(TPM_DIGEST_OCTETS).map(<[u8]>::to_vec)
}

fn read_attested(kind: u16, r: &mut Reader<'_>) -> Result<Attested, Malformed> {
    Ok(match kind {
        ST_ATTEST_CERTIFY => Attested::Certify { name: read_name(r)?, qualified_name: read_name(r)? },
        ST_ATTEST_COMMAND_AUDIT => Attested::CommandAudit {
            counter: r.u64()?,
            digest_alg: r.u16()?,
            audit_digest: read_digest(r)?,
            command_digest: read_digest(r)?,
        },
        ST_ATTEST_CREATION => Attested::Creation { name: read_name(r)?, creation_hash: read_digest(r)? },
        ST_ATTEST_NV => {
            Attested::Nv { name: read_name(r)?, offset: r.u16()?, contents: r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec() }
        }
        ST_ATTEST_NV_DIGEST => Attested::NvDigest { name: read_name(r)?, digest: read_digest(r)? },
        ST_ATTEST_QUOTE => Attested::Quote { selection: PcrSelection::read(r)?, pcr_digest: read_digest(r)? },
        ST_ATTEST_SESSION_AUDIT => Attested::SessionAudit { exclusive: read_yes_no(r)?, digest: read_digest(r)? },
        ST_ATTEST_TIME => Attested::Time { time_ms: r.u64()?, clock: read_clock(r)?, firmware_version: r.u64()? },
        other => return Err(Malformed::new(PRODUCTION, 4, Reason::BadValue(other.into()))),
    })
}

fn write_kind(w: &mut Writer, attested: &Attested) {
    w.u16(match attested {
        Attested::Certify { .. } => ST_ATTEST_CERTIFY,
        Attested::CommandAudit { .. } => ST_ATTEST_COMMAND_AUDIT,
        Attested::Creation { .. } => ST_ATTEST_CREATION,
        Attested::Nv { .. } => ST_ATTEST_NV,
        Attested::NvDigest { .. } => ST_ATTEST_NV_DIGEST,
        Attested::Quote { .. } => ST_ATTEST_QUOTE,
        Attested::SessionAudit { .. } => ST_ATTEST_SESSION_AUDIT,
        Attested::Time { .. } => ST_ATTEST_TIME,
    });
}

fn write_attested(w: &mut Writer, attested: &Attested) {
    match attested {
        Attested::Certify { name, qualified_name } => {
            w.tpm2b(name.as_bytes()).tpm2b(qualified_name.as_bytes());
        }
        Attested::CommandAudit { counter, digest_alg, audit_digest, command_digest } => {
            w.u64(*counter).u16(*digest_alg).tpm2b(audit_digest).tpm2b(command_digest);
        }
        Attested::Creation { name, creation_hash } => {
            w.tpm2b(name.as_bytes()).tpm2b(creation_hash);
        }
        Attested::Nv { name, offset, contents } => {
            w.tpm2b(name.as_bytes()).u16(*offset).tpm2b(contents);
        }
        Attested::NvDigest { name, digest } => {
            w.tpm2b(name.as_bytes()).tpm2b(digest);
        }
        Attested::Quote { selection, pcr_digest } => {
            selection.write(w);
            w.tpm2b(pcr_digest);
        }
        Attested::SessionAudit { exclusive, digest } => {
            w.u8(u8::from(*exclusive)).tpm2b(digest);
        }
        Attested::Time { time_ms, clock, firmware_version } => {
            w.u64(*time_ms);
            write_clock(w, *clock);
            w.u64(*firmware_version);
        }
    }
}

/// The hash of a quote's `pcrDigest`, told by its length, where the signature does not say it: the digest
/// is made with the hash of the signing scheme.
impl TpmsAttest {
    /// The hash whose digest has the length of this quote's `pcrDigest`; `None` for other attestations.
    #[must_use]
    pub fn quote_hash(&self) -> Option<HashAlg> {
        match &self.attested {
            Attested::Quote { pcr_digest, .. } => [HashAlg::Sha1, HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512]
                .into_iter()
                .find(|hash| hash.digest_len() == pcr_digest.len()),
            Attested::Certify { .. }
            | Attested::CommandAudit { .. }
            | Attested::Creation { .. }
            | Attested::Nv { .. }
            | Attested::NvDigest { .. }
            | Attested::SessionAudit { .. }
            | Attested::Time { .. } => None,
        }
    }
}
