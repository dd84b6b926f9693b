//! Whether evidence is young enough, for policies that say how old it may be.
//!
//! A statement is as old as its own time says, or else made after the nonce that it answers. One that says no time and
//! answers no nonce may be of any age, and is refused: a proof of possession dates the proof, not what is proven.

use crate::authenticate::{Authenticated, Dated};
use crate::policy::{Age, CLOCK_SKEW_SECONDS, Policy};
use crate::rejection::{Rejection, codes};
use crate::time::Instant;
use crate::verdict::Freshness;

/// What is wrong with the age of one statement.
pub(super) fn of_statement(statement: &Authenticated, policy: &Policy, at: Instant) -> Option<Rejection> {
    let limit = policy.max_evidence_age()?;
    let violation = judge(limit, policy.dated(statement.dated()), statement.freshness(), at)?;
    Some(violation.in_statement(statement.index()))
}

/// What is wrong with evidence of this time, if it says one that counts, and this freshness.
pub(crate) fn judge(limit: Age, dated: Option<Dated>, freshness: Freshness, at: Instant) -> Option<Rejection> {
    let Some(Dated { time, .. }) = dated else {
        return match freshness {
            Freshness::Nonce => None,
            Freshness::ProofOfPossession | Freshness::None => Some(Rejection::plain(codes::POLICY_EVIDENCE_UNDATED)),
        };
    };
    let age = at.unix_seconds().saturating_sub(time.unix_seconds());
    let (code, message) = if age < -CLOCK_SKEW_SECONDS {
        (codes::POLICY_EVIDENCE_FROM_FUTURE, format!("The evidence says that it was made at {time}, which is not yet."))
    } else if age > limit.seconds() {
        (
            codes::POLICY_EVIDENCE_TOO_OLD,
            format!("The evidence is of {time}, and policy takes none older than {limit}."),
        )
    } else {
        return None;
    };
    Some(Rejection::new(code, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Source;

    #[test]
    fn evidence_is_as_old_as_it_says_and_undated_evidence_is_of_any_age() {
        let at = Instant::from_unix_seconds(1_000_000);
        let policy = Policy::from_toml("name = 'x'\nmax_evidence_age = '1h'").unwrap();
        let limit = policy.max_evidence_age().unwrap();
        let of = |age: Option<i64>, freshness| {
            let time = |age| Instant::from_unix_seconds(1_000_000 - age);
            let dated = age.map(|age| Dated { time: time(age), source: Source::Signed, claim: "platform.attested_at" });
            judge(limit, dated, freshness, at).map(|violation| violation.code())
        };
        for freshness in [Freshness::None, Freshness::ProofOfPossession, Freshness::Nonce] {
            for (age, code) in [
                (0, None),
                (3_600, None),
                (3_601, Some("policy.evidence-too-old")),
                (i64::MAX / 2, Some("policy.evidence-too-old")),
                (-300, None),
                (-301, Some("policy.evidence-from-future")),
            ] {
                assert_eq!(of(Some(age), freshness), code, "{age} {freshness:?}");
            }
        }
        assert_eq!(of(None, Freshness::Nonce), None);
        for freshness in [Freshness::None, Freshness::ProofOfPossession] {
            assert_eq!(of(None, freshness), Some("policy.evidence-undated"), "{freshness:?}");
        }
    }

    #[test]
    fn a_time_on_a_word_that_does_not_count_is_none() {
        let dated = |source| {
            let time = Instant::from_unix_seconds(0);
            Some(Dated { time, source, claim: "attesting_key.timestamp" })
        };
        let policy = |sources: &str| Policy::from_toml(&format!("name = 'x'\n[sources]\n{sources}")).unwrap();
        assert_eq!(policy("").dated(dated(Source::HostAsserted)), None);
        assert!(policy("").dated(dated(Source::Signed)).is_some());
        assert!(policy("host_asserted = 'accept'").dated(dated(Source::HostAsserted)).is_some());
        assert!(policy("host_asserted = ['attesting_key.timestamp']").dated(dated(Source::HostAsserted)).is_some());
        assert_eq!(policy("host_asserted = ['platform.attested_at']").dated(dated(Source::HostAsserted)), None);
    }
}
