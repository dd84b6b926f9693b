//! Key attestations as Fortanix DSM gives them out.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::Scope;
use super::super::value::{Arguments, Value};

pub fn call(_: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(Value::Octets(match word {
        // base64(octets): padded
        "base64" => STANDARD.encode(arguments.at(0)?.octets()?).into_bytes(),
        // fortanix-document([certificates], statement, format: "x509_certificate", more: octets behind the members)
        "fortanix-document" => {
            let text = |octets: &[u8]| format!("\"{}\"", STANDARD.encode(octets));
            let chain: Vec<String> = arguments.at(0)?.octets_list()?.iter().map(|octets| text(octets)).collect();
            let statement = text(&arguments.at(1)?.octets()?);
            let format = arguments.text_or("format", "x509_certificate")?;
            let more = String::from_utf8(arguments.octets_or("more", &[])?)?;
            let chain = chain.join(",\n    ");
            format!(
                "{{\n  \"authority_chain\": [\n    {chain}\n  ],\n  \"attestation_statement\": {{\n    \"format\": \
                 \"{format}\",\n    \"statement\": {statement}\n  }}{more}\n}}\n"
            )
            .into_bytes()
        }
        _ => return Ok(None),
    })))
}
