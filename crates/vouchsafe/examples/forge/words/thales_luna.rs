//! Public key confirmations as Luna modules make them.

use anyhow::Result;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::DerWriter;

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::octets::{context, element};

pub fn call(_: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(Value::Octets(match word {
        // certificate-bag([certificates], signers: octets): PKCS #7 without contents
        "certificate-bag" => {
            let certificates = arguments.at(0)?.octets_list()?.concat();
            let signers = arguments.octets_or("signers", &[])?;
            let mut data = DerWriter::new();
            data.oid(oid::PKCS7_DATA);
            let signed = [
                vec![0x02, 0x01, 0x01],
                element(0x31, &[]),
                element(0x30, &data.into_der()),
                element(context(0), &certificates),
                element(0x31, &signers),
            ];
            let mut info = DerWriter::new();
            info.oid(oid::SIGNED_DATA);
            let content = element(context(0), &element(0x30, &signed.concat()));
            element(0x30, &[info.into_der(), content].concat())
        }
        // luna-extension("identifier", octets): its critical FALSE is written out, as Luna modules do
        "luna-extension" => {
            let mut oid = DerWriter::new();
            oid.oid(super::octets::oid_named(arguments.at(0)?.text()?)?);
            let value = element(0x04, &arguments.at(1)?.octets()?);
            element(0x30, &[oid.into_der(), vec![0x01, 0x01, 0x00], value].concat())
        }
        _ => return Ok(None),
    })))
}
