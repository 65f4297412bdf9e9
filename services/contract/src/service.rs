//! The roster of services: what each reads and writes, and how it is called. Topics, access rights, consumer
//! groups, Deployments and ports are all derived from it.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray};

use crate::Topic;

/// A service of the order system.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Service {
    /// Takes orders and carries each to its end.
    Order,
    /// Holds the stock: reserves, sells and releases it.
    Inventory,
    /// Captures customers' money, and gives it back.
    Payment,
    /// Has orders carried to customers.
    Shipping,
    /// Tells customers what happens to their orders.
    Notification,
    /// Counts the sales of each hour.
    OrderAnalytics,
}

/// A step of an order's saga.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Step {
    /// Stock is reserved.
    Inventory,
    /// The customer's money is captured.
    Payment,
    /// A shipment is scheduled.
    Shipping,
}

/// What the roster says about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceSpec {
    /// The name, as in `orders <name>` and in object names.
    pub name: &'static str,
    /// The topics it reads: its consumer group may read these and no others.
    pub consumes: &'static [Topic],
    /// The topics it writes, its dead letters among them: it may write these and no others.
    pub produces: &'static [Topic],
    /// Topics among `produces` that it also reads back, outside its consumer group: changelogs of its state,
    /// tables that it shows.
    pub reads_back: &'static [Topic],
    /// Whether it has a database of its own. Without one its state is in its changelogs.
    pub has_database: bool,
    /// Its HTTP port when it runs on a developer's machine beside the others.
    pub dev_port: u16,
    /// What the paths of its business API begin with; none where it has no API beside the health and metrics endpoints
    /// that all have.
    pub api_paths: &'static [&'static str],
    /// The step of the saga that it performs.
    pub saga_step: Option<Step>,
}

impl ServiceSpec {
    /// Whether it serves a business API beside the health and metrics endpoints that all have.
    #[must_use]
    pub const fn has_api(&self) -> bool {
        !self.api_paths.is_empty()
    }
}

impl Service {
    /// Every service.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// What the roster says about the service.
    #[must_use]
    pub const fn spec(self) -> &'static ServiceSpec {
        match self {
            Self::Order => &ORDER,
            Self::Inventory => &INVENTORY,
            Self::Payment => &PAYMENT,
            Self::Shipping => &SHIPPING,
            Self::Notification => &NOTIFICATION,
            Self::OrderAnalytics => &ORDER_ANALYTICS,
        }
    }

    /// The name, as in `orders <name>` and in object names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Where the service puts what it cannot handle.
    #[must_use]
    pub const fn dead_letter_topic(self) -> Topic {
        match self {
            Self::Order => Topic::OrderDlt,
            Self::Inventory => Topic::InventoryDlt,
            Self::Payment => Topic::PaymentDlt,
            Self::Shipping => Topic::ShippingDlt,
            Self::Notification => Topic::NotificationDlt,
            Self::OrderAnalytics => Topic::OrderAnalyticsDlt,
        }
    }

    /// The consumer group of all of the service's instances: `<prefix>order-service-group`.
    #[must_use]
    pub fn consumer_group(self, prefix: &str) -> String {
        format!("{prefix}{}-service-group", self.name())
    }

    /// The topics that the service reads where orders go through `steps`: of those that it may read, the ones
    /// that somebody writes and that mean something to it. A step begins when the one before it succeeded, so
    /// its service listens to that success alone, and to `orders.created` where it is the first.
    #[must_use]
    pub fn subscriptions(self, steps: &[Step]) -> Vec<Topic> {
        let spec = self.spec();
        let is_written =
            |topic: Topic| Self::producer_of(topic).spec().saga_step.is_none_or(|step| steps.contains(&step));
        let trigger = spec.saga_step.and_then(|step| step.trigger(steps));
        let is_trigger = |topic: Topic| topic == Topic::OrdersCreated || Step::succeeding_on(topic).is_some();
        let is_meant =
            |topic: Topic| spec.saga_step.is_none() || !is_trigger(topic) || Some(topic) == trigger;
        spec.consumes.iter().copied().filter(|topic| is_written(*topic) && is_meant(*topic)).collect()
    }

    /// The `transactional.id` of one instance of the service: `<prefix>order-analytics-<instance>`. Whoever
    /// opens it fences whoever had it before.
    #[must_use]
    pub fn transactional_id(self, prefix: &str, instance: &str) -> String {
        format!("{prefix}{}-{instance}", self.name())
    }

    /// The one service that writes `topic`.
    #[must_use]
    pub fn producer_of(topic: Topic) -> Self {
        Self::ALL
            .iter()
            .copied()
            .find(|service| service.spec().produces.contains(&topic))
            .expect("the roster test proves that every topic has a producer")
    }
}

impl Step {
    /// Every step, in the order of the full saga.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The service that performs the step.
    #[must_use]
    pub const fn service(self) -> Service {
        match self {
            Self::Inventory => Service::Inventory,
            Self::Payment => Service::Payment,
            Self::Shipping => Service::Shipping,
        }
    }

    /// The topic that tells of the step's success.
    #[must_use]
    pub const fn success(self) -> Topic {
        match self {
            Self::Inventory => Topic::InventoryReserved,
            Self::Payment => Topic::PaymentsCaptured,
            Self::Shipping => Topic::ShippingScheduled,
        }
    }

    /// The topic on which the step begins where orders go through `steps`; none if it is not one of them.
    #[must_use]
    pub fn trigger(self, steps: &[Self]) -> Option<Topic> {
        let place = steps.iter().position(|step| *step == self)?;
        let before = place.checked_sub(1).and_then(|place| steps.get(place));
        Some(before.map_or(Topic::OrdersCreated, |step| step.success()))
    }

    fn succeeding_on(topic: Topic) -> Option<Self> {
        Self::ALL.iter().copied().find(|step| step.success() == topic)
    }
}

const ORDER: ServiceSpec = ServiceSpec {
    name: "order",
    consumes: &[
        Topic::InventoryReserved,
        Topic::InventoryFailed,
        Topic::InventoryReleased,
        Topic::PaymentsCaptured,
        Topic::PaymentsFailed,
        Topic::ShippingScheduled,
        Topic::ShippingFailed,
        Topic::ShippingDelivered,
        Topic::NotificationsSent,
    ],
    produces: &[
        Topic::OrdersCreated,
        Topic::OrdersConfirmed,
        Topic::OrdersCompleted,
        Topic::OrdersCancelled,
        Topic::OrderDlt,
    ],
    reads_back: &[],
    has_database: true,
    dev_port: 8081,
    api_paths: &["/api/v1/orders", "/api/orders"],
    saga_step: None,
};

const INVENTORY: ServiceSpec = ServiceSpec {
    name: "inventory",
    consumes: &[Topic::OrdersCreated, Topic::OrdersConfirmed, Topic::OrdersCancelled],
    produces: &[
        Topic::InventoryReserved,
        Topic::InventoryFailed,
        Topic::InventoryReleased,
        Topic::InventoryUpdated,
        Topic::InventoryDlt,
    ],
    reads_back: &[],
    has_database: true,
    dev_port: 8082,
    api_paths: &["/api/v1/inventory"],
    saga_step: Some(Step::Inventory),
};

const PAYMENT: ServiceSpec = ServiceSpec {
    name: "payment",
    consumes: &[Topic::OrdersCreated, Topic::InventoryReserved, Topic::OrdersCancelled],
    produces: &[Topic::PaymentsCaptured, Topic::PaymentsFailed, Topic::PaymentsRefunded, Topic::PaymentDlt],
    reads_back: &[],
    has_database: true,
    dev_port: 8086,
    api_paths: &["/api/v1/payments"],
    saga_step: Some(Step::Payment),
};

const SHIPPING: ServiceSpec = ServiceSpec {
    name: "shipping",
    consumes: &[
        Topic::OrdersCreated,
        Topic::InventoryReserved,
        Topic::PaymentsCaptured,
        Topic::OrdersConfirmed,
        Topic::OrdersCancelled,
    ],
    produces: &[
        Topic::ShippingScheduled,
        Topic::ShippingFailed,
        Topic::ShippingDelivered,
        Topic::ShippingCancelled,
        Topic::ShippingDlt,
    ],
    reads_back: &[],
    has_database: true,
    dev_port: 8083,
    api_paths: &["/api/v1/shipments"],
    saga_step: Some(Step::Shipping),
};

const NOTIFICATION: ServiceSpec = ServiceSpec {
    name: "notification",
    consumes: &[Topic::OrdersCreated, Topic::OrdersConfirmed, Topic::OrdersCancelled],
    produces: &[Topic::NotificationsSent, Topic::NotificationDlt],
    reads_back: &[],
    has_database: true,
    dev_port: 8084,
    api_paths: &[],
    saga_step: None,
};

const ORDER_ANALYTICS: ServiceSpec = ServiceSpec {
    name: "order-analytics",
    consumes: &[Topic::OrdersConfirmed],
    produces: &[Topic::AnalyticsSales, Topic::OrderAnalyticsChangelog, Topic::OrderAnalyticsDlt],
    reads_back: &[Topic::AnalyticsSales, Topic::OrderAnalyticsChangelog],
    has_database: false,
    dev_port: 8091,
    api_paths: &["/api/v1/analytics"],
    saga_step: None,
};

#[cfg(test)]
mod tests;
