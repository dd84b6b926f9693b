//! What an operator's monitoring asks: what is valid, and when it expires next.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::service::Service;
use crate::store::{Validities, Validity};

/// For how long an answer is handed out: what it tells changes over days, and to find it out every certificate is looked at.
const KEPT_SECONDS: i64 = 60;
/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// The answer of less than a minute ago, with the time.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Option<(i64, String)>>);

impl Service {
    /// In the text format of Prometheus, version 0.0.4.
    pub(crate) fn metrics(&self) -> Result<String, Error> {
        let now = self.now();
        let mut kept = self.metrics.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some((at, text)) if (0..KEPT_SECONDS).contains(&now.saturating_sub(*at)) => Ok(text.clone()),
            Some(_) | None => {
                let text = text(&self.store.validities(now)?, now);
                *kept = Some((now, text.clone()));
                Ok(text)
            }
        }
    }
}

fn text(validities: &Validities, now: i64) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: Option<String>| {
        let name = format!("vouchsafe_authority_{name}");
        // Writing to a String does not fail.
        let _written = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        if let Some(value) = value {
            let _written = writeln!(text, "{name} {value}");
        }
    };
    let Validities { issued, attesting_keys, revocations } = validities;
    let days = |validity: &Validity| validity.next_expiry.map(|at| format!("{:.3}", days(at.saturating_sub(now))));
    metric(
        "certificates_valid",
        "gauge",
        "Certificates that are valid and not revoked, without those of attesting keys.",
        Some(issued.valid.to_string()),
    );
    metric(
        "certificate_next_expiry_days",
        "gauge",
        "Days until the first subject is without a certificate that is valid.",
        days(issued),
    );
    metric(
        "attesting_keys_valid",
        "gauge",
        "Attesting keys that have a valid certificate and are not revoked.",
        Some(attesting_keys.valid.to_string()),
    );
    metric(
        "attesting_key_next_expiry_days",
        "gauge",
        "Days until the first attesting key is without a certificate that is valid.",
        days(attesting_keys),
    );
    metric("revocations_total", "counter", "Revocations of certificates.", Some(revocations.to_string()));
    text
}

fn days(seconds: i64) -> f64 {
    i32::try_from(seconds).map_or(f64::INFINITY, f64::from) / DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_none_of_expires_never() {
        let nothing = text(&Validities::default(), 1_000);
        assert!(nothing.contains("\nvouchsafe_authority_certificates_valid 0\n"), "{nothing}");
        assert!(!nothing.contains("\nvouchsafe_authority_certificate_next_expiry_days "), "{nothing}");
        let issued = Validity { valid: 3, next_expiry: Some(1_000 + 129_600) };
        let some = text(&Validities { issued, ..Validities::default() }, 1_000);
        assert!(some.contains("\nvouchsafe_authority_certificate_next_expiry_days 1.500\n"), "{some}");
    }
}
