//! Key attestations as a Securosys Primus writes them.

use anyhow::Result;

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::x509::spki;

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(match word {
        // primus-document(key, creation: "generated", extractable: "false", never: "true", sign: "true", before: "..",
        // more: "..", end: ".."): `before` stands in front of the root element, `more` at the end within it
        "primus-document" => Some(Value::Octets(document(scope, arguments)?)),
        _ => None,
    })
}

fn document(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    let key = base64(spki(scope, &arguments.at(0)?.key()?)?.as_der());
    let key = arguments.text_or("public", &key)?;
    let creation = arguments.text_or("creation", "generated")?;
    let creation = if creation.is_empty() { creation } else { format!(" creation=\"{creation}\"") };
    let before = arguments.text_or("before", "")?;
    let (extractable, never) = (arguments.text_or("extractable", "false")?, arguments.text_or("never", "true")?);
    let sign = arguments.text_or("sign", "true")?;
    let more = arguments.text_or("more", "")?;
    let end = arguments.text_or("end", "\n\n")?;
    let attributes = format!(
        "\t\t<decrypt>false</decrypt>\n\t\t<sign>{sign}</sign>\n\t\t<unwrap>false</unwrap>\n\t\t<derive>false</derive>\n\
         \t\t<sensitive>true</sensitive>\n\t\t<extractable>{extractable}</extractable>\n\
         \t\t<never_extractable>{never}</never_extractable>\n"
    );
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{before}<private_key{creation}>\n\t<label>vectors</label>\n\
         \t<create_time>2026-06-01T08:00:00Z</create_time>\n\t<attest_time>2026-06-02T08:00:00Z</attest_time>\n\
         \t<public_key>{key}</public_key>\n\t<attributes>\n{attributes}\t</attributes>\n{more}</private_key>{end}"
    )
    .into_bytes())
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(octets)
}
