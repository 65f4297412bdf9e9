//! What leads callers from outside the cluster to the services: Ingresses, and HTTPRoutes where the Gateway API is
//! served.

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::ApiResource;

use super::fetch::Observed;
use super::plan::{Foundations, Plan};
use super::progress::Progress;
use super::validate::ValidPipeline;
use crate::build::http_route::{GatewayApi, HTTPRoute};
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
) -> Result<GatewayApi, Error> {
    let ([kind], wanted) = (kinds(), valid.gateway.wants_http_routes());
    let served = ctx.route_owners.are_served(ctx, owner, &kind, wanted).await?;
    Ok(if served { GatewayApi::Served } else { GatewayApi::Absent })
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
    if !wanted.is_empty() {
        // Before there is any.
        ctx.route_owners.add(owner);
    }
    let applied = match resources(plan, ready, observed, owner)?.apply(ctx).await {
        Ok(applied) => applied,
        // What is amiss with a route is told, and holds nothing else up.
        Err(error) => return error.refusal().map(Progress::Failed).ok_or(error),
    };
    match observed.gateway_api {
        GatewayApi::Absent if !wanted.is_empty() => Ok(Progress::Pending(missing(&wanted))),
        GatewayApi::Served if wanted.is_empty() && applied.removed() == 0 => {
            ctx.route_owners.forget(owner.uid());
            Ok(Progress::Done)
        }
        GatewayApi::Absent | GatewayApi::Served => Ok(Progress::Done),
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
        GatewayApi::Served => {
            resources.prune_kind::<HTTPRoute>().prune_kind::<Ingress>();
        }
        // An Ingress stays until what takes its place can be made.
        GatewayApi::Absent if http_routes(plan).next().is_some() => {}
        GatewayApi::Absent => {
            resources.prune_kind::<Ingress>();
        }
    }
    for objects in plan.startable(ready, &observed.deployments) {
        match (&objects.route, observed.gateway_api) {
            (Some(Route::Ingress(ingress)), _) => {
                resources.add(*ingress.clone())?;
            }
            (Some(Route::Http(route)), GatewayApi::Served) => {
                resources.add(*route.clone())?;
            }
            (Some(Route::Http(_)), GatewayApi::Absent) | (None, _) => {}
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
