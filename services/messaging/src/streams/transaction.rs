//! The transactional producer: one transaction at a time, each call classified by what its failure means.
//!
//! librdkafka tells three kinds of failure apart, and asks that nothing else be read into an error: the same call
//! may be made again (retriable), the transaction has to be aborted (abortable), or the producer is of no use any
//! more (fatal; being fenced is one such). What is none of these counts as fatal.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::watchdog::Watchdog;
use super::{Stop, StreamsError};
use crate::producer::{SetupError, log};
use crate::record::Outgoing;

/// How long one call may take before it is looked at again. A call that timed out is retriable and goes on where
/// it was; the time only bounds how soon a shutdown is noticed.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before a retriable call is made again.
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// Why a transaction was not committed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It has to be aborted; another may succeed.
    Abortable(KafkaError),
    /// No transaction of this producer will ever succeed.
    Fatal(StreamsError),
    /// It is time to stop, and the broker does not answer. Nobody knows what became of it.
    Stopped,
}

/// A record of a transaction, and to which partition it goes; none: its key decides.
pub(super) struct Record {
    pub(super) record: Outgoing,
    pub(super) partition: Option<i32>,
}

/// The one transactional producer of an instance.
pub(super) struct Transactions {
    client: ThreadedProducer<Deliveries>,
    deliveries: Arc<Outstanding>,
    transactional_id: String,
    watchdog: Watchdog,
    stop: Stop,
}

impl Transactions {
    /// Opens the transactional id: ends what an earlier process of this name left open, and fences it. None when
    /// it is time to stop before the broker has answered.
    pub(super) fn open(
        config: &ClientConfig,
        transactional_id: String,
        watchdog: Watchdog,
        stop: Stop,
    ) -> Result<Option<Self>, StreamsError> {
        let deliveries = Arc::new(Outstanding::default());
        let client = ThreadedProducer::from_config_and_context(config, Deliveries(deliveries.clone()))
            .map_err(|error| SetupError::Configuration(error.into()))?;
        let transactions = Self { client, deliveries, transactional_id, watchdog, stop };
        let opened =
            transactions.call("init_transactions", || transactions.client.init_transactions(CALL_TIMEOUT));
        match opened {
            Ok(()) => Ok(Some(transactions)),
            Err(Failure::Stopped) => Ok(None),
            Err(Failure::Abortable(error)) => Err(transactions.fatal(error)),
            Err(Failure::Fatal(error)) => Err(error),
        }
    }

    /// Commits `records` and `offsets` in one transaction.
    ///
    /// The acknowledgements of all records are awaited before the offsets are sent. It is faster than to leave it
    /// to the commit (which then waits for 100 ms), and the next owner of a partition relies on it: whatever
    /// transaction could still be committed has all of its records in the log already.
    pub(super) fn commit(
        &self,
        records: &[Record],
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), Failure> {
        self.call("begin_transaction", || self.client.begin_transaction())?;
        self.deliveries.reset();
        for record in records {
            self.send(record)?;
        }
        self.await_deliveries()?;
        self.call("send_offsets_to_transaction", || {
            self.client.send_offsets_to_transaction(offsets, group, CALL_TIMEOUT)
        })?;
        self.call("commit_transaction", || self.client.commit_transaction(CALL_TIMEOUT))
    }

    /// Ends the transaction without effect.
    pub(super) fn abort(&self) -> Result<(), StreamsError> {
        let aborted = self
            .call("abort_transaction", || self.client.abort_transaction(CALL_TIMEOUT))
            // What was under way is reported as failed; that must not be taken for a failure of the next.
            .and_then(|()| self.await_settled());
        match aborted {
            Ok(()) | Err(Failure::Stopped) => Ok(()),
            Err(Failure::Abortable(error)) => Err(self.fatal(error)),
            Err(Failure::Fatal(error)) => Err(error),
        }
    }

    fn send(&self, record: &Record) -> Result<(), Failure> {
        loop {
            self.deliveries.add();
            let Err((error, _)) = self.client.send(base_record(record)) else { return Ok(()) };
            self.deliveries.settle(None);
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(Failure::Abortable(error));
            }
            // Acknowledgements make room.
            self.deliveries.wait(RETRY_WAIT);
        }
    }

    /// Waits until the fate of each record is known.
    fn await_settled(&self) -> Result<(), Failure> {
        // Bounded by the time-out of the records, which is never longer than that of the transaction.
        let _watched = self.watchdog.watch("delivery of the transaction's records");
        while !self.deliveries.wait(CALL_TIMEOUT) {
            self.check_stop()?;
        }
        Ok(())
    }

    fn await_deliveries(&self) -> Result<(), Failure> {
        self.await_settled()?;
        self.deliveries.take_failure().map_or(Ok(()), |error| Err(Failure::Abortable(error)))
    }

    /// Makes a call until it succeeds or can no more.
    fn call(&self, name: &'static str, call: impl Fn() -> Result<(), KafkaError>) -> Result<(), Failure> {
        loop {
            let result = {
                let _watched = self.watchdog.watch(name);
                call()
            };
            let Err(error) = result else { return Ok(()) };
            match self.class_of(error) {
                Class::Retriable(error) => {
                    tracing::info!(call = name, %error, "the broker did not answer; it is asked again");
                    self.check_stop()?;
                    std::thread::sleep(RETRY_WAIT);
                }
                Class::Ends(failure) => return Err(failure),
            }
        }
    }

    /// A shutdown does not wait for a broker that is away.
    fn check_stop(&self) -> Result<(), Failure> {
        match self.stop.asked() {
            Some(_) => Err(Failure::Stopped),
            None => Ok(()),
        }
    }

    fn class_of(&self, error: KafkaError) -> Class {
        match error {
            KafkaError::Transaction(ref cause) if cause.is_fatal() => {
                Class::Ends(Failure::Fatal(self.fatal(error)))
            }
            KafkaError::Transaction(ref cause) if cause.txn_requires_abort() => {
                Class::Ends(Failure::Abortable(error))
            }
            KafkaError::Transaction(ref cause) if cause.is_retriable() => Class::Retriable(error),
            // The client flushes before it commits, and that timed out.
            KafkaError::Flush(_) => Class::Retriable(error),
            error => Class::Ends(Failure::Fatal(self.fatal(error))),
        }
    }

    fn fatal(&self, error: KafkaError) -> StreamsError {
        // The transaction's call says "fatal" only; what was fatal is known to the client.
        let first = self.client.client().fatal_error().map(|(code, _)| code);
        let fenced = [first, error.rdkafka_error_code()].into_iter().flatten().any(is_fencing);
        let (transactional_id, source) = (self.transactional_id.clone(), error.into());
        if fenced { StreamsError::Fenced { transactional_id, source } } else { StreamsError::Fatal(source) }
    }
}

enum Class {
    Retriable(KafkaError),
    Ends(Failure),
}

const fn is_fencing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
    )
}

fn base_record(record: &Record) -> BaseRecord<'_, [u8], [u8]> {
    let Record { record, partition } = record;
    let mut base = BaseRecord::to(&record.topic);
    base.partition = *partition;
    base.key = record.key.as_deref();
    base.payload = record.value.as_deref();
    base.timestamp = record.timestamp;
    if record.headers.is_empty() {
        return base;
    }
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    base.headers(
        record
            .headers
            .iter()
            .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() })),
    )
}

/// Counts the records of a transaction that are under way.
#[derive(Default)]
struct Outstanding {
    state: Mutex<(usize, Option<KafkaError>)>,
    settled: Condvar,
}

impl Outstanding {
    fn lock(&self) -> MutexGuard<'_, (usize, Option<KafkaError>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the failure of an earlier transaction.
    fn reset(&self) {
        self.lock().1 = None;
    }

    fn add(&self) {
        self.lock().0 += 1;
    }

    fn settle(&self, error: Option<KafkaError>) {
        let mut state = self.lock();
        state.0 = state.0.saturating_sub(1);
        if state.1.is_none() {
            state.1 = error;
        }
        if state.0 == 0 {
            self.settled.notify_all();
        }
    }

    /// Waits until none is under way, for at most `patience`; whether none is.
    fn wait(&self, patience: Duration) -> bool {
        let busy = |state: &mut (usize, Option<KafkaError>)| state.0 > 0;
        let waited = self.settled.wait_timeout_while(self.lock(), patience, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn take_failure(&self) -> Option<KafkaError> {
        self.lock().1.take()
    }
}

/// Hears of deliveries, on the producer's own thread.
struct Deliveries(Arc<Outstanding>);

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.settle(result.as_ref().err().map(|(error, _)| error.clone()));
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the Kafka producer reports a problem");
    }
}
