//! Objects of the recorded TPMs, as `definitions.toml` describes them.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::{
    Curve, EccScheme, HashAlg, KeyedHashScheme, ObjectAttributes, PublicParameters, RsaScheme, Symmetric, TpmtPublic,
    alg,
};
use vouchsafe_evidence::x509::NamedCurve;

use super::software::SoftwareKey;

/// How an object comes to be in a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Making {
    /// TPM2_Create under a parent.
    Created,
    /// TPM2_CreateLoaded under a derivation parent.
    Derived,
    /// TPM2_LoadExternal of a software key.
    External,
    /// TPM2_Import of a software key under a parent, without any wrapping.
    Imported,
    /// TPM2_CreatePrimary.
    Primary,
}

/// One object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectDefinition {
    pub made: Making,
    /// The hierarchy of a primary object.
    #[serde(default = "endorsement")]
    pub hierarchy: String,
    /// The parent of a created, derived or imported object.
    #[serde(default = "srk")]
    pub parent: String,
    /// The kind of key.
    pub kind: String,
    pub attributes: String,
    /// The hash of the fixed scheme, `pss-` before it for RSAPSS; the caller chooses if it is not there.
    pub scheme: Option<String>,
    /// The hash of the Name, `none` for TPM_ALG_NULL.
    #[serde(default = "sha256")]
    pub name: String,
    /// authPolicy in hexadecimal.
    #[serde(default)]
    pub policy: String,
}

fn endorsement() -> String {
    "endorsement".to_owned()
}

fn srk() -> String {
    "srk".to_owned()
}

fn sha256() -> String {
    "sha256".to_owned()
}

const ATTRIBUTES: [(&str, u32); 14] = [
    ("fixedTPM", ObjectAttributes::FIXED_TPM),
    ("stClear", ObjectAttributes::ST_CLEAR),
    ("fixedParent", ObjectAttributes::FIXED_PARENT),
    ("sensitiveDataOrigin", ObjectAttributes::SENSITIVE_DATA_ORIGIN),
    ("userWithAuth", ObjectAttributes::USER_WITH_AUTH),
    ("adminWithPolicy", ObjectAttributes::ADMIN_WITH_POLICY),
    ("firmwareLimited", ObjectAttributes::FIRMWARE_LIMITED),
    ("svnLimited", ObjectAttributes::SVN_LIMITED),
    ("noDA", ObjectAttributes::NO_DA),
    ("encryptedDuplication", ObjectAttributes::ENCRYPTED_DUPLICATION),
    ("restricted", ObjectAttributes::RESTRICTED),
    ("decrypt", ObjectAttributes::DECRYPT),
    ("sign", ObjectAttributes::SIGN),
    ("x509sign", ObjectAttributes::X509_SIGN),
];

/// The attribute word of these names; `bitN` names a bit that has no name.
pub fn attributes(names: &str) -> Result<u32> {
    names.split_whitespace().try_fold(0, |bits, name| {
        let known = ATTRIBUTES.iter().find(|(known, _)| *known == name).map(|(_, bit)| *bit);
        let numbered = || name.strip_prefix("bit")?.parse().ok().and_then(|number: u32| 1_u32.checked_shl(number));
        Ok(bits | known.or_else(numbered).with_context(|| format!("{name} is no attribute"))?)
    })
}

pub fn hash(label: &str) -> Result<HashAlg> {
    HashAlg::from_label(label).with_context(|| format!("{label} is no hash"))
}

impl ObjectDefinition {
    /// The public area: a template, or with the software key where there is one.
    pub fn public(&self, name: &str) -> Result<TpmtPublic> {
        let bits = attributes(&self.attributes)?;
        let name_alg = if self.name == "none" { None } else { Some(hash(&self.name)?) };
        let policy = vouchsafe_verifier::hex::decode(&self.policy).context("policy is not hexadecimal")?;
        Ok(TpmtPublic::build(name_alg, ObjectAttributes::from_bits(bits), &policy, self.parameters(name)?))
    }

    fn parameters(&self, name: &str) -> Result<PublicParameters> {
        let unique = match self.made {
            Making::Primary | Making::Derived => name.as_bytes().to_vec(),
            Making::Created | Making::External | Making::Imported => Vec::new(),
        };
        Ok(match self.kind.as_str() {
            "p256" => self.ecc(Curve::P256, unique, name)?,
            "p384" => self.ecc(Curve::P384, unique, name)?,
            "storage" => PublicParameters::Ecc {
                symmetric: Symmetric::Aes { key_bits: 128, mode: alg::CFB },
                scheme: EccScheme::Null,
                curve: Curve::P256,
                x: self.software(name)?.map_or(Ok(unique), |key| key.point().map(|(x, _)| x))?,
                y: self.software(name)?.map_or(Ok(Vec::new()), |key| key.point().map(|(_, y)| y))?,
            },
            "hmac" => PublicParameters::KeyedHash { scheme: KeyedHashScheme::Hmac(HashAlg::Sha256), unique },
            "derivation" => PublicParameters::KeyedHash {
                scheme: KeyedHashScheme::Xor { hash: HashAlg::Sha256, kdf: KDF1_SP800_108 },
                unique,
            },
            other => match other.strip_prefix("rsa") {
                Some(bits) => self.rsa(bits.parse().context("bits of an RSA key")?, unique)?,
                None => bail!("{other} is no kind of object"),
            },
        })
    }

    fn ecc(&self, curve: Curve, unique: Vec<u8>, name: &str) -> Result<PublicParameters> {
        let scheme = self.scheme.as_deref().map(hash).transpose()?.map_or(EccScheme::Null, EccScheme::Ecdsa);
        let (x, y) = match self.software(name)? {
            Some(key) => key.point()?,
            None => (unique, Vec::new()),
        };
        Ok(PublicParameters::Ecc { symmetric: Symmetric::Null, scheme, curve, x, y })
    }

    fn rsa(&self, key_bits: u16, modulus: Vec<u8>) -> Result<PublicParameters> {
        let scheme = match self.scheme.as_deref().map(|text| (text, text.strip_prefix("pss-"))) {
            None => RsaScheme::Null,
            Some((_, Some(label))) => RsaScheme::Rsapss(hash(label)?),
            Some((label, None)) => RsaScheme::Rsassa(hash(label)?),
        };
        Ok(PublicParameters::Rsa { symmetric: Symmetric::Null, scheme, key_bits, exponent: 0, modulus })
    }

    /// The software key of an object from outside.
    pub fn software(&self, name: &str) -> Result<Option<SoftwareKey>> {
        match self.made {
            Making::Created | Making::Derived | Making::Primary => Ok(None),
            Making::External | Making::Imported => {
                let curve = if self.kind == "p384" { NamedCurve::P384 } else { NamedCurve::P256 };
                SoftwareKey::new(&format!("object {name}"), curve).map(Some)
            }
        }
    }

    /// The TPMT_SENSITIVE of an object from outside.
    pub fn sensitive(&self, name: &str) -> Result<Vec<u8>> {
        let key = self.software(name)?.context("the object has no private part to be known")?;
        // A storage key protects its children by this seed.
        let seed = if self.kind == "storage" { HashAlg::Sha256.digest(&[name.as_bytes()]) } else { Vec::new() };
        let mut w = Writer::new();
        w.u16(alg::ECC).tpm2b(&[]).tpm2b(&seed).tpm2b(&key.scalar());
        Ok(w.into_bytes())
    }
}

/// TPM_ALG_KDF1_SP800_108.
const KDF1_SP800_108: u16 = 0x0022;
