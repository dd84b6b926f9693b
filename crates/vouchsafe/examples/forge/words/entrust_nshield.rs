//! Attestation bundles as `nfkmattest` writes them, of modules, worlds and makers in software.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use dsa::{BoxedUint, Components, SigningKey, VerifyingKey};
use p521::ecdsa::signature::hazmat::PrehashSigner;
use vouchsafe_evidence::formats::entrust_nshield::ncore::KeyData;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::der::Reader;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey};

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::x509::spki;

const SERIAL: &str = "1234-5678-9ABC";
const SUITE: &str = "DLf3072s256mAEScSP800131Ar1";

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(match word {
        // nshield-root("label"): the anchor file of a root key
        "nshield-root" => {
            let (x, y) = long_point(arguments.at(0)?.text()?)?;
            let (x, y) = (vouchsafe_verifier::hex::encode(&x), vouchsafe_verifier::hex::encode(&y));
            let text =
                format!("{{\"name\": \"KWARN-1\", \"curve\": \"NIST P-521\", \"x\": \"{x}\", \"y\": \"{y}\"}}\n");
            Value::Octets(text.into_bytes())
        }
        // nshield-hash("label"): a hash of a key that nobody has
        "nshield-hash" => Value::Octets(hash(arguments.at(0)?.text()?)),
        // nshield-group([actions], certifier: hash): a group of permissions
        "nshield-group" => Value::Octets(group(arguments)?),
        // nshield-operations(number), nshield-blob(module key, token: .., parameters: ..), nshield-archive(key or none),
        // nshield-derive(mechanism), nshield-words(number, ..)
        "nshield-operations" => Value::Octets([words(&[1]), words(&[arguments.at(0)?.number()?])].concat()),
        "nshield-archive" => Value::Octets(match arguments.at(0)? {
            Value::None => words(&[3, 0, 0]),
            key => [words(&[3, 1, 0]), key.octets()?].concat(),
        }),
        "nshield-derive" => Value::Octets(words(&[5, 0, 0, arguments.at(0)?.number()?, 0])),
        "nshield-blob" => Value::Octets(blob(arguments)?),
        "nshield-words" => {
            let numbers: Result<Vec<u64>> = arguments.rest().iter().map(Value::number).collect();
            Value::Octets(words(&numbers?))
        }
        // nshield-bundle(key, ..): see `bundle`
        "nshield-bundle" => Value::Octets(bundle(scope, arguments)?),
        _ => return Ok(None),
    }))
}

fn words(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| u32::try_from(*number).unwrap_or(u32::MAX).to_le_bytes()).collect()
}

fn hash(label: &str) -> Vec<u8> {
    HashAlg::Sha1.digest(&[label.as_bytes()])
}

fn group(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let actions = arguments.at(0)?.octets_list()?;
    let count = u64::try_from(actions.len())?;
    Ok(match arguments.labelled("certifier") {
        None => [words(&[0, 0, count]), actions.concat()].concat(),
        Some(certifier) => [words(&[1, 0, count]), actions.concat(), certifier.octets()?].concat(),
    })
}

/// A blob under a module key; with `token:` the hash of a token and `parameters:` its flags and shares.
fn blob(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let key = arguments.at(0)?.octets()?;
    Ok(match arguments.labelled("token") {
        None => [words(&[2, 0x7]), key].concat(),
        Some(token) => {
            let (flags, shares) = match arguments.labelled("shares") {
                None => (7, 1),
                Some(shares) => (3, shares.number()?),
            };
            [words(&[2, 0x1E]), key, token.octets()?, words(&[flags, shares, shares, 0])].concat()
        }
    })
}

/// A string with its NUL, filled up to words.
fn string(text: &str) -> Result<Vec<u8>> {
    let length = text.len().saturating_add(1);
    let mut octets = [words(&[u64::try_from(length)?]), text.as_bytes().to_vec()].concat();
    octets.resize(octets.len().saturating_add(1).next_multiple_of(4), 0);
    Ok(octets)
}

fn integer(magnitude: &[u8]) -> Result<Vec<u8>> {
    let significant: Vec<u8> = magnitude.iter().copied().skip_while(|octet| *octet == 0).collect();
    let mut octets: Vec<u8> = significant.into_iter().rev().collect();
    octets.resize(octets.len().next_multiple_of(4), 0);
    Ok([words(&[u64::try_from(octets.len())?]), octets].concat())
}

/// A key of DSA from `vectors/keys`.
struct DsaKey {
    components: Components,
    y: BoxedUint,
    signing: SigningKey,
}

impl DsaKey {
    fn read(scope: &Scope<'_>, name: &str) -> Result<Self> {
        // DSAPrivateKey as OpenSSL writes it: version, p, q, g, the public and the private number.
        let file = scope.private_key(name)?;
        let mut fields = Reader::new(&file, "DSAPrivateKey").sequence("DSAPrivateKey")?;
        fields.unsigned("version")?;
        let mut next = || -> Result<BoxedUint> { Ok(BoxedUint::from_be_slice_vartime(fields.unsigned("integer")?)) };
        let (p, q, g) = (next()?, next()?, next()?);
        let (y, x) = (next()?, next()?);
        let components = Components::from_components(p, q, g).ok().context("a domain of DSA")?;
        let public =
            VerifyingKey::from_components(components.clone(), y.clone()).ok().context("a public key of DSA")?;
        let signing = SigningKey::from_components(public, x).ok().context("a private key of DSA")?;
        Ok(Self { components, y, signing })
    }

    /// M_KeyData of the public part.
    fn marshaled(&self) -> Result<Vec<u8>> {
        let (p, q, g) = (self.components.p(), self.components.q(), self.components.g());
        let integers = [p.to_be_bytes(), q.to_be_bytes(), g.to_be_bytes(), self.y.to_be_bytes()];
        let integers: Result<Vec<Vec<u8>>> = integers.iter().map(|octets| integer(octets)).collect();
        Ok([words(&[3]), integers?.concat()].concat())
    }

    /// M_CipherText of the signature over a message.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let digest = HashAlg::Sha256.digest(&[message]);
        let signature: dsa::Signature =
            dsa::signature::hazmat::PrehashSigner::sign_prehash(&self.signing, &digest).ok().context("signing")?;
        let (r, s) = (signature.r().to_be_bytes(), signature.s().to_be_bytes());
        Ok([words(&[170]), integer(&r)?, integer(&s)?].concat())
    }
}

/// A key on P-521 that follows from its label.
fn long_key(label: &str) -> Result<p521::ecdsa::SigningKey> {
    let mut scalar = HashAlg::Sha512.digest(&[b"vouchsafe vectors, P-521 key: ", label.as_bytes()]);
    scalar.splice(0..0, [0, 0]);
    p521::ecdsa::SigningKey::from_slice(&scalar).ok().context("a scalar of P-521")
}

fn long_point(label: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let key = long_key(label)?;
    let octets = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
    let (_, coordinates) = octets.split_at_checked(1).context("a point is empty")?;
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2).context("a point is cut")?;
    Ok((x.to_vec(), y.to_vec()))
}

/// r and s over a message, of 66 octets each.
fn long_signature(label: &str, message: &[u8]) -> Result<Vec<u8>> {
    let signature: p521::ecdsa::Signature =
        long_key(label)?.sign_prehash(&HashAlg::Sha512.digest(&[message])).ok().context("signing")?;
    Ok(signature.to_bytes().to_vec())
}

fn symbol(text: &str) -> Result<Vec<u8>> {
    let length = u8::try_from(text.len())?;
    let head = if length < 16 { vec![0x30 | length] } else { vec![0xC4, length] };
    Ok([head, text.as_bytes().to_vec()].concat())
}

fn octets(block: &[u8]) -> Result<Vec<u8>> {
    let head = match u8::try_from(block.len()) {
        Ok(length) => vec![0xC5, length],
        Err(_) => [vec![0xD5], u16::try_from(block.len())?.to_be_bytes().to_vec()].concat(),
    };
    Ok([head, block.to_vec()].concat())
}

fn long_key_value(label: &str) -> Result<Vec<u8>> {
    let (x, y) = long_point(label)?;
    let point = [vec![0x92, 0xF4], octets(&x)?, vec![0xF4], octets(&y)?].concat();
    Ok([vec![0x94], symbol("ECDSA")?, symbol("Public")?, symbol("NISTP521")?, point].concat())
}

fn mechanism() -> Result<Vec<u8>> {
    Ok([vec![0x92], symbol("ECDSA")?, vec![0x92], symbol("EMSA1")?, symbol("SHA512")?].concat())
}

fn certificate(payload: &[u8], signer: &str) -> Result<Vec<u8>> {
    let signature = long_signature(signer, payload)?;
    Ok([vec![0xB2], symbol("Payload")?, octets(payload)?, symbol("Signature")?, octets(&signature)?].concat())
}

/// A warrant: root, one delegation, and the module with its serial number.
fn warrant(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let root = arguments.text_or("root", "root")?;
    let delegate = arguments.text_or("delegate", "delegate")?;
    let kind = arguments.text_or("warrant-kind", "ModuleInformation")?;
    let serial = arguments.text_or("serial", SERIAL)?;
    let kind_of = |kind: &str| Ok::<_, anyhow::Error>([symbol("WarrantCertificateType")?, symbol(kind)?].concat());
    let delegation = [
        vec![0xB3],
        [symbol("DelegateKey")?, long_key_value("delegate")?].concat(),
        [symbol("SigMech")?, mechanism()?].concat(),
        kind_of("Delegation")?,
    ];
    let serial = [symbol("ElectronicSerialNumber")?, vec![0x20 | u8::try_from(serial.len())?], serial.into_bytes()];
    let approval = [vec![0x91, 0x94], symbol("FIPS140")?, vec![0x02, 0x03], symbol("MultiChipEmbedded")?].concat();
    let module = [
        vec![0xB5],
        serial.concat(),
        [symbol("Approvals")?, approval].concat(),
        kind_of(&kind)?,
        [symbol("KLF2pub")?, long_key_value("module")?].concat(),
        [symbol("KLF2mech")?, mechanism()?].concat(),
    ];
    let certificates = [certificate(&delegation.concat(), &root)?, certificate(&module.concat(), &delegate)?];
    Ok([vec![0x93], symbol("KWARN-1")?, certificates.concat()].concat())
}

/// M_KeyData of a public key.
fn public(scope: &Scope<'_>, key: &Value) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok(match spki(scope, &key.key()?)?.key() {
        PublicKey::Rsa { modulus, exponent, .. } => {
            (words(&[2, 0, 2048]), [words(&[1]), integer(exponent)?, integer(modulus)?].concat())
        }
        PublicKey::Ec { curve, x, y } => {
            let number = match curve {
                NamedCurve::P256 => 4,
                NamedCurve::P384 => 5,
                NamedCurve::P521 => 6,
            };
            (words(&[47, number]), [words(&[46, number, 0]), integer(x)?, integer(y)?].concat())
        }
        other => bail!("nShield bundles of vectors have no {other:?}"),
    })
}

fn flipped(arguments: &mut Arguments, label: &str, mut octets: Vec<u8>) -> Result<Vec<u8>> {
    if arguments.flag_or(label, false)?
        && let Some(place) = octets.len().checked_sub(1).and_then(|last| octets.get_mut(last))
    {
        *place ^= 1;
    }
    Ok(octets)
}

/// A bundle about `key`. Arguments: `acl: [groups]`; `public: key` stands beside in place of the generated one;
/// `root`, `delegate`, `warrant-kind`, `serial` of the warrant; `state-serial`; `module-keys: octets`; `officer: key
/// file`; `module: key file` that signs in place of the module's; `fips`, `recovery`, `world: no`; `flip-NAME: yes`
/// changes the last octet of a signature; `more: text` of further members.
fn bundle(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    let key = arguments.at(0)?;
    let module_key = hash("module key");
    let module = DsaKey::read(scope, "nshield-module")?;
    let officer = DsaKey::read(scope, "nshield-officer")?;
    let other_officer = DsaKey::read(scope, &arguments.text_or("officer", "nshield-officer")?)?;
    let signer = DsaKey::read(scope, &arguments.text_or("module", "nshield-module")?)?;
    let hashed = |data: &[u8]| -> Result<Vec<u8>> { Ok(KeyData::parse(data)?.hash().to_vec()) };
    let officer_hash = hashed(&officer.marshaled()?)?;
    let state_serial = arguments.text_or("state-serial", SERIAL)?;
    let held = arguments.octets_or("module-keys", &module_key)?;
    let attributes = [
        [words(&[2]), string(&state_serial)?].concat(),
        [words(&[3]), hash("kml"), module.marshaled()?, words(&[170])].concat(),
        [words(&[5]), officer_hash.clone(), words(&[0])].concat(),
        [words(&[6, 1]), held, words(&[0, 0])].concat(),
    ];
    let state = [words(&[4, 0, 4]), attributes.concat()].concat();
    let state_signature = long_signature("module", &state)?;
    let (r, s) = state_signature.split_at_checked(66).context("a signature")?;
    let state_signature = [words(&[187]), integer(r)?, integer(s)?].concat();
    let (parameters, data) = public(scope, &key)?;
    let usual = vec![
        words(&[0, 0, 1, 1, 0xB02B]),
        [words(&[0, 0, 1, 2, 0x1E]), module_key.clone(), hash("token"), words(&[7, 1, 1, 0])].concat(),
    ];
    let groups = match arguments.labelled("acl") {
        None => usual,
        Some(groups) => groups.octets_list()?,
    };
    let acl = [words(&[u64::try_from(groups.len())?]), groups.concat()].concat();
    let generation = [words(&[2, 0]), parameters, acl, hashed(&data)?].concat();
    let generation_signature = signer.sign(&generation)?;
    let shown = match arguments.labelled("public") {
        None => data,
        Some(other) => public(scope, &other)?.1,
    };
    let fips = arguments.flag_or("fips", false)?;
    let mut members = vec![
        ("pubkeydata", shown),
        ("kcmsg", generation),
        ("kcsig", flipped(arguments, "flip-kcsig", generation_signature)?),
        ("modstatemsg", state),
        ("modstatesig", flipped(arguments, "flip-modstatesig", state_signature)?),
        ("warrant", warrant(arguments)?),
    ];
    let mut texts = vec![("root", arguments.text_or("root-name", "KWARN-1")?)];
    if arguments.flag_or("world", true)? {
        let keys = [officer_hash.clone(), module_key.clone(), hash("kmc")].concat();
        let (name, body) = if fips {
            let title = format!("Module setup, FIPS3; suite = {SUITE}\0").into_bytes();
            ("CertKMaKMCaKFIPSbKNSO", [title, keys, hash("kfips")].concat())
        } else {
            ("CertKMaKMCbKNSO", [format!("Module keys: suite = {SUITE}\0").into_bytes(), keys].concat())
        };
        let hash_ex = |hash: Vec<u8>| [words(&[44]), hash].concat();
        members.extend([
            ("knsopub", other_officer.marshaled()?),
            ("hkm", hash_ex(module_key)),
            ("hkmc", hash_ex(hash("kmc"))),
            (name, flipped(arguments, "flip-world", other_officer.sign(&body)?)?),
        ]);
        if fips {
            members.push(("hkfips", hash_ex(hash("kfips"))));
        }
        if arguments.flag_or("recovery", true)? {
            let body = [b"Card Recovery\0".to_vec(), officer_hash, hash("kre"), hash("kra")].concat();
            members.extend([
                ("hkre", hash_ex(hash("kre"))),
                ("hkra", hash_ex(hash("kra"))),
                ("CertKREaKRAbKNSO", flipped(arguments, "flip-recovery", other_officer.sign(&body)?)?),
            ]);
        }
        texts.push(("ciphersuite", SUITE.to_owned()));
    }
    let encoded = members.iter().map(|(name, octets)| (*name, URL_SAFE.encode(octets))).chain(texts);
    let lines: Vec<String> = encoded.map(|(name, text)| format!("  \"{name}\": \"{text}\"")).collect();
    let more = arguments.text_or("more", "")?;
    Ok(format!("{{\n{}{more}\n}}\n", lines.join(",\n")).into_bytes())
}
