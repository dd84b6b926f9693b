//! One entry: what happened, and the line that says so.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{self, SHA256};

use crate::client_id::ClientId;
use crate::provider::KeyUid;

/// Longest entry, in octets.
pub(super) const MAX_LINE_OCTETS: usize = 16 * 1024;

/// Characters of a name that are kept.
const MAX_NAME_CHARS: usize = 255;

/// Octets of a chain value.
pub(super) const CHAIN_OCTETS: usize = 32;

/// Fields of an entry.
const FIELDS: usize = 12;

/// What the first entry of a file that continues another is called.
const CONTINUES: &str = "continues";

/// What binds an entry to all before it.
pub(super) type Chain = [u8; CHAIN_OCTETS];

/// Something that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was asked, such as `generate`.
    pub name: &'static str,
    /// Whose keys were asked for.
    pub client: ClientId,
    /// Who asked, as the kernel reported.
    pub uid: u32,
    /// Of which provider.
    pub provider: String,
    /// Of which key, or what else is named; may be empty.
    pub subject: String,
    /// By which attesting key, where one attests or is enrolled.
    pub attesting_key: Option<String>,
    /// With which nonce; may be empty.
    pub nonce: Vec<u8>,
    /// How soon its entry is on the disk.
    pub durability: Durability,
}

/// How soon an entry survives a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the operation is answered.
    Now,
    /// Within [`SYNC_INTERVAL`](super::SYNC_INTERVAL).
    Soon,
}

/// How an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The id of the key that was acted on, where one was found or made.
    pub key: Option<KeyUid>,
    /// `ok` or a stable code.
    pub code: &'static str,
}

impl Outcome {
    /// Whether it was done.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == OK
    }
}

/// The code of what was done.
pub const OK: &str = "ok";

/// An entry before it has its place.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    seconds: u64,
    /// The fields from the event's name to the outcome, with tabs between them.
    fields: String,
    is_continuation: bool,
}

impl Entry {
    /// The entry of something that has just ended.
    pub(super) fn now(event: Event, outcome: Outcome) -> Entry {
        let nonce = match event.nonce.as_slice() {
            [] => "-".to_owned(),
            nonce => hex(digest::digest(&SHA256, nonce).as_ref()),
        };
        let key = outcome.key.map_or_else(|| "-".to_owned(), |key| key.to_string());
        let fields = format!(
            "{}\t{}\t{}\t{}\t{}\t{key}\t{}\t{nonce}\t{}",
            event.name,
            escaped(&event.client.to_string()),
            event.uid,
            escaped(&event.provider),
            escaped(&event.subject),
            event.attesting_key.as_deref().map_or_else(|| "-".to_owned(), escaped),
            outcome.code,
        );
        Entry { seconds: unix_seconds(), fields, is_continuation: false }
    }

    /// The entry for that many refusals of a user.
    pub(super) fn refusals(uid: u32, count: u64) -> Entry {
        let fields = format!("refusals-not-recorded\tunix:{uid}\t{uid}\t-\t{count}\t-\t-\t-\t{OK}");
        Entry { seconds: unix_seconds(), fields, is_continuation: false }
    }

    /// The first entry of a file that continues another, whose last chain value this is.
    pub(super) fn continues(chain: &Chain) -> Entry {
        let fields = format!("{CONTINUES}\t-\t-\t-\t{}\t-\t-\t-\t{OK}", hex(chain));
        Entry { seconds: unix_seconds(), fields, is_continuation: true }
    }

    /// Whether it is the first entry of a file that continues another.
    pub(super) fn is_continuation(&self) -> bool {
        self.is_continuation
    }

    /// Its line in that place, and its chain value.
    pub(super) fn line(&self, sequence: u64, previous: &Chain) -> (String, Chain) {
        let mut line = format!("{sequence}\t{}\t{}", self.seconds, self.fields);
        let chain = link(previous, line.as_bytes());
        line.push('\t');
        line.push_str(&hex(&chain));
        line.push('\n');
        (line, chain)
    }
}

/// What a line that is an entry says of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its sequence number.
    pub(super) sequence: u64,
    /// Its chain value.
    pub(super) chain: Chain,
    /// The chain value before it, if it continues another file.
    pub(super) continues: Option<Chain>,
}

impl Placed {
    /// Reads a line without its end; `None` for one that is no entry.
    pub(super) fn parse(line: &[u8]) -> Option<Placed> {
        let fields: Vec<&str> = std::str::from_utf8(line).ok()?.split('\t').collect();
        if fields.len() != FIELDS {
            return None;
        }
        let sequence: u64 = fields.first()?.parse().ok()?;
        // In the one way of writing it.
        (sequence.to_string() == **fields.first()?).then_some(())?;
        let continues = match (*fields.get(2)?, fields.get(6)?) {
            (CONTINUES, chain) => Some(chain_of(chain)?),
            _ => None,
        };
        Some(Placed { sequence, chain: chain_of(fields.last()?)?, continues })
    }
}

/// The chain value of these digits.
pub(super) fn chain_of(digits: &str) -> Option<Chain> {
    let mut chain = [0; CHAIN_OCTETS];
    for (octet, pair) in chain.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    // In the one way of writing it.
    (hex(&chain) == digits).then_some(chain)
}

/// The chain value of an entry, given the previous one and the line up to its last tab.
pub(super) fn link(previous: &Chain, entry: &[u8]) -> Chain {
    let mut context = digest::Context::new(&SHA256);
    context.update(previous);
    context.update(entry);
    context.finish().as_ref().try_into().unwrap_or_default()
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A name without anything that could end a field or a line.
fn escaped(name: &str) -> String {
    name.chars().take(MAX_NAME_CHARS).flat_map(char::escape_debug).collect()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
