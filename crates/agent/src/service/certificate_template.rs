//! The caller's and the administrator's part of a certificate that the module makes.

use std::time::{SystemTime, UNIX_EPOCH};

use super::refusal::Refusal;
use crate::config::CertifyX509Config;
use crate::names;
use crate::provider::{CertificateTemplate, KeyPurpose, KeyUsage, SubjectName};
use crate::wire::message::TpmCertifyX509;

/// Most certificates that a caller may hand in to hang under: the longest chain that is verified.
const MAX_CHAIN: usize = 8;

const SECONDS_PER_HOUR: i64 = 3600;

/// The template of a request, with what it leaves out taken from the configuration.
pub(super) fn certificate_template(
    parameters: TpmCertifyX509,
    defaults: &CertifyX509Config,
    (key_name, purpose): (&str, KeyPurpose),
) -> Result<CertificateTemplate, Refusal> {
    let subject = subject(&parameters, defaults, key_name)?;
    let not_before = match parameters.not_before {
        0 => unix_seconds(),
        seconds => seconds,
    };
    let not_after = match parameters.not_after {
        0 => not_before.saturating_add(SECONDS_PER_HOUR * i64::from(defaults.validity_hours)),
        seconds => seconds,
    };
    let texts = if parameters.san.is_empty() { &defaults.san } else { &parameters.san };
    let subject_alt_names = names::alternative_names(texts).map_err(|fault| Refusal::Invalid {
        field: "san",
        found: fault.to_string(),
        expected: "texts such as dns:host.example or ip:192.0.2.1",
    })?;
    if parameters.chain.len() > MAX_CHAIN {
        let found = format!("{} certificates", parameters.chain.len());
        return Err(Refusal::Invalid { field: "chain", found, expected: "at most 8" });
    }
    Ok(CertificateTemplate {
        subject,
        not_before,
        not_after,
        key_usage: key_usage(&parameters.key_usage)?.unwrap_or_else(|| default_usage(defaults, purpose)),
        subject_alt_names,
        issuer_chain: parameters.chain,
    })
}

fn subject(parameters: &TpmCertifyX509, defaults: &CertifyX509Config, key_name: &str) -> Result<SubjectName, Refusal> {
    let refused = |found: &str| Refusal::Invalid {
        field: "subject",
        found: found.to_owned(),
        expected: "a name in the form of RFC 4514, such as CN=key-1",
    };
    if parameters.subject.is_empty() {
        let name = names::subject_for_key(&defaults.subject, key_name).map_err(|_| refused(&defaults.subject))?;
        return Ok(SubjectName::BeneathIssuer(name.as_der().to_vec()));
    }
    let name = names::subject(&parameters.subject).map_err(|_| refused(&parameters.subject))?;
    let der = name.as_der().to_vec();
    Ok(if parameters.subject_beneath_issuer { SubjectName::BeneathIssuer(der) } else { SubjectName::Absolute(der) })
}

/// The configured usage, which is of keys that sign; for one that decrypts, what encrypts to it, since a module certifies no usage
/// that the key has not.
fn default_usage(defaults: &CertifyX509Config, purpose: KeyPurpose) -> KeyUsage {
    match purpose {
        KeyPurpose::Sign | KeyPurpose::Attest => defaults.key_usage,
        KeyPurpose::Decrypt => KeyUsage::KEY_ENCIPHERMENT,
    }
}

/// The usage of these names; `None` for none.
fn key_usage(names: &[String]) -> Result<Option<KeyUsage>, Refusal> {
    names.iter().try_fold(None, |usage: Option<KeyUsage>, name| {
        let bit = KeyUsage::from_name(name).ok_or_else(|| Refusal::Invalid {
            field: "key_usage",
            found: name.clone(),
            expected: "names of RFC 5280 section 4.2.1.3 for keys that are no issuers",
        })?;
        Ok(Some(usage.map_or(bit, |usage| usage.union(bit))))
    })
}

fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::certificate_template;
    use crate::config::CertifyX509Config;
    use crate::names;
    use crate::provider::{KeyPurpose, KeyUsage, SubjectName};
    use crate::wire::Status;
    use crate::wire::message::TpmCertifyX509;

    fn der(text: &str) -> Vec<u8> {
        names::subject(text).unwrap().as_der().to_vec()
    }

    #[test]
    fn what_is_left_out_comes_from_the_configuration() {
        let defaults = CertifyX509Config { validity_hours: 2, ..CertifyX509Config::default() };
        let template = certificate_template(TpmCertifyX509::default(), &defaults, ("a", KeyPurpose::Sign)).unwrap();
        assert_eq!(template.subject, SubjectName::BeneathIssuer(der("CN=a")));
        assert_eq!(template.not_after - template.not_before, 7200);
        assert!(template.not_before > 1_700_000_000);
        assert_eq!(template.key_usage, KeyUsage::DIGITAL_SIGNATURE);
        assert_eq!(template.subject_alt_names, None);
        let decrypts = certificate_template(TpmCertifyX509::default(), &defaults, ("a", KeyPurpose::Decrypt)).unwrap();
        assert_eq!(decrypts.key_usage, KeyUsage::KEY_ENCIPHERMENT);
        assert!(template.issuer_chain.is_empty());
    }

    #[test]
    fn the_caller_overrides_each() {
        let parameters = TpmCertifyX509 {
            subject: "CN=b".to_owned(),
            not_before: 5,
            not_after: 9,
            key_usage: vec!["nonRepudiation".to_owned()],
            san: vec!["dns:h".to_owned()],
            chain: vec![vec![1]],
            subject_beneath_issuer: false,
        };
        let template =
            certificate_template(parameters.clone(), &CertifyX509Config::default(), ("a", KeyPurpose::Sign)).unwrap();
        assert_eq!(template.subject, SubjectName::Absolute(der("CN=b")));
        assert_eq!((template.not_before, template.not_after), (5, 9));
        assert_eq!(template.key_usage, KeyUsage::NON_REPUDIATION);
        assert_eq!(template.subject_alt_names, Some(b"\x30\x03\x82\x01h".to_vec()));
        assert_eq!(template.issuer_chain, vec![vec![1]]);
        let beneath = TpmCertifyX509 { subject_beneath_issuer: true, ..parameters };
        let template = certificate_template(beneath, &CertifyX509Config::default(), ("a", KeyPurpose::Sign)).unwrap();
        assert_eq!(template.subject, SubjectName::BeneathIssuer(der("CN=b")));
    }

    #[test]
    fn what_is_not_of_its_form_is_refused() {
        let empty = TpmCertifyX509::default;
        for parameters in [
            TpmCertifyX509 { subject: "b".to_owned(), ..empty() },
            TpmCertifyX509 { key_usage: vec!["keyCertSign".to_owned()], ..empty() },
            TpmCertifyX509 { san: vec!["h".to_owned()], ..empty() },
            TpmCertifyX509 { chain: vec![vec![]; 9], ..empty() },
        ] {
            let refusal =
                certificate_template(parameters, &CertifyX509Config::default(), ("a", KeyPurpose::Sign)).unwrap_err();
            assert_eq!(refusal.status(), Status::PsaErrorInvalidArgument, "{refusal}");
        }
    }
}
