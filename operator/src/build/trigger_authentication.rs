//! The TriggerAuthentication of a service: how KEDA logs in to Kafka to see how far behind the service is. As the
//! service itself, with what stands in the service's own Secret; its rights suffice, since reading includes Describe.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::labels::{Component, PipelineId};
use super::secret::{KAFKA_CA, KAFKA_CERTIFICATE, KAFKA_CERTIFICATE_KEY, KAFKA_PASSWORD, KAFKA_USERNAME};
use super::workload::{Access, Workload};

/// KEDA's `TriggerAuthentication`, as far as it is used here.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "TriggerAuthentication",
    namespaced,
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct TriggerAuthenticationSpec {
    /// Parameters of the scaler that stand in Secrets.
    pub secret_target_ref: Vec<SecretTargetRef>,
}

/// A parameter of a scaler, and where it stands.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct SecretTargetRef {
    /// The parameter.
    pub parameter: String,
    /// The Secret.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// The TriggerAuthentication of `workload`, where its Kafka wants to know more than the address.
#[must_use]
pub fn maybe_build(id: &PipelineId, workload: &Workload) -> Option<TriggerAuthentication> {
    let secret = id.object_name(workload.service);
    let name = maybe_name(&secret, &workload.access)?;
    let parameter = |(parameter, key): (&str, &str)| SecretTargetRef {
        parameter: parameter.to_owned(),
        name: secret.clone(),
        key: key.to_owned(),
    };
    let spec = TriggerAuthenticationSpec {
        secret_target_ref: parameters(&workload.access).map(parameter).collect(),
    };
    let metadata = id.metadata(name, Component::Service(workload.service));
    Some(TriggerAuthentication { metadata, spec })
}

/// The name that it has, where there is one: that of the service's other objects.
pub(super) fn maybe_name(object_name: &str, access: &Access) -> Option<String> {
    parameters(access).next().map(|_| object_name.to_owned())
}

/// The parameters of KEDA's kafka scaler, and their keys in the service's Secret.
fn parameters(access: &Access) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    let login = [("username", KAFKA_USERNAME), ("password", KAFKA_PASSWORD)];
    let login = access.kafka.credentials.is_some().then_some(login);
    let certificate = [("cert", KAFKA_CERTIFICATE), ("key", KAFKA_CERTIFICATE_KEY)];
    let certificate = access.kafka.certificate.is_some().then_some(certificate);
    let ca = access.kafka_ca.is_some().then_some(("ca", KAFKA_CA));
    login.into_iter().flatten().chain(certificate.into_iter().flatten()).chain(ca)
}
