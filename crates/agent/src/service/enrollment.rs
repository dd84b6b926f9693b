//! Making attesting keys and having them certified.

use tracing::info;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;
use zeroize::Zeroizing;

use super::attestation::{machine_key_info, own_key_info, result};
use super::dispatch::Call;
use super::keys::{check_name, create};
use super::refusal::Refusal;
use super::slot::Provider;
use crate::config::key_kind;
use crate::grants::Capability;
use crate::provider::{
    ActivatedKey, Activation, AttestingKeySource, AttestingKeySpec, Family, FamilyCertificates, Fault, KeyKind,
    KeyPurpose, KeySpec, MechanismName, Template,
};
use crate::store::{KeyRole, StoredKey};
use crate::wire::message::{
    ActivateCredentialOperation, ActivateCredentialResult, CreateAttestingKeyOperation, CreateAttestingKeyResult,
    DescribeEndorsementOperation, DescribeEndorsementResult, FamilyChain, ImportAttestingKeyOperation,
    ImportAttestingKeyResult, InstallCertificatesOperation, InstallCertificatesResult,
};

/// Most certificates of one family: the longest chain that is verified.
const MAX_CHAIN: usize = 8;

/// Octets of one family's certificates of a client's own attesting key: they lie in the agent's store, not in the client's.
const OWN_CHAIN_OCTETS: usize = 64 * 1024;

/// DescribeEndorsement.
pub(super) fn describe(
    call: &Call,
    provider: &mut dyn Provider,
    operation: &DescribeEndorsementOperation,
) -> Result<DescribeEndorsementResult, Refusal> {
    call.demand(Capability::ActivateCredential)?;
    let endorsement = provider.endorsement(&operation.attesting_key)?;
    let statement = endorsement.attestation.as_ref().map(|attestation| attestation.statement_oid);
    if statement == Some(oid::STATEMENT_PKIX_EVIDENCE) {
        call.demand_enabled(MechanismName::PkixEvidence)?;
    }
    Ok(DescribeEndorsementResult {
        certificates: endorsement.certificates,
        chain: endorsement.chain,
        attesting_key: endorsement.attesting_key,
        public: endorsement.public,
        name: endorsement.name,
        spki: endorsement.spki,
        attestation: endorsement.attestation.map(result),
        endorsement_keys: endorsement.keys,
    })
}

/// ActivateCredential.
pub(super) fn activate(
    call: &Call,
    provider: &mut dyn Provider,
    operation: &ActivateCredentialOperation,
) -> Result<ActivateCredentialResult, Refusal> {
    call.demand(Capability::ActivateCredential)?;
    let activation = Activation {
        key: ActivatedKey::Attesting(&operation.attesting_key),
        credential: &operation.credential,
        secret: &operation.secret,
    };
    let activated = provider.activate(activation);
    info!(target: "audit", by = %call.caller, attesting_key = ?operation.attesting_key,
        opened = activated.is_ok(), "credential answered");
    Ok(ActivateCredentialResult { credential: activated?.to_vec() })
}

/// InstallCertificates.
pub(super) fn install(
    call: &Call,
    provider: &mut dyn Provider,
    operation: InstallCertificatesOperation,
) -> Result<InstallCertificatesResult, Refusal> {
    let chains = operation.certificates.into_iter().map(family_certificates).collect::<Result<Vec<_>, _>>()?;
    let is_repeated = |family: Family| chains.iter().filter(|chain| chain.family == family).count() > 1;
    if let Some(family) = Family::ALL.into_iter().find(|family| is_repeated(*family)) {
        let found = format!("{} twice", family.as_str());
        return Err(Refusal::Invalid { field: "certificates.family", found, expected: "each family once" });
    }
    let own = match operation.attesting_key.as_str() {
        "" => None,
        name => call.own_attesting_key(name)?,
    };
    match own {
        Some(key) => install_own(call, provider, &key, &chains)?,
        None => {
            call.demand(Capability::ActivateCredential)?;
            // Where there is nothing to keep, no module is asked.
            if !chains.is_empty() {
                provider.install_certificates(&operation.attesting_key, &chains)?;
            }
        }
    }
    info!(target: "audit", by = %call.caller, attesting_key = ?operation.attesting_key,
        "certificates installed");
    Ok(InstallCertificatesResult {})
}

fn install_own(
    call: &Call,
    provider: &mut dyn Provider,
    key: &StoredKey,
    chains: &[FamilyCertificates],
) -> Result<(), Refusal> {
    let families = provider.families(&key.blob)?;
    let public = provider.export_public(&key.blob)?;
    for chain in chains {
        if !families.contains(&chain.family) {
            return Err(Refusal::Invalid {
                field: "certificates.family",
                found: chain.family.as_str().to_owned(),
                expected: "a family of the attesting key",
            });
        }
        let octets: usize = chain.certificates.iter().map(Vec::len).sum();
        if octets > OWN_CHAIN_OCTETS {
            let found = format!("{octets} octets");
            return Err(Refusal::Invalid { field: "certificates", found, expected: "at most 65536 octets" });
        }
        let parsed = chain
            .certificates
            .iter()
            .map(|certificate| CertView::parse(certificate))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Fault::Template(Template::NotDer("certificate")))?;
        let leaf = parsed.first().ok_or(Fault::CertificateMismatch)?;
        if leaf.spki().as_der() != public.spki {
            return Err(Fault::CertificateMismatch.into());
        }
    }
    match call.shared.store.replace_certificates(&key.uid, chains)? {
        true => Ok(()),
        false => Err(Refusal::KeyUnknown { name: key.id.name.clone() }),
    }
}

fn family_certificates(chain: FamilyChain) -> Result<FamilyCertificates, Refusal> {
    let family = Family::from_name(&chain.family).ok_or(Refusal::Invalid {
        field: "certificates.family",
        found: chain.family,
        expected: "attest, certify-x509 or pkix-evidence",
    })?;
    let count = chain.certificates.len();
    if !(1..=MAX_CHAIN).contains(&count) {
        let found = format!("{count} certificates");
        return Err(Refusal::Invalid { field: "certificates", found, expected: "1 to 8 of each family" });
    }
    Ok(FamilyCertificates { family, certificates: chain.certificates })
}

/// CreateAttestingKey.
pub(super) fn create_attesting_key(
    call: &Call,
    provider: &mut dyn Provider,
    operation: CreateAttestingKeyOperation,
) -> Result<CreateAttestingKeyResult, Refusal> {
    let kind = match operation.algorithm.as_str() {
        "" => KeyKind::EcP256,
        name => key_kind(name).ok_or_else(|| Refusal::Invalid {
            field: "algorithm",
            found: name.to_owned(),
            expected: "ecc-p256, ecc-p384, rsa-2048 or rsa-3072",
        })?,
    };
    let info = if operation.for_machine {
        call.demand(Capability::ActivateCredential)?;
        check_name(&operation.name)?;
        let key = provider
            .create_attesting_key(&operation.name, AttestingKeySpec { kind, is_pseudonym: operation.pseudonym })?;
        info!(target: "audit", by = %call.caller, key = ?key.name, "machine's attesting key made");
        machine_key_info(key)
    } else if operation.pseudonym {
        return Err(Refusal::Invalid {
            field: "pseudonym",
            found: "true".to_owned(),
            expected: "false, unless the key becomes one of the machine's",
        });
    } else {
        let spec = KeySpec { kind, purpose: KeyPurpose::Attest };
        let key = create(call, provider, operation.name, spec, Vec::new(), |_, _| Ok(()))?;
        own_key_info(call, provider, &key)?
    };
    Ok(CreateAttestingKeyResult { key: Some(info) })
}

/// ImportAttestingKey.
pub(super) fn import_attesting_key(
    call: &Call,
    provider: &mut dyn Provider,
    operation: ImportAttestingKeyOperation,
) -> Result<ImportAttestingKeyResult, Refusal> {
    if !call.shared.grants.is_administrator(&call.caller) {
        return Err(Refusal::NotAdministrator);
    }
    check_name(&operation.name)?;
    let auth = Zeroizing::new(operation.auth);
    let source = match (operation.object.is_empty(), operation.handle) {
        (false, 0) => {
            let parent = Some(operation.parent_handle).filter(|handle| *handle != 0);
            AttestingKeySource::Wrapped { octets: Zeroizing::new(operation.object), parent, auth }
        }
        (true, handle @ 1..) if operation.parent_handle == 0 => AttestingKeySource::Resident { handle, auth },
        (true, _) | (false, 1..) => {
            return Err(Refusal::Invalid {
                field: "object",
                found: "both or neither of object and handle, or a parent of a handle".to_owned(),
                expected: "an object, with its parent's handle if need be, or a handle",
            });
        }
    };
    let clients_keys = clients_keys(call, provider)?;
    let key = provider.adopt_attesting_key(&operation.name, source, &clients_keys)?;
    info!(target: "audit", by = %call.caller, key = ?key.name, "attesting key imported");
    Ok(ImportAttestingKeyResult { key: Some(machine_key_info(key)) })
}

/// The public half of every key pair that a client has at this provider: none of them becomes the machine's. Of a row that
/// cannot be read nobody has the use, not even its client, and it keeps nobody from bringing a key in.
fn clients_keys(call: &Call, provider: &mut dyn Provider) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut publics = Vec::new();
    for client in call.shared.store.clients()? {
        for key in call.shared.store.keys(&client)? {
            if matches!(key.role, KeyRole::Pair(_)) && key.id.provider == call.provider.name {
                match provider.export_public(&key.blob) {
                    Ok(public) => publics.push(public.spki),
                    Err(fault @ Fault::BlobInvalid(_)) => {
                        tracing::warn!(key = %key.uid, %fault, "a client's key cannot be read");
                    }
                    Err(fault) => return Err(fault.into()),
                }
            }
        }
    }
    Ok(publics)
}
