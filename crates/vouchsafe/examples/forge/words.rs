//! The words of the language, by subject.

mod ceremony;
mod cmw;
mod crypto4a_qasm;
mod entrust_nshield;
mod flaws;
mod fortanix_dsm;
mod gcp_cloudhsm;
mod octets;
mod pkix_evidence;
mod securosys_primus;
mod statement;
mod text;
mod thales_luna;
mod tpm;
mod webauthn_tpm;
mod x509;
mod yubihsm2;
mod yubikey_piv;

use anyhow::{Result, bail};

use super::Scope;
use super::value::{Arguments, Value};

/// Calls a word.
pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Value> {
    let subjects = [
        flaws::call,
        ceremony::call,
        octets::call,
        securosys_primus::call,
        entrust_nshield::call,
        crypto4a_qasm::call,
        thales_luna::call,
        gcp_cloudhsm::call,
        fortanix_dsm::call,
        pkix_evidence::call,
        x509::call,
        tpm::call,
        statement::call,
        yubikey_piv::call,
        yubihsm2::call,
        text::call,
        cmw::call,
        webauthn_tpm::call,
    ];
    for subject in subjects {
        if let Some(value) = subject(scope, word, arguments)? {
            return Ok(value);
        }
    }
    bail!("{word} is no word of this language")
}
