//! The attesting key and its proof from the agent on this machine.

use clap::Args;
use vouchsafe_agent::client::Client;
use vouchsafe_agent::wire::message::{self, AttestingKeyInfo, PlatformMechanism};
use vouchsafe_evidence::ceremony::{AkFamily, Proof};
use vouchsafe_evidence::statement::TpmQuote;
use vouchsafe_evidence::x509::SpkiView;

use crate::agent_socket::{AgentSocket, failure};
use crate::failure::Failure;

/// PCRs of the quote by which a TPM's key proves: none has to have any value, so one is enough.
const PCRS: [u32; 1] = [0];

/// The agent, if it is to be asked.
#[derive(Debug, Args)]
pub struct Device {
    /// Take the attesting key, and its proof, from the agent (needs the grant attest-platform)
    #[arg(long)]
    agent: bool,
    /// The attesting key's name; the administrator's default, if it is not given
    #[arg(long, value_name = "NAME", requires = "agent")]
    attesting_key: Option<String>,
    #[command(flatten)]
    socket: AgentSocket,
}

impl Device {
    /// Whether the agent is to be asked.
    pub const fn is_asked(&self) -> bool {
        self.agent
    }

    /// The attesting key that is chosen, and the family that it is for.
    ///
    /// # Errors
    /// [`Failure`] if the agent has no such key, or it is a pseudonym: a ceremony would tell whose.
    pub fn key(&self) -> Result<(SpkiView, AkFamily), Failure> {
        let mut client = self.socket.connect()?;
        let chosen = |info: &&AttestingKeyInfo| match &self.attesting_key {
            Some(name) => info.name == *name,
            None => info.is_default,
        };
        let keys = list(&mut client)?;
        let info = keys.iter().find(chosen).ok_or_else(|| {
            Failure::new("the agent has no such attesting key").next("`vouchsafe agent attesting-key list` shows them")
        })?;
        if info.is_pseudonym {
            return Err(Failure::new(format!("{} is a pseudonym", info.name))
                .because("a ceremony would tell of which module it is")
                .next("name another attesting key"));
        }
        let family = if info.families.iter().any(|family| family == AkFamily::PkixEvidence.label()) {
            AkFamily::PkixEvidence
        } else {
            AkFamily::Tpm
        };
        Ok((public(info)?, family))
    }

    /// A statement of the attesting key that answers this nonce.
    ///
    /// # Errors
    /// [`Failure`] if the agent does not have the key that was recorded, or refuses.
    pub fn prove(&self, key: &SpkiView, family: AkFamily, nonce: &[u8]) -> Result<Proof, Failure> {
        let mut client = self.socket.connect()?;
        let keys = list(&mut client)?;
        let info = keys.iter().find(|info| public(info).is_ok_and(|found| found.same_key(key))).ok_or_else(|| {
            Failure::new("the agent does not have the attesting key that was recorded")
                .next("ask the agent of the module that the ceremony is about (--socket)")
        })?;
        let mechanism = match family {
            AkFamily::PkixEvidence => PlatformMechanism::PkixEvidence(message::PkixEvidence::default()),
            AkFamily::Tpm => {
                PlatformMechanism::TpmQuote(message::TpmQuote { bank: "sha256".to_owned(), indices: PCRS.to_vec() })
            }
        };
        let answer = client
            .attest_platform(&info.name, nonce, mechanism)
            .map_err(|fault| failure("the attesting key did not prove anything", &fault))?;
        match family {
            AkFamily::PkixEvidence => Ok(Proof::Evidence(answer.statement)),
            AkFamily::Tpm => {
                let quote = TpmQuote::parse(&answer.statement)
                    .map_err(|error| Failure::new("the agent's quote cannot be read").because(error))?;
                Ok(Proof::TpmAttest { attest: quote.attest, signature: quote.signature })
            }
        }
    }
}

fn list(client: &mut Client) -> Result<Vec<AttestingKeyInfo>, Failure> {
    client.list_attesting_keys().map_err(|fault| failure("the agent does not tell its attesting keys", &fault))
}

fn public(info: &AttestingKeyInfo) -> Result<SpkiView, Failure> {
    SpkiView::parse(&info.public)
        .map_err(|error| Failure::new(format!("the agent's attesting key {} cannot be read", info.name)).because(error))
}
