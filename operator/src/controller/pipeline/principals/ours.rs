//! Which users are the pipeline's: those that its status names, in the cluster that it names. No I/O.

use std::collections::BTreeSet;

use crate::controller::clusters::Cluster;
use crate::crd::OrderPipeline;
use crate::crd::order_pipeline::AccessStatus;

/// What the status says; of a status that names no cluster, any is meant.
pub(in crate::controller::pipeline) fn noted(pipeline: &OrderPipeline) -> AccessStatus {
    pipeline.status.as_ref().and_then(|status| status.access.clone()).unwrap_or_default()
}

/// The users that belong to the pipeline, in whichever cluster.
pub(in crate::controller::pipeline) fn users_of(pipeline: &OrderPipeline) -> BTreeSet<String> {
    noted(pipeline).users.into_iter().collect()
}

/// Those of them that are in the cluster with this id. Users whose passwords are `held` in the services' Secrets are
/// the pipeline's as well, should its status have been lost, but only where that names no other cluster.
pub(super) fn in_cluster(
    pipeline: &OrderPipeline,
    held: impl Iterator<Item = String>,
    id: &str,
) -> BTreeSet<String> {
    let AccessStatus { users, cluster_id } = noted(pipeline);
    if cluster_id.is_some_and(|noted| noted != id) {
        return BTreeSet::new();
    }
    users.into_iter().chain(held).collect()
}

/// Whether the users that the status names are in another cluster than `cluster`, which has answered: users of these
/// names are strangers there.
pub(in crate::controller::pipeline) fn is_elsewhere(pipeline: &OrderPipeline, cluster: &Cluster) -> bool {
    noted(pipeline).cluster_id.is_some_and(|noted| cluster.id() != Some(noted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::fixtures::order_pipeline;

    fn pipeline(access: serde_json::Value) -> OrderPipeline {
        order_pipeline(json!({"status": {"access": access}}))
    }

    fn ours(access: serde_json::Value, id: &str) -> Vec<String> {
        in_cluster(&pipeline(access), std::iter::once("held".to_owned()), id).into_iter().collect()
    }

    #[test]
    fn users_of_the_same_name_in_another_cluster_are_strangers() {
        let noted = json!({"users": ["order"], "clusterId": "one"});

        assert_eq!(ours(noted.clone(), "one"), ["held", "order"]);
        assert!(ours(noted, "two").is_empty());
        assert_eq!(
            ours(json!({"users": ["order"]}), "two"),
            ["held", "order"],
            "of a status that names none"
        );
        assert_eq!(ours(json!(null), "two"), ["held"], "the status was lost");
    }
}
