//! Whether the script was followed, step by step, to its end.

use vouchsafe_evidence::ceremony::{AkFamily, Head, ModuleIdentity, Task, Time, Transcript};
use vouchsafe_evidence::x509::SpkiView;

use super::{check_list, check_threshold, codes, proof};
use crate::rejection::Rejection;
use crate::time::Instant;

/// What a transcript that was followed to its end tells.
pub(super) struct Told<'a> {
    pub module: &'a ModuleIdentity,
    pub key: &'a SpkiView,
    pub family: AkFamily,
    pub ended: &'a Time,
}

/// Checks all but signatures.
pub(super) fn check(transcript: &Transcript, at: Instant) -> Result<Told<'_>, Rejection> {
    check_so_far(transcript)?;
    let (done, planned) = (transcript.steps.len(), transcript.head.plan.len());
    let Some(ended) = transcript.ended.as_ref().filter(|_| done == planned) else {
        let message = format!("{done} of {planned} steps are done, and nothing can be signed before all are.");
        return Err(Rejection::new(codes::UNFINISHED, message));
    };
    if ended.unix_seconds() < transcript.latest().unix_seconds() {
        let message = format!("The ceremony ended at {ended}, before its last step at {}.", transcript.latest());
        return Err(Rejection::new(codes::CLOCK, message));
    }
    if ended.unix_seconds() > at.unix_seconds() {
        return Err(Rejection::new(codes::FUTURE, format!("The ceremony ended at {ended}; it is {at} now.")));
    }
    // The script has exactly one step of each kind, and each step is of the kind that the script has.
    let missing = || Rejection::plain(codes::SCRIPT);
    let module = transcript.module().ok_or_else(missing)?;
    let (key, family) = transcript.attesting_key().ok_or_else(missing)?;
    Ok(Told { module, key, family, ended })
}

/// Checks what was recorded so far.
pub(super) fn check_so_far(transcript: &Transcript) -> Result<(), Rejection> {
    let head = &transcript.head;
    check_list(&head.witnesses)?;
    check_threshold(head.threshold, head.witnesses.len())?;
    check_plan(head)?;
    check_steps(transcript)?;
    if let Some((key, _)) = transcript.attesting_key()
        && let Some(witness) = head.witnesses.iter().find(|witness| witness.key.same_key(key))
    {
        let message = format!("The attesting key is that of the witness {}.", witness.name);
        return Err(Rejection::new(codes::KEY_OF_WITNESS, message));
    }
    match (transcript.attesting_key(), transcript.proof()) {
        (Some((key, family)), Some((proof, previous))) => {
            proof::check(proof, previous, key, family)?;
            proof::check_module(proof, transcript.module())
        }
        // check_plan puts the key before its proof; there is none where it is still to come.
        (Some(_) | None, None) => Ok(()),
        (None, Some(_)) => Err(Rejection::plain(codes::SCRIPT)),
    }
}

/// One module, one key, one proof, the proof after the key.
fn check_plan(head: &Head) -> Result<(), Rejection> {
    let places = |wanted: &Task| -> Vec<usize> {
        head.plan.iter().enumerate().filter(|(_, step)| step.task == *wanted).map(|(place, _)| place).collect()
    };
    match (places(&Task::Module).as_slice(), places(&Task::Key).as_slice(), places(&Task::Prove).as_slice()) {
        ([module], [key], [prove]) if module < key && key < prove => Ok(()),
        (modules, keys, proofs) => {
            let message = format!(
                "The script has {} steps `module`, {} steps `key` and {} steps `prove`; wanted is one of each, in this \
                 order.",
                modules.len(),
                keys.len(),
                proofs.len()
            );
            Err(Rejection::new(codes::SCRIPT, message))
        }
    }
}

fn check_steps(transcript: &Transcript) -> Result<(), Rejection> {
    let head = &transcript.head;
    let mut previous = head.digest();
    let mut latest = &head.started;
    for (place, step) in transcript.steps.iter().enumerate() {
        let number = place.saturating_add(1);
        let planned = head.plan.get(place).map_or("nothing", |planned| planned.task.label());
        if usize::try_from(step.number) != Ok(number) || step.record.label() != planned {
            let message = format!(
                "In the place of step {number}, where the script has `{planned}`, stands step {} with `{}`.",
                step.number,
                step.record.label()
            );
            return Err(Rejection::new(codes::STEP_ORDER, message));
        }
        if step.host != head.host {
            let message =
                format!("Step {number} was recorded on another machine than that on which the ceremony began.");
            return Err(Rejection::new(codes::OTHER_MACHINE, message));
        }
        if step.time.unix_seconds() < latest.unix_seconds() {
            let message = format!("Step {number} was recorded at {}, what came before it at {latest}.", step.time);
            return Err(Rejection::new(codes::CLOCK, message));
        }
        if step.previous != previous {
            let message = format!("Step {number} does not commit to what is recorded before it.");
            return Err(Rejection::new(codes::CHAIN, message));
        }
        previous = step.digest();
        latest = &step.time;
    }
    Ok(())
}
