//! The file: a transcript under the signatures of its witnesses.

use super::encode::Object;
use super::read::{Members, check_canonical};
use super::step::sha256;
use super::{DIGEST_OCTETS, FILE_OCTETS, JoseAlgorithm, TEXT_OCTETS, TYPE, Transcript, WITNESSES};
use crate::base64url;
use crate::json::Value;
use crate::{Malformed, Reason};

const PRODUCTION: &str = "ceremony file";
const HEADER: &str = "protected header of a ceremony file";
/// Values in the outer JSON: the object, the list, three for each signature.
const FILE_VALUES: usize = 8 + 3 * WITNESSES;
/// Octets of a protected header: three members of known length.
const HEADER_OCTETS: usize = 512;

/// One signature of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSignature {
    /// By which algorithm.
    pub algorithm: JoseAlgorithm,
    /// The thumbprint of the key that is said to have signed.
    pub key_id: [u8; DIGEST_OCTETS],
    /// Its octets; of ECDSA r and s side by side (RFC 7518, 3.4), s the smaller of the two that verify.
    pub signature: Vec<u8>,
}

impl WitnessSignature {
    /// The same signature in the one form that finished records hold ([`JoseAlgorithm::one_form`]).
    #[must_use]
    pub fn in_one_form(mut self) -> Self {
        self.signature = self.algorithm.one_form(&self.signature);
        self
    }

    /// Whether it is in its one form.
    #[must_use]
    pub fn is_in_one_form(&self) -> bool {
        self.signature == self.algorithm.one_form(&self.signature)
    }

    /// The protected header, in base64url, as it is signed: `alg`, `kid`, `typ`.
    #[must_use]
    pub fn protected(algorithm: JoseAlgorithm, key_id: &[u8; DIGEST_OCTETS]) -> String {
        let header = Object::new().text("alg", algorithm.name()).octets("kid", key_id).text("typ", TYPE).end();
        base64url::encode(header.as_bytes())
    }

    fn to_json(&self) -> String {
        Object::new()
            .text("protected", &Self::protected(self.algorithm, &self.key_id))
            .octets("signature", &self.signature)
            .end()
    }

    fn read(value: &Value) -> Result<Self, Malformed> {
        let members = Members::new(value, PRODUCTION);
        let header = members.octets("protected")?;
        if header.len() > HEADER_OCTETS {
            return Err(members.error(Reason::OverLimit { what: "octets of the header", limit: HEADER_OCTETS }));
        }
        let header = Value::parse(&header)?;
        let header = Members::new(&header, HEADER);
        if header.text("typ")? != TYPE {
            return Err(header.error(Reason::Unexpected("typ of a ceremony")));
        }
        let algorithm = JoseAlgorithm::from_name(&header.text("alg")?)
            .ok_or_else(|| header.error(Reason::Unexpected("an alg that is known")))?;
        Ok(Self { algorithm, key_id: header.digest("kid")?, signature: members.octets("signature")? })
    }
}

/// A transcript with the signatures of witnesses, none of which was checked.
///
/// ```json
/// {"payload":"BASE64URL","signatures":[{"protected":"BASE64URL","signature":"BASE64URL"}]}
/// ```
///
/// The protected header is `{"alg":"ES256","kid":"THUMBPRINT","typ":"vouchsafe-ceremony+json"}`; there is no
/// unprotected one. A line feed ends the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTranscript {
    transcript: Transcript,
    /// The payload in base64url, as it is signed.
    payload: String,
    signatures: Vec<WitnessSignature>,
}

impl SignedTranscript {
    /// A transcript that nobody has signed.
    #[must_use]
    pub fn unsigned(transcript: Transcript) -> Self {
        let payload = base64url::encode(transcript.to_json().as_bytes());
        Self { transcript, payload, signatures: Vec::new() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Malformed`] beyond a bound, and for every file that [`SignedTranscript::to_json`] would not write.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        if input.len() > FILE_OCTETS {
            let reason = Reason::OverLimit { what: "octets of the file", limit: FILE_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason));
        }
        let value = Value::parse_within(input, FILE_VALUES)?;
        let members = Members::new(&value, PRODUCTION);
        let payload = members.value("payload")?.text().ok_or_else(|| members.error(Reason::Unexpected("a string")))?;
        let octets = base64url::decode(payload).ok_or_else(|| members.error(Reason::Unexpected("base64url")))?;
        let signed = Self {
            transcript: Transcript::parse(&octets)?,
            payload: payload.to_owned(),
            signatures: members
                .list("signatures", WITNESSES)?
                .iter()
                .map(WitnessSignature::read)
                .collect::<Result<_, _>>()?,
        };
        check_canonical(PRODUCTION, input, &signed.to_json())?;
        Ok(signed)
    }

    /// The one encoding of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = Object::new()
            .text("payload", &self.payload)
            .list("signatures", self.signatures.iter().map(WitnessSignature::to_json));
        file.end() + "\n"
    }

    /// The transcript.
    #[must_use]
    pub const fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// The signatures, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[WitnessSignature] {
        &self.signatures
    }

    /// What a witness signs: the JWS Signing Input (RFC 7515, 5.1), of the original payload.
    #[must_use]
    pub fn signing_input(&self, algorithm: JoseAlgorithm, key_id: &[u8; DIGEST_OCTETS]) -> Vec<u8> {
        format!("{}.{}", WitnessSignature::protected(algorithm, key_id), self.payload).into_bytes()
    }

    /// The same file with one more signature.
    #[must_use]
    pub fn with_signature(mut self, signature: WitnessSignature) -> Self {
        self.signatures.push(signature);
        self
    }

    /// The same file with every signature in its one form, whichever of the two its key or token made.
    #[must_use]
    pub fn in_one_form(mut self) -> Self {
        self.signatures = self.signatures.into_iter().map(WitnessSignature::in_one_form).collect();
        self
    }

    /// SHA-256 of the transcript's JSON: what all witnesses signed, whoever of them did.
    #[must_use]
    pub fn transcript_sha256(&self) -> [u8; DIGEST_OCTETS] {
        sha256(self.transcript.to_json().as_bytes())
    }
}

const _: () = assert!(HEADER_OCTETS < TEXT_OCTETS, "a header is read as a text");
