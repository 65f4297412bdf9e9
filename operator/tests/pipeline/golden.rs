//! Specs and all objects that are made of them, compared as a whole. After an intended change:
//! `INSTA_UPDATE=always cargo test -p operator --test pipeline golden`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::Service;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kafka_admin::{ConnectOptions, SaslCredentials, SaslMechanism, Security, TlsOptions};
use operator::build::Availability;
use operator::build::autoscaler::Autoscaler;
use operator::build::labels::PipelineId;
use operator::build::route::Route;
use operator::build::workload::{Credentials, KafkaIdentity};
use operator::controller::clusters::Connection;
use operator::controller::endpoint::endpoint;
use operator::controller::pipeline::access::{Secrets, resolve};
use operator::controller::pipeline::plan::{Plan, plan};
use operator::controller::pipeline::principals::user_name;
use operator::controller::pipeline::validate::validate;
use operator::controller::secrets::Contents;
use operator::controller::strimzi::Strimzi;
use operator::crd::OrderPipeline;
use operator::crd::kafka_ref::{KafkaRef, Protocol};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn secret(name: &str, data: &[(&str, &str)]) -> (String, Arc<Contents>) {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    (name.to_owned(), Arc::new(Secret { data: Some(data.collect()), ..Secret::default() }.into()))
}

fn secrets() -> Secrets {
    Secrets::from([
        secret("registry-login", &[("user", "shop"), ("pass", "registry-password")]),
        secret("login-ca", &[("ca.crt", "-----BEGIN CERTIFICATE-----")]),
        secret("database-ca", &[("ca.crt", "-----BEGIN CERTIFICATE-----")]),
        secret("registry-ca", &[("authority.crt", "-----BEGIN CERTIFICATE-----")]),
        secret(
            "postgres-admin",
            &[("url", "postgres://admin:admin-password@postgres.postgres.svc:5432/postgres")],
        ),
    ])
}

/// Every object of the pipeline in `file`, in the order of application.
fn objects(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let pipeline: OrderPipeline = serde_saphyr::from_str(&text).unwrap();
    let id = PipelineId { namespace: "shop".to_owned(), name: pipeline.metadata.name.clone().unwrap() };
    let valid = validate(id, &pipeline.spec, "orders:0.1.0").unwrap();
    let passwords: BTreeMap<Service, SecretString> = valid
        .services
        .iter()
        .map(|service| (service.service, SecretString::from("database-password")))
        .collect();
    let credentials = |service: Service| Credentials {
        username: user_name(&valid.id, &valid.topic_defaults.prefix, service).into(),
        password: "kafka-password".into(),
    };
    let identity = |service| KafkaIdentity { credentials: Some(credentials(service)), ..Default::default() };
    let managed = valid.services.iter().filter(|_| valid.managed_access.is_some());
    let identities = managed.map(|service| (service.service, identity(service.service))).collect();
    let connection = connection(&pipeline.spec.kafka);
    let access = resolve(&valid, connection, &secrets(), &passwords, &identities).unwrap();
    let documents: Vec<String> = flatten(plan(&valid, &access, Availability::Served))
        .iter()
        .map(|object| serde_saphyr::to_string(object).unwrap())
        .collect();
    documents.join("---\n")
}

/// What the Secrets that `kafka` names would lead to.
fn connection(kafka: &KafkaRef) -> Connection {
    let endpoint = endpoint(&Strimzi::default(), "shop", kafka).unwrap();
    let mechanism = SaslMechanism::ScramSha512;
    let sasl = SaslCredentials { mechanism, username: "admin".to_owned(), password: "admin-password".into() };
    let security = match endpoint.protocol {
        Protocol::Plaintext => Security::Plaintext,
        Protocol::SaslPlaintext => Security::SaslPlaintext(sasl),
        Protocol::SaslSsl => {
            let ca_pem = Some("-----BEGIN CERTIFICATE-----".to_owned());
            Security::SaslSsl(TlsOptions { ca_pem, identity: None }, sasl)
        }
        other @ Protocol::Ssl => panic!("no golden file has {other}"),
    };
    Connection { endpoint, options: ConnectOptions { security, ..ConnectOptions::plaintext("kafka:9092") } }
}

fn flatten(plan: Plan) -> Vec<Value> {
    let mut all: Vec<Value> = plan.topics.iter().map(json).collect();
    all.extend(plan.secrets.iter().map(json));
    all.push(json(&plan.job));
    for objects in plan.workloads {
        all.extend([json(&objects.service_account), json(&objects.config_map)]);
        all.extend([json(&objects.network_policy), json(&objects.deployment)]);
        all.extend(objects.address.iter().map(json));
        all.extend(objects.route.iter().map(route));
        all.extend(objects.disruption_budget.iter().map(json));
        all.extend(objects.autoscaler.iter().flat_map(autoscaler));
    }
    all
}

fn route(route: &Route) -> Value {
    match route {
        Route::Ingress(ingress) => json(ingress),
        Route::Http(route) => json(route),
    }
}

fn autoscaler(autoscaler: &Autoscaler) -> Vec<Value> {
    match autoscaler {
        Autoscaler::Cpu(by_cpu) | Autoscaler::CpuForLackOfKeda(by_cpu) => vec![json(by_cpu)],
        Autoscaler::Lag { scaled_object, authentication } => {
            authentication.iter().map(json).chain([json(scaled_object)]).collect()
        }
    }
}

/// Without what is not stated: the controller drops it too.
fn json(object: &impl Serialize) -> Value {
    fn drop_nulls(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, field| !field.is_null());
                fields.values_mut().for_each(drop_nulls);
            }
            Value::Array(items) => items.iter_mut().for_each(drop_nulls),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut value = serde_json::to_value(object).unwrap();
    drop_nulls(&mut value);
    value
}

fn check(name: &str, file: &Path) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, objects(file)));
}

#[test]
fn golden_the_demo() {
    check("demo", &root().join("../manifests/demo/pipeline.yaml"));
}

#[test]
fn golden_production_with_everything_said() {
    check("production", &root().join("tests/golden/production.yaml"));
}

#[test]
fn golden_a_subset_of_the_services() {
    check("subset", &root().join("tests/golden/subset.yaml"));
}
