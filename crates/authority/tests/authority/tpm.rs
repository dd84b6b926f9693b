//! MakeCredential and renewals against a TPM 2.0 (swtpm), spoken to in raw commands.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use vouchsafe_authority::credential::{self, EndorsementKey, Protection};
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, EkTemplate, SigningKey, signing_key};
use vouchsafe_evidence::tpm::{HashAlg, PcrBank, PcrSelection, PublicParameters, TpmtPublic, TpmtSignature};
use vouchsafe_verifier::enrolment::{qualify_ak, verify_renewal};

const ENDORSEMENT: u32 = 0x4000_000B;
const RETRY: u32 = 0x922;

/// A process that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A TPM that lives as long as this value.
pub struct Tpm {
    socket: UnixStream,
    _process: Process,
    _dir: tempfile::TempDir,
}

impl Tpm {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let mut command = Command::new("swtpm");
        command
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", dir.path().display()))
            .args(["--server", &format!("type=unixio,path={}", path.display())])
            .args(["--ctrl", &format!("type=unixio,path={}.ctrl", path.display())])
            .stdin(Stdio::null());
        let process = Process(command.spawn().expect("swtpm is installed by ./run-tests"));
        for _ in 0..200 {
            if let Ok(socket) = UnixStream::connect(&path) {
                return Self { socket, _process: process, _dir: dir };
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("swtpm does not listen");
    }

    /// The response code and what follows it.
    fn transact(&mut self, tag: u16, code: u32, body: &[u8]) -> (u32, Vec<u8>) {
        loop {
            let mut command = Writer::new();
            command.u16(tag).u32(u32::try_from(10 + body.len()).unwrap()).u32(code).bytes(body);
            self.socket.write_all(command.as_bytes()).unwrap();
            let mut header = [0; 10];
            self.socket.read_exact(&mut header).unwrap();
            let mut reader = Reader::new(&header, "response");
            let (_tag, size, response_code) = (reader.u16().unwrap(), reader.u32().unwrap(), reader.u32().unwrap());
            let mut rest = vec![0; size as usize - 10];
            self.socket.read_exact(&mut rest).unwrap();
            if response_code != RETRY {
                return (response_code, rest);
            }
        }
    }

    /// A command whose handles have empty authValues.
    fn authorized(&mut self, code: u32, handles: &[u32], sessions: usize, parameters: &[u8]) -> (u32, Vec<u8>) {
        let mut body = Writer::new();
        for handle in handles {
            body.u32(*handle);
        }
        body.u32(u32::try_from(9 * sessions).unwrap());
        for _ in 0..sessions {
            body.u32(0x4000_0009).u16(0).u8(0).u16(0);
        }
        body.bytes(parameters);
        self.transact(0x8002, code, body.as_bytes())
    }

    pub fn create_primary(&mut self, template: &TpmtPublic) -> (u32, TpmtPublic) {
        let mut parameters = Writer::new();
        parameters.tpm2b(&[0; 4]).tpm2b(template.as_bytes()).u16(0).u32(0);
        let (code, rest) = self.authorized(0x131, &[ENDORSEMENT], 1, parameters.as_bytes());
        assert_eq!(code, 0, "CreatePrimary: {code:#x}");
        let mut reader = Reader::new(&rest, "CreatePrimary");
        let handle = reader.u32().unwrap();
        reader.u32().unwrap();
        (handle, TpmtPublic::parse(reader.tpm2b(1024).unwrap()).unwrap())
    }

    pub fn activate(&mut self, ak: u32, ek: u32, id_object: &[u8], encrypted_secret: &[u8]) -> Result<Vec<u8>, u32> {
        let parameters = [id_object, encrypted_secret].concat();
        let (code, rest) = self.authorized(0x147, &[ak, ek], 2, &parameters);
        if code != 0 {
            return Err(code);
        }
        let mut reader = Reader::new(&rest, "ActivateCredential");
        reader.u32().unwrap();
        Ok(reader.tpm2b(64).unwrap().to_vec())
    }

    /// TPM2_CertifyX509 by a signer with a fixed scheme: addedToCertificate and the signature.
    pub fn certify_x509(&mut self, object: u32, signer: u32, partial: &[u8]) -> Result<(Vec<u8>, TpmtSignature), u32> {
        let mut parameters = Writer::new();
        parameters.tpm2b(&[]).u16(0x0010).tpm2b(partial);
        let (code, rest) = self.authorized(0x197, &[object, signer], 2, parameters.as_bytes());
        if code != 0 {
            return Err(code);
        }
        let mut reader = Reader::new(&rest, "CertifyX509");
        reader.u32().unwrap();
        let added = reader.tpm2b(2048).unwrap().to_vec();
        reader.tpm2b(64).unwrap();
        Ok((added, TpmtSignature::read(&mut reader).unwrap()))
    }

    /// TPM2_RSA_Decrypt without scheme: the private operation on a whole block.
    pub fn rsa_decrypt(&mut self, key: u32, block: &[u8]) -> Result<Vec<u8>, u32> {
        let mut parameters = Writer::new();
        parameters.tpm2b(block).u16(0x0010).u16(0);
        let (code, rest) = self.authorized(0x159, &[key], 1, parameters.as_bytes());
        if code != 0 {
            return Err(code);
        }
        let mut reader = Reader::new(&rest, "RSA_Decrypt");
        reader.u32().unwrap();
        Ok(reader.tpm2b(512).unwrap().to_vec())
    }

    /// TPMS_ATTEST and TPMT_SIGNATURE out of what follows a response code.
    fn attested(response: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut reader = Reader::new(response, "TPMS_ATTEST");
        reader.u32().unwrap();
        let attest = reader.tpm2b(1024).unwrap().to_vec();
        (attest, TpmtSignature::read(&mut reader).unwrap().to_bytes())
    }

    /// TPM2_Certify by a signer with a fixed scheme.
    fn certify(&mut self, object: u32, signer: u32, nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut parameters = Writer::new();
        parameters.tpm2b(nonce).u16(0x0010);
        let (code, rest) = self.authorized(0x148, &[object, signer], 2, parameters.as_bytes());
        assert_eq!(code, 0, "Certify: {code:#x}");
        Self::attested(&rest)
    }

    /// TPM2_Quote over SHA-256 registers 0 and 7.
    fn quote(&mut self, signer: u32, nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let selection = PcrSelection::new(vec![PcrBank::new(HashAlg::Sha256, &[0, 7]).unwrap()]);
        let mut parameters = Writer::new();
        parameters.tpm2b(nonce).u16(0x0010);
        selection.write(&mut parameters);
        let (code, rest) = self.authorized(0x158, &[signer], 1, parameters.as_bytes());
        assert_eq!(code, 0, "Quote: {code:#x}");
        Self::attested(&rest)
    }

    fn flush(&mut self, handle: u32) {
        assert_eq!(self.transact(0x8001, 0x165, &handle.to_be_bytes()).0, 0);
    }
}

fn target(public: &TpmtPublic) -> EndorsementKey {
    match public.parameters() {
        PublicParameters::Rsa { .. } => EndorsementKey::Rsa { spki: public.spki().unwrap().as_der().to_vec() },
        PublicParameters::Ecc { curve, x, y, .. } => EndorsementKey::Ecc { curve: *curve, x: x.clone(), y: y.clone() },
        other => panic!("{other:?}"),
    }
}

fn activate(tpm: &mut Tpm, ak: u32, ek: u32, blob: &credential::CredentialBlob) -> Result<Vec<u8>, u32> {
    tpm.activate(ak, ek, &blob.id_object, &blob.encrypted_secret)
}

#[test]
fn a_tpm_opens_what_was_made_for_it_and_nothing_else() {
    let mut tpm = Tpm::start();
    let ak_template = |unique| signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), unique);
    let (ak, ak_public) = tpm.create_primary(&ak_template(b"one"));
    let (other, _) = tpm.create_primary(&ak_template(b"two"));
    let name = ak_public.name().unwrap();
    for template in [EkTemplate::H1, EkTemplate::H2, EkTemplate::H3] {
        let label = template.label();
        let (ek, ek_public) = tpm.create_primary(&template.public());
        let protection = Protection { name_alg: template.name_alg(), aes_bits: template.aes_bits() };
        for credential in [&[0x5A; 32][..], &[1; 16], &[0x5A]] {
            let blob = credential::make(&target(&ek_public), protection, name.as_bytes(), credential).unwrap();
            assert_eq!(activate(&mut tpm, ak, ek, &blob).as_deref(), Ok(credential), "{label}");
            assert!(activate(&mut tpm, other, ek, &blob).is_err(), "{label}: opened beside an object of another Name");
            let mut altered = blob.clone();
            *altered.id_object.last_mut().unwrap() ^= 1;
            assert!(activate(&mut tpm, ak, ek, &altered).is_err(), "{label}");
        }
        tpm.flush(ek);
    }
}

#[test]
fn a_tpm_vouches_for_its_attesting_key_and_for_the_next_one() {
    let mut tpm = Tpm::start();
    let ak_template = |unique| signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), unique);
    let (old, old_public) = tpm.create_primary(&ak_template(b"old"));
    let (next, next_public) = tpm.create_primary(&ak_template(b"next"));
    let [old_ak, next_ak] = [&old_public, &next_public].map(|public| qualify_ak(public.as_bytes()).unwrap());
    let nonce = [7; 32];
    let code = |result: Result<(), vouchsafe_verifier::Rejection>| result.err().map(|rejection| rejection.code());
    // A quote speaks for the key itself, and TPM2_Certify of itself, which a TPM does, too.
    let (attest, signature) = tpm.quote(old, &nonce);
    assert_eq!(code(verify_renewal(&old_ak, &old_ak, &attest, &signature, &nonce)), None);
    assert_eq!(
        code(verify_renewal(&old_ak, &next_ak, &attest, &signature, &nonce)),
        Some("tpm.wrong-attestation-type")
    );
    assert_eq!(code(verify_renewal(&next_ak, &next_ak, &attest, &signature, &nonce)), Some("tpm.bad-signature"));
    assert_eq!(code(verify_renewal(&old_ak, &old_ak, &attest, &signature, &[8; 32])), Some("nonce.mismatch"));
    let (attest, signature) = tpm.certify(old, old, &nonce);
    assert_eq!(code(verify_renewal(&old_ak, &old_ak, &attest, &signature, &nonce)), None);
    // TPM2_Certify of the successor speaks for it and for nothing else.
    let (attest, signature) = tpm.certify(next, old, &nonce);
    assert_eq!(code(verify_renewal(&old_ak, &next_ak, &attest, &signature, &nonce)), None);
    assert_eq!(code(verify_renewal(&old_ak, &old_ak, &attest, &signature, &nonce)), Some("tpm.name-mismatch"));
    for at in 0..attest.len() {
        let mut altered = attest.clone();
        altered[at] ^= 1;
        assert!(verify_renewal(&old_ak, &next_ak, &altered, &signature, &nonce).is_err(), "octet {at}");
    }
}
