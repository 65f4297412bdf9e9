//! `make demo` after the cluster is up: installs the operator, applies the pipeline, places an order
//! that completes and one that is cancelled for lack of stock, and shows what everybody sees.

use std::time::Duration;

use anyhow::ensure;
use e2e::cluster::{Cluster, root};
use e2e::console::{command, eventually, heading};
use e2e::orders::{Shop, is_final, order_for};
use e2e::platform;
use serde_json::Value;

/// Long enough for the pipeline's first start on a slow, busy machine.
const READY_LIMIT: Duration = Duration::from_secs(300);
const ORDER_LIMIT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cluster = Cluster::find()?;
    install(&cluster).await?;
    show_objects(&cluster)?;

    let shop = Shop::of(&cluster)?;
    heading("An order");
    let completed = place(&shop, 2, "COMPLETED").await?;
    heading("An order for more than the stock");
    let cancelled = place(&shop, 1_000, "CANCELLED").await?;
    show_mail(&cluster, &[completed, cancelled]).await?;
    next_steps(&cluster, &shop)
}

async fn install(cluster: &Cluster) -> anyhow::Result<()> {
    heading("The operator");
    command("kubectl apply --server-side -k manifests/base");
    platform::install_operator(cluster).await?;

    heading("A pipeline, as a platform team writes it");
    platform::prepare_namespace(cluster, platform::NAMESPACE)?;
    let manifest = root().join("manifests/demo/pipeline.yaml");
    println!("{}", std::fs::read_to_string(&manifest)?.trim_end());
    command("kubectl apply -k manifests/demo");
    print!("{}", cluster.kubectl(&["apply", "-k", &root().join("manifests/demo").to_string_lossy()])?);
    platform::wait_ready(cluster, platform::NAMESPACE, "orderpipeline/shop", READY_LIMIT).await?;
    Ok(())
}

fn show_objects(cluster: &Cluster) -> anyhow::Result<()> {
    heading("What the platform team sees");
    let kinds = "orderpipelines,kafkatopics.orderpipeline.dev,pods";
    command(&format!("kubectl get {kinds} -n {}", platform::NAMESPACE));
    print!("{}", cluster.kubectl(&["get", kinds, "-n", platform::NAMESPACE])?);
    Ok(())
}

async fn place(shop: &Shop, quantity: u32, expected: &str) -> anyhow::Result<Value> {
    let body = order_for("burger", quantity);
    command(&format!(
        "curl -X POST {}/api/v1/orders -H 'Content-Type: application/json' -d '{body}'",
        shop.orders_url()
    ));
    let placed = eventually("order API", ORDER_LIMIT, async || {
        shop.place(&body, None).await.map_err(|error| format!("{error:#}"))
    })
    .await?;
    println!("202 Accepted, Location: {}\n{}", placed.location, placed.body);
    command(&format!("curl '{}{}?wait=10s'", shop.orders_url(), placed.location));
    let order = eventually("order", ORDER_LIMIT, async || {
        let order = shop.follow(&placed.location).await.map_err(|error| format!("{error:#}"))?;
        if is_final(&order) { Ok(order) } else { Err(platform::text(&order, "status").to_owned()) }
    })
    .await?;
    println!("{}", serde_json::to_string_pretty(&order)?);
    ensure!(platform::text(&order, "status") == expected, "the order should have ended {expected}");
    Ok(order)
}

async fn show_mail(cluster: &Cluster, orders: &[Value]) -> anyhow::Result<()> {
    heading("What the customer sees");
    command("target/debug/devcluster mail");
    // One mail for the order and one for its end, each with the order's id in subject and text.
    let told = |mail: &str, order: &Value| mail.matches(platform::text(order, "orderId")).count() >= 4;
    let mail = eventually("mail", ORDER_LIMIT, async || {
        let mail = cluster.devcluster(&["mail"]).map_err(|error| error.to_string())?;
        let all = orders.iter().all(|order| told(&mail, order));
        if all { Ok(mail) } else { Err("not delivered yet".to_owned()) }
    })
    .await?;
    print!("{mail}");
    Ok(())
}

fn next_steps(cluster: &Cluster, shop: &Shop) -> anyhow::Result<()> {
    heading("It is all left running. Go on with");
    println!("  export KUBECONFIG={}", cluster.value("/kubeconfig")?);
    println!("  kubectl describe orderpipeline shop -n {}", platform::NAMESPACE);
    println!("  kubectl logs -n {} deployment/shop-order -f", platform::NAMESPACE);
    println!("  curl '{}/api/v1/orders?customerId=john'", shop.orders_url());
    println!("  curl {}/api/v1/inventory/burger", cluster.endpoint("inventory")?);
    println!("  make demo-down        # removes every trace");
    println!("Without kubectl on this machine: target/debug/devcluster kubectl -- get pods -n shop");
    Ok(())
}
