//! How an attesting key was tied to its module, and who can use it: the two things that an AK certificate's policies say.

use vouchsafe_evidence::oid::{self, Oid};

/// A declared method of tying an attesting key to a module. What each proves, and what it does not, is in
/// `docs/enrolment.md`; appraisal policy says which count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The first of a name is believed. For labs.
    FirstUse,
    /// The operator's list names the module.
    Inventory,
    /// Witnesses signed what they saw at the module.
    Ceremony,
    /// The module's maker vouches: for its endorsement key or for the attesting key itself.
    Manufacturer,
}

impl Method {
    /// Every method, the one that proves least first. Where one certificate names several, the first of them counts.
    pub const ALL: [Self; 4] = [Self::FirstUse, Self::Inventory, Self::Ceremony, Self::Manufacturer];

    /// Its word in claims, requests and configurations.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::FirstUse => "first-use",
            Self::Inventory => "inventory",
            Self::Ceremony => "ceremony",
            Self::Manufacturer => "manufacturer",
        }
    }

    /// The method of this word.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.label() == label)
    }

    /// The certificate policy that names it in AK certificates (DESIGN, "AK certificates").
    #[must_use]
    pub const fn policy(self) -> Oid {
        match self {
            Self::FirstUse => oid::BOOTSTRAP_FIRST_USE,
            Self::Inventory => oid::BOOTSTRAP_INVENTORY,
            Self::Ceremony => oid::BOOTSTRAP_CEREMONY,
            Self::Manufacturer => oid::BOOTSTRAP_MANUFACTURER,
        }
    }
}

/// Who can use an attesting key. No method of enrolment changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Environment {
    /// The module alone: it signs nothing with the key but what it found itself.
    Module,
    /// Software beside the module, which can have it sign anything.
    Host,
}

impl Environment {
    /// Its word in claims.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Host => "host",
        }
    }

    /// The environment of this word.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Module, Self::Host].into_iter().find(|environment| environment.label() == label)
    }

    /// The certificate policy that names it in AK certificates.
    #[must_use]
    pub const fn policy(self) -> Oid {
        match self {
            Self::Module => oid::ENVIRONMENT_MODULE,
            Self::Host => oid::ENVIRONMENT_HOST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_policies_name_one_method_each() {
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(Method::from_label(method.label()), Some(method));
            assert!(Method::ALL.iter().skip(index + 1).all(|other| other.policy() != method.policy()));
        }
        assert_eq!(Method::from_label("firstuse"), None);
        for environment in [Environment::Module, Environment::Host] {
            assert_eq!(Environment::from_label(environment.label()), Some(environment));
        }
        assert_eq!(Environment::Host.policy().to_string(), "1.3.6.1.4.1.32473.1.11.2");
        assert_eq!(Method::FirstUse.policy().to_string(), "1.3.6.1.4.1.32473.1.10.4");
    }
}
