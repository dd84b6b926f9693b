//! Every operation of every protocol has its routes, and every route an operation. The lists are made by exhaustive
//! matches: a new operation does not compile before it is put into its place here.

use vouchsafe_authority::protocol::{acme, cmp, distribution, est};
use vouchsafe_authority::{Access, Operation, ROUTES, Verb};

/// All values from `first` on, in the order in which `next` has them.
fn all<T: Copy>(first: T, next: impl Fn(T) -> Option<T>) -> Vec<T> {
    std::iter::successors(Some(first), |value| next(*value)).collect()
}

fn json_operations() -> Vec<Operation> {
    use Operation::*;
    all(MintNonce, |operation| match operation {
        MintNonce => Some(OpenChallenge),
        OpenChallenge => Some(Activate),
        Activate => Some(Renew),
        Renew => Some(ImportInventory),
        ImportInventory => Some(Revoke),
        Revoke => Some(Metrics),
        Metrics => Some(Issue),
        Issue => Some(Appraise),
        Appraise => Some(ResultKeys),
        ResultKeys => Some(Description),
        Description => Some(RevocationList),
        RevocationList => Some(Trust),
        Trust => None,
    })
}

fn est_operations() -> Vec<est::Operation> {
    use est::Operation::*;
    all(CaCertificates, |operation| match operation {
        CaCertificates => Some(RequestAttributes),
        RequestAttributes => Some(Nonce),
        Nonce => Some(Enroll),
        Enroll => Some(Reenroll),
        Reenroll => Some(ServerKeyGeneration),
        ServerKeyGeneration => Some(FullCmc),
        FullCmc => None,
    })
}

fn cmp_operations() -> Vec<cmp::Operation> {
    use cmp::Operation::*;
    all(Any, |operation| match operation {
        Any => Some(Initialization),
        Initialization => Some(Certification),
        Certification => Some(KeyUpdate),
        KeyUpdate => Some(Pkcs10),
        Pkcs10 => Some(Revocation),
        Revocation => Some(CaCertificates),
        CaCertificates => Some(Nonce),
        Nonce => None,
    })
}

fn acme_resources() -> Vec<acme::Resource> {
    use acme::Resource::*;
    all(Directory, |resource| match resource {
        Directory => Some(NewNonce),
        NewNonce => Some(NewAccount),
        NewAccount => Some(NewOrder),
        NewOrder => Some(Account),
        Account => Some(Orders),
        Orders => Some(Order),
        Order => Some(Authorization),
        Authorization => Some(Challenge),
        Challenge => Some(Finalize),
        Finalize => Some(Certificate),
        Certificate => Some(KeyChange),
        KeyChange => Some(RevokeCertificate),
        RevokeCertificate => None,
    })
}

fn distribution_resources() -> Vec<distribution::Resource> {
    use distribution::Resource::*;
    all(RevocationList, |resource| match resource {
        RevocationList => Some(IssuerCertificate),
        IssuerCertificate => None,
    })
}

/// Every type of message of CMP, in the order of its number.
pub fn message_types() -> Vec<cmp::MessageType> {
    use cmp::MessageType::*;
    all(Ir, |kind| match kind {
        Ir => Some(Ip),
        Ip => Some(Cr),
        Cr => Some(Cp),
        Cp => Some(P10cr),
        P10cr => Some(Popdecc),
        Popdecc => Some(Popdecr),
        Popdecr => Some(Kur),
        Kur => Some(Kup),
        Kup => Some(Krr),
        Krr => Some(Krp),
        Krp => Some(Rr),
        Rr => Some(Rp),
        Rp => Some(Ccr),
        Ccr => Some(Ccp),
        Ccp => Some(Ckuann),
        Ckuann => Some(Cann),
        Cann => Some(Rann),
        Rann => Some(Crlann),
        Crlann => Some(Pkiconf),
        Pkiconf => Some(Nested),
        Nested => Some(Genm),
        Genm => Some(Genp),
        Genp => Some(Error),
        Error => Some(CertConf),
        CertConf => Some(PollReq),
        PollReq => Some(PollRep),
        PollRep => None,
    })
}

#[test]
fn class_20_every_operation_has_its_routes_and_its_access() {
    let routes = |verb: Verb| ROUTES.iter().filter(|route| route.verb == verb).collect::<Vec<_>>();
    let mut counted = 0;
    let mut has = |verb: Verb, count: usize, access: &dyn Fn(Access) -> bool| {
        let found = routes(verb);
        assert_eq!(found.len(), count, "{verb:?}");
        assert!(found.iter().all(|route| access(route.access)), "{verb:?}: {found:?}");
        counted += count;
    };
    for operation in json_operations() {
        let public = match operation {
            Operation::Description | Operation::ResultKeys | Operation::RevocationList | Operation::Trust => true,
            Operation::MintNonce
            | Operation::OpenChallenge
            | Operation::Activate
            | Operation::Renew
            | Operation::ImportInventory
            | Operation::Revoke
            | Operation::Metrics
            | Operation::Issue
            | Operation::Appraise => false,
        };
        has(Verb::Json(operation), 1, &|access| (access == Access::Public) == public && access != Access::Message);
    }
    for operation in est_operations() {
        let public = match operation {
            est::Operation::CaCertificates
            | est::Operation::RequestAttributes
            | est::Operation::ServerKeyGeneration
            | est::Operation::FullCmc => true,
            est::Operation::Nonce | est::Operation::Enroll | est::Operation::Reenroll => false,
        };
        // Without a label and with one.
        has(Verb::Est(operation), 2, &|access| (access == Access::Public) == public && access != Access::Message);
    }
    for operation in cmp_operations() {
        has(Verb::Cmp(operation), 2, &|access| access == Access::Message);
    }
    for resource in acme_resources() {
        let public = matches!(resource, acme::Resource::Directory | acme::Resource::NewNonce);
        has(Verb::Acme(resource), 1, &|access| access == if public { Access::Public } else { Access::Message });
    }
    for resource in distribution_resources() {
        has(Verb::Distribution(resource), 1, &|access| access == Access::Public);
    }
    assert_eq!(counted, ROUTES.len(), "a route of an operation that is not in these lists");
    assert_eq!(message_types(), cmp::MessageType::ALL);
    for (number, kind) in message_types().into_iter().enumerate() {
        assert_eq!(usize::from(kind.number()), number, "{kind:?}");
    }
}
