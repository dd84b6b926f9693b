//! Revocation lists.

use super::DerWriter;
use crate::x509::NameView;
use crate::x509::der::Tag;

/// One entry of a revocation list.
#[derive(Clone, Debug)]
pub struct RevokedEntry {
    /// The serial number as a big-endian magnitude.
    pub serial: Vec<u8>,
    /// revocationDate, in seconds since 1970-01-01T00:00:00Z.
    pub revoked_at: i64,
    /// The DER of each extension.
    pub extensions: Vec<Vec<u8>>,
}

/// What a revocation list of version 2 says.
#[derive(Clone, Debug)]
pub struct CrlTemplate {
    /// The DER of the signature's AlgorithmIdentifier.
    pub algorithm: Vec<u8>,
    /// The issuer's name.
    pub issuer: NameView,
    /// When it is issued, in seconds since 1970-01-01T00:00:00Z.
    pub this_update: i64,
    /// By when the next one will be issued, in seconds since 1970-01-01T00:00:00Z.
    pub next_update: Option<i64>,
    /// The entries, in order.
    pub entries: Vec<RevokedEntry>,
    /// The DER of each extension of the list.
    pub extensions: Vec<Vec<u8>>,
}

impl CrlTemplate {
    /// The DER of the TBSCertList: what is to be signed. [`super::assemble`] puts the signature beside it.
    #[must_use]
    pub fn tbs_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|tbs| {
            tbs.uint(1).raw(&self.algorithm).raw(self.issuer.as_der()).time(self.this_update);
            if let Some(next_update) = self.next_update {
                tbs.time(next_update);
            }
            self.write_entries(tbs);
            if !self.extensions.is_empty() {
                tbs.constructed(Tag::context_constructed(0), |tagged| write_list(tagged, &self.extensions));
            }
        });
        writer.into_der()
    }

    fn write_entries(&self, tbs: &mut DerWriter) {
        if self.entries.is_empty() {
            return;
        }
        tbs.sequence(|list| {
            for entry in &self.entries {
                list.sequence(|fields| {
                    fields.unsigned(&entry.serial).time(entry.revoked_at);
                    if !entry.extensions.is_empty() {
                        write_list(fields, &entry.extensions);
                    }
                });
            }
        });
    }
}

fn write_list(writer: &mut DerWriter, extensions: &[Vec<u8>]) {
    writer.sequence(|list| {
        for extension in extensions {
            list.raw(extension);
        }
    });
}
