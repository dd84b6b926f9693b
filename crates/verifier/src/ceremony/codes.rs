//! The codes of refusals that only ceremonies have.

use crate::rejection::Code;

macro_rules! table {
    ($($name:ident = $id:literal, $clause:literal, $meaning:literal;)*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $meaning, " (", $clause, ")")]
            pub const $name: Code = Code { id: $id, clause: $clause, meaning: $meaning };
        )*
        /// Every code.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

table! {
    ATTACHMENT = "ceremony.attachment-differs", "Vouchsafe DESIGN, Key ceremonies", "A file is not the one that was attached in the ceremony.";
    BAD_PROOF = "ceremony.bad-proof", "Vouchsafe DESIGN, Key ceremonies", "The attesting key did not prove in this ceremony that its module holds it.";
    BAD_SIGNATURE = "ceremony.bad-signature", "RFC 7515, 5.2", "A signature is not that of the witness over this transcript.";
    CHAIN = "ceremony.chain", "Vouchsafe DESIGN, Key ceremonies", "A step does not commit to what was recorded before it: something was changed, put in or taken out.";
    CLOCK = "ceremony.clock-backwards", "Vouchsafe DESIGN, Key ceremonies", "A step was recorded before the one that precedes it.";
    FUTURE = "ceremony.future", "Vouchsafe DESIGN, Key ceremonies", "The ceremony ended later than now.";
    KEY_OF_WITNESS = "ceremony.key-of-witness", "Vouchsafe DESIGN, Key ceremonies", "The attesting key is the key of a witness, who would vouch for themselves.";
    MALFORMED = "ceremony.malformed", "RFC 7515, 7.2.1; Vouchsafe DESIGN, Key ceremonies", "The file is not a transcript with signatures in its one encoding.";
    MODULE_DIFFERS = "ceremony.module-differs", "Vouchsafe DESIGN, Key ceremonies", "The module that people recorded is not the one that its own evidence tells of.";
    OTHER_MACHINE = "ceremony.other-machine", "Vouchsafe DESIGN, Key ceremonies", "The ceremony was resumed on another machine than that on which it began.";
    OVERSIZE = "ceremony.oversize", "Vouchsafe DESIGN, Key ceremonies", "The record is larger, or has more in it, than is read.";
    SCRIPT = "ceremony.script", "Vouchsafe DESIGN, Key ceremonies", "The script does not record one module, then one attesting key, then that key's proof.";
    STEP_ORDER = "ceremony.step-order", "Vouchsafe DESIGN, Key ceremonies", "A step is not the one that the script has in its place.";
    THRESHOLD = "ceremony.threshold", "Vouchsafe DESIGN, Key ceremonies", "The number of witnesses who must sign is zero, or more than there are.";
    TOO_FEW = "ceremony.too-few-witnesses", "Vouchsafe DESIGN, Key ceremonies", "Fewer witnesses signed than must.";
    UNFINISHED = "ceremony.unfinished", "Vouchsafe DESIGN, Key ceremonies", "The ceremony has not come to its end.";
    UNKNOWN_WITNESS = "ceremony.unknown-witness", "Vouchsafe DESIGN, Key ceremonies", "Somebody signed whom the ceremony does not name, or who is not known here.";
    WITNESS_KEY = "ceremony.witness-key", "RFC 7518, 3.1", "A witness's key is too weak, or of another kind than the algorithm of the signature.";
    WITNESS_TWICE = "ceremony.witness-twice", "Vouchsafe DESIGN, Key ceremonies", "A witness is counted twice: one key under two names, one name twice, or two signatures of one key.";
}
