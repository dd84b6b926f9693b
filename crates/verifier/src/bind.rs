//! Binding: which statements speak of one key and one device, decided once, here (DESIGN, "Binding graph").
//!
//! Nodes are the key to be certified, statements, attestation keys and the nonce; edges are only what was
//! authenticated. Subjects, alternative names and models never bind: a client may choose them, batches share
//! them, and two can both be empty.

use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::{CertView, SpkiView};

use crate::authenticate::{AttestedKey, AttestingKey, Authenticated, Authentication, Endorser, names_attesting_key};
use crate::hex;
use crate::rejection::{Rejection, codes};

/// One end of an [`Edge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The key to be certified, or the key that bare evidence is about.
    CsrKey,
    /// An attestation key, numbered in the order of the statements that it signed.
    AttestingKey(usize),
    /// The challenge.
    Nonce,
    /// A statement, by its place in the bundle.
    Statement(usize),
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CsrKey => f.write_str("csr-key"),
            Self::AttestingKey(index) => write!(f, "ak:{index}"),
            Self::Nonce => f.write_str("nonce"),
            Self::Statement(index) => write!(f, "statement:{index}"),
        }
    }
}

/// By what an edge holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Both AK certificates come from one issuer key and carry one deviceLink.
    DeviceLink,
    /// One attestation key certified the other's Name.
    Name,
    /// The statement answers the nonce.
    Nonce,
    /// The attestation key signed the statement.
    Signature,
    /// Both have one public key.
    Spki,
}

impl By {
    /// Its name in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::DeviceLink => "device-link",
            Self::Name => "name",
            Self::Nonce => "nonce",
            Self::Signature => "signature",
            Self::Spki => "spki",
        }
    }
}

/// One authenticated connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// From which node.
    pub from: Node,
    /// To which node.
    pub to: Node,
    /// By what.
    pub by: By,
    /// What a reader should know besides.
    pub note: Option<&'static str>,
}

/// The module that speaks, as others may refer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `link:` and the deviceLink, or `ak:` and SHA-256 of the attestation key's SPKI, in hexadecimal.
    pub id: String,
    /// Where the identity comes from.
    pub source: &'static str,
}

/// What the evidence is expected to be about, by whoever asks.
pub(crate) struct Expectation<'a> {
    /// The key of the certification request.
    pub csr_key: Option<&'a SpkiView>,
    /// The key that the caller named.
    pub expected_key: Option<&'a SpkiView>,
    /// The device that the caller named.
    pub device: Option<&'a str>,
    /// Whether a nonce was demanded.
    pub nonce: bool,
}

/// The graph and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Binding {
    pub edges: Vec<Edge>,
    pub violations: Vec<Rejection>,
    /// The key that all this is about.
    pub subject: Option<SpkiView>,
    /// Places, among the authenticated statements, of those about that key.
    pub keys: Vec<usize>,
    /// Place of the platform statement bound to it.
    pub platform: Option<usize>,
    pub device: Option<Device>,
}

const DIFFERENT_QUALIFYING_DATA: &str = "the statements carry different qualifying data; no nonce was demanded";

/// Binds what was authenticated to the expected key and device.
pub(crate) fn bind(
    authentication: &Authentication,
    certificates: &[CertView],
    expectation: &Expectation<'_>,
) -> Binding {
    let statements = authentication.statements.as_slice();
    let mut binding = Binding::default();
    check_expected_key(expectation, &mut binding);
    let keys = AttestingKeys::of(statements);
    keys.signature_edges(statements, expectation, &mut binding);
    let failed_key_statement = authentication.failures.iter().any(|(format, _)| is_key_format(*format));
    let Some(subject) = subject(statements, expectation, failed_key_statement, &mut binding) else {
        return binding;
    };
    check_not_an_attestation_key(&subject, statements, certificates, &mut binding);
    choose_key_statements(&subject, statements, failed_key_statement, &mut binding);
    binding.subject = Some(subject);
    let Some(first) = binding.keys.first().and_then(|place| statements.get(*place)) else {
        return binding;
    };
    binding.device = Some(device_of(first.signer()));
    check_expected_device(expectation, &mut binding);
    let connected = keys.connected_to(keys.number(first.signer()), statements, &mut binding);
    check_connections(statements, first, &keys, &connected, expectation, &mut binding);
    choose_platform(statements, &mut binding);
    binding
}

/// Whether statements of this format are about a key.
pub(crate) const fn is_key_format(format: FormatId) -> bool {
    match format {
        FormatId::TpmCertify | FormatId::TpmCertifyX509 | FormatId::PkixEvidence | FormatId::KeyPop | FormatId::Cmw => {
            true
        }
        FormatId::TpmQuote | FormatId::TpmEk => false,
    }
}

fn check_expected_key(expectation: &Expectation<'_>, binding: &mut Binding) {
    if let (Some(csr), Some(expected)) = (expectation.csr_key, expectation.expected_key)
        && !csr.same_key(expected)
    {
        binding.violations.push(Rejection::new(
            codes::BIND_EXPECTED_KEY,
            "The certification request is for another key than the one that was expected.",
        ));
    }
}

/// The key that all this is about: the request's, the expected one, or the only one that is attested.
fn subject(
    statements: &[Authenticated],
    expectation: &Expectation<'_>,
    failed_key_statement: bool,
    binding: &mut Binding,
) -> Option<SpkiView> {
    if let Some(key) = expectation.csr_key.or(expectation.expected_key) {
        return Some(key.clone());
    }
    let mut attested: Vec<&SpkiView> = Vec::new();
    for key in statements.iter().filter_map(Authenticated::key) {
        let links = statements.iter().any(|statement| statement.signer().spki().same_key(&key.spki));
        if !links && !attested.iter().any(|known| known.same_key(&key.spki)) {
            attested.push(&key.spki);
        }
    }
    match attested.as_slice() {
        [only] => Some((*only).clone()),
        [] => {
            if !failed_key_statement {
                binding.violations.push(Rejection::plain(codes::BIND_NO_KEY_STATEMENT));
            }
            None
        }
        _ => {
            binding.violations.push(Rejection::plain(codes::BIND_AMBIGUOUS_KEY));
            None
        }
    }
}

/// An attestation key signs what its TPM formats, or with tickets almost anything (A7): a request signed by one
/// proves nothing about who asked.
fn check_not_an_attestation_key(
    subject: &SpkiView,
    statements: &[Authenticated],
    certificates: &[CertView],
    binding: &mut Binding,
) {
    let signs = statements.iter().any(|statement| statement.signer().spki().same_key(subject));
    let certified =
        certificates.iter().any(|certificate| names_attesting_key(certificate) && certificate.spki().same_key(subject));
    let restricted = statements
        .iter()
        .filter_map(Authenticated::key)
        .any(|key| key.spki.same_key(subject) && key.is_restricted_signer());
    if signs || certified || restricted {
        binding.violations.push(Rejection::plain(codes::BIND_CSR_KEY_IS_AK));
    }
}

/// The statements about `subject`; here a software key with another key's evidence ends.
fn choose_key_statements(
    subject: &SpkiView,
    statements: &[Authenticated],
    failed_key_statement: bool,
    binding: &mut Binding,
) {
    let mut any = false;
    for (place, statement) in statements.iter().enumerate() {
        let Some(key) = statement.key() else { continue };
        any = true;
        if key.spki.same_key(subject) {
            binding.keys.push(place);
            binding.edges.push(Edge {
                from: Node::CsrKey,
                to: Node::Statement(statement.index()),
                by: By::Spki,
                note: None,
            });
        }
    }
    // A key statement that failed to authenticate has said so itself; it might have been the one.
    if binding.keys.is_empty() && !failed_key_statement {
        let code = if any { codes::BIND_KEY_MISMATCH } else { codes::BIND_NO_KEY_STATEMENT };
        binding.violations.push(Rejection::plain(code));
    }
}

fn device_of(signer: &AttestingKey) -> Device {
    signer.root().device_link().map_or_else(
        || Device { id: format!("ak:{}", hex::encode(&signer.root_key().sha256())), source: "attesting key" },
        |link| Device { id: format!("link:{}", hex::encode(link)), source: "deviceLink of the AK certificate" },
    )
}

fn check_expected_device(expectation: &Expectation<'_>, binding: &mut Binding) {
    let Some(expected) = expectation.device else { return };
    let found = binding.device.as_ref().map(|device| device.id.as_str());
    if found != Some(expected) {
        binding.violations.push(Rejection::new(
            codes::BIND_OTHER_DEVICE,
            format!("The evidence comes from device {}.", found.unwrap_or("unknown")),
        ));
    }
}

/// Every authenticated statement must be of the device that holds the key: a good machine's quote beside
/// another machine's key is the classic fraud.
fn check_connections(
    statements: &[Authenticated],
    first: &Authenticated,
    keys: &AttestingKeys<'_>,
    connected: &[usize],
    expectation: &Expectation<'_>,
    binding: &mut Binding,
) {
    let bound_to_device = first.key().is_some_and(AttestedKey::is_device_bound);
    for statement in statements.iter().filter(|statement| statement.index() != first.index()) {
        let about_subject = binding.keys.iter().any(|place| {
            statements.get(*place).is_some_and(|key_statement| key_statement.index() == statement.index())
        });
        if !connected.contains(&keys.number(statement.signer())) {
            binding.violations.push(Rejection::plain(codes::BIND_UNCONNECTED).in_statement(statement.index()));
        } else if !bound_to_device && !about_subject {
            binding.violations.push(Rejection::plain(codes::BIND_KEY_NOT_DEVICE_BOUND).in_statement(statement.index()));
        } else if !expectation.nonce && statement.qualifying() != first.qualifying() {
            annotate(binding, statement.index());
        }
    }
}

/// Says on the signature edge of a statement that its qualifying data is not the key statement's.
fn annotate(binding: &mut Binding, index: usize) {
    for edge in binding.edges.iter_mut().filter(|edge| edge.by == By::Signature && edge.to == Node::Statement(index)) {
        edge.note = Some(DIFFERENT_QUALIFYING_DATA);
    }
}

/// The platform statement of the key's device; one that is not connected has its own violation.
fn choose_platform(statements: &[Authenticated], binding: &mut Binding) {
    let platforms: Vec<(usize, &Authenticated)> =
        statements.iter().enumerate().filter(|(_, statement)| statement.platform().is_some()).collect();
    let is_bound = |statement: &Authenticated| {
        !binding.violations.iter().any(|violation| violation.statement() == Some(statement.index()))
    };
    let bound = platforms.iter().find(|(_, statement)| is_bound(statement)).map(|(place, _)| *place);
    if let Some((_, second)) = platforms.get(1) {
        binding.violations.push(Rejection::plain(codes::BIND_SEVERAL_PLATFORMS).in_statement(second.index()));
    }
    binding.platform = bound;
}

/// The attestation keys behind the statements, each once.
struct AttestingKeys<'a> {
    keys: Vec<&'a AttestingKey>,
}

impl<'a> AttestingKeys<'a> {
    fn of(statements: &'a [Authenticated]) -> Self {
        let mut keys: Vec<&AttestingKey> = Vec::new();
        for signer in statements.iter().map(Authenticated::signer) {
            if !keys.iter().any(|known| known.spki().same_key(signer.spki())) {
                keys.push(signer);
            }
        }
        Self { keys }
    }

    fn number(&self, signer: &AttestingKey) -> usize {
        self.keys.iter().position(|known| known.spki().same_key(signer.spki())).unwrap_or(usize::MAX)
    }

    fn signature_edges(&self, statements: &[Authenticated], expectation: &Expectation<'_>, binding: &mut Binding) {
        for statement in statements {
            let to = Node::Statement(statement.index());
            let from = Node::AttestingKey(self.number(statement.signer()));
            binding.edges.push(Edge { from, to, by: By::Signature, note: None });
            if expectation.nonce && statement.answers_nonce() {
                binding.edges.push(Edge { from: Node::Nonce, to, by: By::Nonce, note: None });
            }
        }
    }

    /// Numbers of the attestation keys that live in the module of key `start`, with the edges that show it.
    fn connected_to(&self, start: usize, statements: &[Authenticated], binding: &mut Binding) -> Vec<usize> {
        let mut connected = vec![start];
        let mut next = 0;
        while let Some(from) = connected.get(next).copied() {
            next += 1;
            for (to, key) in self.keys.iter().enumerate() {
                if connected.contains(&to) {
                    continue;
                }
                let Some(by) = self.keys.get(from).and_then(|from| same_module(from, key, statements)) else {
                    continue;
                };
                connected.push(to);
                let (from, to) = (Node::AttestingKey(from), Node::AttestingKey(to));
                binding.edges.push(Edge { from, to, by, note: None });
            }
        }
        connected
    }
}

/// By what two different attestation keys are known to live in one module, if by anything.
fn same_module(a: &AttestingKey, b: &AttestingKey, statements: &[Authenticated]) -> Option<By> {
    let linked = certifies(a, b, statements) || certifies(b, a, statements);
    if linked {
        return Some(By::Name);
    }
    let (a, b) = (a.certificates()?, b.certificates()?);
    let linked = a.iter().any(|a| {
        b.iter().any(|b| {
            let same_link = a.device_link().is_some_and(|link| !link.is_empty() && b.device_link() == Some(link));
            same_link && a.issuer_key().same_key(b.issuer_key())
        })
    });
    linked.then_some(By::DeviceLink)
}

/// Whether `issuer` certified the Name of `other` (TPM2_Certify), `other` being unable to leave its TPM.
///
/// The link counts only where it is the very key: by its SPKI, and by the Name that its certificate pins.
fn certifies(issuer: &AttestingKey, other: &AttestingKey, statements: &[Authenticated]) -> bool {
    statements.iter().filter(|statement| statement.signer().spki().same_key(issuer.spki())).any(|statement| {
        let Some(key) = statement.key() else { return false };
        let Some(name) = key.public.as_ref().and_then(|public| public.name()) else { return false };
        let pinned = match other.endorser() {
            Endorser::Certificates(certificates) => certificates.name(),
            Endorser::Link { .. } => None,
        };
        statement.format() == FormatId::TpmCertify
            && key.spki.same_key(other.spki())
            && key.is_device_bound()
            && pinned.is_none_or(|pinned| *pinned == name)
    })
}
