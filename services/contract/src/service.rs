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
    /// Tells customers what happens to their orders.
    Notification,
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
    /// Its HTTP port when it runs on a developer's machine beside the others.
    pub dev_port: u16,
    /// Whether it serves a business API beside the health and metrics endpoints that all have.
    pub has_api: bool,
    /// The step of the saga that it performs.
    pub saga_step: Option<Step>,
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
            Self::Notification => &NOTIFICATION,
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
            Self::Notification => Topic::NotificationDlt,
        }
    }

    /// The consumer group of all of the service's instances: `<prefix>order-service-group`.
    #[must_use]
    pub fn consumer_group(self, prefix: &str) -> String {
        format!("{prefix}{}-service-group", self.name())
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

    /// The service that performs the step, once the roster has it.
    #[must_use]
    pub fn service(self) -> Option<Service> {
        Service::ALL.iter().copied().find(|service| service.spec().saga_step == Some(self))
    }
}

const ORDER: ServiceSpec = ServiceSpec {
    name: "order",
    consumes: &[Topic::InventoryReserved, Topic::InventoryFailed, Topic::NotificationsSent],
    produces: &[
        Topic::OrdersCreated,
        Topic::OrdersConfirmed,
        Topic::OrdersCompleted,
        Topic::OrdersCancelled,
        Topic::OrderDlt,
    ],
    dev_port: 8081,
    has_api: true,
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
    dev_port: 8082,
    has_api: true,
    saga_step: Some(Step::Inventory),
};

const NOTIFICATION: ServiceSpec = ServiceSpec {
    name: "notification",
    consumes: &[Topic::OrdersCreated, Topic::OrdersConfirmed, Topic::OrdersCancelled],
    produces: &[Topic::NotificationsSent, Topic::NotificationDlt],
    dev_port: 8084,
    has_api: false,
    saga_step: None,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_topic_is_produced_by_exactly_one_service() {
        for topic in Topic::ALL {
            let producers: Vec<_> =
                Service::ALL.iter().filter(|service| service.spec().produces.contains(topic)).collect();
            assert_eq!(producers.len(), 1, "{topic} is produced by {producers:?}");
        }
    }

    #[test]
    fn every_service_has_its_own_dead_letters_and_never_reads_them() {
        let topics: BTreeSet<Topic> =
            Service::ALL.iter().map(|service| service.dead_letter_topic()).collect();
        let dead: BTreeSet<Topic> =
            Topic::ALL.iter().copied().filter(|topic| topic.is_dead_letter()).collect();

        assert_eq!(topics, dead);
        for service in Service::ALL {
            let spec = service.spec();
            assert!(spec.produces.contains(&service.dead_letter_topic()), "{service}");
            assert!(spec.consumes.iter().all(|topic| !topic.is_dead_letter()), "{service}");
            assert_eq!(service.dead_letter_topic().name(), format!("{service}.dlt"));
        }
    }

    #[test]
    fn no_service_reads_what_it_writes() {
        for service in Service::ALL {
            let spec = service.spec();
            assert!(spec.consumes.iter().all(|topic| !spec.produces.contains(topic)), "{service}");
        }
    }

    #[test]
    fn names_are_the_same_everywhere() {
        for service in Service::ALL {
            assert_eq!(service.to_string(), service.name());
            assert_eq!(service.name().parse(), Ok(*service));
            assert_eq!(serde_json::to_value(service).unwrap(), service.name());
        }
        assert_eq!(Service::Order.consumer_group("dev-"), "dev-order-service-group");
    }

    #[test]
    fn ports_are_unique() {
        let ports: BTreeSet<u16> = Service::ALL.iter().map(|service| service.spec().dev_port).collect();

        assert_eq!(ports.len(), Service::ALL.len());
    }

    #[test]
    fn a_step_leads_to_the_service_that_performs_it() {
        assert_eq!(Step::Inventory.service(), Some(Service::Inventory));
        assert_eq!(Step::Payment.service(), None);
    }
}
