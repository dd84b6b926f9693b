//! What can be said of a library and its tokens without logging in to any.

use std::path::PathBuf;

use cryptoki::slot::TokenInfo;

use super::Settings;
use super::fault::TokenFault;
use super::library::Library;
use super::pin::PinFile;
use super::scheme;
use super::token::{self, TokenName};
use crate::provider::{Fault, KeyKind};

/// A library, and the tokens of it that the settings name.
#[derive(Debug)]
pub struct Inspection {
    /// What the library says it is.
    pub library: String,
    /// The version of PKCS #11 that it speaks.
    pub version: String,
    /// The token with the users' keys, then that of the attesting keys if they have one.
    pub tokens: Vec<TokenSummary>,
}

/// A token, as it describes itself.
#[derive(Debug)]
pub struct TokenSummary {
    /// How the configuration names it.
    pub name: TokenName,
    /// What it says of itself: maker, model, serial number, firmware version. A fault where it is not there.
    pub description: Result<String, Fault>,
    /// Why its PIN would not be tried, or why its file cannot be used; `None` where all is well.
    pub pin: Option<Fault>,
    /// Whether a PIN was wrong since the last that was right.
    pub had_wrong_pin: bool,
    /// The kinds of keys that it makes.
    pub kinds: Vec<KeyKind>,
}

/// Looks at the library and the tokens that the settings name. No PIN is tried and nothing is changed.
///
/// # Errors
/// [`Fault::Token`] where the library cannot be loaded or does not answer.
pub fn inspect(settings: &Settings) -> Result<Inspection, Fault> {
    let library = Library::load(&settings.module)?;
    let state = library.enter();
    let info = state.pkcs11.get_library_info()?;
    let named = std::iter::once((&settings.token, &settings.pin_file));
    let named = named.chain(settings.attesting_token.as_ref().map(|(name, file)| (name, file)));
    let tokens = named.map(|(name, file)| summary(&state.pkcs11, name, file.clone())).collect();
    let library = format!("{} of {}", info.library_description().trim(), info.manufacturer_id().trim());
    Ok(Inspection { library, version: info.cryptoki_version().to_string(), tokens })
}

/// Whether both settings name one token for the users' keys, as far as their libraries find one by each name. No PIN is tried.
#[must_use]
pub fn is_one_token(one: &Settings, other: &Settings) -> bool {
    matches!((identity(one), identity(other)), (Some(one), Some(other)) if one == other)
}

/// Maker, model, serial number and label of the token with the users' keys, if it is there.
fn identity(settings: &Settings) -> Option<[String; 4]> {
    let library = Library::load(&settings.module).ok()?;
    let state = library.enter();
    let (_, info) = token::find(&state.pkcs11, &settings.token).ok()?;
    Some([info.manufacturer_id(), info.model(), info.serial_number(), info.label()].map(str::to_owned))
}

fn summary(pkcs11: &cryptoki::context::Pkcs11, name: &TokenName, pin_file: PathBuf) -> TokenSummary {
    let pin = PinFile::new(pin_file).read().err();
    let mut summary = TokenSummary {
        name: name.clone(),
        description: Err(Fault::Token(TokenFault::Absent { wanted: name.to_string() })),
        pin,
        had_wrong_pin: false,
        kinds: Vec::new(),
    };
    match token::find(pkcs11, name) {
        Ok((slot, info)) => {
            summary.description = Ok(describe(&info));
            summary.had_wrong_pin = info.user_pin_count_low();
            if let Some(fault) = token::untried(&info, &name.to_string()) {
                summary.pin = Some(Fault::Token(fault));
            }
            let makes = |kind: &KeyKind| scheme::makes(pkcs11, slot, *kind).unwrap_or(false);
            summary.kinds = KeyKind::ALL.into_iter().filter(makes).collect();
        }
        Err(fault) => summary.description = Err(fault),
    }
    summary
}

fn describe(info: &TokenInfo) -> String {
    format!(
        "{} {}, serial number {}, firmware {}",
        info.manufacturer_id().trim(),
        info.model().trim(),
        info.serial_number().trim(),
        info.firmware_version()
    )
}
