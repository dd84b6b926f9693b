//! The cryptography that one certificate cannot do without, and nothing around it.

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use vouchsafe_evidence::x509::CsrView;

const ROUNDS: u32 = 3_000;

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

/// On both cores at once, as the authority and its client run; the mean over them.
pub fn per_certificate(request: &[u8]) -> Duration {
    let csr = CsrView::parse(request).unwrap();
    let statements = csr.attestation_bundle().unwrap().unwrap().statements().len();
    let mut sizes = vec![request.len()];
    sizes.extend(std::iter::repeat_n(160, statements));
    let cores = std::thread::available_parallelism().unwrap().get();
    let threads: Vec<_> = (0..cores)
        .map(|_| {
            let (sizes, octets) = (sizes.clone(), request.to_vec());
            std::thread::spawn(move || time(&sizes, &octets))
        })
        .collect();
    let times: Vec<Duration> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    times.iter().sum::<Duration>() / u32::try_from(cores).unwrap()
}

fn time(sizes: &[usize], request: &[u8]) -> Duration {
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
    for _ in 0..ROUNDS / 10 {
        once();
    }
    let started = thread_time();
    for _ in 0..ROUNDS {
        once();
    }
    (thread_time() - started) / ROUNDS
}

/// Time that this thread was on a processor.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
