//! Platform configuration registers (Part 3, "Integrity collection (PCR)").

use vouchsafe_evidence::limits::TPM_DIGEST_OCTETS;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::{HashAlg, PcrBank, PcrSelection};

use super::PCR_READ;
use crate::provider::Fault;
use crate::tpm::Tpm;
use crate::tpm::frame::Request;

/// Values that one response holds at most (Part 2, TPML_DIGEST).
const VALUES_PER_READ: u32 = 8;
/// How often reading starts over because a register was extended meanwhile.
const ATTEMPTS: usize = 8;

/// Register values of one bank at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrValues {
    /// The bank.
    pub bank: HashAlg,
    /// Index and value, ascending.
    pub values: Vec<(u8, Vec<u8>)>,
    /// The TPM's count of changes when they were read.
    pub update_counter: u32,
}

impl PcrValues {
    /// The bare values, concatenated in ascending order, as statements carry them.
    #[must_use]
    pub fn concatenated(&self) -> Vec<u8> {
        self.values.iter().flat_map(|(_, value)| value.clone()).collect()
    }
}

impl Tpm {
    /// TPM2_PCR_Read of these registers, all at one moment: a change in between starts it over.
    ///
    /// # Errors
    /// [`Fault::PcrSelection`] when the TPM has no such bank or register.
    pub fn pcr_read(&mut self, bank: HashAlg, indices: &[u8]) -> Result<PcrValues, Fault> {
        let mut wanted = indices.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        for _ in 0..ATTEMPTS {
            if let Some(values) = self.pcr_read_at_once(bank, &wanted)? {
                return Ok(values);
            }
        }
        Err(Fault::PcrSelection("the registers change too often to be read at one moment"))
    }

    fn pcr_read_at_once(&mut self, bank: HashAlg, wanted: &[u8]) -> Result<Option<PcrValues>, Fault> {
        let mut left = wanted.to_vec();
        let mut counter = None;
        let mut values = Vec::new();
        while !left.is_empty() {
            let page = self.pcr_read_page(bank, &left)?;
            if *counter.get_or_insert(page.update_counter) != page.update_counter {
                return Ok(None);
            }
            left.retain(|index| page.values.iter().all(|(read, _)| read != index));
            values.extend(page.values);
        }
        Ok(Some(PcrValues { bank, values, update_counter: counter.unwrap_or_default() }))
    }

    /// The first registers of those that are left: what one response holds.
    fn pcr_read_page(&mut self, bank: HashAlg, indices: &[u8]) -> Result<PcrValues, Fault> {
        const NOT_THERE: Fault = Fault::PcrSelection("the TPM has no such bank or register");
        let selection = PcrSelection::new(vec![PcrBank::new(bank, indices).map_err(|_| NOT_THERE)?]);
        let mut w = Writer::new();
        selection.write(&mut w);
        let reply = self.execute(Request::new(PCR_READ, w.into_bytes()))?;
        let mut r = Reader::new(&reply.parameters, "TPM2_PCR_Read");
        let update_counter = r.u32()?;
        let answered = PcrSelection::read(&mut r)?;
        let count = r.u32()?;
        let mut values = Vec::new();
        let registers: Vec<_> = answered.registers().collect();
        for (hash, index) in registers.iter().take(usize::try_from(count.min(VALUES_PER_READ)).unwrap_or_default()) {
            let value = r.tpm2b(TPM_DIGEST_OCTETS)?;
            if *hash != bank || value.len() != bank.digest_len() || !indices.contains(index) {
                return Err(NOT_THERE);
            }
            values.push((*index, value.to_vec()));
        }
        r.finish()?;
        if values.is_empty() || values.len() != registers.len() {
            return Err(NOT_THERE);
        }
        Ok(PcrValues { bank, values, update_counter })
    }
}
