//! Parcels: the records of one transaction and one bucket, packed into one row. Pure.
//!
//! A row costs PostgreSQL several microseconds (insert, index, read, delete, vacuum), an event inside a row next
//! to nothing; transactions of a busy service hold hundreds of events.
//!
//! Layout, big-endian: a version byte, then per record the topic (without prefix), the key, the timestamp in
//! milliseconds (8 bytes), the number of headers (1 byte), each header's name and value, and the payload. Texts
//! are preceded by their length in 2 bytes, the payload by its in 4.

use crate::record::Outgoing;

/// The first byte of every parcel. Another layout gets another number, so that a relay never misreads what a
/// newer build has left behind.
const VERSION: u8 = 1;

/// How full a parcel may get before another is begun: a relay's round holds some of each bucket in memory.
pub(super) const FULL: usize = 128 * 1024;

/// Why a parcel cannot be opened. Only a hand-written row, or a newer build, can lead to one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// It was packed by a build that packs otherwise.
    #[error("the parcel has version {0}, this build opens version {VERSION}")]
    Version(u8),
    /// It ends in the middle of a record, or holds a text that is none.
    #[error("the parcel is cut off or garbled")]
    Garbled,
}

/// Packs records.
#[derive(Debug)]
pub(super) struct Parcel {
    bytes: Vec<u8>,
    records: i32,
}

impl Parcel {
    pub(super) fn new() -> Self {
        Self { bytes: vec![VERSION], records: 0 }
    }

    /// A parcel of `records`, however full.
    pub(super) fn of(records: &[Outgoing]) -> Self {
        let mut parcel = Self::new();
        records.iter().for_each(|record| parcel.add(record));
        parcel
    }

    /// Adds a record. Lengths fit: names and keys are short texts of the contract, and payloads are bounded by
    /// [`super::MAX_EVENT_BYTES`].
    pub(super) fn add(&mut self, record: &Outgoing) {
        self.text(record.topic.as_bytes());
        self.text(record.key.as_deref().unwrap_or_default());
        self.bytes.extend(record.timestamp.unwrap_or_default().to_be_bytes());
        self.bytes.push(u8::try_from(record.headers.len()).unwrap_or(u8::MAX));
        for (name, value) in record.headers.iter().take(usize::from(u8::MAX)) {
            self.text(name.as_bytes());
            self.text(value.as_deref().unwrap_or_default());
        }
        let payload = record.value.as_deref().unwrap_or_default();
        self.bytes.extend(u32::try_from(payload.len()).unwrap_or_default().to_be_bytes());
        self.bytes.extend(payload);
        self.records += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// The row's columns: how many records, and the bytes.
    pub(super) fn close(self) -> (i32, Vec<u8>) {
        (self.records, self.bytes)
    }

    fn text(&mut self, text: &[u8]) {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(text.iter().take(usize::from(length)));
    }
}

/// The records in `bytes`, in the order in which they were added.
///
/// # Errors
/// [`Damaged`]; none is returned then.
pub(super) fn open(bytes: &[u8]) -> Result<Vec<Outgoing>, Damaged> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            let mut reader = Reader { rest };
            let mut records = Vec::new();
            while !reader.rest.is_empty() {
                records.push(reader.record()?);
            }
            Ok(records)
        }
        Some((&version, _)) => Err(Damaged::Version(version)),
        None => Err(Damaged::Garbled),
    }
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn record(&mut self) -> Result<Outgoing, Damaged> {
        let topic = self.string()?;
        let key = self.text()?.to_vec();
        let timestamp = i64::from_be_bytes(self.array()?);
        let [headers] = self.array()?;
        let headers = (0..headers)
            .map(|_| Ok((self.string()?, Some(self.text()?.to_vec()))))
            .collect::<Result<Vec<_>, Damaged>>()?;
        let length = u32::from_be_bytes(self.array()?);
        let payload = self.take(usize::try_from(length).map_err(|_| Damaged::Garbled)?)?;
        let value = Some(payload.to_vec());
        Ok(Outgoing { topic, key: Some(key), value, headers, timestamp: Some(timestamp) })
    }

    fn string(&mut self) -> Result<String, Damaged> {
        String::from_utf8(self.text()?.to_vec()).map_err(|_| Damaged::Garbled)
    }

    fn text(&mut self) -> Result<&'b [u8], Damaged> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Damaged::Garbled)?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Damaged> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Damaged::Garbled)?;
        self.rest = rest;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = Outgoing> {
        let header = ("[a-z_-]{0,20}", prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(name, value)| (name, Some(value)));
        (
            "[a-z.]{1,30}",
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(any::<u8>(), 0..900),
            prop::collection::vec(header, 0..12),
            any::<i64>(),
        )
            .prop_map(|(topic, key, value, headers, timestamp)| Outgoing {
                topic,
                key: Some(key),
                value: Some(value),
                headers,
                timestamp: Some(timestamp),
            })
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(records in prop::collection::vec(any_record(), 0..20)) {
            let (count, bytes) = Parcel::of(&records).close();

            prop_assert_eq!(usize::try_from(count).unwrap(), records.len());
            prop_assert_eq!(open(&bytes).unwrap(), records);
        }

        #[test]
        fn a_parcel_that_was_cut_is_never_taken_for_a_whole_one(record in any_record(), cut in 1..100_usize) {
            let mut parcel = Parcel::new();
            parcel.add(&record);
            let (_, bytes) = parcel.close();
            let kept = bytes.len().saturating_sub(cut).max(2);

            prop_assert_eq!(open(&bytes[..kept]), Err(Damaged::Garbled));
        }
    }

    #[test]
    fn a_parcel_of_another_layout_is_refused() {
        assert_eq!(open(&[7, 0, 0]), Err(Damaged::Version(7)));
        assert_eq!(open(&[]), Err(Damaged::Garbled));
    }
}
