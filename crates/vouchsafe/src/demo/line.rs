//! The honest part: a TPM, an authority, an agent; a key is made, attested and certified.

use std::path::{Path, PathBuf};

use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::tpm::Address;
use vouchsafe_agent::wire::message::TpmCertifyX509;
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::{Nonce, Policy, Request, TrustStore, Verdict, hex, verify};

use super::authority::{self, Account, Settings};
use super::machine::Machine;
use super::narrator::Narrator;
use super::openssl;
use super::software::view;
use super::stage::Stage;
use crate::advice::Situation;
use crate::agent_socket::failure;
use crate::attestation::{self, Attested, Choice, Mechanism, OwnKey};
use crate::authority_client::{AuthorityClient, NoAnswer, NoncePurpose};
use crate::csr::{self, Wanted};
use crate::enroll::{AkEnrollment, Attempts, Voucher, enroll_ak};
use crate::failure::Failure;
use crate::key_kind::KeyKind;
use crate::{files, key, trust_folder};

/// The authority's profile, and the name of the key.
const PROFILE: &str = "device";
const KEY: &str = "web";
/// The authority's configuration.
const CONFIG: &str = "authority.toml";
/// Name of the honest device.
const DEVICE: &str = "device-1";

/// Everything that runs.
pub struct Line<'a> {
    /// The folder and the processes.
    pub stage: &'a Stage,
    /// The authority's interface.
    pub authority: AuthorityClient,
    /// The agent on the honest device.
    pub agent: Client,
    /// The other machine.
    pub machine: Machine,
    /// The root of attestation keys of the honest device, relative to the folder.
    attestation_root: &'static str,
}

/// A request that was certified: what a thief could have copied.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The request.
    pub csr: Vec<u8>,
}

/// The root of attestation keys in software TPMs, relative to the folder.
pub const VIRTUAL_ROOT: &str = "authority/ca/attestation-root-virtual.crt";

impl<'a> Line<'a> {
    /// Starts the TPMs, the authority and the agent.
    ///
    /// # Errors
    /// [`Failure`] if one of them does not start.
    pub fn set_up(stage: &'a Stage, narrator: &mut Narrator, own: Option<(Address, &Path)>) -> Result<Self, Failure> {
        narrator.step("Two machines, each with a TPM")?;
        let trust = stage.make_folder("authority/trust/tpm-ek")?;
        let is_own = own.is_some();
        let address = match own {
            Some((address, ek_root)) => {
                stage.borrow_tpm(&address)?;
                trust_vendor(&trust, ek_root)?;
                narrator.done(&format!(
                    "The first is this one: its TPM at {address}, and your file says who its vendor is."
                ))?;
                address
            }
            None => narrator.during("Setting up a software TPM with endorsement certificates (2 s)", || {
                stage.start_tpm("tpm-1", |tpm| trust_software(&trust, "tpm-1", tpm).map(|()| tpm.address()))?
            })?,
        };
        let machine = narrator.during("Setting up a second one (2 s)", || {
            stage.start_tpm("tpm-2", |tpm| trust_software(&trust, "tpm-2", tpm).and_then(|()| Machine::new(tpm)))?
        })?;
        narrator.done("The first runs the agent. The second is as genuine, and its owner drives the TPM by hand, as every owner may.")?;
        narrator.note("A software TPM behaves like a chip and proves nothing about hardware: its maker's root is marked `virtual`, and verdicts say so.")?;

        narrator.step("An authority, and an agent on the first machine")?;
        let authority = narrator.during("Starting the authority (HTTPS, SQLite)", || {
            let account = Account::new(stage)?;
            account.configure(stage, CONFIG, &Settings::default())?;
            authority::create(stage, CONFIG)?;
            account.serve(stage, CONFIG)
        })?;
        narrator.done(&format!(
            "The authority serves {} and trusts the makers of both TPMs, for endorsement keys alone.",
            authority.url()
        ))?;
        let agent =
            narrator.during("Starting the agent (it makes an attestation key)", || start_agent(stage, &address))?;
        narrator.done("The agent serves a Unix socket. Its attestation key (AK) is restricted, has x509sign and can never leave the TPM.")?;
        let attestation_root = if is_own { "authority/ca/attestation-root.crt" } else { VIRTUAL_ROOT };
        Ok(Self { stage, authority, agent, machine, attestation_root })
    }

    /// Enrolls the attestation key, makes a key, and has it certified in both ways.
    ///
    /// # Errors
    /// [`Failure`] if a step fails.
    pub fn walk(&mut self, narrator: &mut Narrator) -> Result<Certified, Failure> {
        self.enroll(narrator)?;
        let key = self.make_key(narrator)?;
        narrator.step("The key attested by TPM2_Certify, the platform by TPM2_Quote, both in one CSR")?;
        let (request, _) = self.certify(narrator, &key, Mechanism::TpmCertify, "certify")?;
        narrator.proven(
            "this key was made in the TPM that made the quote, cannot leave it, asked for this certificate itself, and \
             all of that now: both objects answer the authority's nonce.",
        )?;
        narrator.step("The same key attested by TPM2_CertifyX509: the TPM itself signs a certificate")?;
        let (_, attested) = self.certify(narrator, &key, Mechanism::TpmCertifyX509, "certify-x509")?;
        self.witness(narrator, &attested)?;
        Ok(request)
    }

    fn enroll(&mut self, narrator: &mut Narrator) -> Result<(), Failure> {
        narrator.step("The attestation key of the first machine is enrolled")?;
        let attempts = Attempts::new(Some(&self.stage.make_folder("enroll")?))?;
        let pcrs = Choice::default_pcrs().to_owned();
        let enrollment = AkEnrollment {
            device: DEVICE.to_owned(),
            attesting_key: String::new(),
            baseline: Some(pcrs),
            voucher: Voucher::default(),
        };
        let (agent, authority) = (&mut self.agent, &self.authority);
        let device = narrator.during("The authority challenges, the TPM answers", || {
            granted(enroll_ak(agent, authority, &attempts, &enrollment, &mut |_| {}))
        })?;
        narrator.done(&format!("The TPM answered; the AK has two certificates, one for each family of statements. Verdicts will name the device {}…", device.get(..19).unwrap_or(&device)))?;
        narrator.proven("a key with exactly these attributes lives in the TPM whose maker certified its endorsement key. The challenge can be opened nowhere else.")
    }

    fn make_key(&mut self, narrator: &mut Narrator) -> Result<OwnKey, Failure> {
        narrator.step("A key is made in its TPM")?;
        self.agent
            .generate_key(KEY, KeyKind::EccP256.attributes())
            .map_err(|fault| failure("the key was not made", &fault))?;
        let key = OwnKey::find(&mut self.agent, KEY)?;
        narrator.done(&format!(
            "`{KEY}`, P-256, SPKI SHA-256 {}…",
            hex::encode(key.spki.sha256().get(..8).unwrap_or_default())
        ))?;
        narrator.note("So far only software says so.")?;
        Ok(key)
    }

    /// Attests, asks, verifies: what the authority issues is checked by openssl.
    fn certify(
        &mut self,
        narrator: &Narrator,
        key: &OwnKey,
        mechanism: Mechanism,
        file: &str,
    ) -> Result<(Certified, Attested), Failure> {
        let nonce = granted(self.authority.nonce(NoncePurpose::Certificate(PROFILE)))?;
        let choice = Choice {
            mechanism: Some(mechanism),
            platform: true,
            pcrs: Choice::default_pcrs().to_owned(),
            ..Choice::default()
        };
        let attested = attestation::attest(&mut self.agent, &key.name, &nonce, &choice, TpmCertifyX509::default())?;
        let wanted = Wanted::from_text("CN=web.example", &[])?;
        let csr = csr::request(&mut self.agent, key, &wanted, &attested.bundle)?;
        let verdict = self.judge(&csr, &nonce)?;
        if !verdict.is_accepted() {
            let why: Vec<&str> = verdict.reasons().iter().map(|reason| reason.code()).collect();
            return Err(Failure::new("the honest request is rejected").because(why.join(", ")));
        }
        narrator.done("The Verifier accepts: key accepted, platform accepted, and they are bound to each other:")?;
        narrator.lines(&crate::verify::report::drawing(&verdict, 2))?;
        let chain = granted(self.authority.certificate(&csr, &nonce, PROFILE))?;
        show_issued(self.stage, narrator, file, &chain)?;
        Ok((Certified { csr }, attested))
    }

    /// What plain openssl makes of the certificate that the TPM signed.
    fn witness(&self, narrator: &mut Narrator, attested: &Attested) -> Result<(), Failure> {
        narrator.step("That TPM-signed certificate, before a verifier that knows nothing of TPMs")?;
        write_chain(self.stage, "tpm.pem", "tpm-chain.pem", &attested.tpm_made)?;
        let plain = openssl::verify(
            self.stage.folder(),
            &[
                "-verify_depth",
                "1",
                "-x509_strict",
                "-CAfile",
                self.attestation_root,
                "-untrusted",
                "tpm-chain.pem",
                "tpm.pem",
            ],
        )?;
        narrator.command(&plain.command)?;
        if !plain.accepted {
            return Err(Failure::new("openssl does not accept what the TPM signed").because(plain.says));
        }
        narrator.done(&format!("openssl: {}", plain.says))?;
        narrator.proven("an enrolled AK, in its TPM, signed a certificate for this key.")?;
        narrator.note(
            "Not proven: that the key lives in that TPM or cannot leave it. A TPM signs such certificates for keys from \
             outside too; only a Verifier that checks the key's attributes can tell. And without the depth limit openssl \
             accepts far worse, as the last fraud shows.",
        )
    }

    /// The Verifier's verdict about a request, with the authority's trust folder.
    ///
    /// # Errors
    /// [`Failure`] if the trust folder cannot be read.
    pub fn judge(&self, csr: &[u8], nonce: &[u8]) -> Result<Verdict, Failure> {
        let trust = trust_folder::read(&self.stage.folder().join("authority/trust"))?;
        judge(csr, nonce, &trust, "default")
    }

    /// Has the agent attest the honest key for this nonce, without the platform.
    ///
    /// # Errors
    /// [`Failure`] if the agent refuses.
    pub fn attest(&mut self, nonce: &[u8], platform: bool) -> Result<Attested, Failure> {
        let choice = Choice { platform, pcrs: Choice::default_pcrs().to_owned(), ..Choice::default() };
        attestation::attest(&mut self.agent, KEY, nonce, &choice, TpmCertifyX509::default())
    }

    /// A request of the honest key, signed in its TPM, with any bundle.
    ///
    /// # Errors
    /// [`Failure`] if the agent refuses.
    pub fn request(&mut self, bundle: &vouchsafe_evidence::bundle::AttestationBundle) -> Result<Vec<u8>, Failure> {
        let key = OwnKey::find(&mut self.agent, KEY)?;
        csr::request(&mut self.agent, &key, &Wanted::from_text("CN=web.example", &[])?, bundle)
    }

    /// A nonce for a certificate.
    ///
    /// # Errors
    /// [`Failure`] if the authority does not give one.
    pub fn nonce(&self) -> Result<Vec<u8>, Failure> {
        granted(self.authority.nonce(NoncePurpose::Certificate(PROFILE)))
    }

    /// Asks for a certificate.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn ask(&self, csr: &[u8], nonce: &[u8]) -> Result<Vec<Vec<u8>>, NoAnswer> {
        self.authority.certificate(csr, nonce, PROFILE)
    }
}

/// Shows a chain that the authority issued, and what openssl makes of it.
///
/// # Errors
/// [`Failure`] if openssl does not accept it.
pub fn show_issued(stage: &Stage, narrator: &Narrator, file: &str, chain: &[Vec<u8>]) -> Result<(), Failure> {
    let chain = chain.iter().map(|der| view(der)).collect::<Result<Vec<_>, _>>()?;
    let subject = chain.first().map(|leaf| leaf.subject().to_display()).unwrap_or_default();
    narrator.done(&format!("The authority issues a certificate to {subject}; nothing attested is in it."))?;
    let (leaf, rest) = (format!("{file}.pem"), format!("{file}-chain.pem"));
    write_chain(stage, &leaf, &rest, &chain)?;
    let issued = openssl::verify(
        stage.folder(),
        &["-x509_strict", "-CAfile", "authority/ca/issuing-root.crt", "-untrusted", &rest, &leaf],
    )?;
    narrator.command(&issued.command)?;
    if !issued.accepted {
        return Err(Failure::new("openssl does not accept what the authority issued").because(issued.says));
    }
    narrator.done(&format!("openssl: {}", issued.says))
}

/// Writes the first certificate and the others into files of the folder.
///
/// # Errors
/// [`Failure`] if they cannot be written.
pub fn write_chain(stage: &Stage, leaf: &str, rest: &str, chain: &[CertView]) -> Result<(), Failure> {
    let (first, others) = chain.split_first().ok_or_else(|| Failure::new("there is no certificate"))?;
    let folder = stage.folder();
    files::write(&folder.join(leaf), pem::encode("CERTIFICATE", first.as_der()).as_bytes())?;
    files::write(&folder.join(rest), key::certificates_pem(others).as_bytes())
}

/// The Verifier's verdict about a request, under a policy of this name.
///
/// # Errors
/// [`Failure`] if this machine's clock cannot be used.
pub fn judge(csr: &[u8], nonce: &[u8], trust: &TrustStore, policy: &str) -> Result<Verdict, Failure> {
    let policy = Policy::named(policy).ok_or_else(|| Failure::new(format!("there is no policy {policy}")))?;
    let nonce = Nonce::new(nonce).map_err(|error| Failure::new("the nonce cannot be used").because(error))?;
    let at = crate::verify::now()?;
    Ok(match Submission::recognize(&[InputFile { name: "request", bytes: csr }], None) {
        Ok(submission) => verify(&Request::new(&submission, trust, &policy, at).nonce(&nonce)),
        Err(error) => Verdict::on_unusable_input(&error, &policy, at),
    })
}

/// What had to be granted.
///
/// # Errors
/// [`Failure`] if it was refused after all.
pub fn granted<T>(answer: Result<T, NoAnswer>) -> Result<T, Failure> {
    answer.map_err(|no_answer| match no_answer {
        NoAnswer::Failed(failure) => failure,
        NoAnswer::Refused(problem) => {
            Failure::new("the authority refuses an honest request").because(problem.to_text(Situation::Appraisal))
        }
    })
}

/// Trusts the maker of a software TPM for endorsement keys, marked as virtual.
fn trust_software(trust: &Path, name: &str, tpm: &vouchsafe_agent::swtpm::Swtpm) -> Result<(), Failure> {
    let copy = |from: PathBuf, to: PathBuf| files::write(&to, &files::read_small(&from)?);
    let intermediates = trust.join("intermediates");
    std::fs::create_dir_all(&intermediates)
        .map_err(|error| Failure::new("the trust folder cannot be made").because(error))?;
    copy(tpm.root_certificate(), trust.join(format!("{name}.pem")))?;
    copy(tpm.issuer_certificate(), intermediates.join(format!("{name}.pem")))?;
    files::write(&trust.join(format!("{name}.toml")), b"virtual = true\n")
}

/// Trusts the vendor of a TPM: roots are anchors, the other certificates help.
fn trust_vendor(trust: &Path, file: &Path) -> Result<(), Failure> {
    let certificates = files::read_certificates(file)?;
    let (roots, others): (Vec<CertView>, Vec<CertView>) =
        certificates.into_iter().partition(|certificate| certificate.subject().matches(certificate.issuer()));
    if roots.is_empty() {
        return Err(Failure::new(format!("{} holds no root", file.display()))
            .next("add the vendor's root, a certificate whose subject is its issuer"));
    }
    files::write(&trust.join("vendor.pem"), key::certificates_pem(&roots).as_bytes())?;
    if others.is_empty() {
        return Ok(());
    }
    let intermediates = trust.join("intermediates");
    std::fs::create_dir_all(&intermediates)
        .map_err(|error| Failure::new("the trust folder cannot be made").because(error))?;
    files::write(&intermediates.join("vendor.pem"), key::certificates_pem(&others).as_bytes())
}

/// Starts the agent on this TPM and connects to it.
fn start_agent(stage: &Stage, tpm: &Address) -> Result<Client, Failure> {
    let folder = stage.folder();
    let socket = folder.join("agent.sock");
    let config = folder.join("agent.toml");
    files::write(&config, b"")?;
    let text = |path: &Path| path.display().to_string();
    let arguments = [
        "agent",
        "--config",
        &text(&config),
        "--tpm",
        &tpm.to_string(),
        "--state",
        &text(&folder.join("agent")),
        "--socket",
        &text(&socket),
    ];
    stage.start_self("agent", &arguments, false)?;
    stage.await_ready("agent", || {
        let mut client = Client::connect(&Endpoint::at(&socket)).ok()?;
        client.list_mechanisms().ok().map(|_| client)
    })
}
