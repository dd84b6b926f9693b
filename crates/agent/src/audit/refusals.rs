//! Refusals of one user, of which only so many are recorded one by one: asking costs nothing, and who asks in vain all day must not fill
//! the disk that everybody's record is on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long refusals are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Refusals of one user that are recorded one by one within that time.
const RECORDED_PER_WINDOW: u32 = 60;

/// Users that are counted apart. Those beyond count as one.
const MAX_USERS: usize = 4096;

/// Who stands for the users beyond [`MAX_USERS`]: no user has this uid.
const OTHERS: u32 = u32::MAX;

/// The refusals of the last while, by user.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    windows: BTreeMap<u32, Window>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    recorded: u32,
    unrecorded: u64,
}

impl Refusals {
    /// Whether a refusal of that user is recorded by itself; else it is counted.
    pub(super) fn is_recorded(&mut self, uid: u32, now: Instant) -> bool {
        let counted_as = if self.windows.len() < MAX_USERS || self.windows.contains_key(&uid) { uid } else { OTHERS };
        let window = self.windows.entry(counted_as).or_insert(Window { begun: now, recorded: 0, unrecorded: 0 });
        if window.recorded < RECORDED_PER_WINDOW {
            window.recorded = window.recorded.saturating_add(1);
            return true;
        }
        window.unrecorded = window.unrecorded.saturating_add(1);
        false
    }

    /// Ends what is over by now, or all: the users and how many refusals of each were counted and not recorded.
    pub(super) fn end(&mut self, now: Option<Instant>) -> Vec<(u32, u64)> {
        let is_over = |window: &Window| now.is_none_or(|now| now.saturating_duration_since(window.begun) >= WINDOW);
        let mut ended = Vec::new();
        self.windows.retain(|uid, window| {
            let over = is_over(window);
            if over && window.unrecorded > 0 {
                ended.push((*uid, window.unrecorded));
            }
            !over
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{MAX_USERS, OTHERS, RECORDED_PER_WINDOW, Refusals, WINDOW};

    #[test]
    fn so_many_are_recorded_and_the_rest_is_counted() {
        let mut refusals = Refusals::default();
        let begin = Instant::now();
        let recorded = (0..1000).filter(|_| refusals.is_recorded(7, begin)).count();
        assert_eq!(recorded, usize::try_from(RECORDED_PER_WINDOW).unwrap());
        assert!(refusals.is_recorded(8, begin));
        assert_eq!(refusals.end(Some(begin)), []);
        assert_eq!(refusals.end(Some(begin + WINDOW)), [(7, 940)]);
        assert!(refusals.is_recorded(7, begin + WINDOW));
        assert_eq!(refusals.end(None), []);
    }

    #[test]
    fn users_without_number_count_as_one() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        for uid in 0..u32::try_from(MAX_USERS).unwrap() * 3 {
            refusals.is_recorded(uid, now);
        }
        assert_eq!(refusals.windows.len(), MAX_USERS + 1);
        let [(OTHERS, _)] = refusals.end(None)[..] else { panic!("others are not counted") };
    }
}
