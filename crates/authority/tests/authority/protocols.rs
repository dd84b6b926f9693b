//! Every protocol beside every other: a credential, a nonce and a message of one count nothing in another, and what is
//! malformed, too long, sent twice or out of order is refused by code in each.

#[path = "protocols/credentials.rs"]
mod credentials;
#[path = "protocols/messages.rs"]
mod messages;
#[path = "protocols/nonces.rs"]
mod nonces;
#[path = "protocols/operations.rs"]
mod operations;
#[path = "protocols/proxies.rs"]
mod proxies;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use vouchsafe_authority::Verb;
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::GeneralName;
use vouchsafe_evidence::x509::{CertView, CsrView};

use crate::acme::client::{ALICE_SECRET, BOB_SECRET, Client as AcmeClient, Stage, codes};
use crate::cmp::client::{Answer, Client as CmpClient, MEDIA_TYPE as PKIXCMP, Protection};
use crate::cmp::{BOBS_SECRET, SECRET};
use crate::est::connection::Connection;
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, BOB, CAROL, Identity, NOW, Reply, Site, chain, digest_hex};

/// The secret of `carol`, who has every kind of credential and no right to a certificate.
const CAROLS_SECRET: &str = "a secret of carol, for nothing good";
const CAROL_EXTERNAL: [u8; 32] = [0xC0; 32];
const JOSE: &str = "application/jose+json";
/// The name of every order.
const NAME: &str = "a.example";

/// The protocol of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Json,
    Est,
    Cmp,
    Acme,
}

impl Protocol {
    const fn of(verb: Verb) -> Self {
        match verb {
            Verb::Json(_) | Verb::Distribution(_) => Self::Json,
            Verb::Est(_) => Self::Est,
            Verb::Cmp(_) => Self::Cmp,
            Verb::Acme(_) => Self::Acme,
        }
    }

    /// The media type of its requests.
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Est => "application/pkcs10",
            Self::Cmp => PKIXCMP,
            Self::Acme => JOSE,
        }
    }

    /// The first code of a refusal, from the form of this protocol.
    fn code(self, reply: &Reply) -> String {
        match self {
            Self::Json => match reply.codes().first() {
                Some(violation) => violation.clone(),
                None => reply.problem(),
            },
            Self::Est => {
                let codes = reply.refused(reply.status);
                codes.get(1).unwrap_or(&codes[0]).clone()
            }
            // What never becomes a message is refused in HTTP.
            Self::Cmp if reply.status != 200 => reply.problem(),
            Self::Cmp => {
                let answer = Answer::read(&reply.body);
                assert!(answer.certificate().is_none());
                answer.codes().first().expect("a code").clone()
            }
            Self::Acme => codes(reply).first().expect("a code").clone(),
        }
    }
}

/// A site that speaks every protocol, to accounts that have a credential for each.
struct Stand {
    stage: Stage,
    site: Site,
}

impl Stand {
    async fn start() -> Self {
        let stage = Stage::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let private = |name: &str, contents: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, contents).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let carol = private("carol.key", &base64url::encode(&CAROL_EXTERNAL));
        let settings = stage.settings(dir.path(), port, true);
        assert!(settings.contains("external_accounts = {"));
        let settings = settings.replace("external_accounts = {", &format!("external_accounts = {{ carol = '{carol}',"));
        let mut accounts = String::new();
        for (name, token, secret, may) in [
            ("alice", ALICE, SECRET, "'enroll', 'appraise', 'issue'"),
            ("bob", BOB, BOBS_SECRET, "'enroll', 'appraise', 'issue'"),
            ("carol", CAROL, CAROLS_SECRET, "'enroll'"),
        ] {
            let path = private(&format!("{name}.secret"), secret);
            accounts.push_str(&format!(
                "[[accounts]]\nname = '{name}'\ntoken_sha256 = '{}'\nmay = [{may}]\ncmp_reference = '{name}-ref'\n\
                 cmp_secret = '{path}'\n",
                digest_hex(token),
            ));
        }
        let mut site = Site::install_at(dir, NOW, &settings, &accounts);
        site.reconfigure(|config| config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")));
        site.restart().await;
        Self { stage, site }
    }

    /// A device of alice.
    async fn device(&self, name: &str) -> Device {
        let module = Module::new(&self.site.vendor, NOW);
        let answer = self.site.enroll(ALICE, &module, name).await;
        Device { module, ak_chain: chain(&answer["certificates"]["attest"]) }
    }

    /// A certificate of the device for a key in its module, by EST.
    async fn identity(&self, device: &Device) -> Identity {
        let key = SoftwareKey::generate();
        let mut connection = self.est("alice", ALICE).await;
        let nonce = connection.nonce("").await;
        let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
        let csr = device.module.csr_for(&key, &public, &nonce, &device.ak_chain, None);
        let reply = connection.enroll("simpleenroll", &csr).await;
        (vec![certs_only(&reply.decoded())], key.pkcs8())
    }

    async fn est(&self, name: &str, token: &str) -> Connection {
        Connection::open(&self.site, None).await.authenticated(name, token)
    }

    /// A client of ACME that is bound to alice.
    async fn acme(&self) -> AcmeClient<'_> {
        AcmeClient::register(&self.site, "alice", &ALICE_SECRET).await
    }

    /// Sends a body with these headers beside those that say what it is.
    async fn send(&self, method: &str, path: &str, headers: &[String], media_type: &str, body: &[u8]) -> Reply {
        let mut all = headers.to_vec();
        all.push(format!("Content-Type: {media_type}"));
        all.push(format!("Content-Length: {}", body.len()));
        self.site.exchange(method, path, &all, body).await
    }
}

/// A module with the chain of its attesting key.
struct Device {
    module: Module,
    ak_chain: Vec<Vec<u8>>,
}

impl Device {
    /// A request for a new key, by the name of every order, whose statement answers the nonce.
    fn csr(&self, nonce: &[u8]) -> Vec<u8> {
        let key = SoftwareKey::generate();
        let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
        let statements = vec![self.module.key_statement(&public, nonce)];
        let certificates = self.ak_chain.iter().map(|der| CertView::parse(der).unwrap()).collect();
        let names = build::subject_alt_name(false, &[GeneralName::Dns(NAME.as_bytes().to_vec())]);
        let attributes = vec![
            build::extension_request_attribute(&[names]),
            build::attestation_attribute(&AttestationBundle::new(statements, certificates).unwrap()),
        ];
        let subject = build::distinguished_name(&[(oid::COMMON_NAME, NAME)]).unwrap();
        let der = key.csr(subject, attributes);
        assert!(CsrView::parse(&der).is_ok());
        der
    }
}

/// The one certificate in a message that holds certificates alone: the longest SEQUENCE in it that is one.
fn certs_only(message: &[u8]) -> Vec<u8> {
    let place = |at: &usize| message[*at..].starts_with(&[0x30, 0x82]);
    let found = (0..message.len()).filter(place).find_map(|at| {
        let length = usize::from(message[at + 2]) << 8 | usize::from(message[at + 3]);
        let der = message.get(at..at + 4 + length)?;
        CertView::parse(der).ok().map(|_| der.to_vec())
    });
    found.expect("a certificate")
}

fn cmp(reference: &str, secret: &str) -> CmpClient {
    CmpClient::new(Protection::pbm(reference, secret))
}
