//! The authority of the demonstration: one account, one folder, policies as the story wants them.

use vouchsafe_verifier::hex;

use super::stage::Stage;
use crate::authority_client::{AuthorityAddress, AuthorityClient};
use crate::failure::Failure;
use crate::files;
use crate::random::random;

/// Folder of its state, and the file of its account's token.
const STATE: &str = "authority";
const TOKEN: &str = "token";

/// What a story wants of it beyond the least.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// Lines before the first table.
    pub top: &'a str,
    /// Further tables.
    pub tables: &'a str,
    /// Further lines of the account.
    pub account: &'a str,
}

/// The account.
#[derive(Debug)]
pub struct Account {
    token_sha256: String,
}

impl Account {
    /// A new account, whose token is in the stage's folder.
    ///
    /// # Errors
    /// [`Failure`] if the random source fails or the token cannot be written.
    pub fn new(stage: &Stage) -> Result<Self, Failure> {
        let token = hex::encode(&random::<32>()?);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        files::write(&stage.folder().join(TOKEN), token.as_bytes())?;
        Ok(Self { token_sha256: hex::encode(digest.as_ref()) })
    }

    /// Writes a configuration of the authority.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be written.
    pub fn configure(&self, stage: &Stage, file: &str, settings: &Settings<'_>) -> Result<(), Failure> {
        let Settings { top, tables, account } = settings;
        let text = format!(
            "listen = \"127.0.0.1:0\"\n{top}\n[tls]\nself_signed = true\n\n{tables}\n[[accounts]]\nname = \"demo\"\n\
             token_sha256 = \"{}\"\nmay = [\"enroll\", \"issue\"]\n{account}\n",
            self.token_sha256
        );
        files::write(&stage.folder().join(file), text.as_bytes())
    }

    /// Starts the authority with this configuration, and is its client.
    ///
    /// # Errors
    /// [`Failure`] if it does not start.
    pub fn serve(&self, stage: &Stage, file: &str) -> Result<AuthorityClient, Failure> {
        let folder = stage.folder();
        let url = start(stage, "serve", file)?.ok_or_else(|| Failure::new("the authority did not start"))?;
        let (ca, token_file) = (folder.join(STATE).join("ca/tls-root.crt"), folder.join(TOKEN));
        stage.set("VOUCHSAFE_AUTHORITY", &url);
        stage.set("VOUCHSAFE_CA", &ca);
        stage.set("VOUCHSAFE_TOKEN_FILE", &token_file);
        AuthorityClient::new(&AuthorityAddress { authority: url, ca, token_file })
    }
}

/// Creates the authority's keys and certificates.
///
/// # Errors
/// [`Failure`] if it does not.
pub fn create(stage: &Stage, file: &str) -> Result<(), Failure> {
    start(stage, "init", file).map(drop)
}

fn start(stage: &Stage, verb: &str, file: &str) -> Result<Option<String>, Failure> {
    let path = |name: &str| stage.folder().join(name).display().to_string();
    stage.start_self("authority", &["authority", verb, "--config", &path(file), "--state", &path(STATE)], true)
}
