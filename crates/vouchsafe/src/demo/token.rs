//! The line of a PKCS #11 token whose maker vouches for nothing: witnesses see its attesting key made, an authority takes
//! their word, and policy decides what the word of software beside a module is worth.

mod ceremony;
mod forgery;
mod frauds;

pub use forgery::sign;

use std::path::Path;

use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::wire::message::TpmCertifyX509;
use vouchsafe_evidence::ceremony::ModuleIdentity;
use vouchsafe_verifier::hex;

use super::authority::{self, Account, Settings};
use super::frauds::refusal;
use super::line::{granted, judge, show_issued};
use super::narrator::Narrator;
use super::stage::Stage;
use crate::agent_socket::failure;
use crate::attestation::{self, Attested, Choice, Mechanism, OwnKey};
use crate::authority_client::{AuthorityClient, NoncePurpose};
use crate::csr::{self, Wanted};
use crate::failure::Failure;
use crate::random::random;
use crate::{files, trust_folder};

/// The file with the token's PIN, in the folder.
const PIN_FILE: &str = "pin";
/// Where distributions put SoftHSM's library.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];
/// The token's label, the device's name, and the ceremony's folder.
const TOKEN: &str = "hsm-1";
/// The attesting key that the witnesses see made.
const ATTESTING_KEY: &str = "witnessed";
/// The key that gets certificates, the authority's profile, and its two configurations.
const KEY: &str = "web";
const PROFILE: &str = "device";
const LAB: &str = "lab.toml";
const STRICT: &str = "strict.toml";
/// The policy of the second configuration.
const STRICT_POLICY: &str = "csbr-code-signing";
/// The codes that a strict refusal must have.
const WHY_REFUSED: [&str; 2] = ["policy.environment", "policy.host-asserted"];
/// Digits of digests that are shown.
const DIGITS: usize = 16;

/// Tells the story.
///
/// # Errors
/// [`Failure`] if a step cannot be done, or comes out other than it must.
pub fn show(stage: &Stage, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.title("Vouchsafe with a token: what witnesses and software say, and what that is worth")?;
    let token = Token::start(stage, narrator)?;
    ceremony::hold(&token, narrator)?;
    let (account, authority) = enroll(stage, narrator)?;
    let mut line = token.line(authority)?;
    let request = line.certify(narrator)?;
    narrator.title("Three frauds that even policy lab refuses")?;
    frauds::try_all(&mut line, narrator, &request)?;
    narrator.title("What the token's word is worth")?;
    forgery::under_lab(&line, narrator, &request)?;
    line.under_strict_policy(narrator, &account, &request)?;
    close(narrator)
}

/// A token, and the agent on it.
pub struct Token<'a> {
    /// The folder and the processes.
    pub stage: &'a Stage,
    /// What its listing says of it.
    pub told: ModuleIdentity,
}

impl<'a> Token<'a> {
    fn start(stage: &'a Stage, narrator: &mut Narrator) -> Result<Self, Failure> {
        narrator.step("A token, and an agent on it")?;
        let library = library()?;
        let pin = make_token(stage, narrator)?;
        let told = told(stage)?;
        narrator.done(&format!("The token {TOKEN} has the serial number {}.", told.serial))?;
        narrator.note(
            "SoftHSM speaks PKCS #11 as hardware modules do and keeps its keys in files: it proves nothing about hardware.",
        )?;
        start_agent(stage, library, &pin)?;
        narrator.done(
            "The agent alone has the token's PIN. No maker vouches for anything here: the token attests nothing itself, so \
             the agent reads its attributes and has an attesting key (AK) in the token sign them.",
        )?;
        Ok(Self { stage, told })
    }

    /// The line, once there is an authority.
    fn line(self, authority: AuthorityClient) -> Result<Line<'a>, Failure> {
        let agent = connect(self.stage).map_err(|fault| failure("the agent cannot be asked", &fault))?;
        Ok(Line { stage: self.stage, authority, agent })
    }
}

/// Everything that runs.
pub struct Line<'a> {
    /// The folder and the processes.
    pub stage: &'a Stage,
    /// The authority's interface.
    pub authority: AuthorityClient,
    /// The agent.
    pub agent: Client,
}

/// A request with its nonce.
pub struct Request {
    /// The request.
    pub csr: Vec<u8>,
    /// What is attested in it.
    pub attested: Attested,
    /// The nonce.
    pub nonce: Vec<u8>,
}

impl Line<'_> {
    /// A request of the honest key, attested with a fresh nonce.
    ///
    /// # Errors
    /// [`Failure`] if the agent or the authority refuses.
    pub fn request(&mut self, one_evidence: bool) -> Result<Request, Failure> {
        let key = OwnKey::find(&mut self.agent, KEY)?;
        let nonce = self.nonce()?;
        let choice = Choice {
            mechanism: Some(Mechanism::PkixEvidence),
            attesting_key: ATTESTING_KEY.to_owned(),
            platform: true,
            one_evidence,
            ..Choice::default()
        };
        let attested = attestation::attest(&mut self.agent, KEY, &nonce, &choice, TpmCertifyX509::default())?;
        let csr = csr::request(&mut self.agent, &key, &wanted()?, &attested.bundle)?;
        Ok(Request { csr, attested, nonce })
    }

    /// A nonce for a certificate.
    ///
    /// # Errors
    /// [`Failure`] if the authority does not give one.
    pub fn nonce(&self) -> Result<Vec<u8>, Failure> {
        granted(self.authority.nonce(NoncePurpose::Certificate(PROFILE)))
    }

    fn certify(&mut self, narrator: &mut Narrator) -> Result<Request, Failure> {
        narrator.step("A key in the token; key and platform attested in one CSR; a certificate under policy lab")?;
        typed(self.stage, narrator, &["vouchsafe", "key", "create", KEY])?;
        let request = self.request(false)?;
        let trust = trust_folder::read(&self.stage.folder().join("authority/trust"))?;
        let verdict = judge(&request.csr, &request.nonce, &trust, "lab")?;
        if !verdict.is_accepted() {
            let why: Vec<&str> = verdict.reasons().iter().map(|reason| reason.code()).collect();
            return Err(Failure::new("the honest request is rejected").because(why.join(", ")));
        }
        narrator.done("The Verifier accepts under `lab`: two Evidences, bound by attesting key and nonce:")?;
        narrator.lines(&crate::verify::report::drawing(&verdict, 2))?;
        let chain = granted(self.authority.certificate(&request.csr, &request.nonce, PROFILE))?;
        show_issued(self.stage, narrator, "two-evidences", &chain)?;
        let one = self.request(true)?;
        granted(self.authority.certificate(&one.csr, &one.nonce, PROFILE))?;
        narrator.done("With one Evidence about key and platform a certificate is issued as well.")?;
        Ok(request)
    }

    fn under_strict_policy(
        &mut self,
        narrator: &mut Narrator,
        account: &Account,
        honest: &Request,
    ) -> Result<(), Failure> {
        narrator.step(&format!("The same authority, the honest request again, under policy {STRICT_POLICY}"))?;
        self.stage.stop("authority");
        self.authority = account.serve(self.stage, STRICT)?;
        let request = self.request(false)?;
        let answer = self.authority.certificate(&request.csr, &request.nonce, PROFILE);
        let mut reasons = refusal(answer, &WHY_REFUSED)?;
        if let Some(missing) = WHY_REFUSED.iter().find(|code| !reasons.iter().any(|reason| reason.code == **code)) {
            return Err(
                Failure::new("the refusal does not say why").because(format!("{missing} is not among the reasons"))
            );
        }
        let all = reasons.len();
        let mut shown: Vec<String> = Vec::new();
        reasons.retain(|reason| {
            let is_first = !shown.contains(&reason.code);
            shown.push(reason.code.clone());
            is_first
        });
        narrator.refused("The authority", &reasons)?;
        narrator.note(&format!("{all} reasons, of which the first of each kind is shown."))?;
        refusal(forgery::ask(self, honest)?, &WHY_REFUSED)?;
        narrator.done("It refuses the forgery likewise: this policy takes nobody's word for a token.")
    }
}

/// SoftHSM's library.
fn library() -> Result<&'static str, Failure> {
    let found = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    found.ok_or_else(|| Failure::new("SoftHSM's library is not here").next("install it: apt install softhsm2"))
}

/// What all requests ask for.
///
/// # Errors
/// Never for this name.
pub fn wanted() -> Result<Wanted, Failure> {
    Wanted::from_text("CN=web.example", &[])
}

/// Initializes the token; its PIN.
fn make_token(stage: &Stage, narrator: &Narrator) -> Result<String, Failure> {
    let folder = stage.folder();
    let tokens = stage.make_folder("tokens")?;
    let config = folder.join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    files::write(&config, text.as_bytes())?;
    stage.set("SOFTHSM2_CONF", &config);
    let [pin, officer] = [pin()?, pin()?];
    narrator.command(&format!("softhsm2-util --init-token --free --label {TOKEN} --pin … --so-pin …"))?;
    let words = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", &pin, "--so-pin", &officer];
    let made = stage.run(&words).map_err(|failure| failure.next("install it: apt install softhsm2"))?;
    if !made.done {
        return Err(Failure::new("the token cannot be made").because(made.err.trim()));
    }
    Ok(pin)
}

fn pin() -> Result<String, Failure> {
    Ok(hex::encode(&random::<6>()?))
}

/// What the listing of slots says of the token.
fn told(stage: &Stage) -> Result<ModuleIdentity, Failure> {
    let slots = stage.run(&["softhsm2-util", "--show-slots"])?;
    // The first slot has the token; behind the line are what it says, and not what its slot says.
    let (_, token) = slots.out.split_once("Token info:").unwrap_or_default();
    let row = |name: &str| {
        let value = token.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
        value.filter(|value| !value.is_empty()).map(str::to_owned).ok_or_else(|| {
            Failure::new(format!("the token does not tell its {}", name.trim_end_matches(':')))
                .because(slots.err.trim())
        })
    };
    Ok(ModuleIdentity {
        vendor: row("Manufacturer ID:")?,
        model: row("Model:")?,
        serial: row("Serial number:")?,
        firmware: row("Firmware version:")?,
    })
}

fn start_agent(stage: &Stage, library: &str, pin: &str) -> Result<(), Failure> {
    let path = |name: &str| stage.folder().join(name).display().to_string();
    let pin_file = path(PIN_FILE);
    files::write(Path::new(&pin_file), format!("{pin}\n").as_bytes())?;
    restrict(Path::new(&pin_file))?;
    let text = format!(
        "state = \"{}\"\n[socket]\npath = \"{}\"\n[mechanisms]\nenable = [\"pkix-evidence\"]\n[providers.hsm]\n\
         kind = \"pkcs11\"\nmodule = \"{library}\"\ntoken = \"{TOKEN}\"\npin_file = \"{pin_file}\"\n",
        path("agent"),
        path("agent.sock")
    );
    let config = path("agent.toml");
    files::write(Path::new(&config), text.as_bytes())?;
    stage.start_self("agent", &["agent", "--config", &config], false)?;
    stage.set("PARSEC_SERVICE_ENDPOINT", format!("unix:{}", path("agent.sock")));
    stage.await_ready("agent", || connect(stage).ok()?.list_mechanisms().ok())?;
    Ok(())
}

fn restrict(file: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| Failure::new(format!("{} cannot be restricted", file.display())).because(error))
}

fn connect(stage: &Stage) -> Result<Client, vouchsafe_agent::client::ClientFault> {
    Client::connect(&Endpoint::at(&stage.folder().join("agent.sock")))?.with_provider_named(None)
}

/// Creates the authority and enrolls the attesting key on the witnesses' word.
fn enroll(stage: &Stage, narrator: &mut Narrator) -> Result<(Account, AuthorityClient), Failure> {
    narrator.step("An authority that knows the witnesses enrolls the attesting key")?;
    let account = Account::new(stage)?;
    let witnesses = stage.folder().join(ceremony::WITNESSES).display().to_string();
    let tables = format!("[ceremony]\nthreshold = 2\nwitnesses = \"{witnesses}\"\nvirtual = true\n");
    for (file, policy) in [(LAB, "lab"), (STRICT, STRICT_POLICY)] {
        let top = format!("policy = \"{policy}\"\n");
        let settings = Settings { top: &top, tables: &tables, account: "enroll_methods = [\"ceremony\"]" };
        account.configure(stage, file, &settings)?;
    }
    let authority = narrator.during("Starting the authority (HTTPS, SQLite)", || {
        authority::create(stage, LAB)?;
        account.serve(stage, LAB)
    })?;
    let words = ["vouchsafe", "enroll", "ak", "--device", TOKEN, "--attesting-key", ATTESTING_KEY, "--method"];
    let words = [&words[..], &["ceremony", "--transcript", "hsm-1.json", "--state", "enroll"]].concat();
    let said = typed(stage, narrator, &words)?;
    let device = said.split_whitespace().find(|word| word.starts_with("ak:")).unwrap_or_default();
    let device = device.get(..DIGITS).unwrap_or(device);
    narrator.done(&format!(
        "The AK answered a challenge and has a certificate, which says `ceremony` and `host`. Verdicts will name the device \
         {device}…"
    ))?;
    narrator.proven(
        "whoever asks has the AK that the witnesses saw, now. The ceremony does not raise what the AK's word is worth.",
    )?;
    Ok((account, authority))
}

/// Runs a command as it could be typed, and shows it; what it says.
///
/// # Errors
/// [`Failure`] if it does not do what was asked.
pub fn typed(stage: &Stage, narrator: &Narrator, words: &[&str]) -> Result<String, Failure> {
    super::stage::stop_if_interrupted()?;
    let shown: Vec<String> =
        words.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() }).collect();
    narrator.command(&shown.join(" "))?;
    let said = stage.run(words)?;
    if said.done {
        return Ok(said.out);
    }
    let why = [said.out.trim(), said.err.trim()].join("\n");
    Err(Failure::new(format!("`{}` failed", shown.join(" "))).because(why.trim()))
}

/// What all this was worth.
fn close(narrator: &Narrator) -> Result<(), Failure> {
    narrator.title("What was proven, and what was not")?;
    narrator.done(
        "Two people, each with a key of their own, vouch that the AK was made in this token before their eyes.",
    )?;
    narrator.done(
        "That AK signed the record, the authority's challenge, and both statements, for the authority's nonce.",
    )?;
    narrator.done("Who asked for the certificate has the private key, and the statements are about this very key.")?;
    narrator.not_proven(
        "NOT proven: that the key was made in the token and cannot leave it. Software on this host read the attributes; it, \
         and whoever else has the token's PIN, can have the AK sign other ones, as the forgery shows. Every claim says \
         `host-asserted`.",
    )?;
    narrator.not_proven(
        "NOT proven: that the AK is in the token. The witnesses say what they were shown on this machine.",
    )?;
    narrator.not_proven("NOT proven: that the token is hardware. This one is SoftHSM, and verdicts say `virtual`.")?;
    narrator.note(
        "A TPM proves the first two by itself: ./quickstart without --hsm. Makers of other modules attest too: docs/formats. What \
         makes a token's word worth more, and what each measure does not buy: docs/pkcs11.md.",
    )
}
