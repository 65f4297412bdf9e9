//! The API: one kind per file, types only, no behaviour.

pub mod ca_secret_ref;
pub mod conditions;
pub mod events;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod kafka_ref;
pub mod kafka_topic;
pub mod order_pipeline;
pub mod reconcile_policy;
pub mod reference;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::{Number, Value};

pub use kafka_topic::{KafkaTopic, KafkaTopicSpec, KafkaTopicStatus};
pub use order_pipeline::{OrderPipeline, OrderPipelineSpec, OrderPipelineStatus};

/// API group of every kind of ours.
pub const GROUP: &str = "orderpipeline.dev";

/// Finalizer on objects whose deletion has work to do outside Kubernetes.
pub const FINALIZER: &str = "orderpipeline.dev/cleanup";

/// Annotation that has an object looked at now: any value that it did not have before.
pub const RECONCILE_NOW: &str = "orderpipeline.dev/reconcile-now";

/// What objects of Kubernetes may be called. A field that names one refuses what none can be called: nothing would ever
/// come to be there.
pub(crate) const OBJECT_NAME: &str = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";

/// Whether an object can have this name, by [`OBJECT_NAME`].
pub(crate) fn is_object_name(name: &str) -> bool {
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(is_alphanumeric)
        && name.ends_with(is_alphanumeric)
        && name.chars().all(|c| is_alphanumeric(c) || c == '-' || c == '.')
}

/// Every definition, as it is shipped.
pub fn all() -> Vec<CustomResourceDefinition> {
    let finished = |crd| without_nulls(with_unobserved_status(crd));
    [KafkaTopic::crd(), OrderPipeline::crd()].into_iter().map(finished).collect()
}

/// Every definition as a file: its name, and the YAML in it.
///
/// # Errors
/// When a definition cannot be written as YAML.
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    let file = |crd: CustomResourceDefinition| {
        let mut json = serde_json::to_value(&crd)?;
        with_whole_numbers(&mut json);
        let yaml = serde_saphyr::to_string(&json)?;
        let header = "# Generated from the types of the operator by `make crds`; changes here are lost.\n";
        Ok((format!("{}.yaml", crd.spec.names.plural), format!("{header}{yaml}")))
    };
    all().into_iter().map(file).collect()
}

/// Gives `status` the default `{observedGeneration: -1}`.
///
/// Between an object's creation and its first status kstatus finds no condition and takes the object for
/// Current; with the default, the generation does not match and it waits.
fn with_unobserved_status(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
        }
    }
    crd
}

/// Takes `nullable` from every field. The apiserver then drops a null like a field that was not given, and
/// no rule ever meets one. Values of maps keep it: there a null says something.
fn without_nulls(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            drop_nullable(schema);
        }
    }
    crd
}

fn drop_nullable(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flatten().for_each(|(_, field)| drop_nullable(field));
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        drop_nullable(item);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        let nullable = value.nullable;
        drop_nullable(value);
        value.nullable = nullable;
    }
}

/// Writes `100.0` as `100`, as the apiserver does, so that tools that compare find no difference.
fn with_whole_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(with_whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(with_whole_numbers),
        Value::Number(number) => {
            // Bounds in a schema are far below 2^53, where whole floats stop being exact.
            let whole =
                number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < 2f64.powi(53));
            if let Some(whole) = whole {
                *number = Number::from(whole as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
