//! The pipeline `shop` of `manifests/demo`, made ready once and put back in order by whoever changed it.

use std::time::Duration;

use e2e::cluster::{Cluster, root};
use e2e::console::eventually;
use e2e::orders::Shop;
use e2e::platform;
use serde_json::Value;

/// A first start pulls nothing, but starts three services on two busy cores.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(300);
/// From a change that was applied to the state it asks for.
pub(crate) const CHANGE_LIMIT: Duration = Duration::from_secs(120);

/// The cluster with the operator running and `shop` Ready and reachable. Repeatable: every step is an apply.
pub(crate) async fn ready() -> (Cluster, Shop) {
    let cluster = Cluster::find().expect("a cluster is up");
    platform::install_operator(&cluster).await.expect("the operator runs");
    platform::prepare_namespace(&cluster, platform::NAMESPACE).expect("the namespace is there");
    let demo = root().join("manifests/demo");
    cluster.kubectl(&["apply", "-k", &demo.to_string_lossy()]).expect("the pipeline is accepted");
    platform::wait_ready(&cluster, platform::NAMESPACE, "orderpipeline/shop", READY_LIMIT)
        .await
        .expect("the pipeline becomes ready");
    let shop = Shop::of(&cluster).expect("the cluster publishes the shop");
    eventually("inventory API", CHANGE_LIMIT, async || {
        shop.stock("burger").await.map_err(|e| format!("{e:#}"))
    })
    .await
    .expect("the inventory answers");
    (cluster, shop)
}

/// Waits for an object to satisfy `probe`.
pub(crate) async fn wait_for<F>(
    cluster: &Cluster,
    namespace: &str,
    object: &str,
    what: &str,
    probe: F,
) -> Value
where
    F: Fn(&Value) -> bool,
{
    eventually(what, CHANGE_LIMIT, async || {
        let found = cluster.get(&[object, "-n", namespace]).map_err(|error| error.to_string())?;
        if probe(&found) {
            Ok(found)
        } else {
            Err(found.pointer("/status").unwrap_or(&Value::Null).to_string())
        }
    })
    .await
    .expect("the object gets there")
}

/// Follows an order to its end.
pub(crate) async fn end_of(shop: &Shop, location: &str) -> Value {
    eventually("the order's end", CHANGE_LIMIT, async || {
        let order = shop.follow(location).await.map_err(|error| format!("{error:#}"))?;
        if e2e::orders::is_final(&order) {
            Ok(order)
        } else {
            Err(platform::text(&order, "status").to_owned())
        }
    })
    .await
    .expect("every order ends")
}
