//! Who vouches for an attesting key, as the command line says it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::authority_client::{EkVoucher, HostVoucher};
use crate::failure::Failure;
use crate::files;

/// How the key is tied to its module (docs/enrolment.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// The module's maker: for its endorsement key, or for this key (--evidence).
    #[default]
    Manufacturer,
    /// The operator's list: it names the endorsement key, or --vendor and --serial.
    Inventory,
    /// The witnesses of a ceremony (--transcript).
    Ceremony,
    /// Nobody: the first of a name is believed. For labs.
    FirstUse,
}

/// Who vouches for the key.
#[derive(Clone, Debug, Default, Args)]
pub struct Voucher {
    /// How the key is tied to its module.
    #[arg(long, value_enum, default_value_t = Method::Manufacturer)]
    pub method: Method,
    /// The file of the ceremony.
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
    /// The module's maker, as the operator's list has it.
    #[arg(long, value_name = "NAME", requires = "serial")]
    pub vendor: Option<String>,
    /// The module's serial number, as the operator's list has it.
    #[arg(long, value_name = "NUMBER", requires = "vendor")]
    pub serial: Option<String>,
    /// A part of the maker's attestation of this key. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub evidence: Vec<PathBuf>,
}

impl Voucher {
    /// For a key that host software drives.
    ///
    /// # Errors
    /// [`Failure`] if what the method needs is missing or cannot be read.
    pub fn of_host(&self) -> Result<HostVoucher, Failure> {
        let misses = |what: &str| {
            Failure::new(format!("this key is enrolled with {what}"))
                .next("it is not a TPM's: --method says who vouches for it (docs/enrolment.md)")
        };
        Ok(match (self.method, &self.transcript, &self.vendor, &self.serial) {
            (Method::Manufacturer, None, None, None) if !self.evidence.is_empty() => {
                HostVoucher::Maker(self.evidence.iter().map(|path| files::read_small(path)).collect::<Result<_, _>>()?)
            }
            (Method::Manufacturer, ..) => return Err(misses("--evidence, the maker's attestation of it")),
            (Method::Inventory, None, Some(vendor), Some(serial)) => {
                HostVoucher::Listed { vendor: vendor.clone(), serial: serial.clone() }
            }
            (Method::Inventory, ..) => return Err(misses("--vendor and --serial")),
            (Method::Ceremony, Some(path), None, None) => HostVoucher::Witnesses(files::read_small(path)?),
            (Method::Ceremony, ..) => return Err(misses("--transcript, the file of its ceremony")),
            (Method::FirstUse, None, None, None) => HostVoucher::FirstUse,
            (Method::FirstUse, ..) => return Err(misses("--method first-use and nothing else")),
        })
    }

    /// For a key of a TPM, where it is not the maker: of the endorsement key alone.
    ///
    /// # Errors
    /// [`Failure`] if the method ties no keys of TPMs, or was given what it does not need.
    pub fn of_tpm(&self) -> Result<Option<EkVoucher>, Failure> {
        let refused = |why: &str| Failure::new("this key of a TPM cannot be enrolled so").because(why);
        if self.transcript.is_some() || self.vendor.is_some() || !self.evidence.is_empty() {
            return Err(refused("--transcript, --vendor, --serial and --evidence are for modules that are no TPMs"));
        }
        match self.method {
            Method::Manufacturer => Ok(None),
            Method::Inventory => Ok(Some(EkVoucher::Listed)),
            Method::FirstUse => Ok(Some(EkVoucher::FirstUse)),
            Method::Ceremony => {
                Err(refused("ceremonies are for modules that are no TPMs; --method inventory is for TPMs"))
            }
        }
    }
}
