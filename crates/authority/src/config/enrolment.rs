//! `[enrolment]` and `[ceremony]`: by which methods attesting keys are enrolled, and for how long.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::ceremony::NamedKey;
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::Rejection;
use vouchsafe_verifier::ceremony::Witnesses;

use super::{ConfigError, in_range};

/// Octets of a witness's key file.
const KEY_FILE_OCTETS: u64 = 64 * 1024;
/// Files in the folder of the witnesses.
const KEY_FILES: usize = 256;

/// Why the witnesses' keys cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WitnessesError {
    /// A file or the folder cannot be read.
    #[error("{}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A file holds no public key.
    #[error("{}: {malformed}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        malformed: Malformed,
    },
    /// The witnesses and the number of them that must sign do not fit.
    #[error("[ceremony]: {}", .0.message())]
    Refused(Rejection),
    /// More files than are read, or a file that is too large.
    #[error("{}: more than is read", path.display())]
    OverLimit {
        /// The path.
        path: PathBuf,
    },
}

/// By which methods attesting keys are enrolled, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentConfig {
    /// Whether the first of a name is believed.
    pub(crate) first_use: bool,
    /// For how many days after its enrolment a key's certificates are renewed.
    pub(crate) renewal_days: i64,
    /// How many days before a certificate of a key expires that is warned of.
    pub(crate) expiry_warning_days: i64,
    /// The witnesses of ceremonies; without them the method is not offered.
    pub(crate) ceremony: Option<CeremonyConfig>,
}

/// The witnesses of ceremonies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeremonyConfig {
    pub(crate) threshold: usize,
    pub(crate) witnesses: PathBuf,
    pub(crate) is_virtual: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EnrolmentFile {
    first_use: bool,
    renewal_days: i64,
    expiry_warning_days: i64,
}

impl Default for EnrolmentFile {
    fn default() -> Self {
        Self { first_use: false, renewal_days: 1_095, expiry_warning_days: 14 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CeremonyFile {
    threshold: i64,
    witnesses: PathBuf,
    /// The modules of these ceremonies are software.
    #[serde(default, rename = "virtual")]
    is_virtual: bool,
}

impl EnrolmentFile {
    pub(super) fn check(self, ceremony: Option<CeremonyFile>) -> Result<EnrolmentConfig, ConfigError> {
        let ceremony = match ceremony {
            None => None,
            Some(file) => {
                let threshold = in_range("ceremony.threshold", file.threshold, 1, 64)?;
                Some(CeremonyConfig {
                    threshold: usize::try_from(threshold).unwrap_or(usize::MAX),
                    witnesses: file.witnesses,
                    is_virtual: file.is_virtual,
                })
            }
        };
        Ok(EnrolmentConfig {
            first_use: self.first_use,
            renewal_days: in_range("enrolment.renewal_days", self.renewal_days, 1, 36_500)?,
            expiry_warning_days: in_range("enrolment.expiry_warning_days", self.expiry_warning_days, 1, 365)?,
            ceremony,
        })
    }
}

impl CeremonyConfig {
    /// Reads the witnesses' keys: `NAME.pem` is the public key, certificate or CSR of the witness NAME.
    pub(crate) fn load(&self) -> Result<Witnesses, WitnessesError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| WitnessesError::Io { path, error }
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.witnesses).map_err(io(&self.witnesses))? {
            let path = entry.map_err(io(&self.witnesses))?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                paths.push(path);
            }
            if paths.len() > KEY_FILES {
                return Err(WitnessesError::OverLimit { path: self.witnesses.clone() });
            }
        }
        paths.sort();
        let mut keys = Vec::with_capacity(paths.len());
        for path in paths {
            if std::fs::metadata(&path).map_err(io(&path))?.len() > KEY_FILE_OCTETS {
                return Err(WitnessesError::OverLimit { path });
            }
            let file = std::fs::read(&path).map_err(io(&path))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let key = SpkiView::from_key_file(&file).map_err(|malformed| WitnessesError::Key { path, malformed })?;
            keys.push(NamedKey { name, key });
        }
        Witnesses::new(keys, self.threshold).map_err(WitnessesError::Refused)
    }
}
