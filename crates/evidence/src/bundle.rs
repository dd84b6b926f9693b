//! AttestationBundle (draft-ietf-lamps-csr-attestation-29, 4.1).

use thiserror::Error;

use crate::oid::Oid;
use crate::statement::{FormatId, Statement};
use crate::x509::CertView;
use crate::x509::build::DerWriter;
use crate::x509::der::{Element, Reader, Tag};
use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "AttestationBundle";

/// Why bytes are no bundle.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BundleDefect {
    /// The list of statements is empty (SIZE (1..MAX)).
    #[error("the bundle has no attestation statement")]
    Empty,
    /// A statement has elements behind `stmt`, as drafts before -23 had them (the hint).
    #[error("attestation statement {statement} has the form of an older draft: an element follows stmt")]
    LegacyStatement {
        /// Index of the statement.
        statement: usize,
    },
    /// The bytes are not a bundle, or exceed a limit.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// One attestation statement, its type not interpreted.
///
/// ```asn1
/// AttestationStatement ::= SEQUENCE { type OBJECT IDENTIFIER, stmt ANY DEFINED BY type }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationStatement {
    oid: Oid,
    stmt: Vec<u8>,
}

impl AttestationStatement {
    /// A statement of type `oid` whose `stmt` has this DER.
    #[must_use]
    pub fn new(oid: Oid, stmt: impl Into<Vec<u8>>) -> Self {
        Self { oid, stmt: stmt.into() }
    }

    /// The type.
    #[must_use]
    pub const fn oid(&self) -> Oid {
        self.oid
    }

    /// The format that the type names, or `None` if this project does not know it.
    #[must_use]
    pub fn format(&self) -> Option<FormatId> {
        FormatId::from_oid(self.oid)
    }

    /// The original DER of `stmt`.
    #[must_use]
    pub fn stmt(&self) -> &[u8] {
        &self.stmt
    }

    /// Reads `stmt` by its type.
    ///
    /// # Errors
    /// [`Malformed`] if the type is known and `stmt` is not of it, in strict DER.
    pub fn parse(&self) -> Result<Statement, Malformed> {
        Statement::parse(self.oid, &self.stmt)
    }
}

/// One member of `certs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertChoice {
    /// A certificate.
    Certificate(CertView),
    /// A certificate in another format (OtherCertificateFormat).
    Other {
        /// The format.
        oid: Oid,
        /// The original DER of the certificate.
        der: Vec<u8>,
    },
    /// A certificate that cannot be read. It must not make a good bundle bad, nor be used.
    Unparsed(Malformed),
}

impl CertChoice {
    /// The certificate, if it is one and can be read.
    #[must_use]
    pub const fn certificate(&self) -> Option<&CertView> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            Self::Other { .. } | Self::Unparsed(_) => None,
        }
    }
}

/// Statements, and certificates that help to verify them, in no order.
///
/// ```asn1
/// AttestationBundle ::= SEQUENCE {
///   attestations SEQUENCE SIZE (1..MAX) OF AttestationStatement,
///   certs        SEQUENCE SIZE (1..MAX) OF LimitedCertChoices OPTIONAL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationBundle {
    statements: Vec<AttestationStatement>,
    certs: Vec<CertChoice>,
}

impl AttestationBundle {
    /// A bundle of these statements and certificates.
    ///
    /// # Errors
    /// [`BundleDefect::Empty`] without a statement, [`Reason::OverLimit`] beyond the limits.
    pub fn new(statements: Vec<AttestationStatement>, certificates: Vec<CertView>) -> Result<Self, BundleDefect> {
        let over = |what, limit| Malformed::new(PRODUCTION, 0, Reason::OverLimit { what, limit });
        if statements.is_empty() {
            return Err(BundleDefect::Empty);
        }
        if statements.len() > limits::STATEMENTS {
            return Err(over("statements", limits::STATEMENTS).into());
        }
        if certificates.len() > limits::CERTIFICATES_PARSED {
            return Err(over("certificates", limits::CERTIFICATES_PARSED).into());
        }
        let certs = certificates.into_iter().map(CertChoice::Certificate).collect();
        Ok(Self { statements, certs })
    }

    /// Reads the DER of one bundle. What statements hold is not read here.
    ///
    /// # Errors
    /// [`BundleDefect`] unless `input` is exactly one bundle, its own structure in strict DER.
    pub fn parse(input: &[u8]) -> Result<Self, BundleDefect> {
        if input.len() > limits::CSR_OCTETS {
            let reason = Reason::OverLimit { what: "bundle octets", limit: limits::CSR_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason).into());
        }
        let mut outer = Reader::new(input, PRODUCTION);
        let mut fields = outer.sequence(PRODUCTION)?;
        outer.finish()?;
        let attestations = fields.expect(Tag::SEQUENCE, "attestations")?;
        let certs = fields.optional(Tag::SEQUENCE)?;
        fields.finish()?;
        Ok(Self {
            statements: read_statements(&attestations)?,
            certs: certs.map_or(Ok(Vec::new()), |certs| read_certs(&certs))?,
        })
    }

    /// The statements, in the order in which they stand.
    #[must_use]
    pub fn statements(&self) -> &[AttestationStatement] {
        &self.statements
    }

    /// The certificates, in the order in which they stand, which means nothing.
    #[must_use]
    pub fn certs(&self) -> &[CertChoice] {
        &self.certs
    }

    /// The certificates that can be read.
    pub fn certificates(&self) -> impl Iterator<Item = &CertView> {
        self.certs.iter().filter_map(CertChoice::certificate)
    }

    /// Statements and certificates, for who takes the bundle apart.
    #[must_use]
    pub fn into_parts(self) -> (Vec<AttestationStatement>, Vec<CertChoice>) {
        (self.statements, self.certs)
    }

    /// The DER of the bundle. Certificates that could not be read are left out.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|bundle| {
            bundle.sequence(|attestations| {
                for statement in &self.statements {
                    attestations.sequence(|fields| {
                        fields.oid(statement.oid).raw(&statement.stmt);
                    });
                }
            });
            let written = |choice: &&CertChoice| !matches!(choice, CertChoice::Unparsed(_));
            if self.certs.iter().any(|choice| written(&choice)) {
                bundle.sequence(|certs| self.certs.iter().for_each(|choice| write_choice(certs, choice)));
            }
        });
        writer.into_der()
    }
}

fn write_choice(writer: &mut DerWriter, choice: &CertChoice) {
    match choice {
        CertChoice::Certificate(certificate) => {
            writer.raw(certificate.as_der());
        }
        CertChoice::Other { oid, der } => {
            writer.constructed(Tag::context_constructed(3), |other| {
                other.oid(*oid).raw(der);
            });
        }
        CertChoice::Unparsed(_) => {}
    }
}

fn read_statements(list: &Element<'_>) -> Result<Vec<AttestationStatement>, BundleDefect> {
    let mut members = list.reader();
    let mut statements = Vec::new();
    while !members.is_empty() {
        if statements.len() >= limits::STATEMENTS {
            let reason = Reason::OverLimit { what: "statements", limit: limits::STATEMENTS };
            return Err(members.error(reason).into());
        }
        let mut fields = members.sequence("AttestationStatement")?;
        let oid = fields.oid("type")?;
        if fields.is_empty() {
            return Err(fields.error(Reason::Missing("stmt")).into());
        }
        let stmt = fields.element()?.as_der().to_vec();
        if !fields.is_empty() {
            return Err(BundleDefect::LegacyStatement { statement: statements.len() });
        }
        statements.push(AttestationStatement { oid, stmt });
    }
    if statements.is_empty() { Err(BundleDefect::Empty) } else { Ok(statements) }
}

fn read_certs(list: &Element<'_>) -> Result<Vec<CertChoice>, Malformed> {
    let mut members = list.reader();
    if members.is_empty() {
        return Err(list.error(Reason::Missing("certificate")));
    }
    let mut certs = Vec::new();
    while !members.is_empty() {
        if certs.len() >= limits::CERTIFICATES_PARSED {
            let reason = Reason::OverLimit { what: "certificates", limit: limits::CERTIFICATES_PARSED };
            return Err(members.error(reason));
        }
        let member = members.element()?;
        certs.push(match member.tag() {
            Tag::SEQUENCE => {
                CertView::parse(member.as_der()).map_or_else(CertChoice::Unparsed, CertChoice::Certificate)
            }
            tag if tag == Tag::context_constructed(3) => read_other(&member)?,
            _ => return Err(member.error(Reason::Unexpected("certificate or other [3]"))),
        });
    }
    Ok(certs)
}

fn read_other(member: &Element<'_>) -> Result<CertChoice, Malformed> {
    let mut fields = member.reader();
    let oid = fields.oid("otherCertFormat")?;
    if fields.is_empty() {
        return Err(fields.error(Reason::Missing("otherCert")));
    }
    let der = fields.element()?.as_der().to_vec();
    fields.finish()?;
    Ok(CertChoice::Other { oid, der })
}
