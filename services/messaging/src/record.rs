//! Records as they come and go, free of the Kafka client's types and lifetimes.

use std::sync::Arc;

use contract::{CorrelationId, Topic, headers};
use rdkafka::message::{BorrowedMessage, Headers, Message};

/// A header; Kafka allows values to be absent and any bytes.
pub(crate) type Header = (String, Option<Vec<u8>>);

/// A record that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) source: Source,
    pub(crate) offset: i64,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
}

/// The partition that a record came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) topic: Topic,
    /// The topic's full name.
    pub(crate) name: Arc<str>,
    pub(crate) partition: i32,
}

/// A record's timestamp in milliseconds, by whose clock it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timestamp {
    Create(i64),
    LogAppend(i64),
}

impl Timestamp {
    pub(crate) const fn milliseconds(self) -> i64 {
        match self {
            Self::Create(ms) | Self::LogAppend(ms) => ms,
        }
    }
}

impl Incoming {
    /// The record in `message`, which came from `source`.
    pub(crate) fn of(source: Source, message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|headers| {
            let owned = |header: rdkafka::message::Header<'_, &[u8]>| {
                (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
            };
            headers.iter().map(owned).collect()
        });
        Self {
            source,
            offset: message.offset(),
            timestamp: match message.timestamp() {
                rdkafka::Timestamp::CreateTime(ms) => Some(Timestamp::Create(ms)),
                rdkafka::Timestamp::LogAppendTime(ms) => Some(Timestamp::LogAppend(ms)),
                rdkafka::Timestamp::NotAvailable => None,
            },
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }

    /// What it takes in memory, roughly: enough to bound a queue by.
    pub(crate) fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers
    }

    /// The value of the first header of this name, where it has one.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(this, _)| this == name).and_then(|(_, value)| value.as_deref())
    }

    /// The story that it says it belongs to; none where that is not fit for a log.
    pub(crate) fn correlation_id(&self) -> Option<CorrelationId> {
        std::str::from_utf8(self.header(headers::CE_CORRELATION_ID)?).ok()?.parse().ok()
    }
}

/// A record to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The topic's full name.
    pub(crate) topic: String,
    /// Records of one key go to one partition; without a key, to any.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
    /// In milliseconds; the time of sending where absent.
    pub(crate) timestamp: Option<i64>,
}
