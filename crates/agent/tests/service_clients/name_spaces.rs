//! Whose a key is: users, names that clients give themselves, several providers, keys that are lent.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prost::Message;
use vouchsafe_agent::client::ClientFault;
use vouchsafe_agent::config::{Config, Limits};
use vouchsafe_agent::grants::{Capability, GrantRule, Grantee};
use vouchsafe_agent::provider::KeyUid;
use vouchsafe_agent::provider_identity::ProviderKind;
use vouchsafe_agent::store::{KeyId, KeyRole, NewKey, Store};
use vouchsafe_agent::wire::message::{
    AttestKeyOperation, ErrorDetail, ExportPublicKeyOperation, ExportPublicKeyResult, GenerateKeyOperation,
    ListAttestingKeysOperation, ListAttestingKeysResult, ListClientsOperation, ListKeysOperation, ListKeysResult,
    ListProvidersResult, hash,
};
use vouchsafe_agent::wire::{Opcode, ProviderId, Status};

use crate::support::{Bench, Control, ecdsa, named, p256, response};
use crate::{certify, quote, status};

/// The second TPM: the first of its kind has Parsec's number.
const SECOND: ProviderId = ProviderId(0x80);

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn three_modules() -> Vec<(&'static str, ProviderKind, Arc<Control>)> {
    vec![
        ("tpm", ProviderKind::Tpm, Arc::default()),
        ("hsm", ProviderKind::Pkcs11, Arc::default()),
        ("second", ProviderKind::Tpm, Arc::default()),
    ]
}

fn with_direct(config: &mut Config) {
    config.authenticators.direct = true;
}

/// The directory of an agent that is stopped.
fn stopped(mut bench: Bench) -> tempfile::TempDir {
    bench.agent.take().unwrap().stop();
    std::mem::replace(&mut bench.directory, tempfile::tempdir().unwrap())
}

/// A client that gives itself a name.
struct Named<'a> {
    stream: UnixStream,
    name: &'a str,
}

impl<'a> Named<'a> {
    fn new(bench: &Bench, name: &'a str) -> Named<'a> {
        Named { stream: bench.raw(), name }
    }

    fn ask(&mut self, provider: ProviderId, opcode: Opcode, operation: &impl Message) -> (Status, Vec<u8>) {
        let request = named(provider, opcode.number(), &operation.encode_to_vec(), self.name);
        self.stream.write_all(&request).unwrap();
        let (header, body) = response(&mut self.stream);
        (header.status, body)
    }

    fn generate(&mut self, provider: ProviderId, key_name: &str) -> Status {
        let operation = GenerateKeyOperation { key_name: key_name.to_owned(), attributes: Some(p256()) };
        self.ask(provider, Opcode::PsaGenerateKey, &operation).0
    }

    fn export(&mut self, provider: ProviderId, key_name: &str) -> Result<Vec<u8>, Status> {
        let operation = ExportPublicKeyOperation { key_name: key_name.to_owned() };
        match self.ask(provider, Opcode::PsaExportPublicKey, &operation) {
            (Status::Success, body) => Ok(ExportPublicKeyResult::decode(body.as_slice()).unwrap().data),
            (status, _) => Err(status),
        }
    }

    fn list(&mut self) -> ListKeysResult {
        let (status, body) = self.ask(ProviderId::CORE, Opcode::ListKeys, &ListKeysOperation {});
        assert_eq!(status, Status::Success);
        ListKeysResult::decode(body.as_slice()).unwrap()
    }
}

#[test]
fn one_name_is_another_key_for_each_client_and_each_provider() {
    let bench = Bench::of_modules(three_modules(), with_direct);
    let (as_uid, as_text) = (uid().to_string(), format!("unix:{}", uid()));
    let providers = [ProviderId::TPM, ProviderId::PKCS11, SECOND];
    let mut public = Vec::new();
    for provider in providers {
        let mut client = bench.client().with_provider(provider);
        client.generate_key("k", p256()).unwrap();
        public.push(client.export_public_key("k").unwrap());
        for name in [&as_uid, &as_text] {
            let mut client = Named::new(&bench, name);
            assert_eq!(client.generate(provider, "k"), Status::Success, "{name}");
            assert_eq!(client.generate(provider, "k"), Status::PsaErrorAlreadyExists, "{name}");
            public.push(client.export(provider, "k").unwrap());
        }
    }
    public.sort_unstable();
    public.dedup();
    assert_eq!(public.len(), 9);
    // What one destroys, the others have still.
    bench.client().destroy_key("k").unwrap();
    assert_eq!(status(bench.client().destroy_key("k")), Some(Status::PsaErrorDoesNotExist));
    for provider in providers {
        for name in [&as_uid, &as_text] {
            assert!(Named::new(&bench, name).export(provider, "k").is_ok());
        }
    }
    let numbers: Vec<u32> = bench.client().list_keys().unwrap().iter().map(|key| key.provider_id).collect();
    assert_eq!(numbers, [2, 0x80]);
    let listed = Named::new(&bench, &as_uid).list();
    let numbers = |keys: &[vouchsafe_agent::wire::message::KeyInfo]| -> Vec<u32> {
        keys.iter().map(|key| key.provider_id).collect()
    };
    // Parsec's clients refuse an answer with a number that they do not know: those stand apart.
    assert_eq!((numbers(&listed.keys), numbers(&listed.extension_keys)), (vec![2, 3], vec![0x80]));
}

#[test]
fn further_providers_are_listed_where_parsecs_clients_do_not_look() {
    let bench = Bench::of_modules(three_modules(), |_| {});
    let mut stream = bench.raw();
    let request = crate::support::request(ProviderId::CORE, Opcode::ListProviders.number(), &[]);
    stream.write_all(&request).unwrap();
    let listed = ListProvidersResult::decode(response(&mut stream).1.as_slice()).unwrap();
    assert_eq!(listed.providers.iter().map(|provider| provider.id).collect::<Vec<_>>(), [3, 2, 0]);
    assert_eq!(listed.extension_providers.len(), 1);
    let second = &listed.extension_providers[0];
    assert_eq!((second.id, second.description.as_str()), (0x80, "Keys in a TPM 2.0 (second)"));
    assert!(listed.providers.iter().all(|provider| provider.uuid != second.uuid));
    assert_eq!(&second.uuid[14..15], "8");
    for (name, expected) in [(Some("second"), 0x80), (Some("hsm"), 2), (None, 3)] {
        let mut client = bench.client().with_provider_named(name).unwrap();
        client.generate_key("named", p256()).unwrap();
        let keys = client.list_keys().unwrap();
        assert_eq!((keys.len(), keys[0].provider_id), (1, expected));
        client.destroy_key("named").unwrap();
    }
    let fault = bench.client().with_provider_named(Some("third")).unwrap_err();
    assert!(fault.to_string().ends_with("only tpm, hsm, core, second"), "{fault}");
    let mut client = bench.client();
    let opcodes = client.list_opcodes(SECOND).unwrap();
    assert_eq!(opcodes, client.list_opcodes(ProviderId::TPM).unwrap());
    assert_eq!(status(client.list_opcodes(ProviderId(0x81))), Some(Status::ProviderDoesNotExist));
}

#[test]
fn who_may_give_itself_a_name() {
    let off = Bench::start();
    let mut client = Named::new(&off, "web");
    assert_eq!(client.generate(ProviderId::TPM, "k"), Status::AuthenticatorNotRegistered);
    // Nothing behind such a header is read, and nothing is done even where no authentication is needed: what a
    // request says of its sender is never passed over.
    let mut client = Named::new(&off, "web");
    let ping = vouchsafe_agent::wire::message::PingOperation {};
    assert_eq!(client.ask(ProviderId::CORE, Opcode::Ping, &ping).0, Status::AuthenticatorNotRegistered);
    let on = Bench::of(Arc::default(), with_direct);
    let ids = |bench: &Bench| -> Vec<u32> {
        bench.client().list_authenticators().unwrap().iter().map(|authenticator| authenticator.id).collect()
    };
    assert_eq!((ids(&off), ids(&on)), (vec![3], vec![3, 1]));
    for name in ["a\nb", "\u{0}", "\u{1b}[2J"] {
        let mut client = Named::new(&on, name);
        assert_eq!(client.generate(ProviderId::TPM, "k"), Status::AuthenticationError, "{name:?}");
        client.name = "web";
        assert_eq!(client.generate(ProviderId::TPM, name), Status::PsaErrorInvalidArgument);
    }
    let mut stream = on.raw();
    let mut request = named(ProviderId::CORE, Opcode::ListKeys.number(), &[], "ab");
    *request.last_mut().unwrap() = 0xFF;
    assert_eq!(crate::support::status(&mut stream, &request), Status::AuthenticationError);
}

/// The agent runs as this user, so as itself it has every grant.
#[test]
fn a_name_that_a_client_gave_itself_has_no_grants() {
    let rule = GrantRule {
        keys: vec![format!("unix:{}/lent", uid()).parse().unwrap()],
        ..GrantRule::new(Grantee::Uid(uid()), Capability::ALL.to_vec())
    };
    let bench = Bench::of(Arc::default(), |config| {
        with_direct(config);
        config.grants = vec![rule];
    });
    bench.client().generate_key("lent", p256()).unwrap();
    for name in ["root".to_owned(), uid().to_string(), format!("unix:{}", uid())] {
        let mut client = Named::new(&bench, &name);
        assert_eq!(client.generate(ProviderId::TPM, "k"), Status::Success);
        let attest = |attesting_key: &str| AttestKeyOperation {
            key_name: "k".to_owned(),
            attesting_key: attesting_key.to_owned(),
            nonce: vec![1; 16],
            mechanism: Some(certify()),
        };
        for attesting_key in ["", "machine"] {
            let (status, body) = client.ask(ProviderId::TPM, Opcode::AttestKey, &attest(attesting_key));
            assert_eq!(status, Status::PsaErrorNotPermitted, "{name}");
            assert_eq!(ErrorDetail::decode(body.as_slice()).unwrap().code, "agent.grant-missing");
        }
        let platform = vouchsafe_agent::wire::message::AttestPlatformOperation {
            attesting_key: String::new(),
            nonce: vec![1; 16],
            mechanism: Some(quote()),
        };
        assert_eq!(client.ask(ProviderId::TPM, Opcode::AttestPlatform, &platform).0, Status::PsaErrorNotPermitted);
        let (status, _) = client.ask(ProviderId::CORE, Opcode::ListClients, &ListClientsOperation {});
        assert_eq!(status, Status::AdminOperation);
        let operation = ListAttestingKeysOperation {};
        let (_, body) = client.ask(ProviderId::TPM, Opcode::ListAttestingKeys, &operation);
        assert_eq!(ListAttestingKeysResult::decode(body.as_slice()).unwrap().keys, vec![]);
        assert_eq!(client.export(ProviderId::TPM, "lent"), Err(Status::PsaErrorDoesNotExist));
    }
    assert!(bench.client().attest_key("lent", "", &[1; 16], certify()).is_ok());
}

#[test]
fn administrators_see_and_delete_clients_by_their_texts() {
    let bench = Bench::of_modules(three_modules(), with_direct);
    bench.client().generate_key("k", p256()).unwrap();
    for name in ["web", "1", "unix:1"] {
        for provider in [ProviderId::TPM, SECOND] {
            assert_eq!(Named::new(&bench, name).generate(provider, "k"), Status::Success);
        }
    }
    let own = uid().to_string();
    let mut client = bench.client();
    assert_eq!(client.list_clients().unwrap(), [own.as_str(), "direct:1", "direct:unix:1", "direct:web"]);
    for absent in ["1", "unix:1", "direct:none"] {
        assert_eq!(status(client.delete_client(absent)), Some(Status::PsaErrorDoesNotExist), "{absent}");
    }
    for text in ["", "web", "direct:", "unix:x"] {
        assert_eq!(status(client.delete_client(text)), Some(Status::PsaErrorInvalidArgument), "{text}");
    }
    client.delete_client("direct:unix:1").unwrap();
    assert_eq!(client.list_clients().unwrap(), [own.as_str(), "direct:1", "direct:web"]);
    client.delete_client(&format!("unix:{own}")).unwrap();
    assert_eq!(client.list_clients().unwrap(), ["direct:1", "direct:web"]);
    assert!(Named::new(&bench, "1").export(SECOND, "k").is_ok());
}

#[test]
fn what_is_taken_up_counts_as_the_users_whatever_its_names() {
    let limits = Limits { keys_per_user: 2, waiting_requests_per_user: 1, ..Limits::default() };
    let bench = Bench::of(Arc::default(), |config| {
        with_direct(config);
        config.limits = limits;
    });
    bench.client().generate_key("k", p256()).unwrap();
    assert_eq!(Named::new(&bench, "a").generate(ProviderId::TPM, "k"), Status::Success);
    assert_eq!(Named::new(&bench, "b").generate(ProviderId::TPM, "k"), Status::PsaErrorInsufficientStorage);
    bench.client().destroy_key("k").unwrap();
    bench.control.hold();
    std::thread::scope(|scope| {
        let begun = bench.control.begun.load(Ordering::SeqCst);
        let held = scope.spawn(|| Named::new(&bench, "b").generate(ProviderId::TPM, "k"));
        bench.control.wait_for_begun(begun + 1);
        let more: Vec<_> = ["c", "d"]
            .into_iter()
            .map(|name| {
                let bench = &bench;
                scope.spawn(move || Named::new(bench, name).export(ProviderId::TPM, "k"))
            })
            .collect();
        // One waits, the other is refused while the first is held up.
        while !more.iter().any(|client| client.is_finished()) {
            std::thread::yield_now();
        }
        bench.control.release();
        let found: Vec<_> = more.into_iter().map(|client| client.join().unwrap().unwrap_err()).collect();
        assert!(found.contains(&Status::PsaErrorInsufficientMemory), "{found:?}");
        assert!(found.contains(&Status::PsaErrorDoesNotExist), "{found:?}");
        assert_eq!(held.join().unwrap(), Status::Success);
    });
}

/// The lender is a client of another name; the borrower is this user.
#[test]
fn a_lent_key_is_used_and_neither_destroyed_nor_attested() {
    let lends = |keys: &[&str], may: Vec<Capability>| GrantRule {
        keys: keys.iter().map(|key| key.parse().unwrap()).collect(),
        ..GrantRule::new(Grantee::Uid(uid()), may)
    };
    let bench = Bench::of_modules(three_modules(), |config| {
        with_direct(config);
        config.grants = vec![lends(&["direct:web/tls", "direct:web/hsm/both", "direct:other/tpm/both"], vec![])];
    });
    for (name, provider, key) in [
        ("web", ProviderId::TPM, "tls"),
        ("web", ProviderId::TPM, "secret"),
        ("web", ProviderId::TPM, "both"),
        ("web", ProviderId::PKCS11, "both"),
        ("other", ProviderId::TPM, "both"),
    ] {
        assert_eq!(Named::new(&bench, name).generate(provider, key), Status::Success);
    }
    let theirs = Named::new(&bench, "web").export(ProviderId::TPM, "tls").unwrap();
    let absent = Some(Status::PsaErrorDoesNotExist);
    let mut client = bench.client();
    for name in ["tls", "direct:web/tls", "direct:web/tpm/tls"] {
        assert_eq!(client.export_public_key(name).unwrap(), theirs, "{name}");
        assert_eq!(client.sign_hash(name, ecdsa(hash::SHA_256), &[7; 32]).unwrap(), [7; 32]);
        assert_eq!(status(client.destroy_key(name)), absent, "{name}");
    }
    for name in ["secret", "direct:web/secret", "direct:web/hsm/tls", "direct:other/tls", "unix:0/tls"] {
        assert_eq!(status(client.export_public_key(name)), absent, "{name}");
    }
    assert_eq!(client.list_keys().unwrap(), vec![]);
    // At each provider the one that is lent there, not the other of that name.
    let both = Named::new(&bench, "other").export(ProviderId::TPM, "both").unwrap();
    assert_eq!(client.export_public_key("both").unwrap(), both);
    let mut token = bench.client().with_provider(ProviderId::PKCS11);
    assert_eq!(
        token.export_public_key("both").unwrap(),
        Named::new(&bench, "web").export(ProviderId::PKCS11, "both").unwrap()
    );
    assert_eq!(status(token.export_public_key("tls")), absent);
    // A name of the caller's own always comes first.
    client.generate_key("tls", p256()).unwrap();
    assert_ne!(client.export_public_key("tls").unwrap(), theirs);
    assert_eq!(client.export_public_key("direct:web/tls").unwrap(), theirs);
    client.destroy_key("tls").unwrap();
    assert_eq!(client.export_public_key("tls").unwrap(), theirs);
}

#[test]
fn a_name_that_several_lend_is_asked_for_with_its_client() {
    let bench = Bench::of(Arc::default(), |config| {
        with_direct(config);
        config.grants = vec![GrantRule {
            keys: ["direct:a/k", "direct:b/k", "direct:a/tpm/k"].map(|key| key.parse().unwrap()).to_vec(),
            ..GrantRule::new(Grantee::Uid(uid()), vec![])
        }];
    });
    assert_eq!(Named::new(&bench, "a").generate(ProviderId::TPM, "k"), Status::Success);
    let mut client = bench.client();
    let first = client.export_public_key("k").unwrap();
    assert_eq!(Named::new(&bench, "b").generate(ProviderId::TPM, "k"), Status::Success);
    assert_eq!(status(client.export_public_key("k")), Some(Status::PsaErrorInvalidArgument));
    assert_eq!(client.export_public_key("direct:a/k").unwrap(), first);
    assert_ne!(client.export_public_key("direct:b/k").unwrap(), first);
}

#[test]
fn the_order_of_providers_moves_no_keys() {
    let modules = |names: [&'static str; 2], controls: &[Arc<Control>; 2]| {
        names.into_iter().zip(controls).map(|(name, control)| (name, ProviderKind::Tpm, Arc::clone(control))).collect()
    };
    let [a, b]: [Arc<Control>; 2] = [Arc::default(), Arc::default()];
    let bench = Bench::of_modules(modules(["a", "b"], &[a.clone(), b.clone()]), |_| {});
    bench.client().with_provider(SECOND).generate_key("of b", p256()).unwrap();
    let bench = Bench::in_directory(stopped(bench), modules(["b", "a"], &[b, a]), |_| {});
    let keys = bench.client().list_keys().unwrap();
    assert_eq!((keys.len(), keys[0].provider_id), (1, 3));
    assert!(bench.client().export_public_key("of b").is_ok());
    let elsewhere = bench.client().with_provider(SECOND).export_public_key("of b");
    assert_eq!(status(elsewhere), Some(Status::PsaErrorDoesNotExist));
}

#[test]
fn a_provider_that_is_down_hinders_no_other_not_even_at_the_start() {
    let modules = three_modules();
    let down = Arc::clone(&modules[0].2);
    down.absent.store(true, Ordering::SeqCst);
    let bench = Bench::of_modules(modules, |_| {});
    assert_eq!(status(bench.client().generate_key("k", p256())), Some(Status::PsaErrorCommunicationFailure));
    for provider in [ProviderId::PKCS11, SECOND] {
        bench.client().with_provider(provider).generate_key("k", p256()).unwrap();
    }
    assert_eq!(bench.client().list_keys().unwrap().len(), 2);
    down.absent.store(false, Ordering::SeqCst);
    bench.client().generate_key("k", p256()).unwrap();
}

/// A module that fails once the key is in it, and then cannot even be asked to forget it.
#[test]
fn what_a_failing_module_has_begun_is_forgotten_when_it_answers_again() {
    let bench = Bench::start();
    let mut client = bench.client();
    let fail = |on: bool| bench.control.failing.store(on, Ordering::SeqCst);
    let objects = || bench.control.objects.lock().unwrap().len();
    fail(true);
    assert_eq!(status(client.generate_key("k", p256())), Some(Status::PsaErrorCommunicationFailure));
    assert_eq!(objects(), 1);
    // Nobody has that key, and its name is free once the module answers.
    assert_eq!(status(client.export_public_key("k")), Some(Status::PsaErrorDoesNotExist));
    assert_eq!(client.list_keys().unwrap(), vec![]);
    assert_eq!(status(client.generate_key("k", p256())), Some(Status::PsaErrorCommunicationFailure));
    fail(false);
    client.generate_key("k", p256()).unwrap();
    assert_eq!((objects(), client.list_keys().unwrap().len()), (1, 1));
    // A key that the module does not destroy is as it was.
    fail(true);
    assert_eq!(status(client.destroy_key("k")), Some(Status::PsaErrorCommunicationFailure));
    assert!(client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).is_ok());
    fail(false);
    client.destroy_key("k").unwrap();
    assert_eq!(objects(), 0);
}

/// What SIGKILL leaves behind: rows that say what was asked of the module, and perhaps a key in it.
#[test]
fn what_a_killed_agent_has_begun_is_gone_when_the_next_one_serves() {
    let directory = tempfile::tempdir().unwrap();
    let control: Arc<Control> = Arc::default();
    let key = |provider: &str, name: &str| NewKey {
        id: KeyId {
            client: vouchsafe_agent::ClientId::Unix(uid()),
            provider: provider.parse().unwrap(),
            name: name.to_owned(),
        },
        uid: KeyUid::random().unwrap(),
        owner: uid(),
        role: KeyRole::Pair(vouchsafe_agent::provider::KeyPurpose::Sign),
        attributes: p256().encode_to_vec(),
    };
    let (unasked, made, leaving, other) =
        (key("tpm", "unasked"), key("tpm", "made"), key("tpm", "leaving"), key("x", "o"));
    {
        let store = Store::open(&directory.path().join("state")).unwrap();
        let blob = vouchsafe_agent::provider::KeyBlob::from_bytes(b"Sign/0".to_vec());
        for key in [&unasked, &made, &leaving, &other] {
            let _ = store.reserve_key(key, 9).unwrap();
        }
        store.finish_key(&leaving.uid, &blob).unwrap();
        assert!(store.begin_removal(&leaving.uid).unwrap());
    }
    control.objects.lock().unwrap().extend([made.uid, leaving.uid]);
    let bench = Bench::in_directory(directory, vec![("tpm", ProviderKind::Tpm, control)], |_| {});
    // The provider's thread opens it, and cleans up, before it takes the first request.
    let mut client = bench.client();
    let begun = [&unasked, &made, &leaving];
    for key in begun {
        assert_eq!(status(client.destroy_key(&key.id.name)), Some(Status::PsaErrorDoesNotExist));
    }
    assert_eq!(*bench.control.abandoned.lock().unwrap(), begun.map(|key| key.uid));
    assert!(bench.control.objects.lock().unwrap().is_empty());
    for key in begun {
        client.generate_key(&key.id.name, p256()).unwrap();
    }
    assert_eq!(bench.control.abandoned.lock().unwrap().len(), 3);
    let objects = bench.control.objects.lock().unwrap().clone();
    assert_eq!(objects.len(), 3);
    assert!([unasked.uid, made.uid, leaving.uid].iter().all(|uid| !objects.contains(uid)));
    drop(objects);
    // Another provider's is not this one's to forget.
    let directory = stopped(bench);
    let store = Store::open(&directory.path().join("state")).unwrap();
    assert_eq!(store.unsettled(&other.id.provider).unwrap(), [other.uid]);
}

/// Which of the caller's operations reach a key that is lent, told apart by their answers.
#[test]
fn a_lent_key_is_attested_only_with_the_grant_to_attest() {
    if !crate::is_root() {
        return;
    }
    for may in [vec![], vec![Capability::Attest]] {
        let granted = if may.is_empty() { "lent" } else { "lent-and-attested" };
        let bench = Bench::of(Arc::default(), |config| {
            config.grants = vec![GrantRule {
                keys: vec!["unix:0/tls".parse().unwrap()],
                ..GrantRule::new(Grantee::Uid(4242), may)
            }];
        });
        bench.client().generate_key("tls", p256()).unwrap();
        bench.client().generate_key("secret", p256()).unwrap();
        crate::run_as(4242, &bench, granted);
        assert!(bench.client().sign_hash("tls", ecdsa(hash::SHA_256), &[7; 32]).is_ok());
        // Uses by the borrower are on record as uses of the lender's key, the lender's own are not.
        let log = bench.directory.path().join("state").join(vouchsafe_agent::audit::FILE_NAME);
        let text = std::fs::read_to_string(log).unwrap();
        let of = |event: &str| -> Vec<Vec<&str>> {
            let entries = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
            entries.filter(|entry| entry[2] == event && entry[6] == "tls").collect()
        };
        let key = of("generate")[0][7];
        let [used] = of("use").try_into().unwrap();
        assert_eq!(used[3..11], ["unix:0", "4242", "tpm", "tls", key, "-", "-", "ok"]);
        let outcome = if granted == "lent" { "agent.grant-missing" } else { "ok" };
        assert_eq!(of("attest-key").len(), 2);
        for entry in of("attest-key") {
            assert_eq!((&entry[3..5], entry[7], entry[10]), (&["unix:0", "4242"][..], key, outcome));
        }
    }
}

/// What the borrower of root's key sees, run as another user by the test above.
pub fn as_borrower(client: &mut vouchsafe_agent::client::Client, granted: &str) {
    let absent = Some(Status::PsaErrorDoesNotExist);
    assert!(client.sign_hash("tls", ecdsa(hash::SHA_256), &[7; 32]).is_ok());
    assert!(client.export_public_key("unix:0/tls").is_ok());
    assert_eq!(status(client.export_public_key("secret")), absent);
    assert_eq!(status(client.destroy_key("tls")), absent);
    client.create_attesting_key("mine", "", false).unwrap();
    for attesting_key in ["", "mine"] {
        let attested: Result<_, ClientFault> = client.attest_key("tls", attesting_key, &[1; 16], certify());
        if granted == "lent" {
            let fault = attested.unwrap_err();
            assert_eq!(fault.code(), Some("agent.grant-missing"), "{fault}");
        } else {
            assert!(attested.is_ok());
        }
    }
    let secret = client.attest_key("secret", "", &[1; 16], certify());
    assert_eq!(status(secret), absent);
    client.destroy_key("mine").unwrap();
}
