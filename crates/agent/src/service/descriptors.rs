//! File descriptors: each connection takes one.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for what is no client's connection: database, audit log, modules and their libraries, monitoring.
const BESIDE_CONNECTIONS: u64 = 64;

/// Fewer descriptors than the configured connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// How many there may be at most.
    pub(crate) found: u64,
    /// How many would be needed.
    pub(crate) needed: u64,
}

impl Shortage {
    /// What to do about it.
    pub(crate) fn next_step(self) -> String {
        let fitting = self.found.saturating_sub(BESIDE_CONNECTIONS).max(1);
        format!(
            "allow the agent {} of them (LimitNOFILE= in its unit, or `ulimit -n`), or lower limits.connections to {fitting}",
            self.needed
        )
    }
}

fn needed(connections: usize) -> u64 {
    u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDE_CONNECTIONS)
}

/// Whether the hard limit of this process (RLIMIT_NOFILE) is too low for that many connections.
pub(crate) fn shortage(connections: usize) -> Option<Shortage> {
    shortage_under(getrlimit(Resource::Nofile).maximum, connections)
}

/// `None` for a limit is that there is none.
fn shortage_under(limit: Option<u64>, connections: usize) -> Option<Shortage> {
    let needed = needed(connections);
    limit.filter(|found| *found < needed).map(|found| Shortage { found, needed })
}

/// Raises the soft limit of this process as far as that many connections need and the hard one lets it, and warns where that is
/// not enough. No further: libraries of modules may use select(), which knows no descriptor above 1023.
pub(super) fn provide(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    if let Some(raised) = raised(limit, connections) {
        let current = raised.current;
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => tracing::info!(?current, "more file descriptors are allowed, for limits.connections"),
            Err(error) => tracing::warn!(error = %io::Error::from(error), "the limit of file descriptors stays"),
        }
    }
    if let Some(shortage) = shortage(connections) {
        tracing::warn!(
            found = shortage.found,
            needed = shortage.needed,
            next_step = shortage.next_step(),
            "there are fewer file descriptors than limits.connections may take"
        );
    }
}

/// The limits with a higher soft one, where that is needed and possible.
fn raised(limit: Rlimit, connections: usize) -> Option<Rlimit> {
    let current = limit.current?;
    let possible = limit.maximum.map_or(needed(connections), |maximum| maximum.min(needed(connections)));
    (possible > current).then_some(Rlimit { current: Some(possible), maximum: limit.maximum })
}

/// Whether the process or the system has no descriptor left.
pub(super) fn are_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    errno == Some(Errno::MFILE) || errno == Some(Errno::NFILE)
}

#[cfg(test)]
mod tests {
    use rustix::process::Rlimit;

    use super::{raised, shortage_under};

    #[test]
    fn the_soft_limit_is_raised_to_what_is_needed_and_possible() {
        let limit = |current, maximum| Rlimit { current, maximum };
        let current = |limit, connections| raised(limit, connections).map(|limit| limit.current);
        assert_eq!(current(limit(Some(1024), Some(4096)), 512), None);
        assert_eq!(current(limit(Some(1024), Some(4096)), 2000), Some(Some(2064)));
        assert_eq!(current(limit(Some(1024), Some(1500)), 2000), Some(Some(1500)));
        assert_eq!(current(limit(Some(1024), None), 2000), Some(Some(2064)));
        assert_eq!(current(limit(None, None), 2000), None);
    }

    #[test]
    fn what_the_hard_limit_does_not_allow_is_told_with_what_to_do() {
        assert_eq!(shortage_under(Some(576), 512), None);
        assert_eq!(shortage_under(None, 100_000), None);
        let short = shortage_under(Some(256), 512).unwrap();
        assert_eq!((short.found, short.needed), (256, 576));
        assert!(short.next_step().contains("576") && short.next_step().ends_with("limits.connections to 192"));
    }
}
