//! The HTTPRoute of a service: how Gateways lead callers from outside the cluster to its API.
//!
//! Names and values are those of the Gateway API's `v1`, its standard channel.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::labels::{Component, PipelineId};
use super::process::HTTP;
use super::workload::Workload;
use crate::crd::order_pipeline::ParentRef;

/// The Gateway API's `HTTPRoute`, as far as it is used here.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct HTTPRouteSpec {
    /// The Gateways that serve it: a reference without a kind is to a Gateway.
    pub parent_refs: Vec<ParentRef>,
    /// The names that callers use.
    pub hostnames: Vec<String>,
    /// What leads where.
    pub rules: Vec<RouteRule>,
}

/// Requests that match, and who answers them.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct RouteRule {
    /// Which requests: those that match one of these.
    pub matches: Vec<RouteMatch>,
    /// Who answers.
    pub backend_refs: Vec<BackendRef>,
}

/// What a request has to be like.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct RouteMatch {
    /// Its path.
    pub path: PathMatch,
}

/// What a path has to be like.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct PathMatch {
    /// How it is compared.
    #[serde(rename = "type")]
    pub kind: String,
    /// What with.
    pub value: String,
}

/// Who answers requests.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct BackendRef {
    /// Name of the Service.
    pub name: String,
    /// Its port: a number here, other than in an Ingress.
    pub port: i32,
}

/// The HTTPRoute of `workload` under the names `hosts`.
#[must_use]
pub fn build(id: &PipelineId, workload: &Workload, hosts: &[String], parents: &[ParentRef]) -> HTTPRoute {
    let name = id.object_name(workload.service);
    let matches = workload.service.spec().api_paths.iter().map(|path| RouteMatch {
        // By whole segments, as in an Ingress.
        path: PathMatch { kind: "PathPrefix".to_owned(), value: (*path).to_owned() },
    });
    let backend = BackendRef { name: name.clone(), port: HTTP.number };
    let spec = HTTPRouteSpec {
        parent_refs: parents.to_vec(),
        hostnames: hosts.to_vec(),
        rules: vec![RouteRule { matches: matches.collect(), backend_refs: vec![backend] }],
    };
    HTTPRoute { metadata: id.metadata(name, Component::Service(workload.service)), spec }
}
