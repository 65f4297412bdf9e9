//! The API reference: a page per kind with every field, from the same schema that the API server gets, and what
//! conditions, reasons and events mean.

use std::fmt::Write as _;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::{KafkaTopic, OrderPipeline};

/// Fields of Kubernetes' own types, which Kubernetes' documentation explains.
const NOT_OURS: [&str; 3] = ["env[]", "resources", "conditions[]"];

/// Every page: its file name, and the Markdown in it.
///
/// # Errors
/// When a definition has no schema.
pub fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let pages = [
        (OrderPipeline::crd(), include_str!("reference/orderpipeline.md")),
        (KafkaTopic::crd(), include_str!("reference/kafkatopic.md")),
    ];
    pages.into_iter().map(|(crd, meanings)| file(&crd, meanings)).collect()
}

fn file(crd: &CustomResourceDefinition, meanings: &str) -> anyhow::Result<(String, String)> {
    let kind = &crd.spec.names.kind;
    let page = page(kind, &serde_json::to_value(crd)?, meanings)?;
    Ok((format!("{}.md", kind.to_lowercase()), page))
}

fn page(kind: &str, crd: &Value, meanings: &str) -> anyhow::Result<String> {
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").context("a kind without schema")?;
    let mut page = format!(
        "<!-- Generated from the types of the operator by `make crds`; changes here are lost. -->\n# {kind}\n\n{}\n",
        text(schema, "description")
    );
    for part in ["spec", "status"] {
        let fields =
            schema.pointer(&format!("/properties/{part}")).context("a kind without spec or status")?;
        let _ = write!(page, "\n## Fields of {part}\n| field | type | meaning |\n|---|---|---|\n");
        add_fields(&mut page, "", fields);
        for message in rules(fields) {
            let _ = writeln!(page, "\nRefused: {message}.");
        }
    }
    for message in rules(schema) {
        let _ = writeln!(page, "\nRefused: {message}.");
    }
    page.push('\n');
    page.push_str(meanings);
    Ok(page)
}

fn add_fields(page: &mut String, path: &str, schema: &Value) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        add_field(page, &path, field, required.contains(&name.as_str()));
    }
}

fn add_field(page: &mut String, path: &str, field: &Value, required: bool) {
    let mut meaning = vec![text(field, "description").replace('\n', " ").replace('|', "\\|")];
    if required {
        meaning.push("Required.".to_owned());
    }
    let default = field.get("default").filter(|default| !default.is_object());
    meaning.extend(default.map(|default| format!("Default: `{default}`.")));
    meaning.extend(rules(field).map(|message| format!("Refused: {message}.")));
    let meaning: Vec<String> = meaning.into_iter().filter(|part| !part.is_empty()).collect();
    let _ = writeln!(page, "| `{path}` | {} | {} |", type_of(field), meaning.join(" "));
    if let Some(value) = field.get("additionalProperties").filter(|value| value.is_object()) {
        add_nested(page, &format!("{path}.<name>"), value);
    } else if let Some(item) = field.get("items") {
        add_nested(page, &format!("{path}[]"), item);
    } else {
        add_nested(page, path, field);
    }
}

fn add_nested(page: &mut String, path: &str, schema: &Value) {
    if !NOT_OURS.iter().any(|name| path.ends_with(name)) {
        add_fields(page, path, schema);
    }
}

fn type_of(field: &Value) -> String {
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> =
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    let name = text(field, "type");
    let inner = |key| field.get(key).filter(|inner| inner.is_object()).map(type_of);
    match (name.as_str(), inner("items"), inner("additionalProperties")) {
        ("array", Some(item), _) => format!("list of {item}"),
        ("object", _, Some(value)) => format!("map of {value}"),
        ("", _, _) => "any".to_owned(),
        _ => name,
    }
}

/// What the API server says when it refuses a value.
fn rules(field: &Value) -> impl Iterator<Item = String> {
    let rules = field["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.map(|rule| text(rule, "message").replace('|', "\\|"))
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
