//! Binding: which statements speak of one key and one device, decided once, here (DESIGN, "Binding graph").
//!
//! Nodes are the key to be certified, statements, attestation keys and the nonce; edges are only what was
//! authenticated. Subjects, alternative names and models never bind: a client may choose them, batches share
//! them, and two can both be empty.

use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::{CertView, SpkiView};

use crate::authenticate::{
    AttestedKey, AttestingKey, Authenticated, Authentication, Endorser, Signer, names_attesting_key,
};
use crate::hex;
use crate::rejection::{Rejection, codes};
use crate::verdict::Freshness;

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

/// Where something is said about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPlace {
    /// Place among the authenticated statements.
    pub statement: usize,
    /// Place among the keys of that statement.
    pub key: usize,
}

/// The graph and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Binding {
    pub edges: Vec<Edge>,
    pub violations: Vec<Rejection>,
    /// The key that all this is about.
    pub subject: Option<SpkiView>,
    /// What is said about that key, in the order of the statements.
    pub keys: Vec<KeyPlace>,
    /// Place of the platform statement bound to it.
    pub platform: Option<usize>,
    pub device: Option<Device>,
    /// The keys that signed statements, in the order of the statements, each with others that its statement shows to be
    /// attesting keys.
    pub attesting_keys: Vec<SpkiView>,
}

const IDENTITY_ALONE: &str = "an endorsement key certificate proves identity, not possession";
const EVERY_KEY: &str = "no key was named; every key of the statement is judged";
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
    let keys = Signers::of(statements);
    keys.signature_edges(statements, &mut binding);
    binding.attesting_keys = statements.iter().flat_map(|of| of.signer().attesting_keys()).cloned().collect();
    let failed_key_statement = authentication.failures.iter().any(|(format, _)| is_key_format(*format));
    match subject(statements, expectation, failed_key_statement, &mut binding) {
        Subject::Key(subject) => {
            check_not_an_attestation_key(&subject, statements, certificates, &mut binding);
            choose_key_statements(&subject, statements, failed_key_statement, &mut binding);
            binding.subject = Some(subject);
        }
        Subject::EveryKeyOf(place) => choose_every_key(place, statements, &mut binding),
        Subject::None => return binding,
    }
    bind_possession(authentication, &mut binding);
    let Some(first) = binding.keys.first().and_then(|place| statements.get(place.statement)) else {
        return binding;
    };
    binding.device = device_of(first.signer());
    check_expected_device(expectation, &mut binding);
    let connected = keys.connected_to(keys.number(first.signer()), statements, &mut binding);
    check_connections(statements, first, &keys, &connected, expectation, &mut binding);
    choose_platform(statements, &mut binding);
    binding
}

/// Whether statements of this format are about a key.
pub(crate) const fn is_key_format(format: FormatId) -> bool {
    match format {
        FormatId::TpmCertify | FormatId::TpmCertifyX509 | FormatId::KeyPop | FormatId::Cmw | FormatId::Listed(_) => {
            true
        }
        FormatId::TpmEk => true,
        FormatId::TpmQuote => false,
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

/// What all this is about.
enum Subject {
    /// The request's key, the expected one, or the only one that is attested.
    Key(SpkiView),
    /// No key was named, and one statement attests several, or one that has no public part: all that it says.
    EveryKeyOf(usize),
    /// Nothing that could be told.
    None,
}

fn subject(
    statements: &[Authenticated],
    expectation: &Expectation<'_>,
    failed_key_statement: bool,
    binding: &mut Binding,
) -> Subject {
    if let Some(key) = expectation.csr_key.or(expectation.expected_key) {
        return Subject::Key(key.clone());
    }
    let links = |key: &AttestedKey| {
        key.spki.as_ref().is_some_and(|spki| statements.iter().any(|other| other.signer().key().same_key(spki)))
    };
    let mut attested: Vec<&AttestedKey> = Vec::new();
    let mut places: Vec<usize> = Vec::new();
    for (place, statement) in statements.iter().enumerate() {
        for key in statement.keys().iter().filter(|key| !links(key)) {
            // There are several already, of this statement too: more of them tell nothing new, and there may be thousands.
            if attested.len() > 1 && places.last() == Some(&place) {
                break;
            }
            let known = |other: &&AttestedKey| key.spki.as_ref().is_some_and(|spki| other.is(spki));
            if !attested.iter().any(known) {
                attested.push(key);
                places.push(place);
            }
        }
    }
    places.dedup();
    match (attested.as_slice(), places.as_slice()) {
        ([AttestedKey { spki: Some(only), .. }], _) => Subject::Key(only.clone()),
        (_, [place]) => Subject::EveryKeyOf(*place),
        ([], _) => {
            if !failed_key_statement {
                binding.violations.push(Rejection::plain(codes::BIND_NO_KEY_STATEMENT));
            }
            Subject::None
        }
        _ => {
            binding.violations.push(Rejection::plain(codes::BIND_AMBIGUOUS_KEY));
            Subject::None
        }
    }
}

/// Takes every key of one statement, none of them being an attestation key.
fn choose_every_key(place: usize, statements: &[Authenticated], binding: &mut Binding) {
    let Some(statement) = statements.get(place) else { return };
    let to = Node::Statement(statement.index());
    binding.edges.push(Edge { from: Node::CsrKey, to, by: By::Spki, note: Some(EVERY_KEY) });
    for (key, attested) in statement.keys().iter().enumerate() {
        let signs = attested.spki.as_ref().is_some_and(|key| statement.signer().shows_attesting(key));
        if attested.is_attesting() || signs {
            binding.violations.push(Rejection::plain(codes::BIND_CSR_KEY_IS_AK).in_statement(statement.index()));
        }
        binding.keys.push(KeyPlace { statement: place, key });
    }
}

/// A proof of possession is the request's, and makes nothing fresh but what is said about the request's key.
fn bind_possession(authentication: &Authentication, binding: &mut Binding) {
    if let Some((index, freshness)) = authentication.possession {
        let to = Node::Statement(index);
        binding.edges.push(Edge { from: Node::CsrKey, to, by: By::Signature, note: None });
        if freshness != Freshness::None {
            binding.edges.push(Edge { from: Node::Nonce, to, by: By::Nonce, note: None });
        }
    }
    for (place, statement) in authentication.statements.iter().enumerate() {
        let about_subject = binding.keys.iter().any(|key| key.statement == place);
        if statement.freshness() == Freshness::ProofOfPossession && !about_subject {
            binding.violations.push(
                Rejection::new(
                    codes::NONCE_MISSING,
                    "The proof of possession is by another key than this statement's, whose format has no nonce.",
                )
                .in_statement(statement.index()),
            );
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
    let signs = statements.iter().any(|statement| statement.signer().shows_attesting(subject));
    let certified =
        certificates.iter().any(|certificate| names_attesting_key(certificate) && certificate.spki().same_key(subject));
    let restricted = statements.iter().flat_map(Authenticated::keys).any(|key| key.is(subject) && key.is_attesting());
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
    for (place, statement) in statements.iter().enumerate() {
        let Some(key) = statement.keys().iter().position(|key| key.is(subject)) else { continue };
        binding.keys.push(KeyPlace { statement: place, key });
        let to = Node::Statement(statement.index());
        let note = (statement.format() == FormatId::TpmEk).then_some(IDENTITY_ALONE);
        binding.edges.push(Edge { from: Node::CsrKey, to, by: By::Spki, note });
    }
    let any = statements.iter().any(Authenticated::is_about_keys);
    // A key statement that failed to authenticate has said so itself; it might have been the one.
    if binding.keys.is_empty() && !failed_key_statement {
        let code = if any { codes::BIND_KEY_MISMATCH } else { codes::BIND_NO_KEY_STATEMENT };
        binding.violations.push(Rejection::plain(code));
    }
}

fn device_of(signer: &Signer) -> Option<Device> {
    let key = match signer {
        Signer::Module(signer) => return signer.device.clone(),
        Signer::Tpm(key) => key,
    };
    Some(key.root().device_link().map_or_else(
        || Device { id: format!("ak:{}", hex::encode(&key.root_key().sha256())), source: "attesting key" },
        |link| Device { id: format!("link:{}", hex::encode(link)), source: "deviceLink of the AK certificate" },
    ))
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
    keys: &Signers<'_>,
    connected: &[usize],
    expectation: &Expectation<'_>,
    binding: &mut Binding,
) {
    // Where several keys of one statement are judged, one that may leave would take the platform's word with it.
    let first_place = binding.keys.first().map(|place| place.statement);
    let bound_to_device = binding
        .keys
        .iter()
        .filter(|place| Some(place.statement) == first_place)
        .all(|place| first.keys().get(place.key).is_some_and(AttestedKey::is_device_bound));
    for (place, statement) in statements.iter().enumerate() {
        if binding.keys.first().is_some_and(|key| key.statement == place) {
            continue;
        }
        let about_subject = binding.keys.iter().any(|key| key.statement == place);
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
        statements.iter().enumerate().filter(|(_, statement)| statement.is_about_platform_alone()).collect();
    let is_bound = |statement: &Authenticated| {
        !binding.violations.iter().any(|violation| violation.statement() == Some(statement.index()))
    };
    let bound = platforms.iter().find(|(_, statement)| is_bound(statement)).map(|(place, _)| *place);
    if let Some((_, second)) = platforms.get(1) {
        binding.violations.push(Rejection::plain(codes::BIND_SEVERAL_PLATFORMS).in_statement(second.index()));
    }
    // What a key statement tells of its module is bound to the key by being one statement.
    let embedded = || {
        let mut places = binding.keys.iter().map(|key| key.statement);
        places.find(|place| statements.get(*place).is_some_and(|statement| statement.platform().is_some()))
    };
    binding.platform = bound.or_else(|| platforms.is_empty().then(embedded).flatten());
}

/// The keys behind the statements, each once.
struct Signers<'a> {
    signers: Vec<&'a Signer>,
}

impl<'a> Signers<'a> {
    fn of(statements: &'a [Authenticated]) -> Self {
        let mut signers: Vec<&Signer> = Vec::new();
        for signer in statements.iter().map(Authenticated::signer) {
            if !signers.iter().any(|known| known.is_same(signer)) {
                signers.push(signer);
            }
        }
        Self { signers }
    }

    fn number(&self, signer: &Signer) -> usize {
        self.signers.iter().position(|known| known.is_same(signer)).unwrap_or(usize::MAX)
    }

    fn signature_edges(&self, statements: &[Authenticated], binding: &mut Binding) {
        for statement in statements {
            let to = Node::Statement(statement.index());
            let from = Node::AttestingKey(self.number(statement.signer()));
            binding.edges.push(Edge { from, to, by: By::Signature, note: None });
            if statement.freshness() == Freshness::Nonce {
                binding.edges.push(Edge { from: Node::Nonce, to, by: By::Nonce, note: None });
            }
        }
    }

    /// Numbers of the keys that live in the module of key `start`, with the edges that show it.
    fn connected_to(&self, start: usize, statements: &[Authenticated], binding: &mut Binding) -> Vec<usize> {
        let mut connected = vec![start];
        let mut next = 0;
        while let Some(from) = connected.get(next).copied() {
            next += 1;
            for (to, key) in self.signers.iter().enumerate() {
                if connected.contains(&to) {
                    continue;
                }
                let Some(by) = self.signers.get(from).and_then(|from| same_module(from, key, statements)) else {
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

/// By what two different attestation keys are known to live in one module, if by anything. Of keys of listed formats
/// nothing is known but what makes them the same.
fn same_module(a: &Signer, b: &Signer, statements: &[Authenticated]) -> Option<By> {
    let (a, b) = (a.tpm()?, b.tpm()?);
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
    let by_issuer = |statement: &&Authenticated| {
        statement.format() == FormatId::TpmCertify && statement.signer().key().same_key(issuer.spki())
    };
    statements.iter().filter(by_issuer).flat_map(Authenticated::keys).any(|key| {
        let Some(name) = key.tpm().and_then(|key| key.public.as_ref()).and_then(|public| public.name()) else {
            return false;
        };
        let pinned = match other.endorser() {
            Endorser::Certificates(certificates) => certificates.name(),
            Endorser::Link { .. } => None,
        };
        key.is(other.spki()) && key.is_device_bound() && pinned.is_none_or(|pinned| *pinned == name)
    })
}
