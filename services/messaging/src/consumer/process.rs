//! The handling task: takes batches from the queue, sees each event to its end or parks it, and notes what is
//! done.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::attempt::{Attempt, Taken};
use super::dead_letters::DeadLetters;
use super::decode::{delivery_of, missing_of};
use super::inbound::{Inbound, Place};
use super::verdict::{Verdict, judge, kind};
use super::waits::{Abandoned, Waits};
use super::{ConsumerOptions, chain};
use crate::backoff::Backoff;
use crate::codec::Codec;
use crate::database::{Fault, classify};
use crate::dead_letter::Grounds;
use crate::metrics::{Outcome, ServiceMetrics};
use crate::parking::Arrivals;
use crate::record::{Incoming, Source};
use crate::{Delivery, HandleError, Handler, Pace};

/// The handling task.
pub(super) struct Processor<H> {
    pub(super) attempt: Arc<Attempt<H>>,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) waits: Waits,
    pub(super) inbound: Arc<Inbound>,
    pub(super) codec: Arc<dyn Codec>,
    pub(super) metrics: ServiceMetrics,
    pub(super) options: ConsumerOptions,
}

/// A record and what was in it; parallel to each other.
struct Batch {
    records: Vec<Incoming>,
    deliveries: Vec<Delivery>,
}

impl Batch {
    fn part(&self, range: Range<usize>) -> Arrivals<'_> {
        Arrivals {
            records: self.records.get(range.clone()).unwrap_or_default(),
            deliveries: self.deliveries.get(range).unwrap_or_default(),
        }
    }
}

impl<H: Handler> Processor<H> {
    /// Works until shutdown.
    pub(super) async fn run(&self) {
        let mut pace = Pace::default();
        while !self.waits.is_stopping() {
            let next = async {
                pace.wait().await;
                self.inbound.take(self.options.batch_max).await
            };
            let taken = self.waits.unless_stopped(next).await;
            let Ok(records) = taken else { return };
            pace.begin();
            let places = places_after(&records);
            let settled = tokio::select! {
                settled = self.settle(records) => settled,
                abandoned = self.drained() => abandoned,
            };
            match settled {
                Ok(()) => self.inbound.finish(&places),
                Err(Abandoned) => return,
            }
        }
    }

    /// Ends when a shutdown has waited long enough.
    async fn drained(&self) -> Result<(), Abandoned> {
        self.waits.drained(self.options.drain_timeout).await;
        tracing::warn!("the batch in hand was not done in time; it is rolled back and left to others");
        Err(Abandoned)
    }

    /// Sees every record to where its offset can be passed: handled, recognised, parked, or dead-lettered.
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
        self.fetch_schemas(&records).await?;
        for record in records {
            match delivery_of(&record, &*self.codec) {
                Ok(delivery) => {
                    batch.deliveries.push(delivery);
                    batch.records.push(record);
                }
                Err(grounds) => given_up.push((record, grounds)),
            }
        }
        self.dead_letters.write(&given_up, &self.waits).await?;
        Ok(batch)
    }

    /// Fetches the schemas that `records` are written with, as far as they are not known yet. While they cannot
    /// be had, nothing can be said about the records: the consumer waits.
    async fn fetch_schemas(&self, records: &[Incoming]) -> Result<(), Abandoned> {
        let missing = missing_of(records, &*self.codec);
        if missing.is_empty() {
            return Ok(());
        }
        let mut backoff = Backoff::new(self.options.retry_first, self.options.retry_most);
        while let Err(error) = self.codec.fetch(&missing).await {
            self.waits.wait_for(chain(&error), backoff.next()).await?;
        }
        self.waits.recovered();
        Ok(())
    }

    /// Handles a range of the batch. Returns its halves if they are to be handled apart.
    async fn settle_range(
        &self,
        batch: &Batch,
        range: Range<usize>,
    ) -> Result<Option<(Range<usize>, Range<usize>)>, Abandoned> {
        let part = batch.part(range.clone());
        let mut retry = Backoff::new(self.options.retry_first, self.options.retry_most);
        while !part.deliveries.is_empty() {
            let Err(error) = self.try_once(part).await else { return Ok(None) };
            match judge(&error, part.deliveries.len(), 1, self.options.transient_attempts) {
                Verdict::Wait { reason } => self.waits.wait_for(reason, retry.next()).await?,
                Verdict::Halve => {
                    self.waits.recovered();
                    tracing::debug!(error = %chain(&error), events = range.len(), "a batch failed; halving it");
                    return Ok(Some(halves(range)));
                }
                Verdict::Park => {
                    self.waits.recovered();
                    self.park(part, &error).await?;
                    return Ok(None);
                }
                Verdict::GiveUp(grounds) => {
                    self.waits.recovered();
                    self.give_up(part, &grounds).await?;
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    async fn try_once(&self, part: Arrivals<'_>) -> Result<(), HandleError> {
        let started = Instant::now();
        let result = self.attempt.at(part).await;
        self.metrics.attempted(started.elapsed());
        let taken = result.inspect_err(|error| self.metrics.failed(kind(error)))?;
        self.waits.recovered();
        self.count(part.deliveries, taken);
        Ok(())
    }

    /// Parks what failed because of `error`, however long that takes.
    async fn park(&self, part: Arrivals<'_>, error: &HandleError) -> Result<(), Abandoned> {
        let mut backoff = Backoff::new(self.options.retry_first, self.options.retry_most);
        for (record, delivery) in part.records.iter().zip(part.deliveries) {
            let (error, wait) = (chain(error), self.options.parked_wait(1));
            tracing::warn!(
                error,
                ?wait,
                correlation_id = delivery.envelope.correlation_id.as_str(),
                message.id = %delivery.envelope.event_id,
                message.type = delivery.envelope.event.event_type(),
                "an event could not be handled; it is parked with its key and tried again"
            );
            while let Err(failure) = self.attempt.parking.park(record, delivery, &error, wait).await {
                if classify(&failure) == Fault::Event {
                    let single = Arrivals {
                        records: std::slice::from_ref(record),
                        deliveries: std::slice::from_ref(delivery),
                    };
                    self.give_up(single, &Grounds::unparkable(&failure)).await?;
                    break;
                }
                let reason = format!("an event cannot be parked: {}", chain(&failure));
                self.waits.wait_for(reason, backoff.next()).await?;
            }
            self.waits.recovered();
        }
        Ok(())
    }

    async fn give_up(&self, part: Arrivals<'_>, grounds: &Grounds) -> Result<(), Abandoned> {
        let given_up: Vec<_> = part.records.iter().map(|record| (record.clone(), grounds.clone())).collect();
        self.dead_letters.write(&given_up, &self.waits).await
    }

    fn count(&self, deliveries: &[Delivery], taken: Taken) {
        let Taken { mut handled, parked_keys } = taken;
        let mut counts: HashMap<_, (u64, u64)> = HashMap::new();
        for delivery in deliveries.iter().filter(|delivery| !parked_keys.contains(delivery.key.as_bytes())) {
            let (new, duplicates) = counts.entry(delivery.topic).or_default();
            if handled.remove(&delivery.envelope.event_id) {
                *new += 1;
            } else {
                *duplicates += 1;
            }
        }
        for (topic, (new, duplicates)) in counts {
            self.metrics.ended(topic, Outcome::Handled, new);
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
