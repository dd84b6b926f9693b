//! Access control lists of nShield keys (Entrust, nCore API, ACLs): who may do what with a key, as it was when the key
//! was generated. An ACL can be reduced later, and expanded only where it says so itself.

use super::ncore::{KeyHash, Reader};
use crate::{Malformed, Reason};

/// Groups of one list.
const GROUPS: usize = 32;
/// Use limits of one group.
const LIMITS: usize = 16;
/// Actions of one group.
const ACTIONS: usize = 32;

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Its groups. Each allows its actions to whoever meets its conditions.
    pub groups: Vec<Group>,
}

/// A group of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whose certificate it takes; none, where anybody may.
    pub certifier: Certifier,
    /// What is allowed.
    pub actions: Vec<Action>,
}

/// Whose certificate a group takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certifier {
    /// Nobody's.
    Anybody,
    /// That of the key with this hash.
    Key(KeyHash),
    /// The security officer's, whoever that is.
    SecurityOfficer,
}

/// Something that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Deriving another key from it, by a mechanism (M_DeriveMech).
    Derive {
        /// The mechanism.
        mechanism: u32,
    },
    /// Making a blob that an archiving key can open.
    MakeArchiveBlob {
        /// The archiving key; none, where any will do.
        key: Option<KeyHash>,
    },
    /// Making a blob that a module key, or a token under one, can open.
    MakeBlob(WorkingBlob),
    /// Operations, one bit each.
    Operations(u32),
}

/// A blob in which a key is kept outside modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingBlob {
    /// Whether the module key alone opens it.
    pub module_alone: bool,
    /// Whether a token will do that is under no module key of the world.
    pub null_module_key: bool,
    /// The module key that it must be under; none, where any will do.
    pub module_key: Option<KeyHash>,
    /// The token that it must be under.
    pub token: Option<KeyHash>,
    /// What the token must be like.
    pub token_parameters: Option<Token>,
}

/// What a token must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whether it is a softcard: a passphrase, no card.
    pub is_softcard: bool,
    /// Cards of the set that must be present.
    pub shares_needed: u32,
}

/// The key may be shown in clear (M_Act_OpPermissions, ExportAsPlain).
pub const EXPORT_AS_PLAIN: u32 = 0x4;
/// Permissions may be added to the list (ExpandACL).
pub const EXPAND_ACL: u32 = 0x40;
/// Encrypt.
pub const ENCRYPT: u32 = 0x80;
/// Decrypt.
pub const DECRYPT: u32 = 0x100;
/// Verify.
pub const VERIFY: u32 = 0x200;
/// Sign, GetACL and SignModuleCert, in an order that no public document gives: with all three, sign is among them.
pub const SIGN_AMONG: u32 = 0x1000 | 0x2000 | 0x8000;
/// Operations that are known.
const OPERATIONS: u32 = 0xFFFF;
/// Derivation of the public from the private part (M_DeriveMech, PublicFromPrivate).
pub const DERIVE_PUBLIC: u32 = 29;

/// Flags of groups (M_PermissionGroup).
const BY_KEY: u32 = 0x1;
const BY_OFFICER: u32 = 0x2;
const BY_KEY_AND_MECHANISM: u32 = 0x4;
const ON_MODULE: u32 = 0x8;
const LOG_USE: u32 = 0x20;
const BY_KEY_AND_MECHANISM_EX: u32 = 0x40;

impl Acl {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut groups = Vec::new();
        for _ in 0..reader.count("groups of permissions", GROUPS)? {
            groups.push(read_group(reader)?);
        }
        Ok(Self { groups })
    }
}

/// A word of flags, none of which is unknown.
fn flags(reader: &mut Reader<'_>, known: u32) -> Result<u32, Malformed> {
    let error = reader.clone();
    match reader.word()? {
        flags if flags & !known == 0 => Ok(flags),
        flags => Err(error.error(Reason::BadValue(u64::from(flags)))),
    }
}

fn read_group(reader: &mut Reader<'_>) -> Result<Group, Malformed> {
    let known = BY_KEY | BY_OFFICER | BY_KEY_AND_MECHANISM | ON_MODULE | LOG_USE | BY_KEY_AND_MECHANISM_EX;
    let flags = flags(reader, known)?;
    for _ in 0..reader.count("use limits", LIMITS)? {
        let error = reader.clone();
        match reader.word()? {
            // Uses in all, or after an authorization: an identifier and a number.
            1 | 6 => {
                reader.hash()?;
                reader.word()?;
            }
            // Seconds.
            3 => {
                reader.word()?;
            }
            other => return Err(error.error(Reason::BadValue(u64::from(other)))),
        }
    }
    let mut actions = Vec::new();
    for _ in 0..reader.count("actions", ACTIONS)? {
        actions.push(read_action(reader)?);
    }
    let mut certifiers = Vec::new();
    if flags & BY_KEY != 0 {
        certifiers.push(reader.hash()?);
    }
    if flags & BY_KEY_AND_MECHANISM != 0 {
        certifiers.push(reader.hash()?);
        reader.word()?;
    }
    if flags & ON_MODULE != 0 {
        reader.string()?;
    }
    if flags & BY_KEY_AND_MECHANISM_EX != 0 {
        certifiers.push(reader.hash_ex()?);
        reader.word()?;
    }
    let certifier = match certifiers.as_slice() {
        [] if flags & BY_OFFICER != 0 => Certifier::SecurityOfficer,
        [] => Certifier::Anybody,
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Certifier::Key(*first),
        _ => return Err(reader.error(Reason::Duplicate("certifier of a group"))),
    };
    Ok(Group { certifier, actions })
}

fn read_action(reader: &mut Reader<'_>) -> Result<Action, Malformed> {
    let error = reader.clone();
    match reader.word()? {
        1 => Ok(Action::Operations(flags(reader, OPERATIONS)?)),
        2 => read_working_blob(reader).map(Action::MakeBlob),
        3 => {
            let flags = flags(reader, 0x3)?;
            reader.word()?;
            let key = if flags & 0x1 != 0 { Some(reader.hash()?) } else { None };
            if flags & 0x2 != 0 {
                skip_blob_file(reader)?;
            }
            Ok(Action::MakeArchiveBlob { key })
        }
        5 | 47 => {
            reader.known(0)?;
            reader.word()?;
            let mechanism = reader.word()?;
            // Conditions on the other keys of a derivation are not read here.
            reader.known(0)?;
            Ok(Action::Derive { mechanism })
        }
        other => Err(error.error(Reason::BadValue(u64::from(other)))),
    }
}

fn read_working_blob(reader: &mut Reader<'_>) -> Result<WorkingBlob, Malformed> {
    let flags = flags(reader, 0x7F)?;
    let module_key = if flags & 0x4 != 0 { Some(reader.hash()?) } else { None };
    let token = if flags & 0x8 != 0 { Some(reader.hash()?) } else { None };
    let token_parameters = if flags & 0x10 != 0 {
        let token_flags = reader.word()?;
        let shares_needed = reader.word()?;
        reader.word()?;
        reader.word()?;
        Some(Token { is_softcard: token_flags & 0x4 != 0, shares_needed })
    } else {
        None
    };
    if flags & 0x40 != 0 {
        skip_blob_file(reader)?;
    }
    let (module_alone, null_module_key) = (flags & 0x1 != 0, flags & 0x20 != 0);
    Ok(WorkingBlob { module_alone, null_module_key, module_key, token, token_parameters })
}

fn skip_blob_file(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let flags = flags(reader, 0x3)?;
    if flags & 0x1 != 0 {
        reader.word()?;
    }
    if flags & 0x2 != 0 {
        reader.hash()?;
    }
    Ok(())
}
