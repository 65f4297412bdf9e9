//! `spec.gateway`: who may use the services' APIs, and which of them are reached from outside the cluster. No I/O.

use contract::Service;
use url::Url;

use super::validate::Problem;
use crate::build::workload::{Entrance, Exposure};
use crate::crd::GROUP;
use crate::crd::order_pipeline::{IngressRoute, JwtSpec, OrderPipelineSpec, RouteSpec};

/// Who may use the services' APIs, and how they are reached.
#[derive(Clone, Debug, Default)]
pub struct ValidGateway {
    /// Whose tokens callers have to bring, where they have to.
    pub jwt: Option<JwtSpec>,
    /// The way in, and to whom.
    route: Option<(Exposure, Vec<Service>)>,
}

impl ValidGateway {
    /// How the API of `service` is reached from outside the cluster, where it is.
    #[must_use]
    pub fn exposure_of(&self, service: Service) -> Option<&Exposure> {
        self.route.as_ref().filter(|(_, services)| services.contains(&service)).map(|(exposure, _)| exposure)
    }

    /// Whether HTTPRoutes are wanted.
    pub(super) fn wants_http_routes(&self) -> bool {
        self.route.as_ref().is_some_and(|(exposure, _)| matches!(exposure.entrance, Entrance::Gateways(_)))
    }
}

/// What `spec.gateway` means where the services `enabled` run.
pub(super) fn validate(
    spec: &OrderPipelineSpec,
    enabled: &[Service],
    problems: &mut Vec<Problem>,
) -> ValidGateway {
    let Some(gateway) = &spec.gateway else { return ValidGateway::default() };
    if let Some(jwt) = &gateway.jwt {
        check_trust(jwt, problems);
        check_url("gateway.jwt.issuer", &jwt.issuer, problems);
        jwt.jwks_url.iter().for_each(|url| check_url("gateway.jwt.jwksUrl", url, problems));
    }
    let route = gateway.route.as_ref().and_then(|route| {
        let services = services(route, enabled, problems);
        let entrance = entrance(route, problems)?;
        Some((Exposure { hosts: route.hosts.clone(), entrance }, services))
    });
    ValidGateway { jwt: gateway.jwt.clone(), route }
}

fn check_trust(jwt: &JwtSpec, problems: &mut Vec<Problem>) {
    let address = jwt.jwks_url.as_ref().unwrap_or(&jwt.issuer);
    if jwt.ca_secret_ref.is_some() && !address.starts_with("https://") {
        problems.push(Problem::new(
            "gateway.jwt.caSecretRef",
            "is used with https:// only; correct the address of the keys or remove it",
        ));
    }
}

/// As the services will read it: who cannot would not start.
fn check_url(field: &str, text: &str, problems: &mut Vec<Problem>) {
    if let Err(error) = Url::parse(text) {
        problems.push(Problem::new(field, format!("is no URL ({error}); correct it")));
    }
}

fn services(route: &RouteSpec, enabled: &[Service], problems: &mut Vec<Problem>) -> Vec<Service> {
    let mut found = Vec::new();
    for name in &route.services {
        let mut problem = |message: String| problems.push(Problem::new("gateway.route.services", message));
        match name.parse::<Service>() {
            Ok(service) if !service.spec().has_api() => {
                problem(format!("names {name}, which has no API; leave it out"));
            }
            Ok(service) if !enabled.contains(&service) => {
                problem(format!("names {name}, which does not run; enable services.{name} or leave it out"));
            }
            Ok(service) => found.push(service),
            Err(_) => problem(format!("names {name}, which is no service of this release; leave it out")),
        }
    }
    found
}

fn entrance(route: &RouteSpec, problems: &mut Vec<Problem>) -> Option<Entrance> {
    match (&route.ingress, &route.http_route) {
        (Some(ingress), None) => {
            check_annotations(ingress, problems);
            Some(Entrance::Ingress(ingress.clone()))
        }
        (None, Some(http)) => Some(Entrance::Gateways(http.parent_refs.clone())),
        (None, None) | (Some(_), Some(_)) => {
            problems.push(Problem::new("gateway.route", "must name exactly one of ingress and httpRoute"));
            None
        }
    }
}

/// By ours the operator tells what it applied. What Kubernetes would refuse is told as it says it.
fn check_annotations(ingress: &IngressRoute, problems: &mut Vec<Problem>) {
    let ours = |name: &str| name.split_once('/').is_some_and(|(prefix, _)| prefix == GROUP);
    for name in ingress.annotations.keys().filter(|name| ours(name)) {
        problems.push(Problem::new(
            format!("gateway.route.ingress.annotations[{name}]"),
            "is the operator's own; remove it",
        ));
    }
}
