//! Which users of Kafka are the services' of a pipeline: what the statuses of all pipelines say.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::Store;

use super::ours::noted;
use crate::controller::error::Error;
use crate::crd::OrderPipeline;

/// How long the first list is waited for: whoever asks holds one of a few places for passes.
const FIRST_LIST: Duration = Duration::from_secs(2);

/// The users of all pipelines' services, once their controller runs.
#[derive(Default)]
pub struct ServiceUsers(OnceLock<Store<OrderPipeline>>);

impl fmt::Debug for ServiceUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the users of services")
    }
}

impl ServiceUsers {
    /// The pipelines are in `pipelines`, which their controller fills.
    pub(in crate::controller::pipeline) fn are_in(&self, pipelines: &Store<OrderPipeline>) {
        // A process has one controller of pipelines.
        let _ = self.0.set(pipelines.clone());
    }

    /// Waits, for a moment, until the pipelines are known.
    ///
    /// # Errors
    /// [`Error::Kubernetes`] when they are not: the apiserver does not list them, or one of them cannot be read.
    pub async fn until_known(&self) -> Result<(), Error> {
        let Some(pipelines) = self.0.get() else { return Ok(()) };
        match tokio::time::timeout(FIRST_LIST, pipelines.wait_until_ready()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let why = kube::Error::Service("the OrderPipelines are not listed yet".into());
                Err(Error::kubernetes("learn which principals are pipelines' services")(why))
            }
        }
    }

    /// The pipeline, as `namespace/name`, that `user` of the cluster with this id belongs to, of those that are known.
    pub fn owner(&self, user: &str, cluster_id: &str) -> Option<String> {
        let pipelines = self.0.get()?;
        let owner = pipelines.state().into_iter().find(|pipeline| is_its(pipeline, user, cluster_id))?;
        Some(format!("{}/{}", owner.namespace().unwrap_or_default(), owner.name_any()))
    }
}

/// Of a status that names no cluster, any is meant.
fn is_its(pipeline: &OrderPipeline, user: &str, cluster_id: &str) -> bool {
    let noted = noted(pipeline);
    noted.cluster_id.is_none_or(|id| id == cluster_id) && noted.users.iter().any(|its| its == user)
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher::Event};
    use serde_json::json;

    use super::*;
    use crate::crd::fixtures::order_pipeline;

    fn pipeline() -> OrderPipeline {
        order_pipeline(
            json!({"metadata": {"name": "main"}, "status": {"access": {"users": ["shop.main.order"], "clusterId": "one"}}}),
        )
    }

    #[tokio::test]
    async fn a_service_s_user_is_known_by_its_name_in_its_cluster() {
        let (users, (store, mut writer)) = (ServiceUsers::default(), reflector::store());
        assert_eq!(users.owner("shop.main.order", "one"), None, "no pipelines are looked after");
        users.until_known().await.unwrap();

        users.are_in(&store);
        assert!(users.until_known().await.is_err(), "nobody knows yet whose it is");
        for event in [Event::Init, Event::InitApply(pipeline()), Event::InitDone] {
            writer.apply_watcher_event(&event);
        }

        users.until_known().await.unwrap();
        assert_eq!(users.owner("shop.main.order", "one").as_deref(), Some("shop/main"));
        assert_eq!(users.owner("shop.main.order", "two"), None);
        assert_eq!(users.owner("shop.main.payment", "one"), None);
    }
}
