//! Refusals in CMP's own form: PKIStatusInfo with failInfo, and `code: sentence` in statusString.

use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::CrmfDefect;
use vouchsafe_evidence::x509::build::DerWriter;

use crate::protocol::refusal::Refused;

/// Bits of PKIFailureInfo (RFC 9810, section 5.2.3) that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailInfo {
    /// badAlg.
    BadAlg,
    /// badMessageCheck.
    BadMessageCheck,
    /// badRequest.
    BadRequest,
    /// badCertId.
    BadCertId,
    /// badDataFormat.
    BadDataFormat,
    /// incorrectData.
    IncorrectData,
    /// badPOP.
    BadPop,
    /// certRevoked.
    CertRevoked,
    /// wrongIntegrity.
    WrongIntegrity,
    /// badRecipientNonce.
    BadRecipientNonce,
    /// unacceptedExtension.
    UnacceptedExtension,
    /// badSenderNonce.
    BadSenderNonce,
    /// badCertTemplate.
    BadCertTemplate,
    /// signerNotTrusted.
    SignerNotTrusted,
    /// transactionIdInUse.
    TransactionIdInUse,
    /// unsupportedVersion.
    UnsupportedVersion,
    /// notAuthorized.
    NotAuthorized,
    /// systemUnavail.
    SystemUnavailable,
    /// systemFailure.
    SystemFailure,
}

impl FailInfo {
    /// The number of the bit.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::BadAlg => 0,
            Self::BadMessageCheck => 1,
            Self::BadRequest => 2,
            Self::BadCertId => 4,
            Self::BadDataFormat => 5,
            Self::IncorrectData => 7,
            Self::BadPop => 9,
            Self::CertRevoked => 10,
            Self::WrongIntegrity => 12,
            Self::BadRecipientNonce => 13,
            Self::UnacceptedExtension => 16,
            Self::BadSenderNonce => 18,
            Self::BadCertTemplate => 19,
            Self::SignerNotTrusted => 20,
            Self::TransactionIdInUse => 21,
            Self::UnsupportedVersion => 22,
            Self::NotAuthorized => 23,
            Self::SystemUnavailable => 24,
            Self::SystemFailure => 25,
        }
    }
}

/// A reason of this protocol's own: code, failInfo and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmpCode {
    /// The stable code.
    pub id: &'static str,
    /// The bit of PKIFailureInfo.
    pub fail_info: FailInfo,
    /// What it means, as one sentence.
    pub meaning: &'static str,
}

macro_rules! cmp_codes {
    ($($name:ident = $id:literal, $bit:ident, $meaning:literal;)*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $meaning)]
            pub const $name: CmpCode = CmpCode { id: $id, fail_info: FailInfo::$bit, meaning: $meaning };
        )*
        /// Every code of this protocol.
        pub const ALL: &[CmpCode] = &[$($name),*];
    };
}

/// The codes of refusals that CMP itself has reasons for.
pub mod codes {
    use super::{CmpCode, FailInfo};

    cmp_codes! {
        ALREADY_REVOKED = "cmp.already-revoked", CertRevoked, "The certificate is revoked already.";
        BAD_CERT_HASH = "cmp.bad-cert-hash", BadCertId, "The confirmation names another certificate than the one that was issued.";
        BAD_CERT_TEMPLATE = "cmp.bad-cert-template", BadCertTemplate, "The template lacks what a request must name.";
        BAD_MAC = "cmp.bad-mac", BadMessageCheck, "The MAC is false, or no account has the reference.";
        BAD_PROOF = "cmp.bad-proof", BadPop, "The request does not prove possession of its key by a signature.";
        BAD_PROTECTION_ALGORITHM = "cmp.bad-protection-algorithm", BadAlg, "The protection is by an algorithm or with parameters that do not count here.";
        BAD_RECIPIENT_NONCE = "cmp.bad-recipient-nonce", BadRecipientNonce, "recipNonce is not the senderNonce of this authority's last message in the transaction.";
        BAD_SENDER_NONCE = "cmp.bad-sender-nonce", BadSenderNonce, "senderNonce is missing, or shorter than 128 bits.";
        BAD_SIGNATURE = "cmp.bad-signature", BadMessageCheck, "The signature is not that of the certificate's key over this message.";
        BAD_TRANSACTION_ID = "cmp.bad-transaction-id", BadDataFormat, "transactionID is missing, or shorter than 128 bits.";
        CONTROL = "cmp.control", BadRequest, "A control is asked for that is not given here.";
        MALFORMED = "cmp.malformed", BadDataFormat, "The message is not a PKIMessage in DER.";
        MESSAGE_TYPE = "cmp.message-type", BadRequest, "Messages of this type are not served.";
        NOT_THE_OWNER = "cmp.not-the-owner", NotAuthorized, "The certificate is not one that was issued to this account and is still valid.";
        OPERATION = "cmp.operation", BadRequest, "The path names another operation than the message is.";
        OUT_OF_ORDER = "cmp.out-of-order", BadRequest, "No transaction of this account awaits this message.";
        PROFILE = "cmp.profile", BadRequest, "The message names more than one profile, or another than its path.";
        REVOCATION_REASON = "cmp.revocation-reason", BadRequest, "The reason is not one for which certificates are revoked here.";
        SIGNER_NOT_TRUSTED = "cmp.signer-not-trusted", SignerNotTrusted, "No account is known by the certificate that signed the message.";
        TRANSACTION_IN_USE = "cmp.transaction-in-use", TransactionIdInUse, "The transaction has had this message already, or another that this one does not follow.";
        TRANSACTIONS_LIMIT = "cmp.transactions-limit", SystemUnavailable, "The account has as many transactions open as it may.";
        UNKNOWN_INFO = "cmp.unknown-info", BadRequest, "The general message asks for nothing that is known here.";
        UNPROTECTED = "cmp.unprotected", BadMessageCheck, "The message is not protected.";
        UNSUPPORTED_VERSION = "cmp.unsupported-version", UnsupportedVersion, "pvno is neither 2 nor 3.";
    }
}

/// Why a message is refused, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    fail_info: FailInfo,
    /// `code: sentence`, one for each violation.
    texts: Vec<String>,
}

impl Refusal {
    /// A refusal by one of CMP's own codes.
    #[must_use]
    pub fn of(code: CmpCode) -> Self {
        Self::found(code, code.meaning)
    }

    /// A refusal by one of CMP's own codes, described by what was found.
    #[must_use]
    pub fn found(code: CmpCode, sentence: &str) -> Self {
        Self { fail_info: code.fail_info, texts: vec![format!("{}: {}", code.id, printable(sentence))] }
    }

    /// A refusal for the reasons of others: a list of codes with their sentences.
    #[must_use]
    pub fn because(fail_info: FailInfo, reasons: impl IntoIterator<Item = (String, String)>) -> Self {
        let texts = reasons.into_iter().map(|(code, sentence)| format!("{code}: {}", printable(&sentence))).collect();
        Self { fail_info, texts }
    }

    /// `code: sentence`, one for each violation.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// As the log says it: the codes alone.
    pub(super) fn refused(&self) -> Refused {
        Refused::new(self.texts.iter().filter_map(|text| Some(text.split_once(": ")?.0)))
    }

    /// The bit of PKIFailureInfo.
    #[must_use]
    pub const fn fail_info(&self) -> FailInfo {
        self.fail_info
    }

    /// Writes the PKIStatusInfo: rejection, statusString, failInfo.
    pub fn write(&self, writer: &mut DerWriter) {
        write_rejection(writer, self.fail_info, self.texts.iter().map(String::as_str));
    }
}

/// PKIStatusInfo: rejection, these texts in statusString, failInfo.
pub(crate) fn write_rejection<'a>(
    writer: &mut DerWriter,
    fail_info: FailInfo,
    texts: impl IntoIterator<Item = &'a str>,
) {
    const REJECTION: u64 = 2;
    let bit = usize::from(fail_info.bit());
    let mut octets = vec![0_u8; bit / 8 + 1];
    if let Some(last) = octets.last_mut() {
        *last = 0x80 >> (bit % 8);
    }
    let unused = u8::try_from(7 - bit % 8).unwrap_or_default();
    writer.sequence(|status| {
        status.uint(REJECTION).sequence(|list| {
            for text in texts {
                list.string(vouchsafe_evidence::x509::der::Tag::UTF8_STRING, text);
            }
        });
        status.bit_string(&octets, unused);
    });
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::found(codes::MALFORMED, &malformed.to_string())
    }
}

impl From<CrmfDefect> for Refusal {
    fn from(defect: CrmfDefect) -> Self {
        let code = match defect {
            CrmfDefect::NoKey | CrmfDefect::NoSubject => codes::BAD_CERT_TEMPLATE,
            CrmfDefect::NoProof | CrmfDefect::RaVerified | CrmfDefect::UnsupportedProof(_) => codes::BAD_PROOF,
        };
        Self::found(code, &defect.to_string())
    }
}
