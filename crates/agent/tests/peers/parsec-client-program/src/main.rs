//! Does with a Parsec service what applications do, through the `parsec-client` crate, and says what it found.
//!
//! `PARSEC_SERVICE_ENDPOINT` names the service. The one argument is the provider's number. Each line of the output is one
//! thing that was done.

use std::error::Error;

use parsec_client::BasicClient;
use parsec_client::core::interface::operations::can_do_crypto::CheckType;
use parsec_client::core::interface::operations::psa_algorithm::{
    Algorithm, AsymmetricEncryption, AsymmetricSignature, Hash, SignHash,
};
use parsec_client::core::interface::operations::psa_key_attributes::{
    Attributes, EccFamily, Lifetime, Policy, Type, UsageFlags,
};
use parsec_client::core::interface::requests::{Opcode, ProviderId, ResponseStatus};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn signing(key_type: Type, bits: usize, algorithm: AsymmetricSignature) -> Attributes {
    let mut usage_flags = UsageFlags::default();
    let _ = usage_flags.set_sign_hash().set_verify_hash().set_sign_message().set_verify_message();
    attributes(key_type, bits, usage_flags, algorithm.into())
}

fn encrypting(key_type: Type, bits: usize, algorithm: AsymmetricEncryption) -> Attributes {
    let mut usage_flags = UsageFlags::default();
    let _ = usage_flags.set_encrypt().set_decrypt();
    attributes(key_type, bits, usage_flags, algorithm.into())
}

fn attributes(key_type: Type, bits: usize, usage_flags: UsageFlags, permitted_algorithms: Algorithm) -> Attributes {
    Attributes { lifetime: Lifetime::Persistent, key_type, bits, policy: Policy { usage_flags, permitted_algorithms } }
}

fn ecdsa(hash: Hash) -> AsymmetricSignature {
    AsymmetricSignature::Ecdsa { hash_alg: SignHash::Specific(hash) }
}

fn pkcs1() -> AsymmetricSignature {
    AsymmetricSignature::RsaPkcs1v15Sign { hash_alg: SignHash::Specific(Hash::Sha256) }
}

fn refused<T>(outcome: parsec_client::error::Result<T>, expected: ResponseStatus) -> Outcome<()> {
    match outcome {
        Err(parsec_client::error::Error::Service(status)) if status == expected => Ok(()),
        Err(other) => Err(format!("{other} instead of {expected}").into()),
        Ok(_) => Err(format!("success instead of {expected}").into()),
    }
}

fn signs(client: &BasicClient, name: &str, algorithm: AsymmetricSignature, public: Type, width: usize) -> Outcome<()> {
    let digest = vec![0x5A; width];
    let signature = client.psa_sign_hash(name, &digest, algorithm)?;
    client.psa_verify_hash(name, &digest, algorithm, &signature)?;
    let of_message = client.psa_sign_message(name, b"message", algorithm)?;
    client.psa_verify_message(name, b"message", algorithm, &of_message)?;
    refused(client.psa_verify_hash(name, &digest, algorithm, &of_message), ResponseStatus::PsaErrorInvalidSignature)?;
    let exported = client.psa_export_public_key(name)?;
    client.psa_import_key("imported", &exported, signing(public, 0, algorithm))?;
    client.psa_verify_hash("imported", &digest, algorithm, &signature)?;
    client.psa_destroy_key("imported")?;
    Ok(())
}

fn keys(client: &BasicClient) -> Outcome<()> {
    let pair = Type::EccKeyPair { curve_family: EccFamily::SecpR1 };
    let point = Type::EccPublicKey { curve_family: EccFamily::SecpR1 };
    for (bits, hash, width) in [(256, Hash::Sha256, 32), (384, Hash::Sha384, 48), (521, Hash::Sha512, 64)] {
        let attributes = signing(pair, bits, ecdsa(hash));
        client.can_do_crypto(CheckType::Generate, attributes)?;
        client.psa_generate_key("ecc", attributes)?;
        refused(client.psa_generate_key("ecc", attributes), ResponseStatus::PsaErrorAlreadyExists)?;
        signs(client, "ecc", ecdsa(hash), point, width)?;
        client.psa_destroy_key("ecc")?;
        refused(client.psa_export_public_key("ecc"), ResponseStatus::PsaErrorDoesNotExist)?;
        println!("ecc {bits}");
    }
    client.psa_generate_key("rsa", signing(Type::RsaKeyPair, 2048, pkcs1()))?;
    signs(client, "rsa", pkcs1(), Type::RsaPublicKey, 32)?;
    client.psa_destroy_key("rsa")?;
    println!("rsa 2048");
    for (name, algorithm) in [
        ("RsaPkcs1v15Crypt", AsymmetricEncryption::RsaPkcs1v15Crypt),
        ("RsaOaep", AsymmetricEncryption::RsaOaep { hash_alg: Hash::Sha256 }),
    ] {
        match client.psa_generate_key("crypt", encrypting(Type::RsaKeyPair, 2048, algorithm)) {
            // A module need not have every padding with every hash, but it has to say so in time.
            Err(parsec_client::error::Error::Service(ResponseStatus::PsaErrorNotSupported)) => {
                refused(client.psa_export_public_key("crypt"), ResponseStatus::PsaErrorDoesNotExist)?;
                println!("{name} not supported");
                continue;
            }
            made => made?,
        }
        let ciphertext = client.psa_asymmetric_encrypt("crypt", algorithm, b"message", None)?;
        let plaintext = client.psa_asymmetric_decrypt("crypt", algorithm, &ciphertext, None)?;
        if plaintext != b"message" {
            return Err(format!("{name}: {plaintext:?}").into());
        }
        refused(
            client.psa_asymmetric_decrypt("crypt", algorithm, &vec![1; 256], None),
            ResponseStatus::PsaErrorInvalidPadding,
        )?;
        client.psa_destroy_key("crypt")?;
        println!("{name}");
    }
    Ok(())
}

fn discovery(client: &BasicClient, provider: ProviderId) -> Outcome<()> {
    if client.ping()? != (1, 0) {
        return Err("another wire protocol".into());
    }
    let providers: Vec<ProviderId> = client.list_providers()?.into_iter().map(|info| info.id).collect();
    if !providers.contains(&provider) || providers.last() != Some(&ProviderId::Core) {
        return Err(format!("providers {providers:?}").into());
    }
    let opcodes = client.list_opcodes(provider)?;
    for opcode in [Opcode::PsaGenerateKey, Opcode::PsaImportKey, Opcode::PsaVerifyMessage, Opcode::CanDoCrypto] {
        if !opcodes.contains(&opcode) {
            return Err(format!("no {opcode:?} among {opcodes:?}").into());
        }
    }
    if client.list_authenticators()?.is_empty() {
        return Err("no authenticators".into());
    }
    if client.psa_generate_random(100)?.len() != 100 {
        return Err("random octets of another number".into());
    }
    println!("discovery");
    Ok(())
}

fn listing(client: &BasicClient, provider: ProviderId) -> Outcome<()> {
    let pair = Type::EccKeyPair { curve_family: EccFamily::SecpR1 };
    let attributes = signing(pair, 256, ecdsa(Hash::Sha256));
    client.psa_generate_key("listed", attributes)?;
    let keys = client.list_keys()?;
    let [key] = keys.as_slice() else { return Err(format!("keys {keys:?}").into()) };
    if key.name != "listed" || key.provider_id != provider || key.attributes != attributes {
        return Err(format!("key {key:?}").into());
    }
    let clients = client.list_clients()?;
    let [own] = clients.as_slice() else { return Err(format!("clients {clients:?}").into()) };
    client.delete_client(own)?;
    if !client.list_keys()?.is_empty() {
        return Err("keys are left of a client that was deleted".into());
    }
    println!("listing");
    Ok(())
}

fn attestation(client: &BasicClient) -> Outcome<()> {
    let pair = Type::EccKeyPair { curve_family: EccFamily::SecpR1 };
    client.psa_generate_key("attested", signing(pair, 256, ecdsa(Hash::Sha256)))?;
    let prepared = client.prepare_activate_credential("attested".to_owned(), None)?;
    if prepared.name.len() != 34 || prepared.attesting_key_pub.len() != 270 || prepared.public.is_empty() {
        return Err("parameters of another size than Parsec's".into());
    }
    let opened = client.activate_credential_attestation("attested".to_owned(), None, vec![1; 68], vec![1; 256]);
    if opened.is_ok() {
        return Err("a credential that is none was opened".into());
    }
    client.psa_destroy_key("attested")?;
    println!("attestation");
    Ok(())
}

fn main() -> Outcome<()> {
    let number: u8 = std::env::args().nth(1).ok_or("usage: parsec-client-program PROVIDER")?.parse()?;
    let provider = ProviderId::try_from(number)?;
    let mut client = BasicClient::new(None)?;
    client.set_implicit_provider(provider);
    discovery(&client, provider)?;
    keys(&client)?;
    listing(&client, provider)?;
    if provider == ProviderId::Tpm {
        attestation(&client)?;
    }
    Ok(())
}
