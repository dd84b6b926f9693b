//! Transactions: which message may follow which (RFC 9483, section 4), and replays.
//!
//! They are kept in memory for some minutes, each under its account, so that nobody meets another's. A transaction that
//! ended is remembered as long, and its messages are refused when they come again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::refusal::{Refusal, codes};
use super::{elsewhere, limits};
use crate::nonce::NONCE_OCTETS;

/// What is issued and waits for certConf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unconfirmed {
    /// The certificate, DER.
    pub(super) certificate: Vec<u8>,
    /// certReqId of its request.
    pub(super) id: i64,
}

/// What a transaction waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// A request that answers this nonce.
    Request([u8; NONCE_OCTETS]),
    /// certConf.
    Confirmation(Unconfirmed),
    /// The end of the work on its last message.
    Work,
    /// Nothing: it has ended.
    Nothing,
}

#[derive(Debug)]
struct Transaction {
    state: State,
    /// By what its sender is told from others that the account has, such as certificate or reference.
    sender: Vec<u8>,
    /// senderNonce of the last answer.
    nonce: Vec<u8>,
    until: i64,
    /// Gone when the work on the last message is over, though nobody was there any longer to be told how it ended.
    worker: Weak<()>,
}

/// The transactions of one server.
#[derive(Debug, Default)]
pub(super) struct Transactions(Mutex<HashMap<String, HashMap<Vec<u8>, Transaction>>>);

/// Which transaction a message belongs to.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) account: String,
    pub(super) id: Vec<u8>,
    /// By what the sender is told from others.
    pub(super) sender: Vec<u8>,
    /// recipNonce of the message.
    pub(super) recipient_nonce: Option<Vec<u8>>,
    /// Held for as long as the message is worked on, and by nothing else.
    pub(super) work: Arc<()>,
}

impl Transactions {
    /// A message that begins its transaction, and cannot belong to one.
    pub(super) fn begin(&self, place: &Place, now: i64) -> Result<(), Refusal> {
        self.with_account(place, now, |transactions| match transactions.get(&place.id) {
            Some(_) => Err(Refusal::of(codes::TRANSACTION_IN_USE)),
            None => open(transactions, place, now),
        })
    }

    /// A request for a certificate: the nonce that was asked for in its transaction, where it does not begin one. Of a
    /// transaction that is unknown here recipNonce tells it.
    pub(super) fn request(&self, place: &Place, now: i64) -> Result<Option<[u8; NONCE_OCTETS]>, Refusal> {
        self.with_account(place, now, |transactions| match transactions.get_mut(&place.id) {
            None => open(transactions, place, now).map(|()| elsewhere::evidence_nonce(place)),
            Some(transaction) => {
                let State::Request(nonce) = transaction.state else {
                    return Err(Refusal::of(codes::TRANSACTION_IN_USE));
                };
                transaction.take_over(place)?;
                Ok(Some(nonce))
            }
        })
    }

    /// What certConf is about; nothing where the transaction is unknown here. It waits on where it cannot be.
    pub(super) fn confirmation(&self, place: &Place, now: i64) -> Result<Option<Unconfirmed>, Refusal> {
        self.with_account(place, now, |transactions| {
            let Some(transaction) = transactions.get_mut(&place.id) else { return Ok(None) };
            let State::Confirmation(unconfirmed) = transaction.state.clone() else {
                return Err(Refusal::of(codes::OUT_OF_ORDER));
            };
            transaction.take_over(place)?;
            Ok(Some(unconfirmed))
        })
    }

    /// The sender gives up: the transaction has ended, whatever it waited for.
    pub(super) fn give_up(&self, place: &Place, now: i64) -> Result<(), Refusal> {
        self.with_account(place, now, |transactions| {
            let transaction = transactions.get_mut(&place.id).ok_or_else(|| Refusal::of(codes::OUT_OF_ORDER))?;
            match transaction.state {
                State::Request(_) | State::Confirmation(_) => transaction.take_over(place),
                State::Work | State::Nothing => Err(Refusal::of(codes::OUT_OF_ORDER)),
            }
        })
    }

    /// The answer hands out a nonce; a request follows.
    pub(super) fn await_request(&self, place: &Place, now: i64, nonce: [u8; NONCE_OCTETS], sender_nonce: &[u8]) {
        self.set(place, now, State::Request(nonce), sender_nonce);
    }

    /// The answer holds a certificate; its confirmation follows.
    pub(super) fn await_confirmation(&self, place: &Place, now: i64, unconfirmed: Unconfirmed, sender_nonce: &[u8]) {
        self.set(place, now, State::Confirmation(unconfirmed), sender_nonce);
    }

    /// Nothing follows.
    pub(super) fn end(&self, place: &Place, now: i64) {
        self.set(place, now, State::Nothing, &[]);
    }

    fn set(&self, place: &Place, now: i64, state: State, nonce: &[u8]) {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = accounts.get_mut(&place.account).and_then(|transactions| transactions.get_mut(&place.id));
        if let Some(transaction) = transaction {
            transaction.state = state;
            transaction.nonce = nonce.to_vec();
            transaction.until = now.saturating_add(limits::TRANSACTION_SECONDS);
        }
    }

    fn with_account<T>(
        &self,
        place: &Place,
        now: i64,
        then: impl FnOnce(&mut HashMap<Vec<u8>, Transaction>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transactions = accounts.entry(place.account.clone()).or_default();
        if transactions.get(&place.id).is_some_and(|transaction| transaction.until < now) {
            transactions.remove(&place.id);
        }
        then(transactions)
    }
}

impl Transaction {
    /// The next message of the transaction is this sender's and answers the last one; work on it begins.
    fn take_over(&mut self, place: &Place) -> Result<(), Refusal> {
        if self.sender != place.sender {
            return Err(Refusal::of(codes::OUT_OF_ORDER));
        }
        if place.recipient_nonce.as_ref() != Some(&self.nonce) {
            return Err(Refusal::of(codes::BAD_RECIPIENT_NONCE));
        }
        self.state = State::Work;
        self.worker = Arc::downgrade(&place.work);
        Ok(())
    }

    /// Whether nobody works on its last message: it waits, has ended, or its client left before it was answered.
    fn is_idle(&self) -> bool {
        self.state != State::Work || self.worker.strong_count() == 0
    }

    /// Whether a next message is awaited.
    const fn is_awaited(&self) -> bool {
        match self.state {
            State::Request(_) | State::Confirmation(_) => true,
            State::Work | State::Nothing => false,
        }
    }
}

fn open(transactions: &mut HashMap<Vec<u8>, Transaction>, place: &Place, now: i64) -> Result<(), Refusal> {
    if transactions.len() >= limits::TRANSACTIONS {
        transactions.retain(|_, transaction| transaction.until >= now);
    }
    if transactions.len() >= limits::TRANSACTIONS {
        // One that has ended is forgotten first; what was in it is refused by its spent nonce. Then one whose next message
        // is awaited, which tells what must be known of it.
        let idle = transactions.iter().filter(|(_, transaction)| transaction.is_idle());
        let oldest = idle.min_by_key(|(_, transaction)| (transaction.is_awaited(), transaction.until));
        let oldest = oldest.map(|(id, _)| id.clone());
        let oldest = oldest.ok_or_else(|| Refusal::of(codes::TRANSACTIONS_LIMIT))?;
        transactions.remove(&oldest);
    }
    let until = now.saturating_add(limits::TRANSACTION_SECONDS);
    let (sender, worker) = (place.sender.clone(), Arc::downgrade(&place.work));
    let transaction = Transaction { state: State::Work, sender, nonce: Vec::new(), until, worker };
    transactions.insert(place.id.clone(), transaction);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn place(account: &str, id: u8, answers: Option<u8>) -> Place {
        Place {
            account: account.to_owned(),
            id: vec![id; 16],
            sender: b"ref".to_vec(),
            recipient_nonce: answers.map(|octet| vec![octet; 16]),
            work: Arc::default(),
        }
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        result.unwrap_err().texts()[0].split(':').next().unwrap().to_owned()
    }

    #[test]
    fn a_nonce_then_a_request_then_its_confirmation_and_nothing_else() {
        let table = Transactions::default();
        table.begin(&place("a", 1, None), NOW).unwrap();
        assert_eq!(code(table.request(&place("a", 1, None), NOW)), "cmp.transaction-in-use");
        table.await_request(&place("a", 1, None), NOW, [9; 32], &[7; 16]);
        assert_eq!(code(table.begin(&place("a", 1, Some(7)), NOW)), "cmp.transaction-in-use");
        assert_eq!(code(table.confirmation(&place("a", 1, Some(7)), NOW)), "cmp.out-of-order");
        assert_eq!(code(table.request(&place("a", 1, Some(6)), NOW)), "cmp.bad-recipient-nonce");
        assert_eq!(code(table.request(&place("a", 1, None), NOW)), "cmp.bad-recipient-nonce");
        let other_sender = Place { sender: b"other".to_vec(), ..place("a", 1, Some(7)) };
        assert_eq!(code(table.request(&other_sender, NOW)), "cmp.out-of-order");
        assert_eq!(table.request(&place("a", 1, Some(7)), NOW).unwrap(), Some([9; 32]));
        assert_eq!(code(table.request(&place("a", 1, Some(7)), NOW)), "cmp.transaction-in-use");
        let unconfirmed = Unconfirmed { certificate: vec![1], id: 0 };
        table.await_confirmation(&place("a", 1, None), NOW, unconfirmed.clone(), &[8; 16]);
        assert_eq!(code(table.confirmation(&place("a", 1, Some(7)), NOW)), "cmp.bad-recipient-nonce");
        assert_eq!(table.confirmation(&place("a", 1, Some(8)), NOW).unwrap(), Some(unconfirmed));
        table.end(&place("a", 1, None), NOW);
        assert_eq!(code(table.confirmation(&place("a", 1, Some(8)), NOW)), "cmp.out-of-order");
        assert_eq!(code(table.request(&place("a", 1, None), NOW)), "cmp.transaction-in-use");
        assert_eq!(code(table.give_up(&place("a", 1, None), NOW)), "cmp.out-of-order");
    }

    #[test]
    fn another_account_meets_nothing_of_it() {
        let table = Transactions::default();
        table.begin(&place("a", 1, None), NOW).unwrap();
        table.await_request(&place("a", 1, None), NOW, [9; 32], &[7; 16]);
        assert_eq!(table.confirmation(&place("b", 1, Some(7)), NOW).unwrap(), None);
        assert_eq!(table.request(&place("b", 1, Some(7)), NOW).unwrap(), None);
        assert_eq!(table.request(&place("a", 1, Some(7)), NOW).unwrap(), Some([9; 32]));
    }

    #[test]
    fn a_transaction_is_kept_for_its_time_and_as_many_as_there_may_be() {
        let table = Transactions::default();
        table.begin(&place("a", 1, None), NOW).unwrap();
        table.await_request(&place("a", 1, None), NOW, [9; 32], &[7; 16]);
        let later = NOW + limits::TRANSACTION_SECONDS;
        assert_eq!(code(table.begin(&place("a", 1, None), later)), "cmp.transaction-in-use");
        assert_eq!(table.request(&place("a", 1, Some(7)), later + 1).unwrap(), None);
        let at_work: Arc<()> = Arc::default();
        let numbered = |number: usize| Place {
            id: number.to_be_bytes().repeat(2),
            work: Arc::clone(&at_work),
            ..place("b", 0, None)
        };
        for number in 0..limits::TRANSACTIONS {
            table.begin(&numbered(number), NOW).unwrap();
        }
        assert_eq!(code(table.begin(&numbered(limits::TRANSACTIONS), NOW)), "cmp.transactions-limit");
        table.end(&numbered(3), NOW);
        table.begin(&numbered(limits::TRANSACTIONS), NOW).unwrap();
        assert_eq!(code(table.begin(&numbered(3), NOW)), "cmp.transactions-limit");
        // One whose next message is awaited makes room, since that message tells the nonce; those at work do not.
        table.await_request(&numbered(4), NOW, [9; 32], &[9; 32]);
        table.begin(&numbered(3), NOW).unwrap();
        assert_eq!(code(table.begin(&numbered(4), NOW)), "cmp.transactions-limit");
        table.end(&numbered(3), NOW);
        let goes_on = Place { recipient_nonce: Some(vec![9; 32]), ..numbered(4) };
        assert_eq!(table.request(&goes_on, NOW).unwrap(), Some([9; 32]));
        table.begin(&place("c", 0, None), NOW).unwrap();
    }

    /// One device of an account could keep all others of it from CMP for ten minutes by hanging up often enough.
    #[test]
    fn transactions_whose_clients_left_keep_nobody_out() {
        let table = Transactions::default();
        let numbered = |number: usize| Place { id: number.to_be_bytes().repeat(2), ..place("a", 0, None) };
        let (works, waits) = (numbered(0), numbered(1));
        table.begin(&works, NOW).unwrap();
        table.begin(&waits, NOW).unwrap();
        table.await_request(&waits, NOW, [9; 32], &[7; 16]);
        for number in 2..3 * limits::TRANSACTIONS {
            table.begin(&numbered(number), NOW).unwrap();
        }
        // What is worked on is there still, and so is what is awaited: the abandoned make room before them.
        assert_eq!(code(table.begin(&works, NOW)), "cmp.transaction-in-use");
        let goes_on = Place { recipient_nonce: Some(vec![7; 16]), ..numbered(1) };
        assert_eq!(table.request(&goes_on, NOW).unwrap(), Some([9; 32]));
    }
}
