//! The ScaledObject of a service: what KEDA is told about it. KEDA makes a HorizontalPodAutoscaler of its own from it.
//!
//! Names and values are those of KEDA's types and of its kafka and cpu scalers, as of KEDA 2.16.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, HorizontalPodAutoscalerBehavior};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::autoscaler;
use super::labels::{Component, PipelineId};
use super::trigger_authentication;
use super::workload::{Autoscaling, Reading, Workload};
use crate::crd::kafka_ref::Mechanism;

/// KEDA's `ScaledObject`, as far as it is used here.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug)]
#[kube(group = "keda.sh", version = "v1alpha1", kind = "ScaledObject", namespaced, schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectSpec {
    /// What is scaled.
    pub scale_target_ref: CrossVersionObjectReference,
    /// Fewest pods. At least one, so that the intervals for activity and cooling down have no say.
    pub min_replica_count: i32,
    /// Most pods.
    pub max_replica_count: i32,
    /// How it is scaled.
    pub advanced: Advanced,
    /// By what it is scaled.
    pub triggers: Vec<Trigger>,
}

/// How something is scaled.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Advanced {
    /// About the autoscaler that KEDA makes.
    pub horizontal_pod_autoscaler_config: HpaConfig,
    /// What is made of the triggers' values.
    pub scaling_modifiers: ScalingModifiers,
}

/// About the autoscaler that KEDA makes.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct HpaConfig {
    /// Its name.
    pub name: String,
    /// How fast pods come and go.
    pub behavior: HorizontalPodAutoscalerBehavior,
}

/// One value out of those of all triggers that are not CPU or memory.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct ScalingModifiers {
    /// Names of triggers, and what is done with their values.
    pub formula: String,
    /// What the result, divided by the pods, is to be; a number.
    pub target: String,
}

/// Something to scale by.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Which of KEDA's scalers.
    #[serde(rename = "type")]
    pub scaler: String,
    /// Its name in the formula.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its value is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<String>,
    /// What the scaler wants to know.
    pub metadata: BTreeMap<String, String>,
    /// How it logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
}

/// A TriggerAuthentication.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct AuthenticationRef {
    /// Its name.
    pub name: String,
}

/// The ScaledObject of `workload`.
#[must_use]
pub fn build(id: &PipelineId, workload: &Workload, scaling: &Autoscaling, target_lag: i64) -> ScaledObject {
    let name = id.object_name(workload.service);
    let lags = lags(&name, workload, target_lag);
    let names: Vec<&str> = lags.iter().filter_map(|trigger| trigger.name.as_deref()).collect();
    let spec = ScaledObjectSpec {
        scale_target_ref: CrossVersionObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: "Deployment".to_owned(),
            name: name.clone(),
        },
        min_replica_count: scaling.min_replicas,
        max_replica_count: scaling.max_replicas,
        advanced: Advanced {
            horizontal_pod_autoscaler_config: HpaConfig {
                // KEDA takes 63 characters. Its own prefix, keda-hpa-, leaves 54 for ours, which may have 56.
                name: format!("keda-{name}"),
                behavior: autoscaler::behavior(),
            },
            // An autoscaler follows the largest of its metrics; a service that is behind in two topics is behind by
            // both.
            scaling_modifiers: ScalingModifiers {
                formula: names.join(" + "),
                target: target_lag.to_string(),
            },
        },
        triggers: lags.into_iter().chain([cpu(scaling)]).collect(),
    };
    let metadata = id.metadata(name, Component::Service(workload.service));
    ScaledObject { metadata, spec }
}

/// A trigger for each topic.
///
/// One without a topic would count whatever the group has committed an offset for: after a change of the saga topics
/// that nobody reads any more, whose lag then grows until the offsets expire a week later.
fn lags(name: &str, workload: &Workload, target_lag: i64) -> Vec<Trigger> {
    let reading = &workload.reading;
    let authentication = trigger_authentication::maybe_name(name, &workload.access);
    let topic = |topic: &contract::Topic| Trigger {
        scaler: "kafka".to_owned(),
        name: Some(topic.name().replace(['.', '-'], "_")),
        metric_type: None,
        metadata: [
            ("bootstrapServers", reading.servers.clone()),
            ("consumerGroup", reading.group.clone()),
            ("topic", format!("{}{topic}", reading.prefix)),
            // Its cap: KEDA counts no more than this for each partition, so that no pod is idle.
            ("lagThreshold", target_lag.to_string()),
            // As the services do: where no offset is committed yet, all events are still to be handled.
            ("offsetResetPolicy", "earliest".to_owned()),
        ]
        .into_iter()
        .chain(security(reading))
        .map(|(key, value)| (key.to_owned(), value))
        .collect(),
        authentication_ref: authentication.clone().map(|name| AuthenticationRef { name }),
    };
    reading.topics.iter().map(topic).collect()
}

fn security(reading: &Reading) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let sasl = match reading.mechanism {
        Mechanism::ScramSha512 => "scram_sha512",
        Mechanism::ScramSha256 => "scram_sha256",
        Mechanism::Plain => "plaintext",
    };
    let sasl = reading.protocol.has_sasl().then(|| ("sasl", sasl.to_owned()));
    let tls = reading.protocol.has_tls().then(|| ("tls", "enable".to_owned()));
    sasl.into_iter().chain(tls)
}

fn cpu(scaling: &Autoscaling) -> Trigger {
    Trigger {
        scaler: "cpu".to_owned(),
        name: None,
        metric_type: Some("Utilization".to_owned()),
        metadata: BTreeMap::from([("value".to_owned(), scaling.target_cpu.to_string())]),
        authentication_ref: None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::crd::kafka_ref::Protocol;

    #[rstest]
    #[case(Protocol::Plaintext, Mechanism::ScramSha512, &[])]
    #[case(Protocol::Ssl, Mechanism::ScramSha512, &[("tls", "enable")])]
    #[case(Protocol::SaslPlaintext, Mechanism::Plain, &[("sasl", "plaintext")])]
    #[case(Protocol::SaslPlaintext, Mechanism::ScramSha256, &[("sasl", "scram_sha256")])]
    #[case(Protocol::SaslSsl, Mechanism::ScramSha512, &[("sasl", "scram_sha512"), ("tls", "enable")])]
    fn a_kafka_s_security_is_told_in_keda_s_words(
        #[case] protocol: Protocol,
        #[case] mechanism: Mechanism,
        #[case] expected: &[(&str, &str)],
    ) {
        let (servers, prefix, group) = ("kafka:9092".to_owned(), String::new(), "group".to_owned());
        let reading = Reading { servers, protocol, mechanism, prefix, group, topics: Vec::new() };

        let told: Vec<_> = security(&reading).collect();

        let told: Vec<(&str, &str)> = told.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(told, expected);
    }
}
