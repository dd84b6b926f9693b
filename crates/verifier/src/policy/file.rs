//! A policy file as it is written. Unknown keys are refused: a misspelt rule must not be no rule.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::PolicyError;
use super::demand::{AdvisoryDemand, NonceDemand, PlatformDemand, RevocationDemand, Sources, Stance};
use super::modules::Certification;
use super::rule::{Rule, Wanted};
use crate::claims::vocabulary::{self, About};
use crate::enrolment::Method;
use crate::rejection::{Code, codes};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    pub name: String,
    #[serde(default)]
    pub note: Option<String>,
    #[serde(default)]
    pub platform: PlatformDemand,
    #[serde(default)]
    pub nonce: NonceDemand,
    #[serde(default = "Stance::accept")]
    pub possession: Stance,
    #[serde(default = "any")]
    pub max_evidence_age: String,
    #[serde(default = "Stance::accept")]
    pub attributes_extension_only: Stance,
    #[serde(default = "Stance::accept")]
    pub virtual_module: Stance,
    #[serde(default = "Stance::reject")]
    pub weak_signatures: Stance,
    #[serde(default = "Stance::reject")]
    pub missing_signers: Stance,
    #[serde(default = "Stance::accept")]
    pub unchecked_hss: Stance,
    #[serde(default = "Stance::accept")]
    pub identity_only: Stance,
    #[serde(default)]
    pub revocation: RevocationDemand,
    #[serde(default)]
    pub pcr_selection: BTreeMap<String, Vec<u8>>,
    #[serde(default)]
    pub pcr_reference: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    pub sources: Sources,
    #[serde(default)]
    pub key: KeyRules,
    #[serde(default)]
    pub module: ModuleRules,
    #[serde(default)]
    pub attesting_key: AttestingKeyRules,
    #[serde(default)]
    pub advisories: AdvisoryDemand,
    #[serde(default)]
    pub require: Require,
    #[serde(default)]
    pub module_lists: Vec<String>,
    #[serde(default)]
    pub clauses: BTreeMap<String, String>,
}

fn any() -> String {
    "any".to_owned()
}

/// `"any"`, or what is wanted.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum AnyOr<T> {
    Wanted(T),
    Any(AnyWord),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AnyWord {
    Any,
}

impl<T> AnyOr<T> {
    const ANY: Self = Self::Any(AnyWord::Any);

    fn wanted(self) -> Option<T> {
        match self {
            Self::Wanted(wanted) => Some(wanted),
            Self::Any(AnyWord::Any) => None,
        }
    }
}

/// One expression or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Require {
    One(String),
    Many(Vec<String>),
}

impl Default for Require {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Require {
    pub fn texts(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeyRules {
    extractable: AnyOr<bool>,
    never_extractable: AnyOr<bool>,
    sensitive: AnyOr<bool>,
    local: AnyOr<bool>,
    device_bound: AnyOr<bool>,
    dual_control: AnyOr<bool>,
    recoverable: AnyOr<bool>,
    origin: AnyOr<Vec<String>>,
    purposes: Purposes,
    user_auth: UserAuth,
    rsa_bits_min: u16,
    curves: AnyOr<Vec<String>>,
}

impl Default for KeyRules {
    fn default() -> Self {
        Self {
            extractable: AnyOr::Wanted(false),
            never_extractable: AnyOr::ANY,
            sensitive: AnyOr::ANY,
            local: AnyOr::ANY,
            device_bound: AnyOr::ANY,
            dual_control: AnyOr::ANY,
            recoverable: AnyOr::ANY,
            origin: AnyOr::Wanted(vec!["generated".to_owned()]),
            purposes: Purposes::default(),
            user_auth: UserAuth::Any,
            rsa_bits_min: 2048,
            curves: AnyOr::ANY,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Purposes {
    include: Vec<String>,
    exclude: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UserAuth {
    Any,
    Required,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModuleRules {
    debug: DebugStance,
    vendors: AnyOr<Vec<String>>,
    models: AnyOr<Vec<String>>,
    fips: Fips,
    common_criteria: CommonCriteria,
    /// Certifications of which a list of modules must show one.
    pub certified: Vec<Certification>,
}

impl Default for ModuleRules {
    fn default() -> Self {
        Self {
            debug: DebugStance::NotEnabled,
            vendors: AnyOr::ANY,
            models: AnyOr::ANY,
            fips: Fips::default(),
            common_criteria: CommonCriteria::default(),
            certified: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DebugStance {
    /// Whatever is said.
    Any,
    /// Nothing says that it is enabled.
    NotEnabled,
    /// It is said to be disabled.
    Disabled,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fips {
    mode: Option<bool>,
    versions: Vec<String>,
    level_min: Option<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CommonCriteria {
    level_min: Option<u8>,
}

/// `"any"`, the methods that must be named, or those that must not. What others certify names none of them.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Bootstrap {
    Wanted(Vec<String>),
    Not { exclude: Vec<String> },
    Any(AnyWord),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AttestingKeyRules {
    environment: AnyOr<Vec<String>>,
    bootstrap: Bootstrap,
    signature_algorithms: Vec<String>,
}

impl Default for AttestingKeyRules {
    fn default() -> Self {
        Self {
            environment: AnyOr::Wanted(vec!["module".to_owned()]),
            bootstrap: Bootstrap::Not { exclude: texts(&["first-use"]) },
            signature_algorithms: Vec::new(),
        }
    }
}

/// Debug states that are none: RFC 9711, 4.2.9, in words.
const DEBUG_DISABLED: [&str; 6] =
    ["disabled", "disabled-since-boot", "disabled-permanently", "disabled-fully-and-permanently", "false", "none"];
const DEBUG_ENABLED: [&str; 2] = ["enabled", "true"];
const ORIGINS: [&str; 3] = ["generated", "imported", "unknown"];
const ENVIRONMENTS: [&str; 2] = ["module", "host"];
const PURPOSES: [&str; 9] =
    ["encrypt", "decrypt", "wrap", "unwrap", "sign", "sign-recover", "verify", "verify-recover", "derive"];
const CURVES: [&str; 4] = ["P-256", "P-384", "P-521", "Ed25519"];

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// Collects rules in the order in which they are judged.
struct Collector(Vec<Rule>);

impl Collector {
    fn put(&mut self, id: &'static str, about: About, claim: &'static str, wanted: Wanted, code: Code) {
        self.0.push(Rule { id, about, claim: (claim, None), wanted, code, clause: None });
    }

    fn member(&mut self, id: &'static str, claim: (&'static str, &'static str), wanted: Wanted, code: Code) {
        let claim = (claim.0, Some(claim.1));
        self.0.push(Rule { id, about: About::Platform, claim, wanted, code, clause: None });
    }

    fn boolean(&mut self, id: &'static str, claim: &'static str, wanted: AnyOr<bool>, code: Code) {
        if let Some(wanted) = wanted.wanted() {
            self.put(id, About::Key, claim, Wanted::Is(wanted), code);
        }
    }
}

/// Refuses a value that its rule does not know: it could never be satisfied, or never violated.
fn known(rule: &'static str, found: &[String], known: &[&str], expected: &'static str) -> Result<(), PolicyError> {
    match found.iter().find(|value| !known.iter().any(|known| known.eq_ignore_ascii_case(value))) {
        None => Ok(()),
        Some(value) => Err(PolicyError::Value { rule, found: value.clone(), expected }),
    }
}

/// A list that names nothing could never be satisfied.
fn some(rule: &'static str, found: Vec<String>) -> Result<Vec<String>, PolicyError> {
    if found.is_empty() {
        return Err(PolicyError::Value { rule, found: String::new(), expected: "it needs a value, or \"any\"" });
    }
    Ok(found)
}

impl PolicyFile {
    /// The rules over claims.
    pub fn rules(&mut self) -> Result<Vec<Rule>, PolicyError> {
        let mut rules = Collector(Vec::new());
        std::mem::take(&mut self.key).collect(&mut rules)?;
        self.module.collect(&mut rules)?;
        std::mem::take(&mut self.attesting_key).collect(&mut rules)?;
        if self.weak_signatures == Stance::Reject {
            let about = About::AttestingKey;
            rules.put("weak_signatures", about, "weak_signature", Wanted::Absent, codes::POLICY_WEAK_SIGNATURE);
        }
        if self.missing_signers == Stance::Reject {
            let about = About::AttestingKey;
            rules.put("missing_signers", about, "missing_signers", Wanted::Absent, codes::POLICY_MISSING_SIGNERS);
        }
        if self.unchecked_hss == Stance::Reject {
            let wanted = Wanted::Never(texts(&["unchecked"]));
            rules.put("unchecked_hss", About::AttestingKey, "hss", wanted, codes::POLICY_UNCHECKED_HSS);
        }
        if self.identity_only == Stance::Reject {
            let wanted = Wanted::Never(texts(&["true"]));
            rules.put("identity_only", About::Key, "identity_only", wanted, codes::POLICY_IDENTITY_ONLY);
        }
        for (place, names) in
            [("sources.implied", &self.sources.implied), ("sources.host_asserted", &self.sources.host_asserted)]
        {
            if let Some(claim) = names.names().find(|name| vocabulary::named(name).is_none()) {
                return Err(PolicyError::Claim { place, claim: claim.to_owned() });
            }
        }
        let mut rules = rules.0;
        for (id, clause) in &self.clauses {
            let mut found = rules.iter_mut().filter(|rule| rule.id == id).peekable();
            if found.peek().is_none() && !is_other_rule(id) {
                return Err(PolicyError::Rule(id.clone()));
            }
            found.for_each(|rule| rule.clause = Some(clause.clone()));
        }
        Ok(rules)
    }
}

/// Rules that are not over one claim, and that clauses may be given for.
fn is_other_rule(id: &str) -> bool {
    let others = ["advisories.keys", "advisories.modules", "attributes_extension_only", "max_evidence_age"];
    others.contains(&id)
        || ["module.certified", "nonce", "platform", "possession", "require", "revocation", "virtual_module"]
            .contains(&id)
}

impl KeyRules {
    fn collect(self, rules: &mut Collector) -> Result<(), PolicyError> {
        rules.boolean("key.extractable", "extractable", self.extractable, codes::KEY_EXTRACTABLE);
        rules.boolean(
            "key.never_extractable",
            "never_extractable",
            self.never_extractable,
            codes::KEY_ONCE_EXTRACTABLE,
        );
        rules.boolean("key.sensitive", "sensitive", self.sensitive, codes::KEY_SENSITIVE);
        rules.boolean("key.local", "local", self.local, codes::KEY_LOCAL);
        rules.boolean("key.device_bound", "device_bound", self.device_bound, codes::KEY_DEVICE_BOUND);
        rules.boolean("key.dual_control", "dual_control", self.dual_control, codes::KEY_DUAL_CONTROL);
        rules.boolean("key.recoverable", "recoverable", self.recoverable, codes::KEY_RECOVERABLE);
        if let Some(origin) = self.origin.wanted() {
            known("key.origin", &origin, &ORIGINS, "it may be generated, imported or unknown")?;
            let wanted = Wanted::OneOf(some("key.origin", origin)?);
            rules.put("key.origin", About::Key, "origin", wanted, codes::KEY_NOT_GENERATED);
        }
        for (id, purposes, is_included) in [
            ("key.purposes.include", self.purposes.include, true),
            ("key.purposes.exclude", self.purposes.exclude, false),
        ] {
            known(id, &purposes, &PURPOSES, "it may be a purpose of PKCS #11, such as sign")?;
            if !purposes.is_empty() {
                let wanted = if is_included { Wanted::Includes(purposes) } else { Wanted::Excludes(purposes) };
                rules.put(id, About::Key, "purposes", wanted, codes::KEY_PURPOSES);
            }
        }
        match self.user_auth {
            UserAuth::Any => {}
            UserAuth::Required => {
                rules.put("key.user_auth", About::Key, "user_auth", Wanted::UserAction, codes::KEY_USER_AUTH);
            }
        }
        if self.rsa_bits_min > 0 {
            let wanted = Wanted::RsaBits(self.rsa_bits_min);
            rules.put("key.rsa_bits_min", About::Key, "spki", wanted, codes::KEY_SIZE);
        }
        if let Some(curves) = self.curves.wanted() {
            known("key.curves", &curves, &CURVES, "it may be P-256, P-384, P-521 or Ed25519")?;
            let wanted = Wanted::Curves(some("key.curves", curves)?);
            rules.put("key.curves", About::Key, "spki", wanted, codes::KEY_CURVE);
        }
        Ok(())
    }
}

impl ModuleRules {
    fn collect(&mut self, rules: &mut Collector) -> Result<(), PolicyError> {
        let debug = match self.debug {
            DebugStance::Any => None,
            DebugStance::NotEnabled => Some(Wanted::Never(texts(&DEBUG_ENABLED))),
            DebugStance::Disabled => Some(Wanted::OneOf(texts(&DEBUG_DISABLED))),
        };
        if let Some(wanted) = debug {
            rules.put("module.debug", About::Platform, "debug", wanted, codes::POLICY_DEBUG);
        }
        let take = |list: &mut AnyOr<Vec<String>>| std::mem::replace(list, AnyOr::ANY).wanted();
        if let Some(vendors) = take(&mut self.vendors) {
            let wanted = Wanted::OneOf(some("module.vendors", vendors)?);
            rules.put("module.vendors", About::Platform, "vendor", wanted, codes::POLICY_VENDOR);
        }
        if let Some(models) = take(&mut self.models) {
            let wanted = Wanted::OneOf(some("module.models", models)?);
            rules.put("module.models", About::Platform, "model", wanted, codes::POLICY_MODEL);
        }
        let fips = std::mem::take(&mut self.fips);
        if let Some(mode) = fips.mode {
            rules.member("module.fips.mode", ("fips", "mode"), Wanted::Is(mode), codes::POLICY_FIPS);
        }
        if !fips.versions.is_empty() {
            let wanted = Wanted::OneOf(fips.versions);
            rules.member("module.fips.versions", ("fips", "version"), wanted, codes::POLICY_FIPS);
        }
        if let Some(level) = fips.level_min {
            rules.member("module.fips.level_min", ("fips", "level"), Wanted::AtLeast(level), codes::POLICY_FIPS);
        }
        if let Some(level) = self.common_criteria.level_min {
            let wanted = Wanted::AtLeast(level);
            let claim = ("common_criteria", "level");
            rules.member("module.common_criteria.level_min", claim, wanted, codes::POLICY_COMMON_CRITERIA);
        }
        Ok(())
    }
}

impl Bootstrap {
    fn collect(self, rules: &mut Collector) -> Result<(), PolicyError> {
        const METHODS: &str = "it may be manufacturer, inventory, ceremony or first-use";
        let id = "attesting_key.bootstrap";
        let checked = |methods: Vec<String>| {
            known(id, &methods, &Method::ALL.map(Method::label), METHODS)?;
            some(id, methods)
        };
        let wanted = match self {
            Self::Any(AnyWord::Any) => return Ok(()),
            Self::Wanted(methods) => Wanted::OneOf(checked(methods)?),
            Self::Not { exclude } => Wanted::Never(checked(exclude)?),
        };
        rules.put(id, About::AttestingKey, "bootstrap", wanted, codes::POLICY_BOOTSTRAP);
        Ok(())
    }
}

impl AttestingKeyRules {
    fn collect(self, rules: &mut Collector) -> Result<(), PolicyError> {
        let about = About::AttestingKey;
        if let Some(environment) = self.environment.wanted() {
            let id = "attesting_key.environment";
            known(id, &environment, &ENVIRONMENTS, "it may be module or host")?;
            let wanted = Wanted::OneOf(some(id, environment)?);
            rules.put(id, about, "environment", wanted, codes::POLICY_ENVIRONMENT);
        }
        self.bootstrap.collect(rules)?;
        if !self.signature_algorithms.is_empty() {
            let wanted = Wanted::Includes(self.signature_algorithms);
            let id = "attesting_key.signature_algorithms";
            rules.put(id, about, "signature_algorithms", wanted, codes::POLICY_SIGNATURE_ALGORITHMS);
        }
        Ok(())
    }
}
