//! Giving records up: each becomes a dead letter, acknowledged by the broker before anything follows from it.

use std::time::Duration;

use contract::CorrelationId;

use super::chain;
use super::waits::{Abandoned, Waits};
use crate::backoff::Backoff;
use crate::dead_letter::{self, Grounds};
use crate::metrics::{Outcome, ServiceMetrics};
use crate::record::{Incoming, Outgoing, Source};
use crate::{Producer, SendError};

/// How long the broker may take for dead letters before whoever writes them counts as waiting for it.
const BROKER_PATIENCE: Duration = Duration::from_secs(2);

/// Writes the dead letters of a consumer.
pub(super) struct DeadLetters {
    pub(super) producer: Producer,
    /// Where to; its full name.
    pub(super) topic: String,
    /// Who gives up.
    pub(super) group: String,
    pub(super) metrics: ServiceMetrics,
    /// The waits between attempts while the broker is away: the first and the longest.
    pub(super) waits: (Duration, Duration),
}

impl DeadLetters {
    /// Gives records up. Returns when the broker has acknowledged every one, however long that takes.
    pub(super) async fn write(
        &self,
        given_up: &[(Incoming, Grounds)],
        waits: &Waits,
    ) -> Result<(), Abandoned> {
        let mut letters: Vec<Outgoing> = given_up
            .iter()
            .map(|(record, grounds)| dead_letter::of(record, self.topic.clone(), &self.group, grounds))
            .collect();
        let mut backoff = Backoff::new(self.waits.0, self.waits.1);
        while !letters.is_empty() {
            let failures = self.send(&letters, waits).await?;
            if let Some(first) = failures.first() {
                let reason = format!("dead letters cannot be written: {}", chain(first));
                waits.wait_for(reason, backoff.next()).await?;
            }
            letters = again(&letters, &failures);
        }
        if !given_up.is_empty() {
            waits.recovered();
        }
        for (record, grounds) in given_up {
            self.report(record, grounds);
        }
        Ok(())
    }

    /// Sends `letters`, unless shutdown comes first: with the broker away there is no other end.
    async fn send(&self, letters: &[Outgoing], waits: &Waits) -> Result<Vec<SendError>, Abandoned> {
        let sending = self.producer.send(letters);
        tokio::pin!(sending);
        match tokio::time::timeout(BROKER_PATIENCE, &mut sending).await {
            Ok(failures) => Ok(failures),
            Err(_) => {
                waits.wait_for("the broker does not take dead letters".to_owned(), Duration::ZERO).await?;
                waits.unless_stopped(sending).await
            }
        }
    }

    fn report(&self, record: &Incoming, grounds: &Grounds) {
        let Source { topic, name, partition } = &record.source;
        self.metrics.dead_letter(*topic, grounds.reason);
        self.metrics.ended(*topic, Outcome::DeadLettered, 1);
        let correlation_id = record.correlation_id();
        tracing::error!(
            correlation_id = correlation_id.as_ref().map(CorrelationId::as_str),
            kafka.topic = %name,
            kafka.partition = partition,
            kafka.offset = record.offset,
            reason = grounds.reason,
            error = grounds.details,
            "an event was given up to the dead-letter topic"
        );
    }
}

/// What to send again of `letters`: those that failed, without their value where that was too large.
fn again(letters: &[Outgoing], failures: &[SendError]) -> Vec<Outgoing> {
    failures
        .iter()
        .filter_map(|failure| {
            let letter = letters.get(failure.index)?;
            let bare = failure.is_too_large() && letter.value.is_some();
            Some(if bare { dead_letter::without_value(letter) } else { letter.clone() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use contract::{Service, Topic, headers};
    use prometheus::Registry;

    use super::*;
    use crate::dead_letter::Class;
    use crate::{JsonCodec, KafkaConfig, Metrics};

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn record(correlation_id: &[u8]) -> Incoming {
        let topic = Topic::OrdersCreated;
        Incoming {
            source: Source { topic, name: topic.name().into(), partition: 0 },
            offset: 7,
            timestamp: None,
            key: None,
            value: None,
            headers: vec![(headers::CE_CORRELATION_ID.to_owned(), Some(correlation_id.to_vec()))],
        }
    }

    #[tokio::test]
    async fn what_is_given_up_is_logged_with_the_story_it_belongs_to() {
        let kafka = KafkaConfig::plaintext("127.0.0.1:1", "test", "");
        let dead_letters = DeadLetters {
            producer: Producer::new(&kafka, Arc::new(JsonCodec)).unwrap(),
            topic: "order.dlt".to_owned(),
            group: "order".to_owned(),
            metrics: Metrics::register(&Registry::new()).unwrap().of(Service::Order),
            waits: (Duration::ZERO, Duration::ZERO),
        };
        let (class, message) = (Class::Undecodable, "the record has no value".to_owned());
        let grounds = Grounds { class, reason: "empty", details: message.clone(), message };
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();

        tracing::subscriber::with_default(subscriber, || {
            dead_letters.report(&record(b"req-42"), &grounds);
            dead_letters.report(&record(b"forged\nline"), &grounds);
        });

        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert!(lines[0].contains(r#"correlation_id="req-42""#), "{log}");
        assert!(!log.contains("forged"), "{log}");
    }
}
