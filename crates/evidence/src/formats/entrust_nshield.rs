//! Key attestation bundles of Entrust nShield modules (Entrust, "Key Attestation Format", Attestation bundle format):
//! a JSON object of byte strings in base64url, which `nfkmattest` writes.

pub mod acl;
pub mod ncore;
pub mod warrant;

use self::acl::{Action, Certifier};
use self::ncore::{KeyData, KeyGeneration, KeyHash, ModuleState, Signature};
use self::warrant::{Warrant, WarrantKind};
use super::{Offer, Outline, Recognized, Row, Wrapping};
use crate::input::InputError;
use crate::json::Value;
use crate::{Malformed, Reason, base64url, oid};

/// What the format is called, how it travels, and how it is recognized.
pub static ROW: Row = Row {
    id: "entrust-nshield",
    title: "Entrust nShield key attestation bundle",
    statement: oid::STATEMENT_ENTRUST_NSHIELD,
    wrapping: Wrapping::OctetString,
    recognize,
    in_request: super::not_in_requests,
    takes_client_data: false,
    outline,
};

const PRODUCTION: &str = "nShield attestation bundle";
/// Octets of one bundle; those of modules have about six thousand.
pub const BUNDLE_OCTETS: usize = 256 * 1024;
/// Characters of the name of a cipher suite.
const SUITE_CHARACTERS: usize = 64;
/// Members that bundles have and others do not: enough of them tell a bundle, read or not.
const TELLING: [&str; 4] = ["\"kcmsg\"", "\"modstatemsg\"", "\"warrant\"", "\"pubkeydata\""];
/// Every member of a bundle.
const MEMBERS: [&str; 17] = [
    "CertKMaKMCaKFIPSbKNSO",
    "CertKMaKMCbKNSO",
    "CertKREaKRAbKNSO",
    "ciphersuite",
    "hkfips",
    "hkm",
    "hkmc",
    "hkra",
    "hkre",
    "kcmsg",
    "kcsig",
    "knsopub",
    "modstatemsg",
    "modstatesig",
    "pubkeydata",
    "root",
    "warrant",
];

/// A bundle. Messages keep the octets that are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What the root key of the warrant is called.
    pub root: String,
    /// The warrant of the module.
    pub warrant: Warrant,
    /// The state of the module.
    pub state: Message<ModuleState>,
    /// The generation of the key.
    pub generation: Message<KeyGeneration>,
    /// The public key.
    pub public_key: KeyData,
    /// The security world; none for keys that no world keeps.
    pub world: Option<World>,
}

/// A message of a module, with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<T> {
    /// The octets that are signed.
    pub octets: Vec<u8>,
    /// What they say.
    pub value: T,
    /// The signature.
    pub signature: Signature,
}

/// The security world that keeps a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The security officer's key (KNSO).
    pub officer_key: KeyData,
    /// The name of the cipher suite.
    pub suite: String,
    /// The hash of the module key (KM), under which keys are kept.
    pub module_key: KeyHash,
    /// The hash of KMC.
    pub certifying_key: KeyHash,
    /// The hash of KFIPS, in worlds that obey FIPS 140 at level 3.
    pub fips_key: Option<KeyHash>,
    /// The security officer's signature over these.
    pub binding: Signature,
    /// Keys for recovery, in worlds that have them.
    pub recovery: Option<Recovery>,
}

/// The keys by which administrators recover keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The hash of KRE, which opens archives.
    pub archive_key: KeyHash,
    /// The hash of KRA.
    pub authorizing_key: KeyHash,
    /// The security officer's signature over these.
    pub binding: Signature,
}

const fn malformed(reason: Reason) -> Malformed {
    Malformed::new(PRODUCTION, 0, reason)
}

/// The members of the object.
struct Members(Value);

impl Members {
    fn text(&self, name: &'static str) -> Result<Option<&str>, Malformed> {
        match self.0.member(name) {
            None => Ok(None),
            Some(value) => value.text().map(Some).ok_or(malformed(Reason::Unexpected("text"))),
        }
    }

    fn octets(&self, name: &'static str) -> Result<Option<Vec<u8>>, Malformed> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let decoded = base64url::decode(text.trim_end_matches('='));
        decoded.map(Some).ok_or(malformed(Reason::Unexpected("base64url")))
    }

    fn needed(&self, name: &'static str) -> Result<Vec<u8>, Malformed> {
        self.octets(name)?.ok_or(malformed(Reason::Missing(name)))
    }

    fn hash(&self, name: &'static str) -> Result<KeyHash, Malformed> {
        ncore::key_hash(&self.needed(name)?)
    }

    fn message<T>(
        &self,
        name: &'static str,
        signature: &'static str,
        parse: impl Fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Message<T>, Malformed> {
        let octets = self.needed(name)?;
        Ok(Message { value: parse(&octets)?, octets, signature: Signature::parse(&self.needed(signature)?)? })
    }

    fn world(&self) -> Result<Option<World>, Malformed> {
        let plain = self.octets("CertKMaKMCbKNSO")?;
        let fips = self.octets("CertKMaKMCaKFIPSbKNSO")?;
        let (binding, fips_key) = match (plain, fips) {
            (None, None) => return Ok(None),
            (Some(binding), None) => (binding, None),
            (None, Some(binding)) => (binding, Some(self.hash("hkfips")?)),
            (Some(_), Some(_)) => return Err(malformed(Reason::Duplicate("binding of the world"))),
        };
        let suite = self.text("ciphersuite")?.ok_or(malformed(Reason::Missing("ciphersuite")))?;
        if suite.len() > SUITE_CHARACTERS || !suite.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
            return Err(malformed(Reason::Unexpected("name of a cipher suite")));
        }
        let recovery = match self.octets("CertKREaKRAbKNSO")? {
            None => None,
            Some(binding) => Some(Recovery {
                archive_key: self.hash("hkre")?,
                authorizing_key: self.hash("hkra")?,
                binding: Signature::parse(&binding)?,
            }),
        };
        Ok(Some(World {
            officer_key: KeyData::parse(&self.needed("knsopub")?)?,
            suite: suite.to_owned(),
            module_key: self.hash("hkm")?,
            certifying_key: self.hash("hkmc")?,
            fips_key,
            binding: Signature::parse(&binding)?,
            recovery,
        }))
    }
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, has a member that bundles do not have, or exceeds a bound.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        if input.len() > BUNDLE_OCTETS {
            return Err(malformed(Reason::OverLimit { what: "bundle octets", limit: BUNDLE_OCTETS }));
        }
        let object = Value::parse(input)?;
        let Value::Object(members) = &object else { return Err(malformed(Reason::Unexpected("JSON object"))) };
        if members.iter().any(|(name, _)| !MEMBERS.contains(&name.as_str())) {
            return Err(malformed(Reason::Unexpected("members of a bundle alone")));
        }
        let members = Members(object);
        Ok(Self {
            root: members.text("root")?.ok_or(malformed(Reason::Missing("root")))?.to_owned(),
            warrant: Warrant::parse(&members.needed("warrant")?)?,
            state: members.message("modstatemsg", "modstatesig", ModuleState::parse)?,
            generation: members.message("kcmsg", "kcsig", KeyGeneration::parse)?,
            public_key: KeyData::parse(&members.needed("pubkeydata")?)?,
            world: members.world()?,
        })
    }
}

/// Whether a file is a bundle, well-formed or not.
fn begins_as_bundle(octets: &[u8]) -> bool {
    let is_object = octets.trim_ascii_start().first() == Some(&b'{');
    let has = |name: &&&str| octets.windows(name.len()).any(|window| window == name.as_bytes());
    is_object && octets.len() <= BUNDLE_OCTETS && TELLING.iter().filter(has).count() >= 2
}

/// One JSON object with the members of a bundle.
fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let mut found: Option<(&str, &[u8])> = None;
    let mut others = Vec::new();
    for file in &offer.files {
        if !file.blocks.is_empty() || !begins_as_bundle(file.bytes) {
            others.push(file.name);
        } else if let Some((first, _)) = found {
            let (first, second) = (first.to_owned(), file.name.to_owned());
            return Err(InputError::Ambiguous { part: "attestation bundle", first, second });
        } else {
            found = Some((file.name, file.bytes));
        }
    }
    match (found, others.first()) {
        (None, _) => Ok(None),
        (Some(_), Some(other)) => Err(InputError::Unrecognized { file: (*other).to_owned() }),
        (Some((_, bytes)), None) => {
            let certificates = offer.certificates.iter().map(|offered| offered.certificate.clone()).collect();
            Ok(Some(Recognized { content: bytes.to_vec(), certificates }))
        }
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn outline(input: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let bundle = Bundle::parse(input)?;
    let module = &bundle.warrant.module;
    let kind = match module.kind {
        WarrantKind::Factory => "issued when the module was made",
        WarrantKind::FieldUpgrade => "issued in the field, on the word of a DSA key of 1024 bits",
    };
    let mut warrant = vec![
        Outline::leaf("root", bundle.warrant.root.clone()),
        Outline::leaf("delegations", bundle.warrant.delegations.len().to_string()),
        Outline::leaf("module", module.serial.clone()),
        Outline::leaf("kind", kind),
    ];
    if let Some((version, level)) = module.fips140 {
        warrant.push(Outline::leaf("approval", format!("FIPS 140-{version} level {level}")));
    }
    let state = &bundle.state.value;
    let mut items = vec![
        Outline::group("warrant", warrant),
        Outline::group(
            "module state",
            vec![
                Outline::leaf("module", state.serial.clone()),
                Outline::leaf("security officer's key", hexadecimal(&state.officer_key)),
                Outline::leaf("module keys", state.module_keys.len().to_string()),
            ],
        ),
    ];
    if let Some(world) = &bundle.world {
        let mut parts = vec![
            Outline::leaf("cipher suite", world.suite.clone()),
            Outline::leaf("module key", hexadecimal(&world.module_key)),
            Outline::leaf("FIPS 140 mode", world.fips_key.is_some().to_string()),
        ];
        if let Some(recovery) = &world.recovery {
            parts.push(Outline::leaf("recovery key", hexadecimal(&recovery.archive_key)));
        }
        items.push(Outline::group("security world", parts));
    }
    let generation = &bundle.generation.value;
    let groups = generation.acl.groups.iter().map(|group| {
        let who = match &group.certifier {
            Certifier::Anybody => "anybody".to_owned(),
            Certifier::Key(key) => format!("who is certified by {}", hexadecimal(key)),
            Certifier::SecurityOfficer => "who is certified by the security officer".to_owned(),
        };
        Outline {
            name: "may".to_owned(),
            text: who,
            parts: group.actions.iter().map(action).collect(),
            certificate: None,
        }
    });
    let key = [Outline::leaf("hash", hexadecimal(&generation.key))].into_iter().chain(groups).collect();
    items.push(Outline::group("key generation", key));
    Ok(items)
}

fn action(action: &Action) -> Outline {
    match action {
        Action::Operations(bits) => Outline::leaf("operations", format!("{bits:#06x}")),
        Action::Derive { mechanism } => Outline::leaf("derive by mechanism", mechanism.to_string()),
        Action::MakeArchiveBlob { key: None } => Outline::leaf("make archive blob", "under any key"),
        Action::MakeArchiveBlob { key: Some(key) } => Outline::leaf("make archive blob", hexadecimal(key)),
        Action::MakeBlob(blob) => {
            let under = blob.module_key.map_or_else(|| "any module key".to_owned(), |key| hexadecimal(&key));
            let token = match (blob.module_alone, blob.token_parameters) {
                (true, _) => "alone",
                (false, Some(token)) if token.is_softcard => "with a softcard",
                (false, Some(_)) => "with a card set",
                (false, None) => "with a token",
            };
            Outline::leaf("make blob", format!("{under} {token}"))
        }
    }
}
