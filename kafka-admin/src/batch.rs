//! What every implementation does around a batch: items that cannot be sent, and items that are there twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::admin::Batch;
use crate::error::Error;

/// What an item gets that is there a second time. Brokers refuse a whole request over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicate {
    /// The first one's answer: asking twice is harmless.
    SharesAnswer,
    /// An error: two changes of one object in one batch have no order.
    IsRefused,
}

/// The items of a batch that are sent, and which item gets which answer.
pub(crate) struct Sifted<'a, I> {
    sent: Vec<&'a I>,
    slots: Vec<Result<usize, Error>>,
}

impl<'a, I> Sifted<'a, I> {
    /// Sifts `items`, told apart by `key`; `check` refuses those that no broker would take.
    pub(crate) fn new<K: Ord>(
        items: &'a [I],
        duplicate: Duplicate,
        key: impl Fn(&'a I) -> K,
        check: impl Fn(&I) -> Result<(), Error>,
    ) -> Self {
        let mut sent = Vec::with_capacity(items.len());
        let mut first_of = BTreeMap::new();
        let mut slots = Vec::with_capacity(items.len());
        for item in items {
            let slot = check(item).and_then(|()| match (first_of.entry(key(item)), duplicate) {
                (Entry::Vacant(entry), _) => {
                    sent.push(item);
                    Ok(*entry.insert(sent.len() - 1))
                }
                (Entry::Occupied(entry), Duplicate::SharesAnswer) => Ok(*entry.get()),
                (Entry::Occupied(_), Duplicate::IsRefused) => {
                    Err(Error::invalid_request("the same object is changed twice in one batch"))
                }
            });
            slots.push(slot);
        }
        Self { sent, slots }
    }

    /// What to send; nothing at all when empty.
    pub(crate) fn sent(&self) -> &[&'a I] {
        &self.sent
    }

    /// The answers of all items, from those to [`Self::sent`].
    pub(crate) fn answers<T: Clone>(self, sent: Batch<T>) -> Batch<T> {
        let missing = || Error::Other {
            code: "MISSING_ANSWER".to_owned(),
            message: "the broker's response leaves this item out".to_owned(),
        };
        self.slots
            .into_iter()
            .map(|slot| slot.and_then(|index| sent.get(index).cloned().unwrap_or_else(|| Err(missing()))))
            .collect()
    }
}

/// The same error for each of `count` items.
pub(crate) fn all_failed<T>(count: usize, error: &Error) -> Batch<T> {
    (0..count).map(|_| Err(error.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_refused_items_are_not_sent_and_still_answered() {
        let odd = |number: &i32| if number % 2 == 1 { Ok(()) } else { Err(Error::invalid_request("even")) };

        let reads = Sifted::new(&[1, 2, 3, 1], Duplicate::SharesAnswer, |number| *number, odd);
        let sent = reads.sent().to_vec();
        let answers = reads.answers(vec![Ok("one"), Ok("three")]);

        assert_eq!(sent, [&1, &3]);
        assert_eq!(answers, [Ok("one"), Err(Error::invalid_request("even")), Ok("three"), Ok("one")]);
    }

    #[test]
    fn a_second_change_of_one_object_is_refused() {
        let changes = Sifted::new(&[1, 1], Duplicate::IsRefused, |number| *number, |_| Ok(()));

        let answers = changes.answers(vec![Ok(())]);

        assert_eq!(answers[0], Ok(()));
        assert!(matches!(answers[1], Err(Error::InvalidRequest { .. })));
    }
}
