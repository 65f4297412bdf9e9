//! The catalogue of topics. A topic that is not here does not exist: the operator creates these, the services
//! read and write these, and access is granted to these.

use std::time::Duration;

use strum::VariantArray;

/// A topic of the order system. Names are without the pipeline's prefix, which is put before them outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray)]
#[expect(missing_docs, reason = "each topic's purpose stands in its spec, where tools can show it")]
pub enum Topic {
    OrdersCreated,
    OrdersConfirmed,
    OrdersCompleted,
    OrdersCancelled,
    InventoryReserved,
    InventoryFailed,
    InventoryReleased,
    InventoryUpdated,
    PaymentsCaptured,
    PaymentsFailed,
    PaymentsRefunded,
    ShippingScheduled,
    ShippingFailed,
    ShippingDelivered,
    ShippingCancelled,
    NotificationsSent,
    OrderDlt,
    InventoryDlt,
    PaymentDlt,
    ShippingDlt,
    NotificationDlt,
    AnalyticsSales,
    OrderAnalyticsChangelog,
    OrderAnalyticsDlt,
}

/// What the catalogue says about a topic. Partitions, replication and retention are the pipeline's to choose,
/// unless stated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSpec {
    /// The name, without prefix.
    pub name: &'static str,
    /// What a record's key is. Records of one key are in order, so the key decides what is.
    pub key: KeyedBy,
    /// What the broker does with old records.
    pub cleanup: Cleanup,
    /// How long records are kept, where the pipeline's default would be wrong.
    pub retention_override: Option<Duration>,
    /// The topic that it has as many partitions as, where record and state belong together by partition.
    pub copartitioned_with: Option<Topic>,
    /// What the topic is for, in a sentence.
    pub purpose: &'static str,
}

/// What a record's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyedBy {
    /// The order: everything that happens to one order is in order.
    OrderId,
    /// The product: the levels of one product are in order.
    ProductId,
    /// The row of a table, window and partition of its input included: the last record is its present version.
    Row,
    /// A piece of a service's own state. Its partition is that of the input, not one chosen by the key.
    State,
    /// The key of the record that was given up, whatever it was.
    SourceKey,
}

/// What the broker does with old records (`cleanup.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Removes them after the retention time.
    Delete,
    /// Keeps the last record of every key.
    Compact,
    /// Keeps the last record of every key, and removes also that after the retention time.
    CompactAndDelete,
}

impl Cleanup {
    /// The value of Kafka's `cleanup.policy`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactAndDelete => "compact,delete",
        }
    }

    /// Whether only the last record of a key is of interest.
    #[must_use]
    pub const fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }
}

/// Two weeks are enough to come back from a holiday, look at what was given up, and replay it. Counted from when the
/// event is given up: the pipeline adds how old it may be by then.
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Sales can be compared with those of a year and a month before.
const SALES_RETENTION: Duration = Duration::from_secs(396 * 24 * 60 * 60);

impl Topic {
    /// Every topic, in the order of an order's life.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// What the catalogue says about the topic.
    #[must_use]
    pub const fn spec(self) -> &'static TopicSpec {
        match self {
            Self::OrdersCreated => {
                const { &of_order("orders.created", "An order was accepted; its saga begins.") }
            }
            Self::OrdersConfirmed => {
                const { &of_order("orders.confirmed", "Every step of the order succeeded.") }
            }
            Self::OrdersCompleted => {
                const { &of_order("orders.completed", "The order reached the end of its life.") }
            }
            Self::OrdersCancelled => {
                const { &of_order("orders.cancelled", "A step failed or was late; undo what was done.") }
            }
            Self::InventoryReserved => {
                const { &of_order("inventory.reserved", "Stock is held for the order.") }
            }
            Self::InventoryFailed => {
                const { &of_order("inventory.failed", "The order's stock could not be reserved.") }
            }
            Self::InventoryReleased => const { &of_order("inventory.released", "Held stock is free again.") },
            Self::InventoryUpdated => const { &INVENTORY_UPDATED },
            Self::PaymentsCaptured => {
                const { &of_order("payments.captured", "The order's money was captured.") }
            }
            Self::PaymentsFailed => {
                const { &of_order("payments.failed", "The order's money could not be captured.") }
            }
            Self::PaymentsRefunded => {
                const { &of_order("payments.refunded", "The money of a cancelled order went back.") }
            }
            Self::ShippingScheduled => {
                const { &of_order("shipping.scheduled", "A carrier will take the order's parcel.") }
            }
            Self::ShippingFailed => const { &of_order("shipping.failed", "The order cannot be shipped.") },
            Self::ShippingDelivered => {
                const { &of_order("shipping.delivered", "The order's parcel arrived.") }
            }
            Self::ShippingCancelled => {
                const { &of_order("shipping.cancelled", "The parcel of a cancelled order will not leave.") }
            }
            Self::NotificationsSent => {
                const { &of_order("notifications.sent", "The customer was told about the order.") }
            }
            Self::OrderDlt => const { &dead_letters("order.dlt", "What the order service gave up.") },
            Self::InventoryDlt => {
                const { &dead_letters("inventory.dlt", "What the inventory service gave up.") }
            }
            Self::PaymentDlt => const { &dead_letters("payment.dlt", "What the payment service gave up.") },
            Self::ShippingDlt => {
                const { &dead_letters("shipping.dlt", "What the shipping service gave up.") }
            }
            Self::NotificationDlt => {
                const { &dead_letters("notification.dlt", "What the notification service gave up.") }
            }
            Self::AnalyticsSales => const { &ANALYTICS_SALES },
            Self::OrderAnalyticsChangelog => const { &ORDER_ANALYTICS_CHANGELOG },
            Self::OrderAnalyticsDlt => {
                const { &dead_letters("order-analytics.dlt", "What the sales analytics gave up.") }
            }
        }
    }

    /// The name, without prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// The topic of this name (without prefix), if the catalogue has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|topic| topic.name() == name)
    }

    /// Whether the topic holds dead letters rather than events.
    #[must_use]
    pub const fn is_dead_letter(self) -> bool {
        matches!(self.spec().key, KeyedBy::SourceKey)
    }

    /// Whether the topic holds a service's own state rather than events.
    #[must_use]
    pub const fn is_changelog(self) -> bool {
        matches!(self.spec().key, KeyedBy::State)
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

const INVENTORY_UPDATED: TopicSpec = TopicSpec {
    name: "inventory.updated",
    key: KeyedBy::ProductId,
    cleanup: Cleanup::Delete,
    retention_override: None,
    copartitioned_with: None,
    purpose: "A product's stock changed.",
};

const ANALYTICS_SALES: TopicSpec = TopicSpec {
    name: "analytics.sales",
    key: KeyedBy::Row,
    cleanup: Cleanup::CompactAndDelete,
    retention_override: Some(SALES_RETENTION),
    copartitioned_with: None,
    purpose: "What was sold in each hour, per currency and product.",
};

const ORDER_ANALYTICS_CHANGELOG: TopicSpec = TopicSpec {
    name: "order-analytics.changelog",
    key: KeyedBy::State,
    cleanup: Cleanup::Compact,
    retention_override: None,
    copartitioned_with: Some(Topic::OrdersConfirmed),
    purpose: "The state of the sales analytics, to go on from after a crash; private to it.",
};

const fn of_order(name: &'static str, purpose: &'static str) -> TopicSpec {
    TopicSpec {
        name,
        key: KeyedBy::OrderId,
        cleanup: Cleanup::Delete,
        retention_override: None,
        copartitioned_with: None,
        purpose,
    }
}

const fn dead_letters(name: &'static str, purpose: &'static str) -> TopicSpec {
    TopicSpec {
        name,
        key: KeyedBy::SourceKey,
        cleanup: Cleanup::Delete,
        retention_override: Some(DEAD_LETTER_RETENTION),
        copartitioned_with: None,
        purpose,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_lead_back_to_their_topic() {
        let names: BTreeSet<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();

        assert_eq!(names.len(), Topic::ALL.len());
        for topic in Topic::ALL {
            assert_eq!(Topic::from_name(topic.name()), Some(*topic));
        }
        assert_eq!(Topic::from_name("orders.refunded"), None);
    }

    #[test]
    fn names_are_legal_in_kafka_and_as_kubernetes_object_names() {
        for topic in Topic::ALL {
            let legal = topic.name().bytes().all(|byte| byte.is_ascii_lowercase() || b".-".contains(&byte));
            assert!(legal, "{topic}");
        }
    }
}
