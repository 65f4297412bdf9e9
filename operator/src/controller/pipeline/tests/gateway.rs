//! From `spec.gateway` to what services are told and what leads to them.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;
use crate::build::route::Route;

const ROUTED: &str = "
gateway:
  jwt: {issuer: 'https://login.example', audiences: [orders, staff], caSecretRef: {name: login-ca}}
  route: {hosts: [orders.example], httpRoute: {parentRefs: [{name: public, namespace: edge, sectionName: https}]}}
";

fn planned(change: &str) -> Plan {
    planned_with(change, "-----BEGIN CERTIFICATE-----")
}

fn planned_with(change: &str, ca: &str) -> Plan {
    let mut secrets = secrets("postgres://a:b@db/postgres");
    secrets.insert("login-ca".to_owned(), secret(&[("ca.crt", ca)]));
    let pipeline = valid(change);
    let access = resolve(&pipeline, plain(), &secrets, &passwords(), &Identities::new()).unwrap();
    plan(&pipeline, &access, Availability::Absent)
}

fn of(plan: &Plan, service: Service) -> &ServiceObjects {
    plan.workloads.iter().find(|objects| objects.service == service).unwrap()
}

#[test]
fn services_with_an_api_are_told_whose_tokens_to_take() {
    let plan = planned(ROUTED);

    let told = of(&plan, Service::Order).config_map.data.clone().unwrap();
    let not_told = of(&plan, Service::Notification).config_map.data.clone().unwrap();

    assert_eq!(told["JWT_ISSUER"], "https://login.example");
    assert_eq!(told["JWT_AUDIENCES"], "orders,staff");
    assert_eq!(told["JWT_CA_FILE"], "/run/orderpipeline/trust/issuer-ca.crt");
    assert!(!told.contains_key("JWT_JWKS_URL"), "the issuer says where its keys are");
    assert!(!not_told.keys().any(|name| name.starts_with("JWT_")), "{not_told:?}");
    let has_ca = |service: Service| {
        let name = format!("shop-{service}");
        let secret = plan.secrets.iter().find(|secret| secret.name_any() == name).unwrap();
        secret.data.as_ref().unwrap().contains_key(secret::ISSUER_CA)
    };
    assert!(has_ca(Service::Order) && has_ca(Service::Inventory) && !has_ca(Service::Notification));
}

#[test]
fn a_new_certificate_of_the_issuer_s_authority_rolls_the_pods_that_check_tokens() {
    let hash = |ca: &str, service| {
        let plan = planned_with(ROUTED, ca);
        let template = of(&plan, service).deployment.spec.clone().unwrap().template;
        template.metadata.unwrap().annotations.unwrap()["orderpipeline.dev/config-hash"].clone()
    };
    let (old, new) = ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----new");

    assert_ne!(hash(old, Service::Order), hash(new, Service::Order));
    assert_eq!(hash(old, Service::Notification), hash(new, Service::Notification));
}

#[test]
fn the_order_api_alone_is_reached_from_outside_unless_more_is_said() {
    let all = "order: {}, inventory: {}, notification: {}";
    let more = format!(
        "{{services: {{{all}}}, gateway: {{route: {{hosts: [a.example], services: [order, inventory], ingress: {{}}}}}}}}"
    );
    let reached = |plan: &Plan| -> Vec<Service> {
        plan.workloads
            .iter()
            .filter(|objects| objects.route.is_some())
            .map(|objects| objects.service)
            .collect()
    };

    assert_eq!(reached(&planned(ROUTED)), [Service::Order]);
    assert_eq!(reached(&planned(&more)), [Service::Order, Service::Inventory]);
    assert_eq!(reached(&planned("{}")), []);
}

#[test]
fn an_http_route_leads_the_api_s_paths_to_the_service() {
    let plan = planned(ROUTED);
    let Some(Route::Http(route)) = &of(&plan, Service::Order).route else { panic!("no HTTPRoute") };

    let spec: Value = serde_json::to_value(&route.spec).unwrap();

    let path = |value: &str| json!({"path": {"type": "PathPrefix", "value": value}});
    assert_eq!(
        spec,
        json!({
            "parentRefs": [{"name": "public", "namespace": "edge", "sectionName": "https"}],
            "hostnames": ["orders.example"],
            "rules": [{
                "matches": [path("/api/v1/orders"), path("/api/orders")],
                "backendRefs": [{"name": "shop-order", "port": 8080}]
            }]
        })
    );
}

#[rstest]
#[case::two_ways(
    "{hosts: [a], ingress: {}, httpRoute: {parentRefs: [{name: x}]}}",
    "spec.gateway.route must name exactly one of ingress and httpRoute"
)]
#[case::no_such_service(
    "{hosts: [a], services: [orders], ingress: {}}",
    "spec.gateway.route.services names orders, which is no service of this release; leave it out"
)]
#[case::no_api(
    "{hosts: [a], services: [notification], ingress: {}}",
    "spec.gateway.route.services names notification, which has no API; leave it out"
)]
#[case::does_not_run(
    "{hosts: [a], services: [payment], ingress: {}}",
    "spec.gateway.route.services names payment, which does not run; enable services.payment or leave it out"
)]
#[case::our_annotation(
    "{hosts: [a], ingress: {annotations: {orderpipeline.dev/applied-hash: '0'}}}",
    "spec.gateway.route.ingress.annotations[orderpipeline.dev/applied-hash] is the operator's own; remove it"
)]
fn a_route_that_leads_nowhere_is_refused(#[case] route: &str, #[case] expected: &str) {
    let spec = spec(&format!("{{gateway: {{route: {route}}}}}"));

    let problems = validate(id("shop", "shop"), &spec, "orders:test").unwrap_err();

    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

#[test]
fn an_authority_of_an_issuer_without_tls_is_refused() {
    let spec = spec("gateway: {jwt: {issuer: 'http://login', caSecretRef: {name: ca}}}");

    let problems = validate(id("shop", "shop"), &spec, "orders:test").unwrap_err();

    assert_eq!(problems[0].field, "gateway.jwt.caSecretRef");
}
