//! How the API of a service is reached from outside the cluster, where it is: by an Ingress or by an HTTPRoute.

use k8s_openapi::api::networking::v1::Ingress;

use super::http_route::{self, HTTPRoute};
use super::ingress;
use super::labels::PipelineId;
use super::workload::{Entrance, Workload};

/// How the API of a service is reached from outside the cluster.
#[derive(Clone, Debug)]
pub enum Route {
    /// Through an ingress controller.
    Ingress(Box<Ingress>),
    /// Through Gateways.
    Http(Box<HTTPRoute>),
}

/// The route to the API of `workload`, where one is asked for.
#[must_use]
pub fn maybe_build(id: &PipelineId, workload: &Workload) -> Option<Route> {
    let exposure = workload.exposure.as_ref()?;
    let hosts = exposure.hosts.as_slice();
    Some(match &exposure.entrance {
        Entrance::Ingress(route) => Route::Ingress(Box::new(ingress::build(id, workload, hosts, route))),
        Entrance::Gateways(parents) => Route::Http(Box::new(http_route::build(id, workload, hosts, parents))),
    })
}
