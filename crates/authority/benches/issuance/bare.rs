//! The cryptography that one certificate cannot do without, and nothing around it.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use vouchsafe_evidence::x509::CsrView;

/// Rounds without a pause.
const BLOCK: u32 = 20;
/// Pause between two blocks, in which the authority has the processors to itself and its client.
const PAUSE: Duration = Duration::from_millis(60);

struct Signed {
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

/// As many signatures of this size as are checked for a request: its own and that of each statement. The one on
/// the attesting key's certificate is remembered from the device's first request on.
fn signatures(sizes: &[usize]) -> Vec<Signed> {
    let random = SystemRandom::new();
    let sign = |size: &usize| {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        let message = vec![7; *size];
        let signature = pair.sign(&random, &message).unwrap().as_ref().to_vec();
        Signed { key: pair.public_key().as_ref().to_vec(), message, signature }
    };
    sizes.iter().map(sign).collect()
}

/// Measures one request's cryptography until it is asked for the mean, while the authority works: what else the
/// machine does slows both alike.
pub struct Alongside {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Measured>,
}

/// What was measured alongside.
pub struct Measured {
    /// The mean of one round.
    pub each: Duration,
    /// Processor time of all rounds.
    pub all: Duration,
}

impl Alongside {
    pub fn start(request: &[u8]) -> Self {
        let csr = CsrView::parse(request).unwrap();
        let statements = csr.attestation_bundle().unwrap().unwrap().statements().len();
        let mut sizes = vec![request.len()];
        sizes.extend(std::iter::repeat_n(160, statements));
        let (stop, octets) = (Arc::new(AtomicBool::new(false)), request.to_vec());
        let stopped = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || time(&sizes, &octets, &stopped)) }
    }

    pub fn end(self) -> Measured {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn time(sizes: &[usize], request: &[u8], stop: &AtomicBool) -> Measured {
    let signed = signatures(sizes);
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let issuer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).unwrap());
    let once = || {
        for one in &signed {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &one.key);
            key.verify(black_box(&one.message), &one.signature).unwrap();
        }
        black_box(issuer.sign(&random, black_box(&request[..500])).unwrap());
        // The commitment to the record, and the record itself, sealed.
        let mut record = [request, request].concat();
        black_box(digest(&SHA256, &record));
        let nonce = Nonce::assume_unique_for_key([2; 12]);
        sealing.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).unwrap();
        black_box(record);
    };
    let mut rounds = 0;
    let started = thread_time();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BLOCK {
            once();
        }
        rounds += BLOCK;
        std::thread::sleep(PAUSE);
    }
    let all = thread_time() - started;
    Measured { each: all / rounds, all }
}

/// Time that this thread was on a processor. The kernel counts up to the thread's last tick or sleep, so that it sleeps.
fn thread_time() -> Duration {
    std::thread::sleep(Duration::from_millis(1));
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
