//! The ceremony: two witnesses, a script, a record that both sign. All by commands, as they are typed.

use vouchsafe_evidence::ceremony::ModuleIdentity;
use vouchsafe_verifier::hex;

use super::{ATTESTING_KEY, TOKEN, Token, typed};
use crate::demo::narrator::Narrator;
use crate::demo::stage::Stage;
use crate::failure::Failure;
use crate::files;
use crate::random::random;

/// Folder of the witnesses' public keys.
pub const WITNESSES: &str = "witnesses";
/// The witnesses.
const NAMES: [&str; 2] = ["Alice", "Bob"];
/// Where the machine's identifier usually is, and where one is put if it has none.
const MACHINE_ID: &str = "/etc/machine-id";
const OWN_MACHINE_ID: &str = "machine-id";
/// Letters of it.
const MACHINE_ID_LETTERS: usize = 32;

const SCRIPT: &str = r#"title = "Attesting key of the token hsm-1"
purpose = "A token whose maker vouches for no attesting key gets one that witnesses vouch for."
operator = "Olga"
threshold = 2

[[witnesses]]
name = "Alice"
key = "witnesses/Alice.pem"
[[witnesses]]
name = "Bob"
key = "witnesses/Bob.pem"

[[steps]]
kind = "run"
prompt = "The token shows itself."
command = ["softhsm2-util", "--show-slots"]
[[steps]]
kind = "module"
prompt = "Which module it is."
[[steps]]
kind = "run"
prompt = "The attesting key is made."
command = ["vouchsafe", "agent", "attesting-key", "create", "witnessed"]
[[steps]]
kind = "key"
prompt = "Its public half."
[[steps]]
kind = "prove"
prompt = "It signs the record up to here."
"#;

/// Holds it; the record is `hsm-1.json`.
///
/// # Errors
/// [`Failure`] if a command fails.
pub fn hold(token: &Token<'_>, narrator: &mut Narrator) -> Result<(), Failure> {
    let stage = token.stage;
    narrator.step("An attesting key, made before two witnesses: a scripted key ceremony")?;
    prepare(stage)?;
    narrator.done("Alice and Bob have keys of their own; the operator has a script.")?;
    let machine = machine_options(stage)?;
    let command = |words: &[&str], takes_machine: bool| {
        let machine: &[&str] = if takes_machine { &machine } else { &[] };
        typed(stage, narrator, &[&["vouchsafe", "ceremony"], words, machine].concat())
    };
    command(&["start", "script.toml", "--work", TOKEN], true)?;
    command(&["record", TOKEN], true)?;
    let ModuleIdentity { vendor, model, serial, firmware } = &token.told;
    let module = ["--vendor", vendor, "--model", model, "--serial", serial, "--firmware", firmware];
    command(&[&["record", TOKEN], &module[..]].concat(), true)?;
    command(&["record", TOKEN], true)?;
    let agent = ["record", TOKEN, "--agent", "--attesting-key", ATTESTING_KEY];
    command(&agent, true)?;
    command(&agent, true)?;
    narrator.done(
        "Recorded: the token's own listing, its serial number, the AK being made, the AK, and that it signed the record so \
         far. Each step commits to the one before.",
    )?;
    for name in NAMES {
        command(&["sign", TOKEN, "--key", &format!("{name}.key"), "--yes"], false)?;
    }
    command(&["finish", TOKEN, "--out", "hsm-1.json"], false)?;
    command(&["verify", "hsm-1.json", "--witnesses", WITNESSES, "--threshold", "2"], false)?;
    narrator.done("Both signed what they saw. One file, which verifies years later; hsm-1.html is for the binder.")?;
    narrator.proven(
        "two witnesses vouch for this AK, and this AK signed their record. What they did not see, nobody vouches for.",
    )
}

/// Keys of the witnesses, and the script.
fn prepare(stage: &Stage) -> Result<(), Failure> {
    let folder = stage.folder();
    stage.make_folder(WITNESSES)?;
    for name in NAMES {
        let (private, public) = (format!("{name}.key"), format!("{WITNESSES}/{name}.pem"));
        for words in [
            &["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &private][..],
            &["openssl", "pkey", "-in", &private, "-pubout", "-out", &public],
        ] {
            let said = stage.run(words)?;
            if !said.done {
                return Err(Failure::new("a witness's key cannot be made").because(said.err.trim()));
            }
        }
    }
    // The script's commands name this very program, and find it wherever it lies.
    let program =
        std::env::current_exe().map_err(|error| Failure::new("this program cannot find itself").because(error))?;
    let own = program.parent().map(std::path::Path::to_owned).unwrap_or_default();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&others)))
        .map_err(|error| Failure::new("the PATH cannot be used").because(error))?;
    stage.set("PATH", path);
    files::write(&folder.join("script.toml"), SCRIPT.as_bytes())
}

/// Options of the verbs that note the machine: none where it has an identifier, as containers often have not.
fn machine_options(stage: &Stage) -> Result<Vec<&'static str>, Failure> {
    let id = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
    if id.trim().len() == MACHINE_ID_LETTERS {
        return Ok(Vec::new());
    }
    files::write(&stage.folder().join(OWN_MACHINE_ID), hex::encode(&random::<16>()?).as_bytes())?;
    Ok(vec!["--machine-id", OWN_MACHINE_ID])
}
