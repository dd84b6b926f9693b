//! What a client may do beyond using its own keys.
//!
//! Attesting with the machine's attesting keys, attesting the platform and taking part in enrollment lend
//! out the machine's identity, so they need a grant. Root, the user who runs the agent (who holds the
//! module anyway) and the members of the socket's administrator group have every grant; `[[grants]]` in the
//! configuration gives single ones to others. Groups are those of the local group database; members that
//! only a directory service knows are granted by `uid`.
//!
//! A grant is of a user as the kernel knows it. Whoever comes under a name that it gave itself (AuthType Direct) has none,
//! not even as root: that name is anyone's. Keys of others are lent by a rule alone; no administrator has them by default,
//! since to sign with a client's key is to be that client.

mod accounts;
mod key_reference;

use crate::service::{Caller, Peer};
pub use accounts::Accounts;
pub use key_reference::{KeyReference, KeyReferenceFault, ProviderScope};

/// Something that needs a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// `attest`: have one's own keys attested by the machine's attesting keys.
    Attest,
    /// `attest-platform`: have the platform attested.
    AttestPlatform,
    /// `activate-credential`: enroll attesting keys: see the endorsement, answer challenges, make machine's
    /// attesting keys and install their certificates.
    ActivateCredential,
    /// `manage-clients`: see which users have keys, and have all keys of one destroyed.
    ManageClients,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Capability; 4] =
        [Capability::Attest, Capability::AttestPlatform, Capability::ActivateCredential, Capability::ManageClients];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Capability::Attest => "attest",
            Capability::AttestPlatform => "attest-platform",
            Capability::ActivateCredential => "activate-credential",
            Capability::ManageClients => "manage-clients",
        }
    }

    /// The capability of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Capability> {
        Capability::ALL.into_iter().find(|capability| capability.name() == name)
    }
}

/// To whom a grant is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// A user by number.
    Uid(u32),
    /// A user by name.
    User(String),
    /// The members of a group, by its name.
    Group(String),
}

/// One `[[grants]]` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRule {
    /// To whom.
    pub grantee: Grantee,
    /// What.
    pub may: Vec<Capability>,
    /// Which of the machine's attesting keys may attest for the grantee.
    pub attesting_keys: AttestingKeyScope,
    /// Keys of others that the grantee may use; none unless the rule says `use`.
    pub keys: Vec<KeyReference>,
}

impl GrantRule {
    /// A rule that gives these capabilities with every attesting key, and lends no keys.
    #[must_use]
    pub const fn new(grantee: Grantee, may: Vec<Capability>) -> GrantRule {
        GrantRule { grantee, may, attesting_keys: AttestingKeyScope::Every, keys: Vec::new() }
    }
}

/// Which of the machine's attesting keys a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttestingKeyScope {
    /// Every one, also those made later.
    Every,
    /// Those of these names.
    Only(Vec<String>),
}

impl AttestingKeyScope {
    fn has(&self, attesting_key: &str) -> bool {
        match self {
            AttestingKeyScope::Every => true,
            AttestingKeyScope::Only(names) => names.iter().any(|name| name == attesting_key),
        }
    }
}

/// The grants of a running agent.
#[derive(Clone, Debug)]
pub struct Grants {
    rules: Vec<GrantRule>,
    admin_group: String,
    agent_uid: Option<u32>,
    accounts: Accounts,
}

impl Grants {
    /// Grants by these rules. `agent_uid` is the user who runs the agent, who has every grant.
    #[must_use]
    pub fn new(rules: Vec<GrantRule>, admin_group: &str, agent_uid: Option<u32>, accounts: Accounts) -> Grants {
        Grants { rules, admin_group: admin_group.to_owned(), agent_uid, accounts }
    }

    /// Whether a caller may do this; for what attests, with one attesting key at least.
    #[must_use]
    pub fn allow(&self, caller: &Caller, capability: Capability) -> bool {
        self.is_allowed(caller, capability, |_| true)
    }

    /// Whether a caller may have the machine's attesting key of that name attest.
    #[must_use]
    pub fn allow_attesting_key(&self, caller: &Caller, capability: Capability, attesting_key: &str) -> bool {
        self.is_allowed(caller, capability, |scope| scope.has(attesting_key))
    }

    fn is_allowed(
        &self,
        caller: &Caller,
        capability: Capability,
        is_in_scope: impl Fn(&AttestingKeyScope) -> bool,
    ) -> bool {
        let Some(peer) = caller.as_user() else { return false };
        self.is_administrator(caller)
            || self.rules_for(peer).any(|rule| rule.may.contains(&capability) && is_in_scope(&rule.attesting_keys))
    }

    /// Whether a caller has every grant that there is: root, the agent's user, a member of the socket's group.
    #[must_use]
    pub fn is_administrator(&self, caller: &Caller) -> bool {
        let Some(peer) = caller.as_user() else { return false };
        peer.uid == 0 || self.agent_uid == Some(peer.uid) || self.accounts.is_member(peer, &self.admin_group)
    }

    /// Whether a caller may do any of what needs a grant.
    #[must_use]
    pub fn allow_any(&self, caller: &Caller) -> bool {
        Capability::ALL.into_iter().any(|capability| self.allow(caller, capability))
    }

    /// The keys of others that a caller may use.
    #[must_use]
    pub fn lent_keys(&self, caller: &Caller) -> Vec<&KeyReference> {
        let rules = caller.as_user().into_iter().flat_map(|peer| self.rules_for(peer));
        rules.flat_map(|rule| &rule.keys).collect()
    }

    fn rules_for(&self, peer: Peer) -> impl Iterator<Item = &GrantRule> {
        self.rules.iter().filter(move |rule| self.is_grantee(peer, &rule.grantee))
    }

    fn is_grantee(&self, peer: Peer, grantee: &Grantee) -> bool {
        match grantee {
            Grantee::Uid(uid) => *uid == peer.uid,
            Grantee::User(name) => self.accounts.uid(name) == Some(peer.uid),
            Grantee::Group(name) => self.accounts.is_member(peer, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Accounts, AttestingKeyScope, Capability, GrantRule, Grantee, Grants};
    use crate::client_id::DirectName;
    use crate::service::{Caller, Peer};

    const ALICE: Caller = Caller::user(Peer { uid: 1001, gid: 1001 });
    const BOB: Caller = Caller::user(Peer { uid: 1002, gid: 50 });
    const CAROL: Caller = Caller::user(Peer { uid: 1003, gid: 1003 });
    const ROOT: Peer = Peer { uid: 0, gid: 0 };

    fn grants(rules: Vec<GrantRule>, agent_uid: Option<u32>) -> Grants {
        let directory = tempfile::tempdir().unwrap();
        let passwd = directory.path().join("passwd");
        let group = directory.path().join("group");
        std::fs::write(
            &passwd,
            "root:x:0:0::/:\nalice:x:1001:1001::/:\nbob:x:1002:50::/:\ncarol:x:1003:1003::/:\nbroken\n",
        )
        .unwrap();
        std::fs::write(&group, "ci:x:50:\nvouchsafe:x:60:dave,alice\nbuild:x:70:carol\n").unwrap();
        let grants = Grants::new(rules, "vouchsafe", agent_uid, Accounts::new(&passwd, &group));
        // The databases are read before the folder goes.
        assert!(grants.allow(&ALICE, Capability::Attest));
        grants
    }

    fn rule(grantee: Grantee, may: &[Capability]) -> GrantRule {
        GrantRule::new(grantee, may.to_vec())
    }

    #[test]
    fn without_rules_root_and_the_admin_group_alone() {
        let grants = grants(vec![], None);
        for capability in Capability::ALL {
            assert!(grants.allow(&Caller::user(ROOT), capability));
            assert!(grants.allow(&ALICE, capability));
            assert!(!grants.allow(&BOB, capability));
            assert!(!grants.allow(&CAROL, capability));
        }
        assert!(!grants.allow_any(&BOB));
    }

    #[test]
    fn the_user_who_runs_the_agent() {
        assert!(grants(vec![], Some(1003)).allow(&CAROL, Capability::ActivateCredential));
        assert!(grants(vec![], Some(1003)).is_administrator(&CAROL));
        // A grant, even of everything, makes no administrator.
        let everything = rule(Grantee::Uid(1002), &Capability::ALL);
        assert!(!grants(vec![everything], Some(1003)).is_administrator(&BOB));
        assert!(!grants(vec![], Some(1003)).allow(&BOB, Capability::ActivateCredential));
    }

    #[test]
    fn a_rule_grants_what_it_says_to_whom_it_says() {
        let by_uid = grants(vec![rule(Grantee::Uid(1002), &[Capability::Attest])], None);
        assert!(by_uid.allow(&BOB, Capability::Attest));
        assert!(by_uid.allow_any(&BOB));
        assert!(!by_uid.allow(&BOB, Capability::AttestPlatform));
        assert!(!by_uid.allow(&BOB, Capability::ActivateCredential));
        assert!(!by_uid.allow(&CAROL, Capability::Attest));

        let by_name = grants(vec![rule(Grantee::User("carol".to_owned()), &[Capability::AttestPlatform])], None);
        assert!(by_name.allow(&CAROL, Capability::AttestPlatform));
        assert!(!by_name.allow(&BOB, Capability::AttestPlatform));
        assert!(!by_name.allow(&CAROL, Capability::Attest));
    }

    #[test]
    fn groups_are_primary_or_listed() {
        let primary = grants(vec![rule(Grantee::Group("ci".to_owned()), &[Capability::Attest])], None);
        assert!(primary.allow(&BOB, Capability::Attest));
        assert!(!primary.allow(&CAROL, Capability::Attest));
        let listed = grants(vec![rule(Grantee::Group("build".to_owned()), &[Capability::Attest])], None);
        assert!(listed.allow(&CAROL, Capability::Attest));
        assert!(!listed.allow(&BOB, Capability::Attest));
        let absent = grants(vec![rule(Grantee::Group("nobody".to_owned()), &[Capability::Attest])], None);
        assert!(!absent.allow(&BOB, Capability::Attest));
        let misspelt = grants(vec![rule(Grantee::User("bobb".to_owned()), &[Capability::Attest])], None);
        assert!(!misspelt.allow(&BOB, Capability::Attest));
    }

    #[test]
    fn a_rule_may_be_limited_to_attesting_keys() {
        let attesting_keys = AttestingKeyScope::Only(vec!["site".to_owned()]);
        let limited = rule(Grantee::Uid(1002), &[Capability::Attest]);
        let grants = grants(vec![GrantRule { attesting_keys, ..limited }], None);
        assert!(grants.allow(&BOB, Capability::Attest));
        assert!(grants.allow_attesting_key(&BOB, Capability::Attest, "site"));
        assert!(!grants.allow_attesting_key(&BOB, Capability::Attest, "default"));
        assert!(!grants.allow_attesting_key(&BOB, Capability::AttestPlatform, "site"));
        assert!(!grants.allow_attesting_key(&CAROL, Capability::Attest, "site"));
        assert!(grants.allow_attesting_key(&ALICE, Capability::Attest, "default"));
    }

    #[test]
    fn keys_are_lent_by_a_rule_and_not_to_administrators() {
        let lent = GrantRule { keys: vec!["unix:7/a".parse().unwrap()], ..rule(Grantee::Uid(1002), &[]) };
        let grants = grants(vec![lent], None);
        assert_eq!(grants.lent_keys(&BOB).len(), 1);
        assert!(!grants.allow_any(&BOB));
        for caller in [&ALICE, &CAROL, &Caller::user(ROOT)] {
            assert_eq!(grants.lent_keys(caller), Vec::<&crate::grants::KeyReference>::new());
        }
    }

    #[test]
    fn a_name_that_a_caller_gave_itself_has_no_grant_even_from_root() {
        let rules =
            vec![GrantRule { keys: vec!["unix:7/a".parse().unwrap()], ..rule(Grantee::Uid(0), &[Capability::Attest]) }];
        let grants = grants(rules, Some(0));
        for name in ["root", "0", "unix:0"] {
            let claimed = Caller::named(ROOT, DirectName::new(name).unwrap());
            assert!(!grants.allow_any(&claimed), "{name}");
            assert!(!grants.is_administrator(&claimed), "{name}");
            assert!(grants.lent_keys(&claimed).is_empty(), "{name}");
            assert!(!grants.allow_attesting_key(&claimed, Capability::Attest, "default"), "{name}");
        }
    }
}
