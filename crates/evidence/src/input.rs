//! Recognition of what a presenter hands in: files of any order, told apart by their content.

mod assemble;
mod classify;
mod endorsement;
mod listed;

use thiserror::Error;

use crate::Malformed;
use crate::bundle::{AttestationBundle, AttestationStatement, BundleDefect, CertChoice};
use crate::formats::ListedFormat;
use crate::statement::FormatId;
use crate::x509::{CertView, CsrDefect, CsrView, NameView, SignedCrmf, SpkiView};

/// One file, or one value of an interface: what it is called, and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct InputFile<'a> {
    /// A name for messages.
    pub name: &'a str,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// What form a submission came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A certification request.
    Csr(CsrView),
    /// A certification request in CRMF, as CMP carries it.
    Crmf(SignedCrmf),
    /// A certificate that publishes statements about its key in the extension id-aa-attestation.
    PublishedCertificate(CertView),
    /// The certificate of a TPM's endorsement key, which identifies the TPM and states nothing else.
    EndorsementKey(CertView),
    /// Bare evidence.
    Evidence,
}

/// What was handed in, all forms brought to one: statements, and certificates that help to verify them.
#[derive(Clone, Debug)]
pub struct Submission {
    form: Form,
    format: Option<FormatId>,
    statements: Vec<AttestationStatement>,
    certs: Vec<CertChoice>,
}

/// Why input is no submission.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InputError {
    /// Two candidates for one part.
    #[error("two candidates for {part}: {first} and {second}")]
    Ambiguous {
        /// The part.
        part: &'static str,
        /// Name of the one file.
        first: String,
        /// Name of the other file.
        second: String,
    },
    /// A bare or published bundle that is not one.
    #[error(transparent)]
    Bundle(#[from] BundleDefect),
    /// A certification request that cannot be used.
    #[error(transparent)]
    Csr(#[from] CsrDefect),
    /// No file, or nothing but empty files.
    #[error("the input is empty")]
    Empty,
    /// A format was forced upon a certification request.
    #[error("a format cannot be chosen for a certification request")]
    FormatWithCsr,
    /// Client data came with evidence that has no place for any.
    #[error("the client data belongs to no evidence that is here")]
    ClientDataUnused,
    /// A part of bare evidence is not there.
    #[error("{format} evidence without {part}")]
    Incomplete {
        /// The format.
        format: FormatId,
        /// The part.
        part: &'static str,
    },
    /// A file says what it is, and is not.
    #[error("{file}: {malformed}")]
    Malformed {
        /// Name of the file.
        file: String,
        /// What is wrong.
        malformed: Malformed,
    },
    /// The files are no evidence of the format that was asked for.
    #[error("the files are no {0} evidence")]
    NotOfFormat(FormatId),
    /// A limit on the input as a whole is exceeded.
    #[error("{what} exceeds the limit of {limit}")]
    OverLimit {
        /// The bounded quantity.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Evidence of a format that is told apart and not verified here.
    #[error("{name} is not verified here")]
    Unverifiable {
        /// What it is.
        name: &'static str,
    },
    /// A file that cannot be told.
    #[error("{file} is nothing that can be verified")]
    Unrecognized {
        /// Name of the file.
        file: String,
    },
    /// The format that was asked for has no bare form that is read.
    #[error("bare {0} evidence is not read")]
    UnsupportedFormat(FormatId),
}

impl Submission {
    /// The submission that these files are, in whatever order they come.
    ///
    /// A file is a certification request (PEM or DER, with text around PEM), a certificate that publishes
    /// statements or that TPM2_CertifyX509 made, a bundle, a statement, or a part of one: TPMS_ATTEST,
    /// signature, TPMT_PUBLIC, PCR values. Any number of helping certificates may be among them. `format`
    /// forces the format of bare evidence.
    ///
    /// # Errors
    /// [`InputError`] if the files are no such thing, exactly one thing, within [`crate::limits`].
    pub fn recognize(files: &[InputFile<'_>], format: Option<FormatId>) -> Result<Self, InputError> {
        Self::recognize_with_client_data(files, format, None)
    }

    /// As [`Submission::recognize`], with the client data of web authentication, which is part of the evidence of
    /// formats that are made for it and of no other.
    ///
    /// # Errors
    /// As [`Submission::recognize`].
    pub fn recognize_with_client_data(
        files: &[InputFile<'_>],
        format: Option<FormatId>,
        client_data: Option<&[u8]>,
    ) -> Result<Self, InputError> {
        let client_data = client_data.map(|bytes| InputFile { name: "the client data", bytes });
        classify::check_octets(&files.iter().copied().chain(client_data).collect::<Vec<_>>())?;
        // Almost all input is one request, which is then read once.
        let submission = match listed::only_request(files) {
            Some(csr) => assemble::request(csr, format)?,
            None => match listed::recognize(files, format, client_data.map(|file| file.bytes))? {
                Some(submission) => submission,
                None => assemble::assemble(classify::classify(files)?, format)?,
            },
        };
        // What nothing reads must not look as if it had been judged.
        let reads_client_data =
            matches!(submission.format, Some(FormatId::Listed(format)) if format.row().takes_client_data);
        if client_data.is_some() && !reads_client_data { Err(InputError::ClientDataUnused) } else { Ok(submission) }
    }

    /// The submission that a request is. A request without an attestation attribute has no statements, unless it
    /// carries evidence of a listed format where its makers used to put it.
    ///
    /// # Errors
    /// [`InputError::Csr`] if the attestation attribute, or such evidence, is not what it must be.
    pub fn from_csr(csr: CsrView) -> Result<Self, InputError> {
        let (mut statements, mut certs) =
            csr.attestation_bundle()?.map(AttestationBundle::into_parts).unwrap_or_default();
        for format in ListedFormat::all() {
            if let Some(found) = (format.row().in_request)(&csr).map_err(CsrDefect::Malformed)? {
                statements.push(format.statement(&found.content));
                certs.extend(found.certificates.into_iter().map(CertChoice::Certificate));
            }
        }
        Ok(Self { form: Form::Csr(csr), format: None, statements, certs })
    }

    /// The submission that a request in CRMF is. A request without the extension id-aa-attestation has no statements.
    ///
    /// # Errors
    /// [`InputError::Csr`] if the extension is not what it must be.
    pub fn from_crmf(request: SignedCrmf) -> Result<Self, InputError> {
        let (statements, certs) =
            request.view().attestation_bundle()?.map(AttestationBundle::into_parts).unwrap_or_default();
        Ok(Self { form: Form::Crmf(request), format: None, statements, certs })
    }

    /// The submission that a request is together with evidence that was presented before it, in a message of its own. The
    /// request itself carries none, so that nobody need say which counts; and since the request's signature does not cover
    /// what came apart from it, no proof of possession may be in there.
    ///
    /// # Errors
    /// [`InputError::Ambiguous`] if the request carries statements too, or if one that was presented is a key-pop;
    /// [`InputError::Csr`] as [`Submission::from_csr`].
    pub fn from_csr_and_bundle(csr: CsrView, bundle: AttestationBundle) -> Result<Self, InputError> {
        let bare = Self::from_csr(csr)?;
        let (statements, certs) = bundle.into_parts();
        let is_possession = |statement: &AttestationStatement| statement.format() == Some(FormatId::KeyPop);
        if !bare.statements.is_empty() || statements.iter().any(is_possession) {
            let (first, second) = ("the request".to_owned(), "what was presented before".to_owned());
            return Err(InputError::Ambiguous { part: "evidence", first, second });
        }
        Ok(Self { statements, certs, ..bare })
    }

    /// The submission that a bare bundle is.
    #[must_use]
    pub fn from_bundle(bundle: AttestationBundle) -> Self {
        let (statements, certs) = bundle.into_parts();
        let format = statements.iter().find_map(AttestationStatement::format);
        Self { form: Form::Evidence, format, statements, certs }
    }

    /// In what form it came.
    #[must_use]
    pub const fn form(&self) -> &Form {
        &self.form
    }

    /// The request, if that is the form.
    #[must_use]
    pub const fn csr(&self) -> Option<&CsrView> {
        match &self.form {
            Form::Csr(csr) => Some(csr),
            Form::Crmf(_) | Form::PublishedCertificate(_) | Form::EndorsementKey(_) | Form::Evidence => None,
        }
    }

    /// Whether it is a certification request, of whichever syntax.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        match &self.form {
            Form::Csr(_) | Form::Crmf(_) => true,
            Form::PublishedCertificate(_) | Form::EndorsementKey(_) | Form::Evidence => false,
        }
    }

    /// The subject that a certification request asks for.
    #[must_use]
    pub fn requested_subject(&self) -> Option<&NameView> {
        match &self.form {
            Form::Csr(csr) => Some(csr.subject()),
            Form::Crmf(request) => Some(request.subject()),
            Form::PublishedCertificate(_) | Form::EndorsementKey(_) | Form::Evidence => None,
        }
    }

    /// The key that the statements are to be about, where the form names one: the request's, or that of
    /// the certificate that publishes them.
    #[must_use]
    pub fn subject_key(&self) -> Option<&SpkiView> {
        match &self.form {
            Form::Csr(csr) => Some(csr.spki()),
            Form::Crmf(request) => Some(request.spki()),
            Form::PublishedCertificate(certificate) => Some(certificate.spki()),
            Form::EndorsementKey(_) | Form::Evidence => None,
        }
    }

    /// What reports call the format: `csr`, or the id of the (first known) statement's format.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match (&self.form, self.format) {
            (Form::Csr(_) | Form::Crmf(_), _) => "csr",
            (Form::PublishedCertificate(_) | Form::EndorsementKey(_) | Form::Evidence, Some(format)) => format.id(),
            (Form::PublishedCertificate(_) | Form::EndorsementKey(_) | Form::Evidence, None) => "unknown",
        }
    }

    /// The statements, in the order in which they stand.
    #[must_use]
    pub fn statements(&self) -> &[AttestationStatement] {
        &self.statements
    }

    /// The certificates that came along, in no order.
    #[must_use]
    pub fn certs(&self) -> &[CertChoice] {
        &self.certs
    }
}
