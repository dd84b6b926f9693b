//! What the agent adds to a PKCS #11 token: `cargo bench -p vouchsafe-agent --bench token`.
//!
//! One SoftHSM token is used in turns by the provider and by a program that does with the library what an attestation cannot do
//! without: find the key, read what is reported of it and of the token, sign once. Each round gives a ratio of medians, and the
//! median of those counts. Ends with an error when it is above its target.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::disallowed_methods, missing_docs, dead_code)]

#[path = "support/report.rs"]
mod report;
#[path = "../tests/support/softhsm.rs"]
mod softhsm;

use std::process::{Command, ExitCode};
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use report::{Report, median, quantiles, timed};
use softhsm::{SoftHsm, library};
use vouchsafe_agent::provider::pkcs11::Pkcs11Provider;
use vouchsafe_agent::provider::{
    Attester, AttestingKeyChoice, ClaimSelection, EvidenceRequest, KeyBlob, KeyKind, KeyMechanism, KeyProvider,
    KeyPurpose, KeySpec, KeyUid, MemoryStore,
};

const ROUNDS: usize = 15;
const ATTESTATIONS: usize = 400;
const FOLDER: &str = "VOUCHSAFE_BENCH_FOLDER";
/// An attestation takes no longer than this many times one signature and the attribute reads.
const TARGET: f64 = 1.5;

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return measure(&SoftHsm::new(folder.as_ref()));
    }
    // The library finds its tokens by the environment of its process.
    let folder = tempfile::tempdir().unwrap();
    let softhsm = SoftHsm::new(folder.path());
    let mut program = Command::new(std::env::current_exe().unwrap());
    let ended = softhsm.environment(&mut program).env(FOLDER, folder.path()).status().unwrap();
    if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(softhsm: &SoftHsm) -> ExitCode {
    softhsm.token("bench");
    let mut provider = Pkcs11Provider::open(softhsm.settings("bench"), Box::new(MemoryStore::new())).unwrap();
    let uid = KeyUid::random().unwrap();
    let spec = KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Sign };
    let key = provider.generate(&uid, spec).unwrap();
    let attesting = provider.attesting_keys().unwrap().remove(0);
    assert_eq!(attesting.kind, KeyKind::EcP256);
    let raw = Raw::new(&uid);
    let (mut ratios, mut signing) = (Vec::new(), Vec::new());
    let (mut raw_all, mut through_all) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut raw_times, mut sign_times, mut through) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ATTESTATIONS {
            timed(&mut sign_times, || raw.sign());
            timed(&mut raw_times, || {
                raw.read();
                raw.sign();
            });
            timed(&mut through, || attest(&mut provider, &key));
        }
        ratios.push(quantiles(through.clone()).0 / quantiles(raw_times.clone()).0);
        signing.extend(sign_times);
        raw_all.extend(raw_times);
        through_all.extend(through);
    }
    for (what, times) in [("one C_Sign", signing), ("C_Sign and the reads", raw_all), ("attest", through_all)] {
        let (middle, high): (f64, f64) = quantiles(times as Vec<Duration>);
        println!("{what:<32} median {middle:.3} ms, 95th percentile {high:.3} ms");
    }
    let mut report = Report::default();
    report.at_most("attest, times one C_Sign and the attribute reads", median(ratios), TARGET, "");
    report.end()
}

fn attest(provider: &mut Pkcs11Provider, key: &KeyBlob) {
    let request = EvidenceRequest { claims: ClaimSelection::Default, with_platform: true };
    let mechanism = KeyMechanism::PkixEvidence(request);
    provider.attest_key(key, AttestingKeyChoice::Default, &mechanism, &[7; 32]).unwrap();
}

/// The library, used by hand, in the process that the provider has logged in.
struct Raw {
    pkcs11: Pkcs11,
    slot: Slot,
    session: Session,
    uid: KeyUid,
    signing: ObjectHandle,
}

impl Raw {
    fn new(uid: &KeyUid) -> Self {
        let pkcs11 = Pkcs11::new(library()).unwrap();
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        let session = pkcs11.open_rw_session(slot).unwrap();
        let id = Attribute::Id(uid.as_octets().to_vec());
        let signing = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), id]).unwrap()[0];
        Self { pkcs11, slot, session, uid: *uid, signing }
    }

    fn sign(&self) {
        self.session.sign(&Mechanism::Ecdsa, self.signing, &[9; 32]).unwrap();
    }

    fn find(&self, class: ObjectClass) -> ObjectHandle {
        let id = Attribute::Id(self.uid.as_octets().to_vec());
        self.session.find_objects(&[Attribute::Class(class), Attribute::Token(true), id]).unwrap()[0]
    }

    /// What is reported, read with bounds: the lengths first, as whoever does not trust them has to.
    fn read(&self) {
        use AttributeType::{
            Decrypt, Derive, EcParams, EcPoint, EndDate, Extractable, KeyType, Local, NeverExtractable, Sensitive,
            Sign, SignRecover, Unwrap,
        };
        let (private, public) = (self.find(ObjectClass::PRIVATE_KEY), self.find(ObjectClass::PUBLIC_KEY));
        let of_private =
            [Extractable, Sensitive, NeverExtractable, Local, Sign, SignRecover, Decrypt, Unwrap, Derive, EndDate];
        for (object, types) in [(public, &[KeyType, EcParams, EcPoint, EndDate][..]), (private, &of_private)] {
            self.session.get_attribute_info(object, types).unwrap();
            self.session.get_attributes(object, types).unwrap();
        }
        self.pkcs11.get_token_info(self.slot).unwrap();
        self.pkcs11.get_library_info().unwrap();
    }
}
