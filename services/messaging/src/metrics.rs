//! What Prometheus sees of messaging. Every series carries the service, because several may share a process.

use std::time::Duration;

use contract::{Service, Topic};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, exponential_buckets,
};

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Outcome {
    Handled,
    Duplicate,
    DeadLettered,
}

/// What came of trying a parked event again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Retry {
    Handled,
    Failed,
    Unavailable,
    DeadLettered,
}

/// The metrics of messaging, registered once per process and shared by its services.
#[derive(Debug, Clone)]
pub struct Metrics {
    handled: IntCounterVec,
    handle_duration: HistogramVec,
    handle_failures: IntCounterVec,
    batch_size: HistogramVec,
    lag: IntGaugeVec,
    paused: IntGaugeVec,
    dead_letters: IntCounterVec,
    parked: IntGaugeVec,
    parked_oldest_age: GaugeVec,
    parked_retries: IntCounterVec,
    outbox_pending: IntGaugeVec,
    outbox_oldest_age: GaugeVec,
    outbox_published: IntCounterVec,
    outbox_publish_failures: IntCounterVec,
    outbox_buckets: IntGaugeVec,
    inbox_expired: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// The registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let new = Factory(registry);
        Ok(Self {
            handled: new.counter(
                "kafka_messages_handled_total",
                "Events that reached their end, by outcome; not those that wait to be tried again. Duplicates \
                 that a handler recognises by its own rows count as handled.",
                &["service", "topic", "outcome"],
            )?,
            handle_duration: new.histogram(
                "kafka_handle_duration_seconds",
                "Time per attempt at a batch, its transaction included; not the wait for a batch.",
                // 0.5 ms to 16 s: a round trip to the database, up to a batch that waits for locks.
                exponential_buckets(0.0005, 2.0, 16)?,
            )?,
            handle_failures: new.counter(
                "kafka_handle_failures_total",
                "Attempts at a batch that failed, by kind of error.",
                &["service", "kind"],
            )?,
            batch_size: new.histogram(
                "kafka_batch_size_messages",
                "Records per batch taken by the handler.",
                exponential_buckets(1.0, 2.0, 11)?,
            )?,
            lag: new.gauge(
                "kafka_consumer_lag_messages",
                "Records between the last handled one and the end, of the partitions this process has.",
                &["service", "topic", "partition"],
            )?,
            paused: new.gauge(
                "kafka_consumer_paused",
                "1 while the consumer waits for a dependency that is unavailable.",
                &["service"],
            )?,
            dead_letters: new.counter(
                "kafka_dead_letters_total",
                "Records given up to the dead-letter topic.",
                &["service", "topic", "reason"],
            )?,
            parked: new.gauge(
                "parked_events",
                "Events that wait to be tried again or for one of their key, of all replicas together; sampled.",
                &["service"],
            )?,
            parked_oldest_age: new.age(
                "parked_oldest_age_seconds",
                "Since when the oldest parked event waits, 0 when there is none; sampled. Alert on this.",
            )?,
            parked_retries: new.counter(
                "parked_retries_total",
                "What came of trying parked events again; not the attempt after which they were parked.",
                &["service", "outcome"],
            )?,
            outbox_pending: new.gauge(
                "outbox_pending_messages",
                "Rows in the outbox, of all replicas together; sampled.",
                &["service"],
            )?,
            outbox_oldest_age: new.age(
                "outbox_oldest_age_seconds",
                "Age of the oldest row in the outbox, 0 when it is empty; sampled. Alert on this.",
            )?,
            outbox_published: new.counter(
                "outbox_published_total",
                "Events published from the outbox and acknowledged by the broker.",
                &["service", "topic"],
            )?,
            outbox_publish_failures: new.counter(
                "outbox_publish_failures_total",
                "Events that the broker refused; they stay in the outbox and are sent again.",
                &["service", "topic"],
            )?,
            outbox_buckets: new.gauge(
                "outbox_owned_buckets",
                "Buckets of the outbox that this process publishes.",
                &["service"],
            )?,
            inbox_expired: new.counter(
                "inbox_expired_total",
                "Rows removed from the inbox because of their age.",
                &["service"],
            )?,
        })
    }

    /// The metrics of one service.
    pub(crate) fn of(&self, service: Service) -> ServiceMetrics {
        ServiceMetrics { all: self.clone(), service: service.name() }
    }
}

/// [`Metrics`], with the service filled in.
#[derive(Debug, Clone)]
pub(crate) struct ServiceMetrics {
    all: Metrics,
    service: &'static str,
}

impl ServiceMetrics {
    pub(crate) fn ended(&self, topic: Topic, outcome: Outcome, count: u64) {
        self.all.handled.with_label_values(&[self.service, topic.name(), outcome.into()]).inc_by(count);
    }

    pub(crate) fn attempted(&self, took: Duration) {
        self.all.handle_duration.with_label_values(&[self.service]).observe(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, kind: &'static str) {
        self.all.handle_failures.with_label_values(&[self.service, kind]).inc();
    }

    pub(crate) fn batch(&self, size: usize) {
        // Batches are at most hundreds of records, which a double holds exactly.
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.all.batch_size.with_label_values(&[self.service]).observe(size.into());
    }

    pub(crate) fn lag(&self, topic: Topic, partition: i32, records: i64) {
        self.all.lag.with_label_values(&[self.service, topic.name(), &partition.to_string()]).set(records);
    }

    /// Forgets a partition that this process no longer has, whose lag it no longer knows.
    pub(crate) fn lag_unknown(&self, topic: Topic, partition: i32) {
        // It is missing where no lag was ever reported, which is as good.
        let _ = self.all.lag.remove_label_values(&[self.service, topic.name(), &partition.to_string()]);
    }

    pub(crate) fn paused(&self, paused: bool) {
        self.all.paused.with_label_values(&[self.service]).set(paused.into());
    }

    pub(crate) fn dead_letter(&self, topic: Topic, reason: &'static str) {
        self.all.dead_letters.with_label_values(&[self.service, topic.name(), reason]).inc();
    }

    pub(crate) fn parked(&self, events: i64, oldest_age: Duration) {
        self.all.parked.with_label_values(&[self.service]).set(events);
        self.all.parked_oldest_age.with_label_values(&[self.service]).set(oldest_age.as_secs_f64());
    }

    pub(crate) fn retried(&self, outcome: Retry) {
        self.all.parked_retries.with_label_values(&[self.service, outcome.into()]).inc();
    }

    pub(crate) fn outbox(&self, pending: i64, oldest_age: Duration) {
        self.all.outbox_pending.with_label_values(&[self.service]).set(pending);
        self.all.outbox_oldest_age.with_label_values(&[self.service]).set(oldest_age.as_secs_f64());
    }

    pub(crate) fn published(&self, topic: &str, count: u64) {
        self.all.outbox_published.with_label_values(&[self.service, topic]).inc_by(count);
    }

    pub(crate) fn publish_failed(&self, topic: &str) {
        self.all.outbox_publish_failures.with_label_values(&[self.service, topic]).inc();
    }

    pub(crate) fn owned_buckets(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.all.outbox_buckets.with_label_values(&[self.service]).set(count);
    }

    pub(crate) fn inbox_expired(&self, count: u64) {
        self.all.inbox_expired.with_label_values(&[self.service]).inc_by(count);
    }
}

/// Makes metrics and registers each.
pub(crate) struct Factory<'a>(pub(crate) &'a Registry);

impl Factory<'_> {
    pub(crate) fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(crate) fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn age(&self, name: &str, help: &str) -> Result<GaugeVec, prometheus::Error> {
        let metric = GaugeVec::new(Opts::new(name, help), &["service"])?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(crate) fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(buckets);
        let metric = HistogramVec::new(opts, &["service"])?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
