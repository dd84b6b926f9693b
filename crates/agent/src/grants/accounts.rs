//! The local user and group databases.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::service::Peer;

/// Users and groups by the files `/etc/passwd` and `/etc/group`, read again when they change.
///
/// A file that cannot be read leaves what was read last; a line that is not one of the format is skipped.
#[derive(Clone, Debug)]
pub struct Accounts {
    passwd_path: PathBuf,
    group_path: PathBuf,
    cached: Arc<Mutex<Cached>>,
}

#[derive(Debug, Default)]
struct Cached {
    passwd_changed: Option<SystemTime>,
    group_changed: Option<SystemTime>,
    users: Vec<User>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct User {
    name: String,
    uid: u32,
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    /// The databases in these files.
    #[must_use]
    pub fn new(passwd_path: &Path, group_path: &Path) -> Accounts {
        Accounts { passwd_path: passwd_path.to_owned(), group_path: group_path.to_owned(), cached: Arc::default() }
    }

    /// The system's databases.
    #[must_use]
    pub fn system() -> Accounts {
        Accounts::new(Path::new("/etc/passwd"), Path::new("/etc/group"))
    }

    /// The uid of a user.
    #[must_use]
    pub fn uid(&self, user: &str) -> Option<u32> {
        self.with(|cached| cached.users.iter().find(|entry| entry.name == user).map(|entry| entry.uid))
    }

    /// The gid of a group.
    #[must_use]
    pub fn gid(&self, group: &str) -> Option<u32> {
        self.with(|cached| cached.groups.iter().find(|entry| entry.name == group).map(|entry| entry.gid))
    }

    /// Whether a group is a client's primary one or lists one of its names.
    #[must_use]
    pub fn is_member(&self, peer: Peer, group: &str) -> bool {
        self.with(|cached| {
            let names: Vec<&str> =
                cached.users.iter().filter(|user| user.uid == peer.uid).map(|user| user.name.as_str()).collect();
            cached.groups.iter().filter(|entry| entry.name == group).any(|entry| {
                entry.gid == peer.gid || entry.members.iter().any(|member| names.contains(&member.as_str()))
            })
        })
    }

    fn with<R>(&self, look: impl FnOnce(&Cached) -> R) -> R {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((changed, text)) = changed_text(&self.passwd_path, cached.passwd_changed) {
            cached.users = text.lines().filter_map(user).collect();
            cached.passwd_changed = Some(changed);
        }
        if let Some((changed, text)) = changed_text(&self.group_path, cached.group_changed) {
            cached.groups = text.lines().filter_map(group).collect();
            cached.group_changed = Some(changed);
        }
        look(&cached)
    }
}

/// The text of a file that has changed since, and when it changed.
fn changed_text(path: &Path, since: Option<SystemTime>) -> Option<(SystemTime, String)> {
    let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    if since == Some(changed) {
        return None;
    }
    std::fs::read_to_string(path).ok().map(|text| (changed, text))
}

/// `name:password:uid:...`
fn user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    Some(User { name, uid })
}

/// `name:password:gid:member,member`
fn group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next()?.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
    Some(Group { name, gid, members })
}
