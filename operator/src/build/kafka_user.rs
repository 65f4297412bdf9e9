//! The `KafkaUser` of a service, from which Strimzi's User Operator makes the user, its Secret and its ACLs.

use contract::Service;
use kafka_admin::{AclBinding, PatternType, Principal, ResourceKind};
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::labels::{Component, PipelineId};
use super::rights;
use super::workload::short_hex;
use crate::controller::endpoint::StrimziCluster;
use crate::controller::strimzi::CLUSTER_LABEL;
use crate::controller::strimzi::objects::Authentication;

/// Longest common name of a certificate (RFC 5280, ub-common-name), which the name becomes.
const NAME_MAX: usize = 64;
/// `-` and 16 digits.
const SUFFIX_LENGTH: usize = 17;

/// The `KafkaUser` of `service`, whose topics and groups begin with `prefix`; none where nobody logs in.
#[must_use]
pub fn maybe_build(
    id: &PipelineId,
    service: Service,
    prefix: &str,
    cluster: &StrimziCluster,
    kind: &ApiResource,
) -> Option<DynamicObject> {
    let authentication = match cluster.authentication {
        Authentication::Scram => "scram-sha-512",
        Authentication::Tls => "tls",
        Authentication::None | Authentication::Other(_) => return None,
    };
    let name = name(id, service);
    // Strimzi refuses rights where nothing looks at them.
    let spec = if cluster.has_authorization {
        let rights = rights::acls(service, prefix, &Principal::user(&name));
        let acls: Vec<Value> = rights.iter().filter_map(acl).collect();
        json!({
            "authentication": {"type": authentication},
            "authorization": {"type": "simple", "acls": acls},
        })
    } else {
        json!({"authentication": {"type": authentication}})
    };
    let mut user = DynamicObject::new(&name, kind).data(json!({ "spec": spec }));
    user.metadata = id.metadata(name, Component::Service(service));
    let labels = user.metadata.labels.get_or_insert_default();
    labels.insert(CLUSTER_LABEL.to_owned(), cluster.name.clone());
    Some(user)
}

/// Name of the user of a service: `<namespace>.<pipeline>.<service>`, none of which has a dot in it; one that would be
/// too long is cut and ends in a digest of the full one.
#[must_use]
pub fn name(id: &PipelineId, service: Service) -> String {
    let full = format!("{}.{}.{service}", id.namespace, id.name);
    if full.len() <= NAME_MAX {
        return full;
    }
    let kept: String = full.chars().take(NAME_MAX - SUFFIX_LENGTH).collect();
    // A part of a name may not end in a dash or a dot.
    format!("{}-{}", kept.trim_end_matches(['-', '.']), short_hex(&Sha256::digest(&full)))
}

/// One right as Strimzi writes it; none of a kind that services have no rights to.
fn acl(binding: &AclBinding) -> Option<Value> {
    let kind = match binding.resource {
        ResourceKind::Topic => "topic",
        ResourceKind::Group => "group",
        ResourceKind::TransactionalId => "transactionalId",
        ResourceKind::Cluster | ResourceKind::Unknown => return None,
    };
    let pattern = match binding.pattern {
        PatternType::Literal => "literal",
        PatternType::Prefixed => "prefix",
    };
    Some(json!({
        "resource": {"type": kind, "name": binding.name, "patternType": pattern},
        // Both call operations by Kafka's own words.
        "operations": [format!("{:?}", binding.operation)],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(namespace: &str, name: &str) -> PipelineId {
        PipelineId { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn cluster(authentication: Authentication, has_authorization: bool) -> StrimziCluster {
        let name = "main".to_owned();
        StrimziCluster { name, authentication, has_authorization, has_user_operator: true }
    }

    fn build(cluster: &StrimziCluster) -> Option<Value> {
        let kind =
            ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("kafka.strimzi.io", "v1", "KafkaUser"));
        let built = maybe_build(&id("shop", "main"), Service::OrderAnalytics, "eu.", cluster, &kind);
        built.map(|user| serde_json::to_value(user).unwrap())
    }

    #[test]
    fn a_user_may_do_what_the_roster_says() {
        let user = build(&cluster(Authentication::Scram, true)).unwrap();

        assert_eq!(user["metadata"]["name"], "shop.main.order-analytics");
        assert_eq!(user["metadata"]["labels"]["strimzi.io/cluster"], "main");
        assert_eq!(user["spec"]["authentication"], json!({"type": "scram-sha-512"}));
        let acls = user["spec"]["authorization"]["acls"].as_array().unwrap();
        assert_eq!(
            acls.last().unwrap(),
            &json!({"operations": ["Write"], "resource":
                {"type": "transactionalId", "name": "eu.order-analytics-", "patternType": "prefix"}})
        );
    }

    #[test]
    fn no_right_of_a_service_is_left_out() {
        for service in Service::ALL {
            let rights = rights::acls(*service, "", &Principal::user("x"));

            assert_eq!(rights.iter().filter_map(acl).count(), rights.len(), "{service}");
        }
    }

    #[test]
    fn a_cluster_that_looks_at_nothing_is_given_nothing_to_look_at() {
        let unauthorized = build(&cluster(Authentication::Tls, false)).unwrap();

        assert_eq!(unauthorized["spec"], json!({"authentication": {"type": "tls"}}));
        assert_eq!(build(&cluster(Authentication::None, true)), None);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = |pipeline| name(&id(&"n".repeat(63), pipeline), Service::Order);

        assert!(long("a").len() <= NAME_MAX);
        assert_ne!(long("a"), long("b"));
        assert_eq!(name(&id("shop", "main"), Service::Order), "shop.main.order");
    }
}
