//! The handling task: takes batches from the queue, sees each event to its end, and notes what is done.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempt::Attempt;
use super::decode::delivery_of;
use super::inbound::{Inbound, Place};
use super::verdict::{Verdict, judge, kind};
use super::{ConsumerOptions, ConsumerState, Wiring, chain};
use crate::backoff::Backoff;
use crate::codec::Codec;
use crate::dead_letter::{self, Grounds};
use crate::metrics::{Outcome, ServiceMetrics};
use crate::record::{Incoming, Outgoing, Source};
use crate::{Delivery, HandleError, Handler, Producer, SendError};

/// How long the broker may take for dead letters before the consumer counts as waiting for it.
const BROKER_PATIENCE: Duration = Duration::from_secs(2);

/// Shutdown came before the end; nothing was done that the next consumer could not do again.
struct Abandoned;

/// The handling task.
pub(super) struct Processor<H> {
    attempt: Attempt<H>,
    inbound: Arc<Inbound>,
    shutdown: CancellationToken,
    group: String,
    dead_letter_topic: String,
    codec: Arc<dyn Codec>,
    producer: Producer,
    metrics: ServiceMetrics,
    options: ConsumerOptions,
    state: watch::Sender<ConsumerState>,
}

/// A record and what was in it; parallel to each other.
struct Batch {
    records: Vec<Incoming>,
    deliveries: Vec<Delivery>,
}

impl<H: Handler> Processor<H> {
    pub(super) fn new(
        wiring: Wiring,
        handler: H,
        inbound: Arc<Inbound>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            attempt: Attempt {
                handler,
                pool: wiring.pool,
                outbox: wiring.outbox,
                consumer: wiring.service.name(),
                timeout: wiring.options.attempt_timeout,
            },
            inbound,
            shutdown,
            group: wiring.group,
            dead_letter_topic: wiring.producer.full_name(wiring.service.dead_letter_topic().name()),
            codec: wiring.codec,
            producer: wiring.producer,
            metrics: wiring.metrics,
            options: wiring.options,
            state: wiring.state,
        }
    }

    /// Works until shutdown.
    pub(super) async fn run(&self) {
        loop {
            let records = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                records = self.inbound.take(self.options.batch_max) => records,
            };
            let places = places_after(&records);
            let settled = tokio::select! {
                settled = self.settle(records) => settled,
                () = self.drained() => Err(Abandoned),
            };
            match settled {
                Ok(()) => self.inbound.finish(&places),
                Err(Abandoned) => return,
            }
        }
    }

    /// Ends when a shutdown has waited long enough.
    async fn drained(&self) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(self.options.drain_timeout).await;
        tracing::warn!("the batch in hand was not done in time; it is rolled back and left to others");
    }

    /// Sees every record to its end: handled, recognised, or dead-lettered.
    async fn settle(&self, records: Vec<Incoming>) -> Result<(), Abandoned> {
        self.metrics.batch(records.len());
        let batch = self.decode(records).await?;
        // A stack of ranges still to be handled.
        let mut todo = Vec::new();
        todo.push(0..batch.deliveries.len());
        while let Some(range) = todo.pop() {
            if let Some((first, second)) = self.settle_range(&batch, range).await? {
                // The first half on top: order per key.
                todo.push(second);
                todo.push(first);
            }
        }
        Ok(())
    }

    /// Decodes `records`; those that are no events are dead-lettered first, all in one go.
    async fn decode(&self, records: Vec<Incoming>) -> Result<Batch, Abandoned> {
        let mut batch = Batch { records: Vec::with_capacity(records.len()), deliveries: Vec::new() };
        let mut given_up = Vec::new();
        for record in records {
            match delivery_of(&record, &*self.codec) {
                Ok(delivery) => {
                    batch.deliveries.push(delivery);
                    batch.records.push(record);
                }
                Err(grounds) => given_up.push((record, grounds)),
            }
        }
        self.dead_letter(&given_up).await?;
        Ok(batch)
    }

    /// Handles a range of the batch. Returns its halves if they are to be handled apart.
    async fn settle_range(
        &self,
        batch: &Batch,
        range: Range<usize>,
    ) -> Result<Option<(Range<usize>, Range<usize>)>, Abandoned> {
        let deliveries = batch.deliveries.get(range.clone()).unwrap_or_default();
        let mut retry = Backoff::new(self.options.retry_first, self.options.retry_most);
        let mut attempt = 0;
        while !deliveries.is_empty() {
            let Err(error) = self.try_once(deliveries).await else { return Ok(None) };
            match judge(&error, deliveries.len(), attempt + 1, self.options.transient_attempts) {
                Verdict::Wait { reason } => self.wait_for(reason, retry.next()).await?,
                Verdict::Halve => {
                    self.recovered();
                    tracing::debug!(error = %chain(&error), events = range.len(), "a batch failed; halving it");
                    return Ok(Some(halves(range)));
                }
                Verdict::Retry => {
                    attempt += 1;
                    self.retry_after(retry.next(), deliveries, attempt, &chain(&error)).await?;
                }
                Verdict::GiveUp(grounds) => {
                    self.recovered();
                    let records = batch.records.get(range).unwrap_or_default();
                    let given_up: Vec<_> =
                        records.iter().map(|record| (record.clone(), grounds.clone())).collect();
                    self.dead_letter(&given_up).await?;
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    async fn try_once(&self, deliveries: &[Delivery]) -> Result<(), HandleError> {
        let started = Instant::now();
        let result = self.attempt.at(deliveries).await;
        self.metrics.attempted(started.elapsed());
        let new = result.inspect_err(|error| self.metrics.failed(kind(error)))?;
        self.recovered();
        self.count(deliveries, &new);
        Ok(())
    }

    async fn retry_after(
        &self,
        wait: Duration,
        deliveries: &[Delivery],
        attempt: u32,
        error: &str,
    ) -> Result<(), Abandoned> {
        let delivery = deliveries.first();
        tracing::warn!(
            error,
            attempt,
            ?wait,
            message.id = delivery.map(|delivery| delivery.envelope.event_id.to_string()),
            message.type = delivery.map(|delivery| delivery.envelope.event.event_type()),
            "could not handle an event; trying again"
        );
        self.wait(wait).await
    }

    /// Waits for a dependency, visibly.
    async fn wait_for(&self, reason: String, wait: Duration) -> Result<(), Abandoned> {
        self.inbound.set_stalled(true);
        self.metrics.paused(true);
        let waiting = ConsumerState::Waiting { reason };
        self.state.send_if_modified(|state| {
            let news = *state != waiting;
            if news {
                tracing::warn!(state = ?waiting, "the consumer pauses; nothing is lost and no attempt is spent");
                *state = waiting;
            }
            news
        });
        self.wait(wait).await
    }

    /// Notes that every dependency answers.
    fn recovered(&self) {
        let recovered = self.state.send_if_modified(|state| {
            let waited = matches!(state, ConsumerState::Waiting { .. });
            if waited {
                *state = ConsumerState::Running;
            }
            waited
        });
        if recovered {
            tracing::info!("the consumer goes on");
            self.metrics.paused(false);
            self.inbound.set_stalled(false);
        }
    }

    async fn wait(&self, wait: Duration) -> Result<(), Abandoned> {
        tokio::select! {
            () = self.shutdown.cancelled() => Err(Abandoned),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Gives records up. Returns when the broker has acknowledged every one, however long that takes.
    async fn dead_letter(&self, given_up: &[(Incoming, Grounds)]) -> Result<(), Abandoned> {
        let mut letters: Vec<Outgoing> = given_up
            .iter()
            .map(|(record, grounds)| {
                dead_letter::of(record, self.dead_letter_topic.clone(), &self.group, grounds)
            })
            .collect();
        let mut backoff = Backoff::new(self.options.retry_first, self.options.retry_most);
        while !letters.is_empty() {
            let failures = self.send(&letters).await?;
            if let Some(first) = failures.first() {
                let reason = format!("dead letters cannot be written: {}", chain(first));
                self.wait_for(reason, backoff.next()).await?;
            }
            letters = failures
                .iter()
                .filter_map(|failure| {
                    let letter = letters.get(failure.index)?;
                    let bare = failure.is_too_large() && letter.value.is_some();
                    Some(if bare { dead_letter::without_value(letter) } else { letter.clone() })
                })
                .collect();
        }
        if !given_up.is_empty() {
            self.recovered();
        }
        for (record, grounds) in given_up {
            self.report_dead_letter(record, grounds);
        }
        Ok(())
    }

    /// Sends `letters`, unless shutdown comes first: with the broker away there is no other end.
    async fn send(&self, letters: &[Outgoing]) -> Result<Vec<SendError>, Abandoned> {
        let sending = self.producer.send(letters);
        tokio::pin!(sending);
        match tokio::time::timeout(BROKER_PATIENCE, &mut sending).await {
            Ok(failures) => Ok(failures),
            Err(_) => {
                self.wait_for("the broker does not take dead letters".to_owned(), Duration::ZERO).await?;
                tokio::select! {
                    () = self.shutdown.cancelled() => Err(Abandoned),
                    failures = sending => Ok(failures),
                }
            }
        }
    }

    fn report_dead_letter(&self, record: &Incoming, grounds: &Grounds) {
        let Source { topic, name, partition } = &record.source;
        self.metrics.dead_letter(*topic, grounds.reason);
        self.metrics.ended(*topic, Outcome::DeadLettered, 1);
        tracing::error!(
            kafka.topic = %name,
            kafka.partition = partition,
            kafka.offset = record.offset,
            reason = grounds.reason,
            error = grounds.details,
            "an event was given up to the dead-letter topic"
        );
    }

    fn count(&self, deliveries: &[Delivery], new: &HashSet<Uuid>) {
        let mut seen = new.clone();
        let mut counts: HashMap<_, (u64, u64)> = HashMap::new();
        for delivery in deliveries {
            let (handled, duplicates) = counts.entry(delivery.topic).or_default();
            if seen.remove(&delivery.envelope.event_id) {
                *handled += 1;
            } else {
                *duplicates += 1;
            }
        }
        for (topic, (handled, duplicates)) in counts {
            self.metrics.ended(topic, Outcome::Handled, handled);
            self.metrics.ended(topic, Outcome::Duplicate, duplicates);
        }
    }
}

fn halves(range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    (range.start..middle, middle..range.end)
}

/// Where each partition is after `records`.
fn places_after(records: &[Incoming]) -> Vec<Place> {
    let mut places: HashMap<Source, i64> = HashMap::new();
    for record in records {
        places.insert(record.source.clone(), record.offset + 1);
    }
    places.into_iter().collect()
}
