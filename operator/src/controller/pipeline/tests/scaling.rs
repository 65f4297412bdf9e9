//! From a pipeline to who decides on the pods of its services.

use super::*;
use crate::build::autoscaler::Autoscaler;
use crate::build::scaled_object::ScaledObject;
use crate::build::trigger_authentication::TriggerAuthentication;
use crate::build::workload::{Certificate, Credentials, KafkaIdentity};

const BY_CPU: &str = "services: {inventory: {autoscaling: {maxReplicas: 3}}}";
const BY_LAG: &str = "services: {inventory: {autoscaling: {maxReplicas: 3, targetLag: 100}}}";

/// What decides on the pods of inventory.
fn autoscaler(pipeline: &ValidPipeline, identities: &Identities, keda: Availability) -> Autoscaler {
    let secrets = secrets("postgres://a:b@db/postgres");
    let access = resolve(pipeline, plain(), &secrets, &passwords(), identities).unwrap();
    let workloads = plan(pipeline, &access, keda).workloads;
    workloads.into_iter().find_map(|objects| objects.autoscaler).unwrap()
}

fn by_lag(
    pipeline: &ValidPipeline,
    identities: &Identities,
) -> (ScaledObject, Option<TriggerAuthentication>) {
    match autoscaler(pipeline, identities, Availability::Served) {
        Autoscaler::Lag { scaled_object, authentication } => (*scaled_object, authentication.map(|it| *it)),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::nobody_asks_for_lag(BY_CPU, Availability::Served, "by CPU")]
#[case::nobody_misses_keda(BY_CPU, Availability::Absent, "by CPU")]
#[case::keda_is_there(BY_LAG, Availability::Served, "by lag")]
#[case::keda_is_missed(BY_LAG, Availability::Absent, "by CPU for lack of KEDA")]
fn one_autoscaler_decides(#[case] change: &str, #[case] keda: Availability, #[case] expected: &str) {
    let told = match autoscaler(&valid(change), &Identities::new(), keda) {
        Autoscaler::Cpu(_) => "by CPU",
        Autoscaler::CpuForLackOfKeda(_) => "by CPU for lack of KEDA",
        Autoscaler::Lag { .. } => "by lag",
    };

    assert_eq!(told, expected);
}

#[test]
fn lag_is_that_of_the_topics_that_the_saga_has_the_service_read() {
    let all =
        "order: {}, inventory: {}, payment: {}, shipping: {autoscaling: {maxReplicas: 3, targetLag: 100}}";
    let with = |steps: &str| {
        valid(&format!("{{services: {{{all}}}, saga: {{steps: [{steps}]}}, topics: {{prefix: eu.}}}}"))
    };
    let topics = |pipeline: &ValidPipeline| -> Vec<String> {
        let triggers = by_lag(pipeline, &Identities::new()).0.spec.triggers;
        triggers.iter().filter_map(|trigger| trigger.metadata.get("topic").cloned()).collect()
    };

    let without_payment = topics(&with("inventory, shipping"));
    let with_payment = topics(&with("inventory, payment, shipping"));

    assert_eq!(without_payment, ["eu.inventory.reserved", "eu.orders.confirmed", "eu.orders.cancelled"]);
    assert_eq!(with_payment, ["eu.payments.captured", "eu.orders.confirmed", "eu.orders.cancelled"]);
}

#[test]
fn every_service_has_a_lag_whatever_the_saga() {
    let steps = contract::Step::ALL;

    for chosen in 0..1_usize << steps.len() {
        let saga: Vec<_> =
            steps.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, step)| *step).collect();
        for service in Service::ALL {
            assert!(!service.subscriptions(&saga).is_empty(), "{service}: {saga:?}");
        }
    }
}

#[test]
fn every_lag_is_in_the_sum() {
    let (scaled, _) = by_lag(&valid(BY_LAG), &Identities::new());

    let modifiers = scaled.spec.advanced.scaling_modifiers;
    assert_eq!(modifiers.formula, "orders_created + orders_confirmed + orders_cancelled");
    assert_eq!(modifiers.target, "100");
}

#[test]
fn keda_takes_the_longest_names() {
    let services = "services: {order-analytics: {autoscaling: {maxReplicas: 3, targetLag: 100}}}";
    let pipeline = validate(id("shop", &"p".repeat(40)), &spec(services), "orders:test").unwrap();

    let (scaled, _) = by_lag(&pipeline, &Identities::new());

    // KEDA's own limits: both are values of labels.
    assert_eq!(scaled.metadata.name.unwrap().len(), 56);
    assert!(scaled.spec.advanced.horizontal_pod_autoscaler_config.name.len() <= 63);
}

#[test]
fn keda_logs_in_as_the_service_and_only_where_it_has_to() {
    let identity = KafkaIdentity {
        credentials: Some(Credentials { username: "u".into(), password: "p".into() }),
        certificate: Some(Certificate { certificate: "c".into(), key: "k".into() }),
        rotation: None,
    };
    let identities = Identities::from([(Service::Inventory, identity)]);

    let (plain, none) = by_lag(&valid(BY_LAG), &Identities::new());
    let (scaled, authentication) = by_lag(&valid(BY_LAG), &identities);

    assert!(none.is_none());
    assert!(plain.spec.triggers.iter().all(|trigger| trigger.authentication_ref.is_none()));
    let authentication = authentication.unwrap();
    let told = authentication.spec.secret_target_ref.iter().map(|it| format!("{} {}", it.parameter, it.key));
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["username KAFKA_USERNAME", "password KAFKA_PASSWORD", "cert tls.crt", "key tls.key"]
    );
    assert!(authentication.spec.secret_target_ref.iter().all(|it| it.name == "shop-inventory"));
    let (cpu, lags): (Vec<_>, Vec<_>) = scaled.spec.triggers.iter().partition(|it| it.scaler == "cpu");
    assert!(cpu.iter().all(|trigger| trigger.authentication_ref.is_none()));
    assert!(lags.iter().all(|it| it.authentication_ref.as_ref().unwrap().name == "shop-inventory"));
}
