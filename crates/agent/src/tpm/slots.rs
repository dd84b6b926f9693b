//! Transient objects in the few slots of a TPM: the least recently used ones are saved and loaded again on demand.

/// Transient objects that are kept loaded at once. PC client TPMs and the kernel's resource manager have three.
const LOADED_LIMIT: usize = 3;
/// Objects that are remembered, loaded or saved (a saved context takes one to two kilobytes).
const REMEMBERED_LIMIT: usize = 256;

/// A transient object, wherever it is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId(u64);

/// Where an object is.
#[derive(Debug)]
pub(crate) enum Place {
    /// In the TPM, under this handle.
    Loaded(u32),
    /// Outside, as this TPMS_CONTEXT.
    Saved(Vec<u8>),
}

#[derive(Debug)]
struct Slot {
    id: SlotId,
    place: Place,
    used_at: u64,
}

/// Bookkeeping of transient objects; sends no commands itself.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    ticks: u64,
}

impl Slots {
    fn tick(&mut self) -> u64 {
        self.ticks = self.ticks.saturating_add(1);
        self.ticks
    }

    /// Takes over an object that was just loaded.
    pub(crate) fn adopt(&mut self, handle: u32) -> SlotId {
        let used_at = self.tick();
        let id = SlotId(used_at);
        self.slots.push(Slot { id, place: Place::Loaded(handle), used_at });
        id
    }

    fn slot(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.id == id)
    }

    /// Where the object is; marks it used.
    pub(crate) fn touch(&mut self, id: SlotId) -> Option<&Place> {
        let now = self.tick();
        self.slot(id).map(|slot| {
            slot.used_at = now;
            &slot.place
        })
    }

    /// Whether the object is still known.
    pub(crate) fn holds(&self, id: SlotId) -> bool {
        self.slots.iter().any(|slot| slot.id == id)
    }

    /// Notes where the object is now.
    pub(crate) fn moved(&mut self, id: SlotId, place: Place) {
        if let Some(slot) = self.slot(id) {
            slot.place = place;
        }
    }

    /// Whether another object may be loaded.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.iter().filter(|slot| matches!(slot.place, Place::Loaded(_))).count() < LOADED_LIMIT
    }

    /// The loaded object to save next: the least recently used one that is not pinned.
    pub(crate) fn victim(&self, pinned: &[SlotId]) -> Option<(SlotId, u32)> {
        self.slots
            .iter()
            .filter_map(|slot| match slot.place {
                Place::Loaded(handle) if !pinned.contains(&slot.id) => Some((slot.used_at, slot.id, handle)),
                Place::Loaded(_) | Place::Saved(_) => None,
            })
            .min_by_key(|(used_at, ..)| *used_at)
            .map(|(_, id, handle)| (id, handle))
    }

    /// The least recently used object, when more are remembered than should be.
    pub(crate) fn surplus(&self) -> Option<SlotId> {
        (self.slots.len() > REMEMBERED_LIMIT)
            .then(|| self.slots.iter().min_by_key(|slot| slot.used_at).map(|slot| slot.id))
            .flatten()
    }

    /// Forgets an object; returns its handle if it must be flushed.
    pub(crate) fn forget(&mut self, id: SlotId) -> Option<u32> {
        let position = self.slots.iter().position(|slot| slot.id == id)?;
        match self.slots.swap_remove(position).place {
            Place::Loaded(handle) => Some(handle),
            Place::Saved(_) => None,
        }
    }

    /// Forgets everything: the TPM was reset or the connection was lost.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_object_that_is_not_pinned_goes_first() {
        let mut slots = Slots::default();
        let [a, b, c] = [1, 2, 3].map(|handle| slots.adopt(handle));
        assert!(!slots.has_room());
        slots.touch(a);
        assert_eq!(slots.victim(&[]), Some((b, 2)));
        assert_eq!(slots.victim(&[b]), Some((c, 3)));
        slots.moved(b, Place::Saved(Vec::new()));
        assert!(slots.has_room());
        assert_eq!(slots.victim(&[a, c]), None);
        assert_eq!(slots.forget(b), None);
        assert_eq!(slots.forget(c), Some(3));
        assert!(slots.holds(a) && !slots.holds(b));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut slots = Slots::default();
        let first = slots.adopt(0);
        for handle in 1..256 {
            slots.adopt(handle);
        }
        assert_eq!(slots.surplus(), None);
        slots.adopt(256);
        assert_eq!(slots.surplus(), Some(first));
    }
}
