//! The NetworkPolicy of a service: which of its ports can be reached.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{Component, PipelineId};
use super::process::{Port, Process, processes};
use super::workload::Workload;

/// The policy of `workload`: its API, where it has one, and the ports of probes and metrics, from anywhere.
///
/// What it may reach is left open: Kafka, PostgreSQL and mail servers are given by address, and no policy can name
/// an address that is not a number.
#[must_use]
pub fn build(id: &PipelineId, workload: &Workload) -> NetworkPolicy {
    let component = Component::Service(workload.service);
    let ports = processes(workload).iter().flat_map(Process::ports).map(port).collect();
    NetworkPolicy {
        metadata: id.metadata(id.object_name(workload.service), component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(id.selector(component)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { ports: Some(ports), from: None }]),
            egress: None,
        }),
    }
}

fn port(port: Port) -> NetworkPolicyPort {
    NetworkPolicyPort {
        // By name, as the Service's: it is the container's own port.
        port: Some(IntOrString::String(port.name.to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}
