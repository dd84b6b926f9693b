//! Reference values: what the registers of a good platform hold.

use std::collections::BTreeMap;

use vouchsafe_evidence::tpm::HashAlg;

use super::PolicyError;

/// PCR values that a good platform has, by bank and register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceValues {
    registers: BTreeMap<(HashAlg, u8), Vec<u8>>,
}

impl ReferenceValues {
    /// No references: values are then reported as recorded, never as good.
    #[must_use]
    pub const fn none() -> Self {
        Self { registers: BTreeMap::new() }
    }

    /// Adds the good value of one register.
    ///
    /// # Errors
    /// [`PolicyError::PcrLength`] when the value is not as long as the bank's digest.
    pub fn insert(&mut self, bank: HashAlg, index: u8, value: &[u8]) -> Result<(), PolicyError> {
        if value.len() != bank.digest_len() {
            return Err(PolicyError::PcrLength {
                bank: bank.label(),
                index,
                expected: bank.digest_len(),
                found: value.len(),
            });
        }
        self.registers.insert((bank, index), value.to_vec());
        Ok(())
    }

    /// Every register with its good value.
    pub fn iter(&self) -> impl Iterator<Item = (HashAlg, u8, &[u8])> {
        self.registers.iter().map(|((bank, index), value)| (*bank, *index, value.as_slice()))
    }

    /// The good value of one register.
    #[must_use]
    pub fn value(&self, bank: HashAlg, index: u8) -> Option<&[u8]> {
        self.registers.get(&(bank, index)).map(Vec::as_slice)
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty()
    }
}
