//! What leads callers from outside the cluster to the services: Ingresses, and HTTPRoutes where the Gateway API is
//! served.

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::ApiResource;

use super::fetch::Observed;
use super::plan::{Foundations, Plan};
use super::progress::Progress;
use super::validate::ValidPipeline;
use crate::build::Availability;
use crate::build::http_route::HTTPRoute;
use crate::build::route::Route;
use crate::controller::apply::{Owner, Planned, Resources};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::crd::conditions::Explanation;

/// What is asked for to know who has HTTPRoutes.
pub(super) fn kinds() -> [ApiResource; 1] {
    [ApiResource::erase::<HTTPRoute>(&())]
}

/// Whether `owner` can have HTTPRoutes. Asked in each pass that it matters to.
pub(super) async fn gateway_api(
    ctx: &Context,
    valid: &ValidPipeline,
    owner: &Owner,
) -> Result<Availability, Error> {
    let ([kind], wanted) = (kinds(), valid.gateway.wants_http_routes());
    ctx.route_owners.availability(ctx, owner, &kind, wanted).await
}

/// Applies the routes to the services that may run.
pub(super) async fn apply(
    ctx: &Context,
    plan: &Plan,
    ready: Foundations,
    observed: &Observed,
    owner: &Owner,
) -> Result<Progress, Error> {
    let wanted: Vec<String> = http_routes(plan).map(ResourceExt::name_any).collect();
    let routes = resources(plan, ready, observed, owner)?;
    let (any, served) = (!wanted.is_empty(), observed.gateway_api);
    match ctx.route_owners.apply(ctx, owner, routes, any, served).await {
        Ok(_) if any && served == Availability::Absent => Ok(Progress::Pending(missing(&wanted))),
        Ok(_) => Ok(Progress::Done),
        // What is amiss with a route is told, and holds nothing else up.
        Err(error) => error.refusal().map(Progress::Failed).ok_or(error),
    }
}

/// The routes to the services that may run.
pub(super) fn resources(
    plan: &Plan,
    ready: Foundations,
    observed: &Observed,
    owner: &Owner,
) -> Result<Resources<Planned>, Error> {
    let mut resources = Resources::of(owner.clone());
    match observed.gateway_api {
        Availability::Served => {
            resources.prune_kind::<HTTPRoute>().prune_kind::<Ingress>();
        }
        // An Ingress stays until what takes its place can be made.
        Availability::Absent if http_routes(plan).next().is_some() => {}
        Availability::Absent => {
            resources.prune_kind::<Ingress>();
        }
    }
    for objects in plan.startable(ready, &observed.deployments) {
        match (&objects.route, observed.gateway_api) {
            (Some(Route::Ingress(ingress)), _) => {
                resources.add(*ingress.clone())?;
            }
            (Some(Route::Http(route)), Availability::Served) => {
                resources.add(*route.clone())?;
            }
            (Some(Route::Http(_)), Availability::Absent) | (None, _) => {}
        }
    }
    Ok(resources)
}

fn http_routes(plan: &Plan) -> impl Iterator<Item = &HTTPRoute> {
    plan.workloads.iter().filter_map(|objects| match &objects.route {
        Some(Route::Http(route)) => Some(route.as_ref()),
        Some(Route::Ingress(_)) | None => None,
    })
}

fn missing(wanted: &[String]) -> Explanation {
    let message = format!(
        "HTTPRoutes are not served here: {}; install the Gateway API, or name gateway.route.ingress",
        wanted.join(", ")
    );
    Explanation::new("GatewayApiMissing", message)
}
