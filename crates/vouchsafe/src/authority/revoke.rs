//! `vouchsafe authority revoke`: certificates of keys that are no attesting keys, by serial number or by key.

use clap::Args;
use vouchsafe_authority::request::{Revocable, RevocationRequest};
use vouchsafe_authority::{AdministrationError, Error};

use super::attesting_keys::Reason;
use super::{Installation, administration, causes, refused};
use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;

/// Revoke certificates, for good. The next revocation list has them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    installation: Installation,
    /// Who decides it.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why. A key of which a certificate is revoked for key-compromise is never certified again.
    #[arg(long, default_value_t = Reason::Unspecified)]
    reason: Reason,
    /// JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The certificate with this serial number, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
    /// Every certificate of the key with this SHA-256 of its public key (SubjectPublicKeyInfo).
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe authority revoke --serial \"$(openssl x509 -in web.pem -noout -serial | cut -d= -f2)\" --by alma --reason superseded
  vouchsafe authority revoke --key \"$(openssl x509 -in web.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -c-64)\" \\
      --by alma --reason key-compromise

Attesting keys are revoked by `vouchsafe authority attesting-keys revoke`.";

/// What to look at where nothing is found.
const SHOWN_BY: &str = "`openssl x509 -in FILE -noout -serial -issuer` shows a certificate's number and which CA issued it; \
                        `vouchsafe authority revoke --help` shows how the digest of its key is computed";

/// Revokes what was asked for.
///
/// # Errors
/// [`Failure`] if it cannot be done.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let of = match (&arguments.which.serial, &arguments.which.key) {
        (Some(serial), _) => Revocable::serial(serial),
        (None, Some(key)) => Revocable::key(key),
        (None, None) => return Err(Failure::new("name a serial number or a key")),
    };
    let of =
        of.map_err(|error| Failure::new("the certificates cannot be revoked").because(causes(&error)).next(SHOWN_BY))?;
    let request = RevocationRequest { of, reason: arguments.reason.into() };
    let revoked =
        administration(&arguments.installation)?.revoke_certificates(&request, &arguments.by).map_err(|error| {
            let failure = refused("the certificates cannot be revoked", &error);
            match error {
                AdministrationError::Refused(Error::NoSuchCertificate) => failure.next(SHOWN_BY),
                _ => failure,
            }
        })?;
    if arguments.json {
        console::out(&format!("{}\n", revoked.to_json()))?;
        return Ok(Answer::Yes);
    }
    console::out(&match revoked.certificates {
        0 => "They were revoked before, or have expired.\n".to_owned(),
        1 => "1 certificate is revoked; the lists that this authority serves have it already.\n".to_owned(),
        number => {
            format!("{number} certificates are revoked; the lists that this authority serves have them already.\n")
        }
    })?;
    Ok(Answer::Yes)
}
