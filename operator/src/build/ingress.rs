//! The Ingress of a service: how an ingress controller leads callers from outside the cluster to its API.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::labels::{Component, PipelineId};
use super::process::HTTP;
use super::workload::Workload;
use crate::crd::order_pipeline::IngressRoute;

/// The Ingress of `workload` under the names `hosts`.
#[must_use]
pub fn build(id: &PipelineId, workload: &Workload, hosts: &[String], route: &IngressRoute) -> Ingress {
    let name = id.object_name(workload.service);
    let paths: Vec<HTTPIngressPath> =
        workload.service.spec().api_paths.iter().map(|path| to_service(path, &name)).collect();
    let rule = |host: &String| IngressRule {
        host: Some(host.clone()),
        http: Some(HTTPIngressRuleValue { paths: paths.clone() }),
    };
    let tls = route
        .tls_secret_name
        .iter()
        .map(|secret| IngressTLS { hosts: Some(hosts.to_vec()), secret_name: Some(secret.clone()) });
    Ingress {
        metadata: ObjectMeta {
            annotations: Some(route.annotations.clone()).filter(|all| !all.is_empty()),
            ..id.metadata(name.clone(), Component::Service(workload.service))
        },
        spec: Some(IngressSpec {
            ingress_class_name: route.class_name.clone(),
            rules: Some(hosts.iter().map(rule).collect()),
            tls: Some(tls.collect::<Vec<_>>()).filter(|all| !all.is_empty()),
            default_backend: None,
        }),
        status: None,
    }
}

fn to_service(path: &str, service: &str) -> HTTPIngressPath {
    HTTPIngressPath {
        path: Some(path.to_owned()),
        // By whole segments: `/api/orders` does not lead to `/api/orders-of-others`.
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: service.to_owned(),
                port: Some(ServiceBackendPort { name: Some(HTTP.name.to_owned()), number: None }),
            }),
            resource: None,
        },
    }
}
