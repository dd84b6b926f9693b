//! Bundles and statements in words.

use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement, CertChoice};
use vouchsafe_evidence::cmw::{Cmw, Content, Member};
use vouchsafe_evidence::formats::Outline;
use vouchsafe_evidence::statement::Statement;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::tpm::{Attested, PcrSelection, TpmsAttest, TpmtPublic, TpmtSignature};
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::hex;

use super::tree::Item;
use super::{tpm, x509};

/// AttestationBundle.
pub fn bundle(bundle: &AttestationBundle) -> Item {
    let mut items: Vec<Item> =
        bundle.statements().iter().enumerate().map(|(index, found)| statement(index, found)).collect();
    items.extend(bundle.certs().iter().map(choice));
    Item::group("attestation bundle", items).says(format!(
        "{}, {}",
        counted(bundle.statements().len(), "statement"),
        counted(bundle.certs().len(), "certificate")
    ))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn choice(choice: &CertChoice) -> Item {
    match choice {
        CertChoice::Certificate(certificate) => x509::certificate(certificate),
        CertChoice::Other { oid, der } => {
            Item::leaf(format!("certificate of another format, {oid}"), format!("{} octets", der.len()))
        }
        CertChoice::Unparsed(malformed) => Item::malformed("certificate", malformed),
    }
}

/// One statement.
pub fn statement(index: usize, statement: &AttestationStatement) -> Item {
    let format = statement.format().map_or("of a type that is unknown here", |format| format.id());
    let name = format!("statement {index}");
    let kind = format!("{format} ({})", statement.oid());
    let items = match statement.parse() {
        Err(malformed) => vec![Item::malformed("contents", malformed)],
        Ok(Statement::TpmCertify(found)) => {
            let mut items = vec![attest(&found.attest), signature(&found.signature)];
            items.push(found.public.as_deref().map_or_else(no_public, public));
            items
        }
        Ok(Statement::TpmQuote(found)) => {
            let mut items = vec![attest(&found.attest), signature(&found.signature)];
            items.extend(found.pcr_values.as_deref().map(|values| pcr_values(&found.attest, values)));
            items
        }
        Ok(Statement::TpmCertifyX509(found)) => {
            let mut items = vec![x509::certificate(&found.certificate)];
            items.push(found.public.as_deref().map_or_else(no_public, public));
            items
        }
        Ok(Statement::KeyPop(found)) => {
            vec![Item::leaf("nonce", hex::encode(&found.nonce)), Item::leaf("context", hex::encode(&found.context))]
        }
        Ok(Statement::Listed(format, content)) => match (format.row().outline)(&content) {
            Ok(parts) => parts.into_iter().map(outline).collect(),
            Err(malformed) => vec![Item::malformed(format.row().title, malformed)],
        },
        Ok(Statement::Cmw(found)) => match Cmw::parse_statement(&found) {
            Ok(wrapper) => wrapper.members.iter().map(|member| self::member(index, member)).collect(),
            Err(malformed) => vec![Item::malformed("CMW", malformed)],
        },
        Ok(Statement::Unknown(_) | _) => {
            vec![Item::leaf("contents", format!("{} octets, not read", statement.stmt().len()))]
        }
    };
    Item::group(name, items).says(kind)
}

/// One message of a wrapper.
fn member(index: usize, member: &Member) -> Item {
    let name = if member.path.is_empty() { "message".to_owned() } else { printable(&member.path.join("/")) };
    let items = match member.content() {
        Content::Evidence(found) => vec![statement(index, &found)],
        Content::Certificate => match CertView::parse(&member.value) {
            Ok(certificate) => vec![x509::certificate(&certificate)],
            Err(malformed) => vec![Item::malformed("certificate", malformed)],
        },
        Content::Certificates | Content::Unknown => {
            vec![Item::leaf("contents", format!("{} octets, not read", member.value.len()))]
        }
    };
    Item::group(name, items).says(printable(&member.kind.to_string()))
}

/// What a listed format's module says of its bytes.
pub fn outline(item: Outline) -> Item {
    match item.certificate {
        Some(certificate) => Item::group(item.name, vec![x509::certificate(&certificate)]),
        None if item.parts.is_empty() => Item::leaf(item.name, printable(&item.text)),
        None => {
            let group = Item::group(item.name, item.parts.into_iter().map(outline).collect());
            if item.text.is_empty() { group } else { group.says(printable(&item.text)) }
        }
    }
}

fn no_public() -> Item {
    Item::leaf("TPMT_PUBLIC", "absent")
}

fn attest(octets: &[u8]) -> Item {
    match TpmsAttest::parse(octets) {
        Ok(attest) => tpm::attest(&attest),
        Err(malformed) => Item::malformed("TPMS_ATTEST", malformed),
    }
}

fn public(octets: &[u8]) -> Item {
    match TpmtPublic::parse(octets) {
        Ok(public) => tpm::public(&public),
        Err(malformed) => Item::malformed("TPMT_PUBLIC", malformed),
    }
}

/// A signature in either of its encodings; a bare one says nothing of itself.
fn signature(octets: &[u8]) -> Item {
    match TpmtSignature::parse(octets) {
        Ok(signature) => tpm::signature(&signature),
        Err(_) => Item::leaf("bare signature", format!("{} octets: {}", octets.len(), hex::encode(octets))),
    }
}

fn pcr_values(attest: &[u8], values: &[u8]) -> Item {
    let selection: Option<PcrSelection> = TpmsAttest::parse(attest).ok().and_then(|attest| match attest.attested() {
        Attested::Quote { selection, .. } => Some(selection.clone()),
        Attested::Certify { .. }
        | Attested::CommandAudit { .. }
        | Attested::Creation { .. }
        | Attested::Nv { .. }
        | Attested::NvDigest { .. }
        | Attested::SessionAudit { .. }
        | Attested::Time { .. } => None,
    });
    let registers = selection.as_ref().and_then(|selection| selection.cut(values));
    match registers {
        None => Item::malformed("PCR values", format!("{} octets do not fit the selection", values.len())),
        Some(registers) => {
            let items = registers
                .into_iter()
                .map(|(bank, index, value)| Item::leaf(format!("{} PCR {index}", bank.label()), hex::encode(value)))
                .collect();
            Item::group("PCR values", items)
        }
    }
}
