//! cmw: wrappers (RFC 9999) give up their members, each of which is then judged as a statement of its own format.
//!
//! A wrapper is nothing that anyone vouches for: what it says of its members counts for nothing, and each member is
//! anchored in the folder of its own format (A55). That they belong together is for [`crate::bind`] to find, as for all
//! statements.

use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::cmw::{self, Cmw, Content, Likeness, Member};
use vouchsafe_evidence::limits;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::der::Element;

use super::Skipped;
use crate::rejection::{Rejection, codes};

/// The bit of an indicator that says "evidence" (RFC 9999, "cm-type").
const EVIDENCE: u64 = 0x4;

/// Statements with their places in the bundle, those of wrappers in place of the wrappers.
#[derive(Default)]
pub(crate) struct Unwrapped {
    /// Each statement, with the place of the one that it stands in.
    pub statements: Vec<(usize, AttestationStatement)>,
    /// Certificates that came in wrappers.
    pub certificates: Vec<CertView>,
    /// Members that were passed over.
    pub skipped: Vec<Skipped>,
    /// Wrappers that were refused.
    pub failures: Vec<(FormatId, Rejection)>,
}

/// Unwraps what is wrapped among `statements`.
pub(crate) fn unwrap(statements: &[AttestationStatement]) -> Unwrapped {
    let mut unwrapped = Unwrapped::default();
    for (index, statement) in statements.iter().enumerate().take(limits::STATEMENTS) {
        if statement.format() != Some(FormatId::Cmw) {
            unwrapped.statements.push((index, statement.clone()));
            continue;
        }
        match members(statement.stmt()) {
            Ok(members) => members.into_iter().for_each(|member| unwrapped.take(index, statement, &member)),
            Err(rejection) => unwrapped.failures.push((FormatId::Cmw, rejection.in_statement(index))),
        }
    }
    if let Some((index, _)) = unwrapped.statements.get(limits::STATEMENTS) {
        let rejection = Rejection::plain(codes::LIMIT_STATEMENTS).in_statement(*index);
        unwrapped.failures.push((FormatId::Cmw, rejection));
        unwrapped.statements.truncate(limits::STATEMENTS);
    }
    unwrapped.certificates.truncate(limits::CERTIFICATES_PARSED);
    unwrapped
}

fn members(stmt: &[u8]) -> Result<Vec<Member>, Rejection> {
    let contents = Element::parse(stmt, "CMW").map(|choice| choice.contents()).unwrap_or_default();
    if cmw::likeness(contents) == Likeness::Signed {
        return Err(Rejection::plain(codes::CMW_SIGNED));
    }
    let wrapper = Cmw::parse_statement(stmt)
        .map_err(|error| Rejection::new(codes::CMW_MALFORMED, format!("The wrapper is malformed: {error}.")))?;
    Ok(wrapper.members)
}

impl Unwrapped {
    fn take(&mut self, index: usize, wrapper: &AttestationStatement, member: &Member) {
        let why = match member.content() {
            Content::Evidence(_) if member.indicator.is_some_and(|bits| bits & EVIDENCE == 0) => {
                "says that it is no evidence"
            }
            Content::Evidence(statement) => return self.statements.push((index, statement)),
            Content::Certificate => match CertView::parse(&member.value) {
                Ok(certificate) => return self.certificates.push(certificate),
                Err(_) => "is a certificate that cannot be read",
            },
            Content::Certificates => match certificates(&member.value) {
                Some(certificates) => return self.certificates.extend(certificates),
                None => "holds certificates that cannot be read",
            },
            Content::Unknown => "is of a type that is not read",
        };
        let label = member.path.join("/");
        self.skipped.push(Skipped {
            statement: index,
            oid: wrapper.oid().to_string(),
            why: printable(&format!("The member {label:?} of the wrapper, {}, {why}.", member.kind)),
        });
    }
}

fn certificates(file: &[u8]) -> Option<Vec<CertView>> {
    let blocks = pem::read(file).ok()?;
    let of_certificates = blocks.iter().filter(|block| block.kind() == pem::Kind::Certificate);
    of_certificates.take(limits::CERTIFICATES_PARSED).map(|block| CertView::parse(block.contents()).ok()).collect()
}
