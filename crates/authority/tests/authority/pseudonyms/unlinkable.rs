//! The pseudonyms of one device are not linked by anything in them, with all evidence of 20 devices at hand.

use std::collections::{HashMap, HashSet};

use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::tpm::template::AK_ATTRIBUTES;
use vouchsafe_evidence::x509::CertView;

use super::{FORGET, Pair, masks};
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, NOW, unb64};

const DEVICES: usize = 20;
const PSEUDONYMS: usize = 3;
/// Octets of a value that could link; shorter ones are flags and versions.
const VALUE_OCTETS: usize = 4;

/// Everything that one pseudonym shows: its certificate, a request that it vouches for and the certificate issued.
struct Shown {
    device: usize,
    values: HashSet<Vec<u8>>,
}

fn values(shown: &[Vec<u8>]) -> HashSet<Vec<u8>> {
    let values = shown.iter().flat_map(|octets| masks::values(octets).unwrap());
    values.filter(|value| value.len() >= VALUE_OCTETS).collect()
}

/// How many pairs of pseudonyms of one device share a value that not all pseudonyms have.
fn linked(shown: &[Shown]) -> usize {
    let mut holders: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (at, of) in shown.iter().enumerate() {
        for value in &of.values {
            holders.entry(value).or_default().push(at);
        }
    }
    let mut pairs = HashSet::new();
    for holders in holders.values().filter(|holders| (2..shown.len()).contains(&holders.len())) {
        for (position, one) in holders.iter().enumerate() {
            let own = holders.iter().skip(position + 1).filter(|other| shown[*one].device == shown[**other].device);
            pairs.extend(own.map(|other| (*one, *other)));
        }
    }
    pairs.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_links_two_pseudonyms_of_one_device() {
    let pair = Pair::start(FORGET, None);
    let mut modules: Vec<Module> = (0..DEVICES).map(|_| Module::new(&pair.enrolment.vendor, NOW)).collect();
    let mut shown = Vec::new();
    for _ in 0..PSEUDONYMS {
        for (device, module) in modules.iter_mut().enumerate() {
            module.ak = SoftwareKey::generate();
            module.ak_public = module.ak.public(AK_ATTRIBUTES, EccScheme::Ecdsa(HashAlg::Sha256));
            let pseudonym = pair.pseudonym(module, &format!("device-{device}")).await;
            let body = pair.certificate_request(module, &SoftwareKey::generate(), &pseudonym).await;
            let reply = pair.issuing.post("/v1/certificates", Some(ALICE), body.clone()).await;
            assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
            let issued = unb64(&reply.json()["certificates"][0]);
            shown.push(Shown { device, values: values(&[pseudonym[0].clone(), unb64(&body["csr"]), issued]) });
        }
    }
    assert_eq!(shown.len(), DEVICES * PSEUDONYMS);
    assert_eq!(linked(&shown), 0);

    assert!(shown.iter().all(|of| of.values.len() > 30));

    // One value that the pseudonyms of one device have and no others is found.
    for of in &mut shown {
        let certificate = CertView::parse(&modules[of.device].ek_certificate).unwrap();
        of.values.insert(certificate.serial().to_vec());
    }
    assert_eq!(linked(&shown), DEVICES * PSEUDONYMS * (PSEUDONYMS - 1) / 2);
}
