//! What the operator and the apiserver count, from their metrics.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many there were, by what they were.
pub(crate) type Numbers = BTreeMap<String, u64>;

/// What the operator says that it has done.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Counts {
    /// Requests to Kubernetes, by HTTP's method; lists and watches are GETs.
    kubernetes: Numbers,
    /// Requests to Kafka, by kind.
    kafka: Numbers,
    /// Passes over objects, by controller.
    passes: Numbers,
}

impl Counts {
    /// Reads the operator's metrics.
    pub(crate) fn read(text: &str) -> Self {
        let of = |family: &str, label: &str| sums(text, family, |line| line.label(label).map(str::to_owned));
        Self {
            kubernetes: of("rest_client_requests_total", "method"),
            kafka: of("orderpipeline_operator_kafka_requests_total", "request"),
            passes: of("controller_runtime_reconcile_total", "controller"),
        }
    }

    /// What was done since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            kubernetes: difference(&self.kubernetes, &before.kubernetes),
            kafka: difference(&self.kafka, &before.kafka),
            passes: difference(&self.passes, &before.passes),
        }
    }

    /// Requests to Kubernetes that only read.
    pub(crate) fn reads(&self) -> u64 {
        self.kubernetes.get("GET").copied().unwrap_or_default()
    }

    /// Requests to Kubernetes that do not only read, events among them.
    pub(crate) fn writes(&self) -> u64 {
        self.kubernetes.values().sum::<u64>() - self.reads()
    }

    /// Requests to Kafka.
    pub(crate) fn kafka(&self) -> u64 {
        self.kafka.values().sum()
    }

    /// Requests to Kafka of one kind.
    pub(crate) fn kafka_of(&self, kind: &str) -> u64 {
        self.kafka.get(kind).copied().unwrap_or_default()
    }

    /// Passes of one controller.
    pub(crate) fn passes_of(&self, controller: &str) -> u64 {
        self.passes.get(controller).copied().unwrap_or_default()
    }
}

/// The apiserver's requests by verb and resource, whoever sent them. A watch counts when it ends.
pub(crate) fn verbs(text: &str) -> Numbers {
    sums(text, "apiserver_request_total", |line| {
        let resource = line.label("resource").filter(|resource| !resource.is_empty())?;
        let part = line.label("subresource").filter(|part| !part.is_empty());
        let part = part.map(|part| format!("/{part}")).unwrap_or_default();
        Some(format!("{} {resource}{part}", line.label("verb")?))
    })
}

/// `now` without `before`, and without what stood still.
pub(crate) fn difference(now: &Numbers, before: &Numbers) -> Numbers {
    let since = |(name, count): (&String, &u64)| {
        (name.clone(), count.saturating_sub(before.get(name).copied().unwrap_or_default()))
    };
    now.iter().map(since).filter(|(_, count)| *count > 0).collect()
}

/// The counters of `family`, added up by the name that each line gets.
fn sums(text: &str, family: &str, name: impl Fn(&Line<'_>) -> Option<String>) -> Numbers {
    let lines = text.lines().filter_map(Line::parse).filter(|line| line.family == family);
    lines.filter_map(|line| Some((name(&line)?, line.count))).fold(
        Numbers::new(),
        |mut all, (name, count)| {
            *all.entry(name).or_default() += count;
            all
        },
    )
}

/// A counter with labels in Prometheus' text format.
struct Line<'t> {
    family: &'t str,
    labels: &'t str,
    count: u64,
}

impl<'t> Line<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (family, labels) = series.split_once('{')?;
        // Go writes large counts as `1.5e+06`.
        let value: f64 = value.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are whole and small"
        )]
        Some(Self { family, labels, count: value as u64 })
    }

    fn label(&self, name: &str) -> Option<&'t str> {
        let value = |pair: &'t str| pair.strip_prefix(name)?.strip_prefix("=\"");
        let value = self.labels.split("\",").find_map(value)?;
        Some(value.trim_end_matches(['"', '}']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_added_up_by_verb_and_resource() {
        let text = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="200",group="",resource="secrets",subresource="",verb="GET",version="v1"} 2
apiserver_request_total{code="404",group="",resource="secrets",subresource="",verb="GET",version="v1"} 3
apiserver_request_total{code="200",group="batch",resource="jobs",subresource="status",verb="PATCH"} 1.5e+06
apiserver_request_total{code="200",group="",resource="",subresource="/metrics",verb="GET"} 7
apiserver_current_inflight_requests{request_kind="mutating"} 1"#;

        let expected = [("GET secrets", 5), ("PATCH jobs/status", 1_500_000)];
        assert_eq!(verbs(text), expected.map(|(name, count)| (name.to_owned(), count)).into());
    }

    #[test]
    fn a_get_is_a_read_and_all_else_a_write() {
        let before = Counts::read(r#"rest_client_requests_total{code="200",method="GET"} 4"#);
        let now = Counts::read(
            r#"rest_client_requests_total{code="200",method="GET"} 6
rest_client_requests_total{code="200",method="PATCH"} 2
rest_client_requests_total{code="201",method="POST"} 1
orderpipeline_operator_kafka_requests_total{request="describe_topics"} 5"#,
        );

        let done = now.since(&before);

        assert_eq!(
            (done.reads(), done.writes(), done.kafka(), done.kafka_of("describe_topics")),
            (2, 3, 5, 5)
        );
    }
}
