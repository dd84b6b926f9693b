//! What a second module signs of PKIX Evidence: its digest, as the qualifying data of statements of its own.
//!
//! A TPM that quotes over the digest of Evidence says in what state the machine was on which the Evidence lay. Both sides
//! take the digest here, of the Evidence alone: whatever carries it.

use std::path::Path;

use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::HashAlg;

use crate::failure::Failure;
use crate::files;

/// SHA-256 of the PKIX Evidence in this file (DER): bare, or in a bundle or a request; of all of it, one after the other,
/// where there are several.
///
/// # Errors
/// [`Failure`] if the file cannot be read or has none.
pub fn digest(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = files::read_small(path)?;
    let unfit = || Failure::new(format!("{} has no PKIX Evidence that could be counter-signed", path.display()));
    let file = InputFile { name: "evidence", bytes: &bytes };
    let submission = Submission::recognize(&[file], None).map_err(|error| unfit().because(error))?;
    let statements = submission.statements().iter().filter(|statement| statement.oid() == oid::STATEMENT_PKIX_EVIDENCE);
    let evidence: Vec<&[u8]> = statements.map(|statement| statement.stmt()).collect();
    if evidence.is_empty() {
        return Err(unfit().next("give what `vouchsafe key attest --mechanism pkix-evidence` or `vouchsafe csr` wrote"));
    }
    Ok(HashAlg::Sha256.digest(&evidence))
}
