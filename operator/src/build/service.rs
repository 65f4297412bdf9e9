//! The Service of a service that has an API.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{Component, PipelineId};
use super::process::{Port, Process, processes};
use super::workload::Workload;

/// The Service of `workload`, if it answers HTTP; the others only talk through Kafka.
#[must_use]
pub fn maybe_build(id: &PipelineId, workload: &Workload) -> Option<Service> {
    if !workload.service.spec().has_api() {
        return None;
    }
    let component = Component::Service(workload.service);
    Some(Service {
        metadata: id.metadata(id.object_name(workload.service), component),
        spec: Some(ServiceSpec {
            selector: Some(id.selector(component)),
            ports: Some(processes(workload).iter().flat_map(Process::ports).map(port).collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

fn port(port: Port) -> ServicePort {
    ServicePort {
        name: Some(port.name.to_owned()),
        port: port.number,
        // By name: a pod may move the number without the Service noticing.
        target_port: Some(IntOrString::String(port.name.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some("http".to_owned()),
        ..ServicePort::default()
    }
}
