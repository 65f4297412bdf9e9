//! Every metric family of the operator. Names that dashboards for controllers know are those of
//! controller-runtime; ours begin with `orderpipeline_operator_`. Labels never hold names of objects.

use std::time::Instant;

use prometheus::core::Collector;
use prometheus::proto::{LabelPair, MetricFamily};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Bounds in seconds: a pass without work takes under a millisecond, one with a Kafka request tens of
/// milliseconds, and one that waits for an unreachable broker up to the request timeout.
const PASS_SECONDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The families, by what they count.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    errors: IntCounterVec,
    durations: HistogramVec,
    active: IntGaugeVec,
    capacity: IntGaugeVec,
    writes: IntCounterVec,
    drift: IntCounterVec,
    objects: IntGaugeVec,
    cluster_up: GaugeVec,
    requests: IntCounterVec,
    kafka_requests: IntCounterVec,
    withheld_events: IntCounterVec,
    leading: IntGaugeVec,
}

impl Metrics {
    /// Registers every family.
    ///
    /// # Errors
    /// When two families share a name, which a test excludes.
    pub fn new() -> prometheus::Result<Self> {
        let counter =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let passes = HistogramOpts::new(
            "controller_runtime_reconcile_time_seconds",
            "Length of a reconcile pass, without its time in the queue.",
        );
        let metrics = Self {
            registry: Registry::new(),
            reconciles: counter(
                "controller_runtime_reconcile_total",
                "Reconcile passes by result: success, requeue_after (waiting or stalled) or error.",
                &["controller", "result"],
            )?,
            errors: counter("controller_runtime_reconcile_errors_total", "Failed passes.", &["controller"])?,
            durations: HistogramVec::new(passes.buckets(PASS_SECONDS.to_vec()), &["controller"])?,
            active: gauge("controller_runtime_active_workers", "Passes under way.", &["controller"])?,
            capacity: gauge(
                "controller_runtime_max_concurrent_reconciles",
                "Most passes that may be under way at once.",
                &["controller"],
            )?,
            writes: counter(
                "orderpipeline_operator_kubernetes_writes_total",
                "Writes to the apiserver, refused ones included, events not.",
                &["kind", "verb"],
            )?,
            drift: counter(
                "orderpipeline_operator_drift_total",
                "Objects found in Kafka to differ from what was applied, by what was found.",
                &["kind", "found"],
            )?,
            objects: gauge(
                "orderpipeline_operator_objects",
                "Objects in the cache by value of their Ready condition.",
                &["kind", "ready"],
            )?,
            cluster_up: GaugeVec::new(
                Opts::new(
                    "orderpipeline_operator_kafka_cluster_up",
                    "Whether the last look at a Kafka cluster succeeded.",
                ),
                &["bootstrap_servers"],
            )?,
            requests: counter(
                "rest_client_requests_total",
                "Requests to the apiserver by method and answer; the lease's are not among them.",
                &["method", "code"],
            )?,
            kafka_requests: counter(
                "orderpipeline_operator_kafka_requests_total",
                "Requests to Kafka clusters; retries and connections of the client library are not among them.",
                &["request"],
            )?,
            withheld_events: counter(
                "orderpipeline_operator_events_withheld_total",
                "Events that were not published because there were too many at once, by their reason.",
                &["reason"],
            )?,
            leading: gauge(
                "leader_election_master_status",
                "Whether this operator holds the lease; absent where it works without one.",
                &["name"],
            )?,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        self.registry.register(Box::new(self.reconciles.clone()))?;
        self.registry.register(Box::new(self.errors.clone()))?;
        self.registry.register(Box::new(self.durations.clone()))?;
        self.registry.register(Box::new(self.active.clone()))?;
        self.registry.register(Box::new(self.capacity.clone()))?;
        self.registry.register(Box::new(self.writes.clone()))?;
        self.registry.register(Box::new(self.drift.clone()))?;
        self.registry.register(Box::new(self.objects.clone()))?;
        self.registry.register(Box::new(self.cluster_up.clone()))?;
        self.registry.register(Box::new(self.requests.clone()))?;
        self.registry.register(Box::new(self.kafka_requests.clone()))?;
        self.registry.register(Box::new(self.withheld_events.clone()))?;
        self.registry.register(Box::new(self.leading.clone()))
    }

    /// Counts a pass from now on; it is observed when the guard is finished or dropped.
    pub fn pass(&self, controller: &'static str) -> Pass<'_> {
        self.active.with_label_values(&[controller]).inc();
        Pass { metrics: self, controller, started: Instant::now(), result: PassResult::Error }
    }

    /// States how many passes of `controller` may run at once.
    pub fn set_capacity(&self, controller: &'static str, passes: u16) {
        self.capacity.with_label_values(&[controller]).set(passes.into());
    }

    /// Counts a write to the apiserver.
    pub fn wrote(&self, kind: &str, verb: &'static str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// Writes to the apiserver so far, all kinds and verbs.
    pub fn writes(&self) -> u64 {
        sum(&self.writes, |_| true)
    }

    /// Requests to the apiserver so far that only read, the beginnings of watches among them.
    pub fn reads(&self) -> u64 {
        sum(&self.requests, is_get)
    }

    /// Requests to the apiserver so far that do not only read, refused ones and events included.
    pub fn changing_requests(&self) -> u64 {
        sum(&self.requests, |labels| !is_get(labels))
    }

    /// Counts an object that was found drifted.
    pub fn drifted(&self, kind: &'static str, found: &'static str) {
        self.drift.with_label_values(&[kind, found]).inc();
    }

    /// States how many objects of `kind` are (`ready`) in which state.
    pub fn set_objects(&self, kind: &'static str, ready: &str, count: usize) {
        self.objects.with_label_values(&[kind, ready]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// States whether a Kafka cluster answered.
    pub fn set_cluster_up(&self, bootstrap_servers: &str, up: bool) {
        self.cluster_up.with_label_values(&[bootstrap_servers]).set(if up { 1.0 } else { 0.0 });
    }

    /// Forgets a Kafka cluster that no object names any more.
    pub fn forget_cluster(&self, bootstrap_servers: &str) {
        // Nothing to forget where nothing was stated.
        let _ = self.cluster_up.remove_label_values(&[bootstrap_servers]);
    }

    /// Counts a request to the apiserver; `code` is that of HTTP, or says why there was none.
    pub fn requested(&self, method: &str, code: &str) {
        self.requests.with_label_values(&[method, code]).inc();
    }

    /// States how many requests of a kind were sent to Kafka clusters so far.
    pub fn set_kafka_requests(&self, request: &str, sent: u64) {
        let counter = self.kafka_requests.with_label_values(&[request]);
        counter.inc_by(sent.saturating_sub(counter.get()));
    }

    /// Counts an event that was not published because there were too many.
    pub fn withheld_event(&self, reason: &str) {
        self.withheld_events.with_label_values(&[reason]).inc();
    }

    /// States whether this operator holds the lease.
    pub fn set_leading(&self, leading: bool) {
        self.leading.with_label_values(&[crate::leader::LEASE]).set(leading.into());
    }

    /// All families in Prometheus' text format.
    ///
    /// # Errors
    /// When a family cannot be encoded.
    pub fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Sum of those counters of a family whose labels are asked for.
fn sum(family: &IntCounterVec, asked: impl Fn(&[LabelPair]) -> bool) -> u64 {
    let families = family.collect();
    let metrics = families.iter().flat_map(MetricFamily::get_metric);
    // Counts stay far below 2^53, where a float stops being exact.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count is a small whole number"
    )]
    metrics
        .filter(|metric| asked(metric.get_label()))
        .map(|metric| metric.get_counter().get_value() as u64)
        .sum()
}

fn is_get(labels: &[LabelPair]) -> bool {
    labels.iter().any(|label| label.name() == "method" && label.value() == "GET")
}

/// How a pass ended; the label values are controller-runtime's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PassResult {
    /// Nothing left to do.
    Success,
    /// Waiting or stalled.
    RequeueAfter,
    /// Failed, or cut off before it ended.
    Error,
}

/// A pass under way.
#[must_use = "dropping it at once observes a pass of no length"]
#[derive(Debug)]
pub struct Pass<'m> {
    metrics: &'m Metrics,
    controller: &'static str,
    started: Instant,
    result: PassResult,
}

impl Pass<'_> {
    /// The pass ended so.
    pub fn finish(mut self, result: PassResult) {
        self.result = result;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let metrics = self.metrics;
        let labels = [self.controller];
        metrics.active.with_label_values(&labels).dec();
        metrics.durations.with_label_values(&labels).observe(self.started.elapsed().as_secs_f64());
        metrics.reconciles.with_label_values(&[self.controller, self.result.into()]).inc();
        if self.result == PassResult::Error {
            metrics.errors.with_label_values(&labels).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_is_cut_off_counts_as_an_error() {
        let metrics = Metrics::new().unwrap();

        drop(metrics.pass("kafkatopic"));
        metrics.pass("kafkatopic").finish(PassResult::Success);

        let text = metrics.encode().unwrap();
        assert!(
            text.contains(r#"controller_runtime_reconcile_total{controller="kafkatopic",result="error"} 1"#)
        );
        assert!(
            text.contains(
                r#"controller_runtime_reconcile_total{controller="kafkatopic",result="success"} 1"#
            )
        );
        assert!(text.contains(r#"controller_runtime_active_workers{controller="kafkatopic"} 0"#));
    }

    #[test]
    fn writes_are_summed_over_kinds_and_reads_over_answers() {
        let metrics = Metrics::new().unwrap();

        metrics.wrote("Deployment", "apply");
        metrics.wrote("KafkaTopic", "status");
        metrics.requested("GET", "200");
        metrics.requested("GET", "404");
        metrics.requested("PATCH", "200");

        assert_eq!((metrics.writes(), metrics.reads()), (2, 2));
    }
}
