//! Every claim there is, in one table: what it means and what its value is.
//!
//! `docs/claims/` is written from it, `policy check` knows names by it, and a test compares it with what the vectors'
//! verdicts say.

/// What a claim is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The attested key.
    Key,
    /// The module that holds it, and its state.
    Platform,
    /// The key that signed, and what its certificates say.
    AttestingKey,
}

impl About {
    /// Its name in reports and policies.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Platform => "platform",
            Self::AttestingKey => "attesting_key",
        }
    }
}

/// A claim of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// What it is about.
    pub about: About,
    /// Its name.
    pub name: &'static str,
    /// The form of its value.
    pub value: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn key(name: &'static str, value: &'static str, meaning: &'static str) -> Term {
    Term { about: About::Key, name, value, meaning }
}

const fn platform(name: &'static str, value: &'static str, meaning: &'static str) -> Term {
    Term { about: About::Platform, name, value, meaning }
}

const fn attesting(name: &'static str, value: &'static str, meaning: &'static str) -> Term {
    Term { about: About::AttestingKey, name, value, meaning }
}

/// The vocabulary, by subject and name.
pub const VOCABULARY: &[Term] = &[
    key(
        "attributes",
        "name, extension-only",
        "How the attributes of a TPM's key are known: by its Name, or by a certificate's extension alone",
    ),
    key("auth_policy", "hexadecimal or text", "The policy that authorizes the key's use"),
    key("capabilities", "list of the maker's words", "What a YubiHSM 2 lets happen to the key"),
    key("device_bound", "boolean", "The key can never be anywhere but in this module"),
    key("domains", "list of numbers", "The domains of a YubiHSM 2 from which the key can be reached"),
    key("dual_control", "boolean", "Using the key takes two persons"),
    key("expiry", "RFC 3339", "When the module stops using the key"),
    key("extractable", "boolean", "The private part can leave the module"),
    key("identifier", "text, or a list", "What the module calls the key"),
    key("identity_only", "boolean", "The evidence identifies a module, and does not show that anybody has it"),
    key("keys", "list of objects", "The claims of each key, where evidence is about several and none was named"),
    key("label", "text", "What its user calls the key"),
    key("local", "boolean", "The module itself made the private part (CKA_LOCAL)"),
    key("never_extractable", "boolean", "The private part could never leave the module (CKA_NEVER_EXTRACTABLE)"),
    key("origin", "generated, imported, unknown", "Where the private part was made"),
    key("parent", "object", "A TPM key's place in the hierarchy of storage keys"),
    key(
        "possession",
        "object",
        "The key itself answered the challenge, as part of the request: `fresh`, and as `evidence` the time that the evidence says \
         of itself, or `undated`",
    ),
    key("purposes", "list of PKCS #11 words", "What the key may be used for"),
    key("recoverable", "boolean", "An administrator can restore the key from a backup"),
    key("sensitive", "boolean", "The private part is never shown in clear (CKA_SENSITIVE)"),
    key("spki", "base64", "The public key"),
    key("tpm_attributes", "list of TCG names", "The attributes that are set (TPMA_OBJECT)"),
    key(
        "user_auth",
        "boolean, text or object",
        "What the user must do before the key is used: PIN, touch, authorization value",
    ),
    platform("attested_at", "RFC 3339", "When the module says that it signed the evidence"),
    platform("boot_count", "number", "How often the module was started (for a TPM: resetCount)"),
    platform("certified_production", "boolean", "The module says that it runs certified firmware of production"),
    platform("common_criteria", "object", "What is said of a Common Criteria certificate: level, certificate"),
    platform("cspn", "boolean", "The module is of a series with a certificate of the French CSPN scheme"),
    platform("debug", "text", "Whether the module can be debugged (RFC 9711: enabled, disabled, ...)"),
    platform("fips", "object", "What is said of FIPS 140: mode, version, level, module"),
    platform("form_factor", "text", "What the module looks like"),
    platform("fw_name", "text", "Name of the firmware"),
    platform("fw_version", "text", "Version of the firmware; for a TPM 16 hexadecimal digits of firmwareVersion"),
    platform("hw_version", "text", "Version of the hardware"),
    platform("identifier", "text", "What the maker calls this one module, besides its number"),
    platform("kind", "physical, virtual", "Whether the module is a thing or a program"),
    platform("measured_boot", "object", "The registers that a TPM's quote covers, with their values"),
    platform("model", "text", "The maker's name for the model"),
    platform("oem_id", "hexadecimal", "The maker by its identifier (RFC 9711, oemid)"),
    platform("serial", "text", "The maker's number of this one module"),
    platform("uptime", "number", "Seconds since the module was started"),
    platform("vendor", "text", "The maker; for a TPM its TCG identifier"),
    attesting("attributes", "list of TCG names", "The attributes of a TPM's attesting key"),
    attesting(
        "bootstrap",
        "manufacturer, inventory, ceremony, first-use",
        "How the attesting key was first tied to its module",
    ),
    attesting("chain_quirks", "list of labels", "Deviations from the rules that were tolerated in its certificates"),
    attesting(
        "counter_signers",
        "list of base64",
        "Public keys that signed too and count for nothing: not named among the attesting keys, or not trusted",
    ),
    attesting("environment", "module, host", "Whether the module alone uses the key, or software beside it can"),
    attesting("fw_version", "text", "As of the platform, where a key statement tells it"),
    attesting("hss", "verified, unchecked", "Whether a hash-based signature beside the others was checked"),
    attesting("hw_version", "text", "As of the platform, where its certificate tells it"),
    attesting(
        "ignored",
        "list of object identifiers",
        "Types of elements and claims that were passed over as not known here",
    ),
    attesting("issuer", "text", "Name of the issuer of its certificate"),
    attesting("kind", "physical, virtual", "As of the platform, where the trust anchor tells it"),
    attesting(
        "missing_signers",
        "number",
        "How many keys the evidence names as signers whose signatures are not there",
    ),
    attesting("model", "text", "As of the platform, where its certificate tells it"),
    attesting("name", "hexadecimal", "The Name of a TPM's attesting key"),
    attesting("revocation", "good, none, stale", "What revocation lists say of its certificates"),
    attesting("signature_algorithms", "list of labels", "The algorithms of the signatures that were verified"),
    attesting("signer", "text", "On whose behalf the attesting key signs, where owners may replace it"),
    attesting("spki", "base64", "The public key"),
    attesting("timestamp", "RFC 3339", "The module's own time, which proves no freshness"),
    attesting("vendor", "text", "As of the platform, where its certificate tells it"),
    attesting("weak_signature", "text", "The weak algorithm by which its signature or chain holds, such as sha1"),
];

/// The term of this name.
#[must_use]
pub fn term(about: About, name: &str) -> Option<&'static Term> {
    VOCABULARY.iter().find(|term| term.about == about && term.name == name)
}

/// The claim that `text` names, such as `key.extractable`.
#[must_use]
pub fn named(text: &str) -> Option<&'static Term> {
    let (about, name) = text.split_once('.')?;
    VOCABULARY.iter().find(|term| term.about.label() == about && term.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_nothing_twice() {
        let mut names: Vec<(About, &str)> = VOCABULARY.iter().map(|term| (term.about, term.name)).collect();
        let written = names.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, written);
    }
}
