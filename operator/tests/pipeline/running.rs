//! The operator as a task of the test, and clients of the apiserver.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devcluster::testing::apiserver;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use operator::controller::context::{Context, Settings};
use operator::leader::fence::Fence;
use operator::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::world::{LIMIT, eventually};

/// Which objects the operator of a world looks after.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    /// Those of the world's namespace.
    Namespace,
    /// All.
    Cluster,
    /// None: the test runs operators itself.
    Nothing,
}

/// As whom the operator speaks to the apiserver.
pub(crate) const OPERATOR: &str = "system:serviceaccount:orderpipeline-system:operator";

/// Settings that make drift and deletions show within seconds.
pub(crate) fn settings(namespace: Option<&str>) -> Settings {
    Settings {
        namespace: namespace.map(str::to_owned),
        drift_interval: Duration::from_secs(2),
        cleanup_timeout: Duration::from_secs(5),
        ..Settings::default()
    }
}

/// A client of the administrator.
pub(crate) async fn client(kubeconfig: &Path) -> Client {
    Client::try_from(config(kubeconfig, None).await).unwrap()
}

/// What a client is made from; as somebody else than the administrator where `user` is given.
pub(crate) async fn config(kubeconfig: &Path, user: Option<&str>) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = user.map(str::to_owned);
    config
}

pub(crate) async fn create_namespace(client: &Client, name: String) -> String {
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let object = Namespace { metadata, ..Namespace::default() };
    Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
    name
}

/// The shared apiserver, for what has to be there before the operator starts.
pub(crate) async fn administrator() -> Client {
    client(apiserver().kubeconfig()).await
}

/// A running operator.
pub(crate) struct Operator {
    pub(crate) ctx: Arc<Context>,
    task: tokio::task::JoinHandle<()>,
}

impl Operator {
    /// An operator that sees every object, of a namespace or all.
    pub(crate) async fn start(config: &Config, namespace: Option<&str>) -> Self {
        let settings = settings(namespace);
        let metrics = Arc::new(Metrics::new().unwrap());
        let fence = Arc::new(Fence::alone());
        let client = operator::client::connect(config.clone(), fence, Arc::clone(&metrics)).unwrap();
        let ctx = Arc::new(Context::new(client, metrics, settings, CancellationToken::new()));
        let running = Arc::clone(&ctx);
        let task = tokio::spawn(async move { operator::controller::run(&running).await });
        eventually("watches", || async {
            // A watch is only unsynced once it is announced.
            let begun = ctx.metrics.encode().unwrap();
            let begun =
                ["kafkatopic", "orderpipeline"].iter().all(|name| begun.contains(&format!("=\"{name}\"")));
            let unsynced = ctx.watches.unsynced();
            if begun && unsynced.is_empty() { Ok(()) } else { Err(format!("{unsynced:?}")) }
        })
        .await;
        Self { ctx, task }
    }

    pub(crate) async fn stop(self) {
        self.ctx.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("the operator ends in time").unwrap();
    }
}
