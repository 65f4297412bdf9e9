//! Fifty `OrderPipeline` objects of three services each, created, and then left alone. They log in to Kafka by SCRAM,
//! so that each service gets a user of its own; Jobs and pods are played.

use std::path::Path;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use operator::crd::OrderPipeline;
use serde_json::{Value, json};

use crate::controllers;
use crate::cost::Per;
use crate::mirror::Mirror;
use crate::report::Figure;
use crate::world::World;

const KAFKA_SECRET: &str = "kafka-credentials";
const DATABASE_SECRET: &str = "postgres-admin";
/// Nothing connects to it: the Job that would is played.
const DATABASE_URL: &str = "postgres://admin:password@postgres.example:5432/postgres";

/// Creates `count` pipelines and leaves them alone.
pub(crate) async fn measure(binary: &Path, count: usize) -> Result<Vec<Figure>> {
    eprintln!("pipelines:");
    let mut world = World::start(binary, &[]).await?;
    let controllers = controllers::play(world.api(), world.api());
    let measured = async {
        let mut figures = create(&world, count).await?;
        let per = Per { unit: "per pipeline", count };
        let what = format!("{count} unchanged pipelines");
        figures.extend(world.resync(&what, per, "orderpipeline", u64::try_from(count)?).await?);
        Ok(figures)
    };
    tokio::select! {
        ended = controllers => ended.and_then(|()| bail!("the watches of Jobs and Deployments ended")),
        figures = measured => figures,
    }
}

async fn create(world: &World, count: usize) -> Result<Vec<Figure>> {
    let (user, password) = (world.kafka.admin_user(), world.kafka.admin_password());
    put_secret(world, KAFKA_SECRET, json!({"username": user, "password": password})).await?;
    put_secret(world, DATABASE_SECRET, json!({"url": DATABASE_URL})).await?;
    let api: Api<OrderPipeline> = world.api();
    let mirror = Mirror::of(api.clone());
    let submit = |number: usize| {
        let (api, pipeline) = (api.clone(), pipeline(world, number));
        async move {
            api.create(&PostParams::default(), &pipeline?).await?;
            Ok(())
        }
    };
    let per = Per { unit: "per pipeline", count };
    let what = format!("{count} pipelines created");
    world.phase(&what, per, (0..count).map(submit), || mirror.ready(1) == count).await
}

async fn put_secret(world: &World, name: &str, data: Value) -> Result<()> {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    world.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    Ok(())
}

fn pipeline(world: &World, number: usize) -> Result<OrderPipeline> {
    let name = format!("shop-{number}");
    let security = json!({"protocol": "SASL_PLAINTEXT", "credentials": {"secretName": KAFKA_SECRET}});
    let spec = json!({
        "profile": "Dev",
        "kafka": {"bootstrap": {"servers": world.kafka.sasl_bootstrap(), "security": security}},
        "topics": {"prefix": format!("{name}.")},
        "database": {"secretRef": {"name": DATABASE_SECRET}},
        "services": {"order": {}, "inventory": {}, "notification": {}},
    });
    let pipeline = json!({
        "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "OrderPipeline",
        "metadata": {"name": name}, "spec": spec,
    });
    Ok(serde_json::from_value(pipeline)?)
}
