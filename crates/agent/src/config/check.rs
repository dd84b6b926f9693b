//! What a configuration names and the system does not have.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{AdminGroup, Config, ModuleConfig, TpmConfig};
use crate::grants::{Accounts, Grantee};
use crate::provider::pkcs11::Settings as Pkcs11Settings;
use crate::service::descriptors;
use crate::tpm::Address;

/// Something in a configuration that will not work, or not as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, one sentence.
    pub message: String,
    /// What to do, one sentence.
    pub next_step: String,
}

impl Config {
    /// What does not fit the system with these users and groups; empty if all does. Nothing is made and nothing is
    /// opened.
    #[must_use]
    pub fn findings(&self, accounts: &Accounts) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let AdminGroup::Named(name) = &self.socket.group
            && accounts.gid(name).is_none()
        {
            findings.push(finding(
                format!("socket.group is {name:?}, and there is no such group"),
                format!("make it with `groupadd --system {name}`, or name another one"),
            ));
        }
        if let Some(short) = descriptors::shortage(self.limits.connections) {
            findings.push(finding(
                format!(
                    "limits.connections is {}, and a process started here may have {} file descriptors",
                    self.limits.connections, short.found
                ),
                short.next_step(),
            ));
        }
        for rule in &self.grants {
            let missing = match &rule.grantee {
                Grantee::Uid(_) => None,
                Grantee::User(name) => accounts.uid(name).is_none().then_some(("user", name)),
                Grantee::Group(name) => accounts.gid(name).is_none().then_some(("group", name)),
            };
            if let Some((kind, name)) = missing {
                findings.push(finding(
                    format!("a grant is for the {kind} {name:?}, and there is none in the local database"),
                    "correct the name; one that only a directory service knows is granted by uid".to_owned(),
                ));
            }
        }
        for provider in &self.providers {
            let place = format!("providers.{}", provider.name);
            match &provider.module {
                ModuleConfig::Tpm(tpm) => findings.extend(tpm_finding(&place, tpm)),
                ModuleConfig::Pkcs11(token) => findings.extend(pkcs11_findings(&place, token)),
            }
        }
        findings
    }
}

fn tpm_finding(place: &str, tpm: &TpmConfig) -> Option<Finding> {
    match &tpm.address {
        Address::Device(path) if !path.exists() => Some(finding(
            format!("{place}.address is {}, which is not there", path.display()),
            "enable the TPM in the firmware's settings, or correct the address".to_owned(),
        )),
        Address::Device(_) | Address::SwtpmUnix(_) | Address::SwtpmTcp(_) => None,
    }
}

fn pkcs11_findings(place: &str, token: &Pkcs11Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !token.module.exists() {
        findings.push(finding(
            format!("{place}.module is {}, which is not there", token.module.display()),
            "install the vendor's PKCS#11 library, or correct the path".to_owned(),
        ));
    }
    findings.extend(pin_file_finding(&format!("{place}.pin_file"), &token.pin_file));
    if let Some((_, pin_file)) = &token.attesting_token {
        findings.extend(pin_file_finding(&format!("{place}.attesting_pin_file"), pin_file));
    }
    findings
}

/// A PIN is for its owner alone.
fn pin_file_finding(key: &str, path: &Path) -> Option<Finding> {
    let path_text = path.display();
    match std::fs::metadata(path) {
        Err(error) => Some(finding(
            format!("{key} is {path_text}: {error}"),
            "write the token's user PIN into that file, owned by the agent's user, mode 0600".to_owned(),
        )),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            Some(finding(format!("{key} is {path_text}, which others may read"), format!("chmod 600 {path_text}")))
        }
        Ok(_) => None,
    }
}

const fn finding(message: String, next_step: String) -> Finding {
    Finding { message, next_step }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;
    use crate::grants::Accounts;

    fn messages(text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let (passwd, group) = (directory.path().join("passwd"), directory.path().join("group"));
        std::fs::write(&passwd, "root:x:0:0::/:\nalice:x:1001:1001::/:\n").unwrap();
        std::fs::write(&group, "ci:x:50:\n").unwrap();
        let config = Config::from_toml(text, Path::new("agent.toml")).unwrap();
        config.findings(&Accounts::new(&passwd, &group)).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn what_is_there_is_not_found_fault_with() {
        let text = "[socket]\ngroup = \"ci\"\n[[grants]]\nuser = \"alice\"\nmay = [\"attest\"]\n\
            [[grants]]\nuid = 77\nmay = [\"manage-clients\"]\n[providers.tpm]\naddress = \"device:/dev/null\"\n";
        assert_eq!(messages(text), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let text = "[socket]\ngroup = \"admins\"\n[[grants]]\nuser = \"bob\"\nmay = [\"attest\"]\n\
            [[grants]]\ngroup = \"builders\"\nmay = [\"attest\"]\n[providers.tpm]\naddress = \"device:/dev/no-tpm\"\n";
        let found = messages(text);
        assert_eq!(found.len(), 4);
        for (message, word) in found.iter().zip(["admins", "bob", "builders", "/dev/no-tpm"]) {
            assert!(message.contains(word), "{message}");
        }
    }
}
