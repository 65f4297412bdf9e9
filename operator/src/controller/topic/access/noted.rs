//! Which ACLs are an object's: those that its status names, in the cluster that it names. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use kafka_admin::{AclBinding, AclOperation, Permission, Principal, ResourceKind};
use strum::IntoEnumIterator;

use super::plan::Bindings;
use crate::controller::topic::validate::effective_name;
use crate::crd::KafkaTopic;
use crate::crd::kafka_topic::{GrantedAccess, TopicAccessStatus, TopicOperation};

/// What Kafka calls an operation.
pub(in crate::controller::topic) fn operation(operation: TopicOperation) -> AclOperation {
    match operation {
        TopicOperation::Read => AclOperation::Read,
        TopicOperation::Write => AclOperation::Write,
        TopicOperation::Create => AclOperation::Create,
        TopicOperation::Delete => AclOperation::Delete,
        TopicOperation::Alter => AclOperation::Alter,
        TopicOperation::Describe => AclOperation::Describe,
        TopicOperation::DescribeConfigs => AclOperation::DescribeConfigs,
        TopicOperation::AlterConfigs => AclOperation::AlterConfigs,
    }
}

/// The operation that Kafka calls so; none that no rule can name.
fn named(by_kafka: AclOperation) -> Option<TopicOperation> {
    TopicOperation::iter().find(|known| operation(*known) == by_kafka)
}

/// The ACLs by which `principal` may do `operations` with exactly this topic, from `host`.
pub(in crate::controller::topic) fn bindings(
    topic: &str,
    principal: &Principal,
    operations: &[TopicOperation],
    host: &str,
) -> Bindings {
    let binding = |of: &TopicOperation| AclBinding {
        resource: ResourceKind::Topic,
        name: topic.to_owned(),
        pattern: kafka_admin::PatternType::Literal,
        principal: principal.clone(),
        host: host.to_owned(),
        operation: operation(*of),
        permission: Permission::Allow,
    };
    operations.iter().map(binding).collect()
}

/// The ACLs that belong to `topic` in the cluster with this id: in another one, to which an address may lead one day,
/// none does.
pub(super) fn in_cluster(topic: &KafkaTopic, id: &str) -> Bindings {
    let noted = topic.status.as_ref().and_then(|status| status.access.as_ref());
    let granted = noted.filter(|noted| noted.cluster_id == id).map_or(&[][..], |noted| &noted.granted);
    let name = effective_name(topic);
    let of = |granted: &GrantedAccess| {
        // What we wrote ourselves is one; what somebody else wrote instead is not ours.
        let principal: Option<Principal> = granted.principal.parse().ok();
        principal.map(|principal| bindings(&name, &principal, &granted.operations, &granted.host))
    };
    granted.iter().filter_map(of).flatten().collect()
}

/// Whether any ACL belongs to `topic`, in whichever cluster.
pub(in crate::controller::topic) fn has_any(topic: &KafkaTopic) -> bool {
    let noted = topic.status.as_ref().and_then(|status| status.access.as_ref());
    noted.is_some_and(|noted| !noted.granted.is_empty())
}

/// How `ours` are noted.
pub(super) fn note(ours: &Bindings, cluster_id: &str) -> TopicAccessStatus {
    let mut granted: BTreeMap<(&Principal, &str), BTreeSet<TopicOperation>> = BTreeMap::new();
    for binding in ours {
        let operations = granted.entry((&binding.principal, &binding.host)).or_default();
        operations.extend(named(binding.operation));
    }
    let granted = granted.into_iter().map(|((principal, host), operations)| GrantedAccess {
        principal: principal.to_string(),
        operations: operations.into_iter().collect(),
        host: host.to_owned(),
    });
    TopicAccessStatus { cluster_id: cluster_id.to_owned(), granted: granted.collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::fixtures::kafka_topic;

    fn topic(access: serde_json::Value) -> KafkaTopic {
        kafka_topic(json!({"status": {"access": access}}))
    }

    #[test]
    fn what_is_noted_is_read_back_in_its_own_cluster_only() {
        let access = json!({"clusterId": "one", "granted": [
            {"principal": "User:a", "operations": ["Read", "Write"], "host": "*"},
            {"principal": "User:b", "operations": ["Describe"], "host": "10.0.0.1"},
        ]});
        let topic = topic(access.clone());

        let ours = in_cluster(&topic, "one");

        assert_eq!(ours.len(), 3);
        assert!(ours.iter().all(|binding| binding.name == "orders"));
        assert_eq!(serde_json::to_value(note(&ours, "one")).unwrap(), access);
        assert!(in_cluster(&topic, "two").is_empty() && has_any(&topic));
        assert!(note(&Bindings::new(), "one").granted.is_empty());
    }

    #[test]
    fn every_operation_that_a_rule_can_name_is_one_of_kafkas() {
        for one in TopicOperation::iter() {
            assert_eq!(named(operation(one)), Some(one));
            assert_eq!(format!("{:?}", operation(one)), <&str>::from(one));
        }
    }
}
