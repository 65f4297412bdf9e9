//! The fault suite's load through the whole saga, while the services' processes are killed in their pods.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::{OrderId, ProductId, Service, Step};
use e2e::cluster::Cluster;
use e2e::orders::Shop;
use e2e::platform::{self, NAMESPACE};
use faults::Load;
use kafka_admin::ConnectOptions;
use secrecy::SecretString;
use serde_json::json;
use verify::{Expected, Facts, Source};

use crate::shop::{CHANGE_LIMIT, READY_LIMIT, ready};

/// All that bring an order to its end.
const SERVICES: &[Service] =
    &[Service::Order, Service::Inventory, Service::Payment, Service::Shipping, Service::Notification];
/// From the last kill to rest: groups wait for the dead (10 s), steps pass their deadlines (30 s), some in a row.
const REST_LIMIT: Duration = Duration::from_secs(180);
/// How soon order follows order.
const INTERVAL: Duration = Duration::from_millis(25);
/// Orders before a kill and after it, so that it strikes in the middle.
const AROUND: usize = 40;
/// What the load orders, and what there is of it: the last runs out.
const STOCK: &[(&str, u64)] = &[("burger", 100_000), ("pizza", 100_000), ("truffle", 20)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_all_end_once_when_every_service_is_killed_among_them() {
    let (cluster, shop) = ready().await;
    take_all_steps(&cluster, true).await;
    for (product, on_hand) in STOCK {
        shop.set_stock(product, *on_hand).await.unwrap();
    }
    let source = source(&cluster);
    verify::wait_for_rest(&source, REST_LIMIT).await.unwrap();
    let before = verify::gather(&source).await.unwrap();

    let mut expected = expected(&before);
    let accepted = load_and_kill(&cluster, &shop).await;
    expected.accepted.get_or_insert_default().extend(accepted);
    verify::wait_for_rest(&source, REST_LIMIT).await.unwrap();
    let report = verify::verify(&source, &expected).await.unwrap();

    assert!(report.holds(), "{report}");
    // A run in which nothing succeeds, or nothing fails, would satisfy most invariants.
    for end in ["COMPLETED", "CANCELLED"] {
        let already = before.orders.values().filter(|order| order.status == end).count();
        assert!(report.states.get(end).is_some_and(|count| *count > already), "{end}: {report}");
    }
    take_all_steps(&cluster, false).await;
}

/// Places orders all the while; a service at a time is killed among them. Returns those that were accepted.
async fn load_and_kill(cluster: &Cluster, shop: &Shop) -> BTreeSet<OrderId> {
    // Idempotency keys follow from it: the same again would be the same orders again.
    let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
    println!("seed {seed}");
    let load = Load::start(shop.orders_url(), seed, INTERVAL).expect("a load");
    for service in SERVICES {
        load.accept(AROUND).await.expect("orders are accepted");
        tokio::task::block_in_place(|| kill_processes(cluster, *service));
        load.accept(AROUND).await.expect("orders are accepted");
    }
    load.finish().await.expect("every order is answered")
}

/// The demo's pipeline with payment and shipping, or without them again.
async fn take_all_steps(cluster: &Cluster, all: bool) {
    let spec = if all {
        json!({
            "saga": {"steps": Step::ALL},
            "services": {"payment": {}, "shipping": {"config": {"transit": "1s"}}},
        })
    } else {
        json!({"saga": null, "services": {"payment": null, "shipping": null}})
    };
    let patch = json!({"spec": spec}).to_string();
    cluster
        .kubectl(&["patch", "orderpipeline/shop", "-n", NAMESPACE, "--type=merge", "-p", &patch])
        .expect("the pipeline is changed");
    let limit = if all { READY_LIMIT } else { CHANGE_LIMIT };
    platform::wait_ready(cluster, NAMESPACE, "orderpipeline/shop", limit).await.expect("it is ready again");
}

/// Ends every process of a service at once, as a crash does: without the signal that a deleted pod gets first.
fn kill_processes(cluster: &Cluster, service: Service) {
    let label = format!("app.kubernetes.io/component={service}");
    let uids = "jsonpath={range .items[*]}{.metadata.uid}{\"\\n\"}{end}";
    let uids = cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-l", &label, "-o", uids]).expect("pods");
    // systemd's names of control groups have other dashes.
    let pattern = uids.split_whitespace().collect::<Vec<_>>().join("|").replace('-', "[-_]");
    let script = format!(
        "for group in $(grep -lE '{pattern}' /proc/[0-9]*/cgroup 2>/dev/null); do
             process=${{group%/cgroup}}
             if [ \"$(cat $process/comm)\" = orders ]; then kill -9 ${{process#/proc/}} && echo ${{process#/proc/}}; fi
         done"
    );
    let killed = cluster.on_node(&script).expect("the node runs a script");
    assert!(!killed.trim().is_empty(), "no process of {service} was found in pods {uids}");
}

/// What the system must come to, given what it was: the orders that were there, and what has come into stock.
fn expected(before: &Facts) -> Expected {
    let units = |product: &str| {
        let product: ProductId = product.parse().expect("a product");
        let stock = before.stock.get(&product).expect("the stock was set");
        let units = stock.on_hand + stock.reserved + stock.sold;
        (product, units)
    };
    let stocked: BTreeMap<_, _> = STOCK.iter().map(|(product, _)| units(product)).collect();
    let accepted = Some(before.orders.keys().copied().collect());
    Expected { accepted, stocked, dead_letters: before.dead_letters.values().sum() }
}

/// What the checker reads of the pipeline, from outside of the cluster.
fn source(cluster: &Cluster) -> Source {
    let kafka = ConnectOptions::plaintext(cluster.endpoint("kafka").expect("Kafka has an endpoint"));
    let admin = cluster.value("/credentials/postgres/url").expect("PostgreSQL has a URL");
    let (server, _database) = admin.rsplit_once('/').expect("the URL names a database");
    let url =
        |service: &Service| (*service, SecretString::from(format!("{server}/{NAMESPACE}_shop_{service}")));
    Source::new(kafka, "", Step::ALL.to_vec(), &SERVICES.iter().map(url).collect())
        .expect("the addresses are usable")
}
