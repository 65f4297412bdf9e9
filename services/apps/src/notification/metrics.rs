//! What the notification service counts.

use contract::ChannelResult;
use prometheus::{IntCounterVec, Opts, Registry};

/// Counters of the notification service. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    messages: IntCounterVec,
}

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let messages = IntCounterVec::new(
            Opts::new(
                "notification_messages_total",
                "Messages to customers by what became of them; attempts that will be repeated are not counted.",
            ),
            &["channel", "outcome"],
        )?;
        registry.register(Box::new(messages.clone()))?;
        Ok(Self { messages })
    }

    /// Counts what became of a message.
    pub(super) fn count(&self, result: &ChannelResult) {
        let (channel, outcome) = (result.channel.to_string(), result.outcome.to_string());
        self.messages.with_label_values(&[channel.to_lowercase(), outcome.to_lowercase()]).inc();
    }
}
