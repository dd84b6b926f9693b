//! Appraisal policy: what the one who relies on a verdict wants to be true.
//!
//! A policy is a TOML file: typed rules over claims with safe defaults ([`rule`]), certifications that a list of modules
//! must show ([`modules`]), and expressions ([`expression`]). All of it is checked and compiled when it is loaded.

mod age;
mod condition;
mod demand;
mod error;
mod explain;
pub(crate) mod expression;
mod file;
pub(crate) mod modules;
mod reference;
pub(crate) mod rule;

use vouchsafe_evidence::tpm::HashAlg;

use crate::authenticate::Dated;

pub use age::Age;
pub(crate) use age::CLOCK_SKEW_SECONDS;
pub use condition::Condition;
pub(crate) use demand::Sources;
pub use demand::{
    AdvisoryDemand, AdvisoryStance, IndirectStance, NonceDemand, PlatformDemand, RevocationDemand, Stance,
};
pub use error::PolicyError;
pub use explain::{Explanation, Judged, ReportError};
pub(crate) use expression::Expression;
use file::PolicyFile;
pub(crate) use modules::Certification;
pub use modules::ModuleList;
pub use reference::ReferenceValues;
pub(crate) use rule::Rule;

/// A policy, checked when it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: String,
    note: Option<String>,
    platform: PlatformDemand,
    nonce: NonceDemand,
    possession: Stance,
    max_evidence_age: Option<Age>,
    extension_only: Stance,
    virtual_module: Stance,
    revocation: RevocationDemand,
    pcr_selection: Vec<(HashAlg, Vec<u8>)>,
    references: ReferenceValues,
    sources: Sources,
    rules: Vec<Rule>,
    certified: Vec<Certification>,
    advisories: AdvisoryDemand,
    expressions: Vec<Expression>,
    module_list_names: Vec<String>,
    modules: ModuleList,
    clauses: Vec<(String, String)>,
}

/// Policies that come with the program.
const SHIPPED: [&str; 4] = [
    include_str!("policy/default.toml"),
    include_str!("policy/lab.toml"),
    include_str!("policy/fips-140-3-level-3.toml"),
    include_str!("policy/csbr-code-signing.toml"),
];
/// The highest PCR of a PC client TPM (TCG PC Client Platform TPM Profile).
const PCR_MAX: u8 = 23;
/// The word for evidence of any age.
const ANY_AGE: &str = "any";

impl Policy {
    /// The policy of this name among those that come with the program.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SHIPPED.iter().filter_map(|text| Self::from_toml(text).ok()).find(|policy| policy.name == name)
    }

    /// The names of the policies that come with the program.
    #[must_use]
    pub fn shipped_names() -> Vec<String> {
        SHIPPED.iter().filter_map(|text| Self::from_toml(text).ok()).map(|policy| policy.name).collect()
    }

    /// Reads and checks a policy file. The lists of modules that it names ([`Policy::module_list_names`]) are given to
    /// it by [`Policy::with_modules`]; until then no module counts as certified.
    ///
    /// # Errors
    /// [`PolicyError`] naming the key and what it may be.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let mut file: PolicyFile = toml::from_str(text).map_err(|e| PolicyError::Toml(e.to_string()))?;
        let rules = file.rules()?;
        let texts = std::mem::take(&mut file.require).texts();
        if texts.len() > expression::EXPRESSIONS {
            return Err(PolicyError::Value {
                rule: "require",
                found: texts.len().to_string(),
                expected: "it may be up to 32 expressions",
            });
        }
        let (pcr_selection, references) = registers(file.pcr_selection, file.pcr_reference)?;
        Ok(Self {
            name: file.name,
            note: file.note,
            platform: file.platform,
            nonce: file.nonce,
            possession: file.possession,
            max_evidence_age: max_evidence_age(&file.max_evidence_age)?,
            extension_only: file.attributes_extension_only,
            virtual_module: file.virtual_module,
            revocation: file.revocation,
            pcr_selection,
            references,
            sources: file.sources,
            rules,
            certified: file.module.certified,
            advisories: file.advisories,
            expressions: texts.iter().map(|text| Expression::compile(text)).collect::<Result<_, _>>()?,
            module_list_names: file.module_lists,
            modules: ModuleList::default(),
            clauses: file.clauses.into_iter().collect(),
        })
    }

    /// The same policy with another list of certified modules besides those that it has.
    #[must_use]
    pub fn with_modules(mut self, list: ModuleList) -> Self {
        self.modules.extend(list);
        self
    }

    /// The same policy with another demand on revocation.
    pub(crate) const fn with_revocation(mut self, demand: RevocationDemand) -> Self {
        self.revocation = demand;
        self
    }

    /// The files of certified modules that the policy names, beside its own file.
    #[must_use]
    pub fn module_list_names(&self) -> &[String] {
        &self.module_list_names
    }

    /// The certified modules that it was given.
    #[must_use]
    pub const fn modules(&self) -> &ModuleList {
        &self.modules
    }

    /// What every verdict under it says, for those who read one without knowing the policy.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// What it makes of known flaws of modules.
    #[must_use]
    pub const fn advisories(&self) -> AdvisoryDemand {
        self.advisories
    }

    /// Whether a proof of possession makes up for a nonce where a format has none.
    #[must_use]
    pub const fn possession(&self) -> Stance {
        self.possession
    }

    /// How old evidence may be, if it may not be of any age.
    #[must_use]
    pub const fn max_evidence_age(&self) -> Option<Age> {
        self.max_evidence_age
    }

    /// The time that evidence says of itself, if it says so on a word that counts.
    pub(crate) fn dated(&self, dated: Option<Dated>) -> Option<Dated> {
        dated.filter(|dated| self.sources.suffices(dated.source, dated.claim))
    }

    /// Whether it asks that a list of modules shows a certification.
    #[must_use]
    pub const fn asks_for_certification(&self) -> bool {
        !self.certified.is_empty()
    }

    /// Its rules over claims.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// On whose word claims may rest.
    pub(crate) const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Its expressions.
    pub(crate) fn expressions(&self) -> &[Expression] {
        &self.expressions
    }

    /// The certifications of which one suffices; none if no list is asked.
    pub(crate) fn certified(&self) -> &[Certification] {
        &self.certified
    }

    /// The clause for which it has a rule, where it says.
    pub(crate) fn clause(&self, rule: &str) -> Option<&str> {
        self.clauses.iter().find(|(id, _)| id == rule).map(|(_, clause)| clause.as_str())
    }

    /// Its name, which every verdict repeats.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it asks of the platform statement.
    #[must_use]
    pub const fn platform(&self) -> PlatformDemand {
        self.platform
    }

    /// What it asks of freshness.
    #[must_use]
    pub const fn nonce(&self) -> NonceDemand {
        self.nonce
    }

    /// Whether a key's attributes may come from a TPM-made certificate's extension alone.
    #[must_use]
    pub const fn extension_only(&self) -> Stance {
        self.extension_only
    }

    /// Whether software and virtual TPMs are taken.
    #[must_use]
    pub const fn virtual_module(&self) -> Stance {
        self.virtual_module
    }

    /// What it asks of the revocation of certificates.
    #[must_use]
    pub const fn revocation(&self) -> RevocationDemand {
        self.revocation
    }

    /// The registers that a quote must cover, by bank.
    #[must_use]
    pub fn pcr_selection(&self) -> &[(HashAlg, Vec<u8>)] {
        &self.pcr_selection
    }

    /// The registers' reference values.
    #[must_use]
    pub const fn references(&self) -> &ReferenceValues {
        &self.references
    }
}

/// How old evidence may be: `any`, or an age.
fn max_evidence_age(text: &str) -> Result<Option<Age>, PolicyError> {
    if text == ANY_AGE {
        return Ok(None);
    }
    let refused = || PolicyError::Value {
        rule: "max_evidence_age",
        found: text.to_owned(),
        expected: "it may be any, or a number with its unit, such as 30d, 24h, 15m or 90s",
    };
    Age::parse(text).map(Some).ok_or_else(refused)
}

type Registers = (Vec<(HashAlg, Vec<u8>)>, ReferenceValues);

/// The registers that must be quoted, and their reference values.
fn registers(
    selection: std::collections::BTreeMap<String, Vec<u8>>,
    reference: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
) -> Result<Registers, PolicyError> {
    let mut pcr_selection = Vec::new();
    for (bank, indices) in selection {
        let hash = strong_bank(&bank)?;
        if let Some(index) = indices.iter().find(|index| **index > PCR_MAX) {
            return Err(PolicyError::PcrIndex { bank, index: index.to_string() });
        }
        pcr_selection.push((hash, indices));
    }
    let mut references = ReferenceValues::none();
    for (bank, registers) in reference {
        let hash = strong_bank(&bank)?;
        for (index, value) in registers {
            let number = index
                .parse()
                .ok()
                .filter(|number| *number <= PCR_MAX)
                .ok_or_else(|| PolicyError::PcrIndex { bank: bank.clone(), index: index.clone() })?;
            let octets = crate::hex::decode(&value).ok_or_else(|| PolicyError::PcrHex { bank: bank.clone(), index })?;
            references.insert(hash, number, &octets)?;
        }
    }
    Ok((pcr_selection, references))
}

/// The bank of this name, if quotes over it are accepted at all.
fn strong_bank(label: &str) -> Result<HashAlg, PolicyError> {
    HashAlg::from_label(label).filter(|hash| hash.is_strong()).ok_or_else(|| PolicyError::UnknownBank(label.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_shipped() {
        let policy = Policy::named("default").unwrap();
        assert_eq!(policy.platform(), PlatformDemand::Optional);
        assert_eq!(policy.nonce(), NonceDemand::Optional);
        assert_eq!(policy.revocation(), RevocationDemand::default());
        assert_eq!(Policy::shipped_names().len(), SHIPPED.len(), "a shipped policy does not parse");
    }

    #[test]
    fn a_misspelt_rule_is_refused() {
        let error = Policy::from_toml("name = 'x'\nplatfrom = 'required'").unwrap_err();
        assert!(error.to_string().contains("platfrom"), "{error}");
    }

    #[test]
    fn revocation_is_asked_for_rule_by_rule() {
        let revocation = |text: &str| Policy::from_toml(text).map(|policy| policy.revocation());
        let rules = "name = 'x'\n[revocation]\nmissing = 'reject'\nindirect = 'accept-as-missing'";
        let expected = RevocationDemand {
            missing: Stance::Reject,
            stale: Stance::Reject,
            indirect: IndirectStance::AcceptAsMissing,
        };
        assert_eq!(revocation(rules), Ok(expected));
        assert!(revocation("name = 'x'\n[revocation]\nmising = 'reject'").is_err());
        assert!(revocation("name = 'x'\n[revocation]\nindirect = 'accept'").is_err());
    }

    #[test]
    fn evidence_may_be_of_any_age_unless_the_policy_says_otherwise() {
        let policy = |text: &str| Policy::from_toml(&format!("name = 'x'\n{text}"));
        for text in ["", "max_evidence_age = 'any'"] {
            assert_eq!(policy(text).unwrap().max_evidence_age(), None);
        }
        assert_eq!(policy("max_evidence_age = '30d'").unwrap().max_evidence_age().unwrap().seconds(), 2_592_000);
        for text in ["''", "'30'", "'Any'", "'0d'", "30", "true"] {
            assert!(policy(&format!("max_evidence_age = {text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn pcr_references_are_checked() {
        let text = "name = 'x'\n[pcr_reference.sha256]\n7 = 'ab'";
        assert_eq!(
            Policy::from_toml(text),
            Err(PolicyError::PcrLength { bank: "sha256", index: 7, expected: 32, found: 1 })
        );
        assert!(matches!(
            Policy::from_toml("name = 'x'\n[pcr_selection]\nsha1 = [0]"),
            Err(PolicyError::UnknownBank(_))
        ));
        assert!(matches!(
            Policy::from_toml("name = 'x'\n[pcr_selection]\nsha256 = [24]"),
            Err(PolicyError::PcrIndex { .. })
        ));
    }
}
