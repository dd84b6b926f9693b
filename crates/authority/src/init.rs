//! Creating an installation: secret, authorities, trust files.
//!
//! ```text
//! STATE/secret                         32 random octets, mode 0600
//! STATE/ca/NAME.crt, NAME.key          the authorities of `ca`, keys with mode 0600
//! TRUST/tpm-certify/, tpm-quote/, tpm-certify-x509/   the attestation roots, the virtual one with its mark
//! TRUST/tpm-ek/                        empty: the administrator puts vendor roots here
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build;

use crate::ca::{
    ATTESTATION_ROOT, ATTESTATION_ROOT_VIRTUAL, HierarchyError, ISSUING_CA, ISSUING_ROOT, TLS_ROOT, ca_extensions,
    create_root,
};
use crate::certificate::{CertificateError, Content, IssuerView, SigningKey, key_identifier, sign};
use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::secret::{SECRET_OCTETS, StateSecret};

/// Days of validity of a root.
const ROOT_DAYS: i64 = 7_305;
/// Days of validity of the issuing CA.
const ISSUING_DAYS: i64 = 3_652;
const SECRET_FILE: &str = "secret";
const CA_FOLDER: &str = "ca";
const UNFINISHED_CA_FOLDER: &str = "ca.unfinished";
const DATABASE_FILE: &str = "authority.sqlite";
/// The formats whose statements AK certificates of this authority vouch for.
const ATTESTED_FORMATS: [&str; 4] = ["pkix-evidence", "tpm-certify", "tpm-certify-x509", "tpm-quote"];
/// The format of endorsement certificates.
const EK_FORMAT: &str = "tpm-ek";
/// The format of statements that pseudonyms sign.
const PSEUDONYM_FORMAT: &str = "tpm-certify-x509";
/// Columns of PEM text.
const PEM_COLUMNS: usize = 64;

/// Why an installation could not be created or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitError {
    /// There is one already; its keys are not overwritten.
    #[error("{} is already initialized", path.display())]
    AlreadyInitialized {
        /// The state folder.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The authorities cannot be loaded.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// A file or folder cannot be used.
    #[error("{}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is no installation yet.
    #[error("{} is not initialized", path.display())]
    NotInitialized {
        /// The state folder.
        path: PathBuf,
    },
    /// The random source failed.
    #[error("the random source failed")]
    Random,
    /// The secret's file does not hold 32 octets.
    #[error("{} does not hold {SECRET_OCTETS} octets", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
    },
}

/// Where clients find what they must trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initialized {
    /// The root of the server's TLS certificate, PEM; clients are given this file.
    pub tls_root: PathBuf,
    /// The root of the certificates that are issued, PEM; none with role = "enrolment".
    pub issuing_root: Option<PathBuf>,
    /// The root of AK certificates of chips, PEM; with role = "enrolment" that of pseudonyms, and none with role =
    /// "issuing".
    pub attestation_root: Option<PathBuf>,
    /// The folder for vendor roots of endorsement certificates; none with role = "issuing".
    pub ek_trust: Option<PathBuf>,
}

/// Creates secret, authorities and trust files in the configured folders.
///
/// The authorities appear all at once or not at all; what an interrupted attempt left behind is replaced.
///
/// # Errors
/// [`InitError::AlreadyInitialized`] and the variants about files.
pub fn init(config: &Config, clock: &dyn Clock) -> Result<Initialized, InitError> {
    let state = config.state();
    let folder = ca_folder(config);
    if folder.exists() {
        return Err(InitError::AlreadyInitialized { path: state.to_owned() });
    }
    create_folder(state)?;
    let unfinished = state.join(UNFINISHED_CA_FOLDER);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(at(&unfinished))?;
    }
    create_folder(&unfinished)?;
    create_authorities(&unfinished, config.role(), clock.now_unix_seconds())?;
    create_trust(&unfinished, config)?;
    create_secret(&state.join(SECRET_FILE))?;
    fs::rename(&unfinished, &folder).map_err(at(&folder))?;
    sync(state)?;
    Ok(Initialized {
        tls_root: folder.join(format!("{TLS_ROOT}.crt")),
        issuing_root: config.role().issues().then(|| folder.join(format!("{ISSUING_ROOT}.crt"))),
        attestation_root: config.role().enrolls().then(|| folder.join(format!("{ATTESTATION_ROOT}.crt"))),
        ek_trust: config.role().enrolls().then(|| config.trust().join(EK_FORMAT)),
    })
}

pub(crate) fn ca_folder(config: &Config) -> PathBuf {
    config.state().join(CA_FOLDER)
}

pub(crate) fn database_file(config: &Config) -> PathBuf {
    config.state().join(DATABASE_FILE)
}

/// Reads the secret of an installation.
pub(crate) fn read_secret(config: &Config) -> Result<StateSecret, InitError> {
    let path = config.state().join(SECRET_FILE);
    if !ca_folder(config).exists() {
        return Err(InitError::NotInitialized { path: config.state().to_owned() });
    }
    let octets = fs::read(&path).map_err(at(&path))?;
    let octets: [u8; SECRET_OCTETS] = octets.try_into().map_err(|_| InitError::Secret { path })?;
    Ok(StateSecret::new(octets))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InitError + use<> {
    let path = path.to_owned();
    move |error| InitError::Io { path, error }
}

fn create_folder(path: &Path) -> Result<(), InitError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

fn create_secret(path: &Path) -> Result<(), InitError> {
    let mut secret = zeroize::Zeroizing::new([0; SECRET_OCTETS]);
    rand::fill(&mut *secret).map_err(|_| InitError::Random)?;
    write_file(path, &*secret, 0o600)
}

fn create_authorities(folder: &Path, role: Role, now: i64) -> Result<(), InitError> {
    root(folder, TLS_ROOT, "Vouchsafe TLS Root", now)?;
    let attestation = match role {
        Role::Both => Some("Vouchsafe Attestation Root"),
        Role::Enrolment => Some("Vouchsafe Pseudonym Root"),
        Role::Issuing => None,
    };
    if let Some(name) = attestation {
        root(folder, ATTESTATION_ROOT, name, now)?;
        root(folder, ATTESTATION_ROOT_VIRTUAL, &format!("{name} (virtual modules)"), now)?;
    }
    if role.issues() { create_issuing(folder, now) } else { Ok(()) }
}

fn create_issuing(folder: &Path, now: i64) -> Result<(), InitError> {
    let issuing_root = root(folder, ISSUING_ROOT, "Vouchsafe Issuing Root", now)?;
    let (key, pkcs8) = SigningKey::generate()?;
    let root_name = named("Vouchsafe Issuing Root")?;
    let key_identifier = key_identifier(issuing_root.spki());
    let issuer = IssuerView {
        name: &root_name,
        key: &issuing_root,
        not_after: i64::MAX,
        key_identifier: &key_identifier,
        published: &[],
    };
    let content = Content {
        subject: named("Vouchsafe Issuing CA")?,
        spki: key.spki(),
        now,
        validity_days: ISSUING_DAYS,
        extensions: ca_extensions(Some(0)),
    };
    let issued = sign(&issuer, content)?;
    write_authority(folder, ISSUING_CA, &issued.der, &pkcs8)
}

fn named(common_name: &str) -> Result<vouchsafe_evidence::x509::NameView, CertificateError> {
    Ok(build::distinguished_name(&[(oid::COMMON_NAME, common_name)])?)
}

fn root(folder: &Path, file: &str, common_name: &str, now: i64) -> Result<SigningKey, InitError> {
    let (issued, pkcs8, key) = create_root(&named(common_name)?, now, ROOT_DAYS)?;
    write_authority(folder, file, &issued.der, &pkcs8)?;
    Ok(key)
}

fn write_authority(folder: &Path, name: &str, certificate: &[u8], pkcs8: &[u8]) -> Result<(), InitError> {
    write_file(&folder.join(format!("{name}.crt")), pem("CERTIFICATE", certificate).as_bytes(), 0o644)?;
    write_file(&folder.join(format!("{name}.key")), pem("PRIVATE KEY", pkcs8).as_bytes(), 0o600)
}

/// The attestation roots are trust anchors like any other: files that an administrator sees and can remove. An issuing
/// authority has none of its own: the administrator puts the pseudonym root into the one folder there is.
fn create_trust(ca: &Path, config: &Config) -> Result<(), InitError> {
    let trust = config.trust();
    match config.role() {
        Role::Both => create_folder(&trust.join(EK_FORMAT))?,
        Role::Enrolment => return create_folder(&trust.join(EK_FORMAT)),
        Role::Issuing => return create_folder(&trust.join(PSEUDONYM_FORMAT)),
    }
    for format in ATTESTED_FORMATS {
        let folder = trust.join(format);
        create_folder(&folder)?;
        for name in [ATTESTATION_ROOT, ATTESTATION_ROOT_VIRTUAL] {
            let from = ca.join(format!("{name}.crt"));
            let certificate = fs::read(&from).map_err(at(&from))?;
            write_file(&folder.join(format!("vouchsafe-{name}.pem")), &certificate, 0o644)?;
        }
        let mark = format!("vouchsafe-{ATTESTATION_ROOT_VIRTUAL}.toml");
        write_file(&folder.join(mark), b"virtual = true\n", 0o644)?;
    }
    Ok(())
}

/// Writes a file whole and durably; one left behind by an interrupted attempt is replaced.
fn write_file(path: &Path, contents: &[u8], mode: u32) -> Result<(), InitError> {
    if path.exists() {
        fs::remove_file(path).map_err(at(path))?;
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(contents)?;
        file.sync_all()
    };
    write().map_err(at(path))
}

fn sync(folder: &Path) -> Result<(), InitError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// PEM (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (index, letter) in text.chars().enumerate() {
        if index > 0 && index % PEM_COLUMNS == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}
