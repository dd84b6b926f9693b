//! Issuers that follow one another: what clients are told of them, and whom their certificates speak for meanwhile.

use std::sync::Arc;

use vouchsafe_authority::issuers::{IssuerState, KeyPlace, issuers};
use vouchsafe_authority::{Authority as Server, Clock, trust};

use super::*;
use crate::cmp::client::{Client, GENM, IP, IR, Protection, RR, nonce_request, revocation_by, write};
use crate::cmp::crmf;
use crate::est::connection::Connection;
use crate::est::{certificates, enrolled, request_for};
use crate::site::{ALICE, Identity, digest_hex};

const SECRET: &str = "a secret of alice, long enough";
/// genm for caCerts.
const CA_CERTS: oid::Oid = oid::Oid::constant("1.3.6.1.5.5.7.4.17");

/// A folder with issuers, each under a root of its own, their keys in files.
struct Rotation {
    folder: tempfile::TempDir,
    old: Authority,
    new: Authority,
}

impl Rotation {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Authority::new("Issuing 2026"), Authority::new("Issuing 2027"));
        let rotation = Self { folder, old, new };
        for (authority, name) in [(&rotation.old, "2026"), (&rotation.new, "2027")] {
            authority.write(rotation.folder.path(), &format!("{name}.pem"));
            rotation.write(&format!("{name}.key"), &authority.key_pem());
        }
        rotation.write("secret", SECRET);
        fs::set_permissions(rotation.folder.path().join("secret"), Permissions::from_mode(0o600)).unwrap();
        let links = [rotation.old.linked(&rotation.new), rotation.new.linked(&rotation.old)];
        rotation.write("links.pem", &links.iter().map(|link| pem(link)).collect::<String>());
        rotation
    }

    fn write(&self, name: &str, contents: &str) {
        fs::write(self.folder.path().join(name), contents).unwrap();
    }

    /// Issuer 2027 follows 2026, from which the certificates of `device` come; those of `stock` come from `issuing`.
    fn settings(&self) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "[[issuers]]\nname = '2026'\ncertificate = '{}'\nkey = '{}'\n\
             [[issuers]]\nname = '2027'\ncertificate = '{}'\nkey = '{}'\nfollows = '2026'\nlinks = '{}'\n\
             [[profiles]]\nname = 'device'\nissuer = '2026'\nfreshness = 'when-given'\n[[profiles]]\nname = 'stock'\n",
            at("2026.pem"),
            at("2026.key"),
            at("2027.pem"),
            at("2027.key"),
            at("links.pem"),
        )
    }

    fn accounts(&self) -> String {
        let secret = self.folder.path().join("secret");
        format!(
            "[[accounts]]\nname = 'alice'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue']\ncmp_reference = 'alice-ref'\n\
             cmp_secret = '{}'\n",
            digest_hex(ALICE),
            secret.display()
        )
    }

    async fn site(&self) -> Site {
        let mut site = Site::install_for(tempfile::tempdir().unwrap(), &self.settings(), &self.accounts());
        site.restart().await;
        site
    }

    /// Everything that clients of the succession are told.
    fn told(&self) -> Vec<Vec<u8>> {
        let links = vouchsafe_evidence::pem::read(&fs::read(self.folder.path().join("links.pem")).unwrap()).unwrap();
        let mut all: Vec<Vec<u8>> = links.iter().map(|block| block.contents().to_vec()).collect();
        for authority in [&self.old, &self.new] {
            all.extend([authority.ca.as_der().to_vec(), authority.root.clone()]);
        }
        all.sort();
        all
    }
}

fn sorted(mut certificates: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    certificates.sort();
    certificates
}

async fn authorities(site: &Site, label: &str) -> Vec<Vec<u8>> {
    let mut connection = Connection::open(site, None).await;
    let reply = connection.get(&format!("{label}cacerts")).await;
    sorted(certificates(site, &reply.decoded()).iter().map(|view| view.as_der().to_vec()).collect())
}

/// A device's key and certificate, had by password over EST.
async fn identity(site: &Site, module: &Module, ak_chain: &[Vec<u8>]) -> Identity {
    let key = SoftwareKey::generate();
    let mut connection = Connection::open(site, None).await.authenticated("alice", ALICE);
    let nonce = connection.nonce("").await;
    let reply = connection.enroll("simpleenroll", &request_for(&key, "device-1", module, &nonce, ak_chain)).await;
    (vec![certificates(site, &reply.decoded()).remove(0).as_der().to_vec()], key.pkcs8())
}

fn leaf(identity: &Identity) -> CertView {
    CertView::parse(&identity.0[0]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_of_the_next_issuer_and_of_the_last_with_the_links_between_their_roots() {
    let rotation = Rotation::new();
    let mut site = rotation.site().await;
    let own = |name: &str| {
        let text = fs::read_to_string(site.state().join(format!("ca/{name}.crt"))).unwrap();
        vouchsafe_evidence::pem::read(text.as_bytes()).unwrap()[0].contents().to_vec()
    };
    let of_issuing = sorted(vec![own("issuing-ca"), own("issuing-root")]);
    // Before the change and after it.
    for issuer in ["2026", "2027"] {
        assert_eq!(authorities(&site, "device/").await, rotation.told(), "{issuer}");
        assert_eq!(authorities(&site, "").await, rotation.told());
        assert_eq!(authorities(&site, "stock/").await, of_issuing, "of no other succession");
        let trust = site.exchange("GET", "/v1/trust", &[], b"").await.json();
        assert_eq!(sorted(chain(&trust["issuing"])), of_issuing);
        let told: Vec<_> = trust["issuers"].as_array().unwrap().iter().map(|of| of["name"].clone()).collect();
        assert_eq!(told, ["issuing", "2026", "2027"]);
        assert_eq!(chain(&trust["issuers"][1]["certificates"]), [rotation.old.ca.as_der(), &rotation.old.root[..]]);
        assert_eq!(chain(&trust["issuers"][2]["certificates"]), [rotation.new.ca.as_der(), &rotation.new.root[..]]);
        assert_eq!(chain(&trust["issuers"][2]["links"]).len(), 2);
        assert_eq!(trust["issuers"][2]["revocation_list"], "/v1/revocation-lists/2027");

        let mut client = Client::new(Protection::pbm("alice-ref", SECRET)).on("/p/device");
        let asked = write(|list| {
            list.sequence(|list| {
                list.sequence(|info| {
                    info.oid(CA_CERTS);
                });
            });
        });
        let answer = client.send(&site, GENM, &asked).await;
        assert!(rotation.told().iter().all(|certificate| holds(&answer.body, certificate)), "{issuer}");
        site.reconfigure(|config| config.replace("issuer = '2026'", "issuer = '2027'"));
        site.restart().await;
    }
}

fn holds(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

/// Who trusts the old root alone comes to a certificate of the new issuer by the link, as openssl builds chains.
#[tokio::test(flavor = "multi_thread")]
async fn the_link_leads_from_the_old_root_to_the_new_issuer() {
    let rotation = Rotation::new();
    let mut site = rotation.site().await;
    site.reconfigure(|config| config.replace("issuer = '2026'", "issuer = '2027'"));
    site.restart().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let issued = leaf(&identity(&site, &module, &ak_chain).await);
    let file = |name: &str, text: String| {
        let path = site.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let accepts = |untrusted: &[Vec<u8>]| {
        let untrusted: String = untrusted.iter().map(|der| pem(der)).collect();
        let run = Command::new("openssl")
            .args(["verify", "-x509_strict", "-attime", &NOW.to_string(), "-CAfile"])
            .args([file("old-root.pem", pem(&rotation.old.root)), "-untrusted".into()])
            .args([file("told.pem", untrusted), file("leaf.pem", pem(issued.as_der()))])
            .output()
            .unwrap();
        run.status.success()
    };
    // A root that signs itself is trusted or not; openssl, which tries one way only, is not to try it.
    let told = authorities(&site, "").await.into_iter().filter(|der| !is_self_issued(der)).collect::<Vec<_>>();
    assert!(accepts(&told));
    let links = [rotation.old.linked(&rotation.new), rotation.new.linked(&rotation.old)];
    let unlinked: Vec<Vec<u8>> = told.into_iter().filter(|der| !is_link(der)).collect();
    assert_eq!((unlinked.len(), rotation.told().len()), (2, unlinked.len() + links.len() + 2));
    assert!(!accepts(&unlinked));
}

fn is_self_issued(der: &[u8]) -> bool {
    let view = CertView::parse(der).unwrap();
    view.subject() == view.issuer()
}

fn is_link(der: &[u8]) -> bool {
    let view = CertView::parse(der).unwrap();
    view.subject().to_display().ends_with("Root") && !is_self_issued(der)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_former_issuer_speaks_for_its_device_until_it_is_revoked() {
    let rotation = Rotation::new();
    let mut site = rotation.site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let (kept, revoked) = (identity(&site, &module, &ak_chain).await, identity(&site, &module, &ak_chain).await);
    assert_eq!(leaf(&kept).issuer(), rotation.old.ca.subject());
    site.reconfigure(|config| config.replace("issuer = '2026'", "issuer = '2027'"));
    site.restart().await;

    // Renewed by EST: the next comes from the next issuer.
    let mut connection = Connection::open(&site, Some(kept.clone())).await;
    let nonce = connection.nonce("").await;
    let key = SoftwareKey::generate();
    let reply = connection.enroll("simplereenroll", &request_for(&key, "device-1", &module, &nonce, &ak_chain)).await;
    assert_eq!(certificates(&site, &reply.decoded())[0].issuer(), rotation.new.ca.subject());

    // By CMP the same, answered by a certificate of the profile's issuer and with its chain.
    let signed = |identity: &Identity| {
        let key = SoftwareKey::from_pkcs8(&identity.1);
        Protection::Signature { key: Arc::new(key), chain: identity.0.clone() }
    };
    let mut client = Client::new(signed(&kept)).on("/p/device");
    let answer = client.send(&site, GENM, &nonce_request()).await;
    assert!(answer.codes().is_empty(), "{:?}", answer.codes());
    assert!(holds(&answer.der, rotation.new.ca.as_der()) && !holds(&answer.der, rotation.old.ca.as_der()));

    // Revoked by its owner: on the list of its own issuer, and on no other.
    let owner = || Client::new(Protection::pbm("alice-ref", SECRET)).on("/p/device");
    let asked = |certificate: &CertView, issuer: &CertView| revocation_by(issuer.subject(), certificate.serial(), 1);
    let certificate = leaf(&revoked);
    // The number is right, the issuer is not.
    for issuer in [&rotation.new.ca, &CertView::parse(&rotation.old.root).unwrap()] {
        let refused = owner().send(&site, RR, &asked(&certificate, issuer)).await;
        assert_eq!(refused.codes(), ["cmp.not-the-owner"]);
    }
    let done = owner().send(&site, RR, &asked(&certificate, &rotation.old.ca)).await;
    assert!(done.codes().is_empty(), "{:?}", done.codes());
    site.clock.advance(61);
    for (name, entries) in [("2026", 1), ("2027", 0), ("issuing", 0)] {
        assert_eq!(list(&site, name).await.entries().count(), entries, "{name}");
    }
    let mut connection = Connection::open(&site, Some(revoked)).await;
    assert_eq!(connection.get("nonce").await.refused(401), ["unauthenticated"]);
    let mut connection = Connection::open(&site, Some(kept)).await;
    assert_eq!(connection.get("nonce").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_of_the_same_name_or_a_certificate_that_is_not_on_record_speaks_for_nobody() {
    let rotation = Rotation::new();
    let site = rotation.site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let own = identity(&site, &module, &ak_chain).await;
    let certify = |by: &Authority| {
        let key = SoftwareKey::generate();
        let extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::extended_key_usage(false, &[oid::KP_CLIENT_AUTH]),
        ];
        let subject = leaf(&own).subject().clone();
        let issued = sign_certificate((by.ca.subject(), &by.key), subject, key.spki(), NOW, extensions);
        (vec![issued], key.pkcs8())
    };
    // Another CA of the issuer's name: the handshake ends.
    let stranger = Connection::by(&site, rustls::ALL_VERSIONS, Some(certify(&Authority::new("Issuing 2026")))).await;
    let reached = match stranger {
        Some(mut connection) => connection.attempt("GET", "/.well-known/est/nonce", "text/plain", b"").await.is_some(),
        None => false,
    };
    assert!(!reached);
    // The issuer itself, asked by somebody else: nothing here says whose it is.
    let mut connection = Connection::open(&site, Some(certify(&rotation.old))).await;
    assert_eq!(connection.get("nonce").await.refused(401), ["unauthenticated"]);
    // An issuer's own certificate is nobody's either.
    let issuer = (vec![rotation.old.ca.as_der().to_vec()], rotation.old.key.pkcs8());
    if let Some(mut connection) = Connection::by(&site, rustls::ALL_VERSIONS, Some(issuer)).await
        && let Some(reply) = connection.attempt("GET", "/.well-known/est/nonce", "text/plain", b"").await
    {
        assert_eq!(reply.refused(401), ["unauthenticated"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cmp_vouches_for_the_root_of_the_issuer_that_signed() {
    let rotation = Rotation::new();
    let site = rotation.site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut client = Client::new(Protection::pbm("alice-ref", SECRET)).on("/p/device");
    let nonce = client.nonce(&site).await;
    let key = SoftwareKey::generate();
    let answer = client.send(&site, IR, &crmf(&key, "device-1", &module, &nonce, &ak_chain)).await;
    assert_eq!(answer.number, IP, "{:?}", answer.codes());
    // caPubs is in the body, the chain beside it.
    assert!(holds(&answer.body, &rotation.old.root) && !holds(&answer.body, &rotation.new.root));
    assert!(holds(&answer.der, rotation.old.ca.as_der()) && !holds(&answer.der, rotation.new.ca.as_der()));
    let issued = answer.certificate().unwrap();
    assert_eq!(CertView::parse(&issued).unwrap().issuer(), rotation.old.ca.subject());
}

/// openssl trusts the root of the profile's issuer alone: the server's own certificate chains to it.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_revokes_with_the_issuers_root_for_an_anchor() {
    let rotation = Rotation::new();
    let site = rotation.site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let file = |name: &str, text: String| {
        fs::write(site.dir.path().join(name), text).unwrap();
        site.dir.path().join(name).display().to_string()
    };
    let run = |own: Identity, root: &[u8]| {
        let certificate = file("own.pem", pem(&own.0[0]));
        let key = file("own.key", pem(&own.1).replace("CERTIFICATE", "PRIVATE KEY"));
        let root = file("anchor.pem", pem(root));
        let mut command = Command::new("openssl");
        command.args(["cmp", "-cmd", "rr", "-tls_used", "-recipient", "/CN=authority", "-batch", "-tls_trusted"]);
        command.arg(site.tls_root()).args(["-attime", &NOW.to_string(), "-server"]);
        command.arg(format!("https://localhost:{}/.well-known/cmp/p/device", site.address().port()));
        command.args(["-trusted", &root, "-oldcert", &certificate, "-cert", &certificate, "-key", &key]);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let own = identity(&site, &module, &ak_chain).await;
    let done = run(own, &rotation.old.root).await.unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(list_after(&site, "2026").await, 1);
    // Who trusts another root alone does not believe the answer.
    let other = identity(&site, &module, &ak_chain).await;
    let disbelieved = run(other, &rotation.new.root).await.unwrap();
    assert!(!disbelieved.status.success(), "{disbelieved:?}");
}

async fn list_after(site: &Site, name: &str) -> usize {
    site.clock.advance(61);
    list(site, name).await.entries().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_where_each_issuer_is_in_its_life() {
    let rotation = Rotation::new();
    let mut site = rotation.site().await;
    let listed = |site: &Site| {
        let listed = issuers(&site.config(), &*site.clock).unwrap();
        listed.into_iter().map(|issuer| (issuer.name.clone(), issuer)).collect::<std::collections::BTreeMap<_, _>>()
    };
    let state = |site: &Site, name: &str| listed(site)[name].state;
    assert_eq!(state(&site, "issuing"), IssuerState::Active);
    assert_eq!((state(&site, "2026"), state(&site, "2027")), (IssuerState::Active, IssuerState::Announced));
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let issued = leaf(&identity(&site, &module, &ak_chain).await);
    let shown = listed(&site)["2026"].clone();
    assert_eq!(shown.last_certificate, Some(issued.not_after()));
    assert_eq!((shown.profiles, shown.follows), (vec!["device".to_owned()], None));
    assert_eq!(shown.subject, "CN=Issuing 2026");
    assert_eq!((shown.not_after, shown.days_left), (NOW + 10 * 365 * 86_400, 3_650));
    assert_eq!(shown.revocation_list, "/v1/revocation-lists/2026");
    assert!(matches!(shown.key, KeyPlace::File(path) if path.ends_with("2026.key")));
    assert_eq!(listed(&site)["2027"].follows.as_deref(), Some("2026"));

    site.reconfigure(|config| config.replace("issuer = '2026'", "issuer = '2027'"));
    site.restart().await;
    assert_eq!((state(&site, "2026"), state(&site, "2027")), (IssuerState::Overlap, IssuerState::Active));
    site.clock.advance(90 * 86_400 + 1);
    assert_eq!(state(&site, "2026"), IssuerState::Retired);
    site.clock.advance(10 * 365 * 86_400);
    assert!(listed(&site)["2027"].days_left < 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_its_issuer_and_an_expired_one_signs_lists_alone() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::at("Issuing", NOW - (10 * 365 - 30) * 86_400);
    fs::write(folder.path().join("key"), authority.key_pem()).unwrap();
    let settings = format!(
        "[[issuers]]\nname = 'old'\ncertificate = '{}'\nkey = '{}'\n[[profiles]]\nname = 'device'\nissuer = 'old'\n",
        authority.write(folder.path(), "ca.pem").display(),
        folder.path().join("key").display()
    );
    let mut site = Site::start_with(&settings).await;
    let module = Module::new(&site.vendor, NOW);
    let ak_chain = chain(&site.enroll(ALICE, &module, "device-1").await["certificates"]["attest"]);
    let issued = certificate(&site, &module, &ak_chain).await;
    assert_eq!(CertView::parse(&issued[0]).unwrap().not_after(), authority.ca.not_after());
    site.clock.advance(30 * 86_400);
    // It starts all the same: everything else goes on.
    site.restart().await;
    let nonce = site.certificate_nonce(ALICE).await;
    let body = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex(&nonce)});
    for _ in 0..2 {
        let refused = site.post("/v1/certificates", Some(ALICE), body.clone()).await;
        assert_eq!((refused.status, refused.problem().as_str()), (503, "issuer-expired"));
    }
    assert_eq!(list(&site, "old").await.issuer(), authority.ca.subject());
    // Nothing was decided: with another issuer the same nonce gets its certificate.
    site.reconfigure(|config| config.replace("issuer = 'old'", "issuer = 'issuing'"));
    site.restart().await;
    let granted = site.post("/v1/certificates", Some(ALICE), body).await;
    assert_eq!(granted.status, 201, "{}", String::from_utf8_lossy(&granted.body));
}

/// Why an authority with these settings does not start.
async fn refusal(site: &Site) -> String {
    let (config, clock) = (site.config(), Arc::clone(&site.clock) as Arc<dyn Clock>);
    let source = trust::folder(config.trust().to_owned());
    Server::start(config, source, clock).await.map(drop).expect_err("an error at the start").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_links_no_roots_and_chains_out_of_order_are_refused_at_the_start() {
    let rotation = Rotation::new();
    let mut site = rotation.site().await;
    let stranger = Authority::new("Stranger");
    let leaf = Module::new(&site.vendor, NOW).ek_certificate;
    for link in [
        // A root of its own, a root by itself, an issuer by its root, and what is no CA's.
        stranger.linked(&rotation.new),
        rotation.new.linked(&stranger),
        rotation.old.root.clone(),
        rotation.new.ca.as_der().to_vec(),
    ] {
        rotation.write("links.pem", &pem(&link));
        let told = refusal(&site).await;
        assert!(told.contains("each link must be"), "{told}");
    }
    rotation.write("links.pem", &pem(&leaf));
    assert!(refusal(&site).await.contains("keyCertSign"));
    rotation.write("links.pem", "");
    assert!(refusal(&site).await.contains("PEM"));

    site.reconfigure(|config| config.lines().filter(|line| !line.starts_with("links")).collect::<Vec<_>>().join("\n"));
    let (ca, root) = (pem(rotation.new.ca.as_der()), pem(&rotation.new.root));
    let (other_ca, other_root) = (pem(rotation.old.ca.as_der()), pem(&rotation.old.root));
    for text in [
        format!("{root}{ca}"),
        format!("{ca}{other_root}"),
        format!("{ca}{other_ca}{root}"),
        format!("{ca}{root}{root}"),
        format!("{ca}{root}{other_ca}"),
        [ca.as_str(); 9].concat(),
    ] {
        rotation.write("2027.pem", &text);
        let told = refusal(&site).await;
        assert!(told.contains("must come first"), "{told}");
    }
    // Without its root it starts, and clients are told of what there is.
    rotation.write("2027.pem", &ca);
    site.restart().await;
    assert_eq!(authorities(&site, "").await.len(), 3);
}

#[test]
fn each_follows_one_and_is_followed_by_one() {
    let with = |text: &str| Config::from_toml(&format!("{text}\n[tls]\nself_signed = true\n"));
    let issuer = |name: &str, follows: &str| {
        format!("[[issuers]]\nname = '{name}'\ncertificate = 'c'\nkey = 'k'\nfollows = '{follows}'\n")
    };
    assert!(with(&(issuer("a", "issuing") + &issuer("b", "a") + &issuer("c", "b"))).is_ok());
    for text in [
        issuer("a", "none"),
        issuer("a", "a"),
        issuer("a", "b") + &issuer("b", "a"),
        issuer("a", "c") + &issuer("b", "a") + &issuer("c", "b"),
        issuer("a", "issuing") + &issuer("b", "issuing"),
    ] {
        let told = with(&text).unwrap_err().to_string();
        assert!(told.contains("follows"), "{text}: {told}");
    }
}
