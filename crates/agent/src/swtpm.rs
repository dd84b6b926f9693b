//! A software TPM for demonstrations and tests.
