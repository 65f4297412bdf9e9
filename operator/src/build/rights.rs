//! What a service may do in Kafka, as ACLs: what the roster says it reads and writes, and nothing else.

use contract::Service;
use kafka_admin::{AclBinding, AclOperation, Principal, ResourceKind};

/// The ACLs of `principal`, as whom `service` speaks to Kafka, where names begin with `prefix`.
///
/// Reading and writing include Describe. Reads are those of the roster, not only those that the saga's steps ask
/// for: a change of the saga then takes no right from a pod that has not been replaced yet.
#[must_use]
pub fn acls(service: Service, prefix: &str, principal: &Principal) -> Vec<AclBinding> {
    let allow = |operation, kind, name: String| AclBinding::allow(principal.clone(), operation, kind, name);
    let spec = service.spec();
    let topic = |operation, topic: &contract::Topic| {
        allow(operation, ResourceKind::Topic, format!("{prefix}{}", topic.name()))
    };
    let reads = spec.consumes.iter().chain(spec.reads_back).map(|read| topic(AclOperation::Read, read));
    let writes = spec.produces.iter().map(|written| topic(AclOperation::Write, written));
    let group = allow(AclOperation::Read, ResourceKind::Group, service.consumer_group(prefix));
    // A service that keeps its state in Kafka writes in transactions: one id per pod, so the right is for all that
    // begin so.
    let transactions = (!spec.has_database).then(|| {
        let ids = service.transactional_id(prefix, "");
        allow(AclOperation::Write, ResourceKind::TransactionalId, ids).prefixed()
    });
    reads.chain(writes).chain([group]).chain(transactions).collect()
}

#[cfg(test)]
mod tests {
    use contract::Topic;

    use super::*;

    fn of(service: Service) -> Vec<String> {
        let told = |acl: AclBinding| {
            format!("{:?} {:?} {:?} {}", acl.operation, acl.resource, acl.pattern, acl.name)
        };
        acls(service, "eu.", &Principal::user("x")).into_iter().map(told).collect()
    }

    #[test]
    fn a_service_may_do_what_the_roster_says() {
        assert_eq!(
            of(Service::Notification),
            [
                "Read Topic Literal eu.orders.created",
                "Read Topic Literal eu.orders.confirmed",
                "Read Topic Literal eu.orders.cancelled",
                "Write Topic Literal eu.notifications.sent",
                "Write Topic Literal eu.notification.dlt",
                "Read Group Literal eu.notification-service-group",
            ]
        );
    }

    #[test]
    fn a_service_without_a_database_may_use_its_own_transactional_ids() {
        assert_eq!(
            of(Service::OrderAnalytics).last().unwrap(),
            "Write TransactionalId Prefixed eu.order-analytics-"
        );
        assert!(
            of(Service::OrderAnalytics)
                .contains(&"Read Topic Literal eu.order-analytics.changelog".to_owned())
        );
    }

    #[test]
    fn no_service_may_write_what_another_one_produces() {
        for service in Service::ALL {
            let written = acls(*service, "", &Principal::user("x"));
            let written = written.iter().filter(|acl| acl.operation == AclOperation::Write);
            for acl in written.filter(|acl| acl.resource == ResourceKind::Topic) {
                assert_eq!(
                    Service::producer_of(Topic::from_name(&acl.name).unwrap()),
                    *service,
                    "{}",
                    acl.name
                );
            }
        }
    }
}
