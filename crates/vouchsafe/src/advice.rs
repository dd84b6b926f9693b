//! What to do about a rejection.

/// What a certificate publishes is checked years later, too.
const JUDGED_LATE: &str = "Name the time for which it is to hold with --at: for a certificate that publishes the statement \
                           about its key, its notBefore. Otherwise enroll again.";

/// Advice by the beginning of a code; the first row that fits is given.
const ADVICE: &[(&str, &str)] = &[
    (
        "trust.no-anchor",
        "If you trust the maker of the attestation key's certificate, put its root into the trust folder of the \
         statement's format, such as trust/tpm-certify/root.pem. A root counts for one format alone.",
    ),
    (
        "tpm.key-",
        "This key is not one that was made in its TPM and must stay there. Make a new one with `vouchsafe key create`.",
    ),
    ("tpm.pcr-", "Compare the PCR values above with the reference values: the platform did not start as policy wants."),
    ("tpm.public-missing", "Add the key's TPMT_PUBLIC to the statement: without it the attested Name names no key."),
    ("nonce.", "Ask the device for new evidence that answers this very nonce."),
    (
        "bind.",
        "Take all statements from the one device that holds the key, and the key of the request itself. If this was \
         not a mistake, it was a fraud.",
    ),
    ("ak.", "Enroll the attestation key again (`vouchsafe enroll ak`), so that it gets certificates of its families."),
    ("ek.", "Ask the maker of the TPM for the certificate chain of its endorsement key."),
    (
        "chain.bad-signature",
        "The certificate names an issuer that is trusted, but that issuer's key did not sign it: check whether another \
         maker uses the same name, and whose root is in the trust folder.",
    ),
    ("chain.expired", JUDGED_LATE),
    ("cx509.expired", JUDGED_LATE),
    ("chain.", "Put what is missing of the chain into the bundle or into intermediates/ beside the anchors."),
    ("cx509.", "Let the agent make the certificate: `vouchsafe key attest --mechanism tpm-certify-x509`."),
    (
        "authority.key-compromised",
        "A key that others may know is certified for nobody again. Make a new one under another name (`vouchsafe key \
         create`) and ask for a certificate of that.",
    ),
    (
        "authority.key-has-other-subject",
        "Make a key of its own for this subject and account (`vouchsafe key create`): the profile gives a key one subject, \
         alternative names included.",
    ),
    (
        "authority.key-certified",
        "Enroll another key: one that has a certificate of another kind never becomes an attesting key.",
    ),
    (
        "authority.",
        "The evidence is true, but the authority does not know the device so: see what it has enrolled, and under which \
         account (`vouchsafe enroll ak`).",
    ),
    ("policy.", "Send what the policy demands, or choose another policy with --policy."),
    (
        "csbr.",
        "Look the module up in the list of certified modules, by maker, model and firmware, and give the list by \
         --modules: what evidence says of itself is no certification.",
    ),
    (
        "key.",
        "Generate the key in its module, so that it cannot leave, and attest that one. `vouchsafe inspect FILE` shows \
         what is said of this one and by whom.",
    ),
    ("pop.", "Make the request again with one key-pop statement that holds the nonce, signed by the attested key."),
    (
        "pkix.",
        "Ask the maker of the module for Evidence as the draft has it; docs/formats/pkix-evidence.md shows how it is \
         written, and `vouchsafe inspect FILE` what this one holds.",
    ),
    (
        "yubikey-piv.",
        "Attest the slot again (`ykman piv keys attest`), and send its certificate with the one of slot F9.",
    ),
    ("yubihsm2.", "Attest the key again by object 0, and send its certificate with the device's."),
    ("webauthn.", "Register again; the attestation object and its client data belong together (--client-data FILE)."),
    ("cloudhsm.", "Download the attestation of this key version and both of its certificate chains again."),
    ("luna.", "Export the public key confirmation of this key again, with its whole chain."),
    ("fortanix.", "Ask the service for the key's attestation again, with its authority's chain."),
    ("primus.", "Take the attestation, its detached signature and its chain from the module again, unchanged."),
    ("nshield.", "Make the attestation bundle of this key again with the module's own tool."),
    ("qasm.", "Ask the module for a new attestation message about this key alone."),
    ("cmw.", "Send the members one by one, or a wrapper that is not signed and not nested so deep."),
    (
        "ceremony.too-few-witnesses",
        "Let more of the witnesses sign (`vouchsafe ceremony sign`); each counts once, by a key of their own.",
    ),
    (
        "ceremony.",
        "Look at what was recorded (`vouchsafe ceremony verify FILE`); a ceremony that went wrong is held again, its \
         record is never mended.",
    ),
    ("csr.", "Make the request again with `vouchsafe csr`."),
    (
        "publish.",
        "A certificate may publish the statement about its key and no other. Ask the authority that issued it for one \
         without (docs/publishing.md).",
    ),
    ("limit.", "Send less: no honest device needs so much."),
    ("input.", "`vouchsafe inspect FILE` says what each file holds."),
    ("tpm.", "`vouchsafe inspect FILE` shows what the statements hold; ask the device for new evidence."),
];

/// Advice that replaces [`ADVICE`] where an authority refuses to enroll an attestation key: the certificates are those
/// of the endorsement key, and the trust folder is the authority's.
const ENROLLMENT_ADVICE: &[(&str, &str)] = &[
    (
        "trust.no-anchor",
        "If you trust the maker of the endorsement key, put its root into the folder trust/tpm-ek on the authority, such \
         as STATE/trust/tpm-ek/maker.pem; for software TPMs put maker.toml beside it, with the line `virtual = true`. \
         An authority that runs notices within 30 seconds.",
    ),
    (
        "chain.bad-signature",
        "The certificate names an issuer that is trusted, but that issuer's key did not sign it: check whether another \
         maker of endorsement keys uses the same name, and whose root is in the folder trust/tpm-ek on the authority.",
    ),
    (
        "chain.",
        "Put what is missing between the endorsement key's certificate and its maker's root into \
         trust/tpm-ek/intermediates/ on the authority.",
    ),
];

/// Where something was refused, on which it depends what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Evidence was appraised, here or by an authority.
    Appraisal,
    /// An authority was asked to certify an attestation key.
    #[cfg_attr(not(feature = "agent"), allow(dead_code))]
    AkEnrollment,
}

/// What to do about rejections with these codes, each advice once, in the order in which they first apply.
pub fn advice<'a>(codes: impl IntoIterator<Item = &'a str>, situation: Situation) -> Vec<&'static str> {
    let special = match situation {
        Situation::Appraisal => &[],
        Situation::AkEnrollment => ENROLLMENT_ADVICE,
    };
    let mut found = Vec::new();
    for code in codes {
        let row = special.iter().chain(ADVICE).find(|(prefix, _)| code.starts_with(prefix));
        if let Some((_, advice)) = row
            && !found.contains(advice)
        {
            found.push(*advice);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_advice_for_every_code() {
        for code in vouchsafe_verifier::all_codes() {
            assert_eq!(advice([code.id], Situation::Appraisal).len(), 1, "{}", code.id);
            assert_eq!(advice([code.id], Situation::AkEnrollment).len(), 1, "{}", code.id);
        }
    }

    #[test]
    fn who_needs_another_key_is_not_told_to_enroll() {
        for code in ["key-compromised", "key-has-other-subject", "key-certified"] {
            let [found] = advice([&*format!("authority.{code}")], Situation::Appraisal)[..] else { panic!("{code}") };
            assert!(!found.contains("enroll ak"), "{code}: {found}");
        }
    }

    #[test]
    fn enrollment_is_told_of_the_endorsement_key_and_the_authority() {
        for code in ["trust.no-anchor", "chain.bad-signature", "chain.incomplete"] {
            let [found] = advice([code], Situation::AkEnrollment)[..] else { panic!("{code}") };
            for part in ["endorsement key", "trust/tpm-ek", "on the authority"] {
                assert!(found.contains(part), "{code}: {found}");
            }
        }
        assert!(advice(["trust.no-anchor"], Situation::Appraisal)[0].contains("attestation key"));
    }
}
