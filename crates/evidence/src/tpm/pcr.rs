//! PCR selections (Part 2, "TPML_PCR_SELECTION").

use super::HashAlg;
use super::marshal::{Reader, Writer};
use crate::limits::{PCR_BANKS, PCR_SELECT_OCTETS};
use crate::{Malformed, Reason};

/// The PCRs selected in one bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrBank {
    /// The bank's hash.
    pub hash: HashAlg,
    /// The bitmap as it was marshaled: bit 0 of octet 0 is PCR 0.
    bitmap: Vec<u8>,
}

impl PcrBank {
    /// Selects `indices` of the bank, in the three-octet bitmap that TPMs with 24 PCRs use.
    ///
    /// # Errors
    /// [`Reason::BadValue`] for an index above 23.
    pub fn new(hash: HashAlg, indices: &[u8]) -> Result<Self, Malformed> {
        let mut bitmap = vec![0_u8; 3];
        for index in indices {
            let octet = bitmap.get_mut(usize::from(index / 8)).ok_or(Malformed::new(
                "TPMS_PCR_SELECTION",
                0,
                Reason::BadValue(u64::from(*index)),
            ))?;
            *octet |= 1 << (index % 8);
        }
        Ok(Self { hash, bitmap })
    }

    /// The selected PCR numbers, ascending: the order in which their values are hashed.
    pub fn indices(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).zip(self.bits()).filter(|(_, selected)| *selected).map(|(index, _)| index)
    }

    /// Whether PCR `index` is selected.
    #[must_use]
    pub fn selects(&self, index: u8) -> bool {
        self.indices().any(|selected| selected == index)
    }

    fn bits(&self) -> impl Iterator<Item = bool> {
        self.bitmap.iter().flat_map(|octet| (0..8).map(move |bit| octet >> bit & 1 == 1))
    }
}

/// A TPML_PCR_SELECTION: what a quote covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcrSelection {
    banks: Vec<PcrBank>,
}

impl PcrSelection {
    /// A selection of these banks, in this order.
    #[must_use]
    pub const fn new(banks: Vec<PcrBank>) -> Self {
        Self { banks }
    }

    /// Reads a selection from `reader`.
    ///
    /// # Errors
    /// Unknown banks ([`Reason::BadValue`]), a bank twice ([`Reason::Duplicate`]; which of the two would be
    /// meant?), more than [`PCR_BANKS`] banks or a bitmap above [`PCR_SELECT_OCTETS`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.u32()?;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= PCR_BANKS)
            .ok_or_else(|| reader.error(Reason::OverLimit { what: "PCR banks", limit: PCR_BANKS }))?;
        let mut banks: Vec<PcrBank> = Vec::new();
        for _ in 0..count {
            let id = reader.u16()?;
            let hash = HashAlg::from_id(id).ok_or_else(|| reader.error(Reason::BadValue(id.into())))?;
            let size = usize::from(reader.u8()?);
            if size > PCR_SELECT_OCTETS {
                return Err(reader.error(Reason::OverLimit { what: "PCR bitmap", limit: PCR_SELECT_OCTETS }));
            }
            if banks.iter().any(|bank| bank.hash == hash) {
                return Err(reader.error(Reason::Duplicate("PCR bank")));
            }
            banks.push(PcrBank { hash, bitmap: reader.take(size)?.to_vec() });
        }
        Ok(Self { banks })
    }

    /// Appends the marshaled selection to `writer`.
    pub fn write(&self, writer: &mut Writer) {
        writer.u32(u32::try_from(self.banks.len()).unwrap_or(u32::MAX));
        for bank in &self.banks {
            writer.u16(bank.hash.id()).u8(u8::try_from(bank.bitmap.len()).unwrap_or(u8::MAX)).bytes(&bank.bitmap);
        }
    }

    /// The marshaled selection.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// The banks, in the order of the selection.
    #[must_use]
    pub fn banks(&self) -> &[PcrBank] {
        &self.banks
    }

    /// Every selected PCR, in the order in which values are concatenated and hashed (Part 3, "TPM2_Quote").
    pub fn registers(&self) -> impl Iterator<Item = (HashAlg, u8)> {
        self.banks.iter().flat_map(|bank| bank.indices().map(|index| (bank.hash, index)))
    }

    /// Whether no PCR at all is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers().next().is_none()
    }

    /// Cuts `values`, the bare concatenated PCR values as the CSR statement carries them, into registers.
    ///
    /// Returns `None` unless their lengths add up to exactly the length of `values`.
    #[must_use]
    pub fn cut<'a>(&self, values: &'a [u8]) -> Option<Vec<(HashAlg, u8, &'a [u8])>> {
        let mut rest = values;
        let mut registers = Vec::new();
        for (hash, index) in self.registers() {
            let (value, tail) = rest.split_at_checked(hash.digest_len())?;
            registers.push((hash, index, value));
            rest = tail;
        }
        rest.is_empty().then_some(registers)
    }
}
