//! Whether a live object is as planned. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{HASH_ANNOTATION, json};

/// Whether `live` lacks anything that `planned` states, or has kept something that left the plan.
///
/// What the apiserver or others added (defaults, status, injected containers) is no difference.
pub(super) fn differs(planned: &DynamicObject, live: &DynamicObject) -> bool {
    let hash = |object: &DynamicObject| object.annotations().get(HASH_ANNOTATION).cloned();
    hash(planned) != hash(live) || !covers(&json(live), &stated(planned))
}

/// The fields in which `live` is not as planned, by their paths: never values, which may be secret. None where only
/// something that left the plan is still there.
pub(super) fn fields(planned: &DynamicObject, live: &DynamicObject) -> Vec<String> {
    let mut found = Vec::new();
    add_fields("", &json(live), &stated(planned), &mut found);
    found.retain(|path| !path.ends_with(HASH_ANNOTATION));
    found
}

fn add_fields(path: &str, live: &Value, planned: &Value, found: &mut Vec<String>) {
    let (Value::Object(live), Value::Object(planned)) = (live, planned) else {
        found.push(path.to_owned());
        return;
    };
    for (key, wanted) in planned {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match live.get(key) {
            None if is_empty(wanted) => {}
            Some(there) if covers_field(key, there, wanted) => {}
            Some(there) => add_fields(&path, there, wanted, found),
            None => found.push(path),
        }
    }
}

/// What `planned` is to be. Which version it may be written over is no part of that.
fn stated(planned: &DynamicObject) -> Value {
    let mut stated = json(planned);
    if let Some(metadata) = stated.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    stated
}

/// Hash of a planned object, without its own hash.
pub(super) fn hash(planned: &DynamicObject) -> String {
    // serde_json orders keys, so that equal objects have equal text.
    let digest = Sha256::digest(stated(planned).to_string());
    digest.iter().take(8).fold(String::with_capacity(16), |text, byte| text + &format!("{byte:02x}"))
}

/// Whether everything that `planned` states stands in `live`.
fn covers(live: &Value, planned: &Value) -> bool {
    match (live, planned) {
        (Value::Object(live), Value::Object(planned)) => planned.iter().all(|(key, wanted)| {
            live.get(key).map_or_else(|| is_empty(wanted), |found| covers_field(key, found, wanted))
        }),
        (Value::Array(live), Value::Array(planned)) => covers_list(live, planned),
        (live, planned) => live == planned,
    }
}

/// Quantities have several spellings (`1000m` is `1`), and the apiserver may store another one.
fn covers_field(key: &str, live: &Value, planned: &Value) -> bool {
    if matches!(key, "limits" | "requests")
        && let (Ok(live), Ok(planned)) = (quantities(live), quantities(planned))
    {
        return planned.iter().all(|(name, wanted)| live.get(name).is_some_and(|found| same(found, wanted)));
    }
    covers(live, planned)
}

/// Lists whose items have names are matched by name, since others may add items; any other list is as long
/// as planned.
fn covers_list(live: &[Value], planned: &[Value]) -> bool {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let named: Option<Vec<String>> = planned.iter().map(name).collect();
    match named {
        Some(_) if !planned.is_empty() => planned
            .iter()
            .all(|wanted| live.iter().any(|found| name(found) == name(wanted) && covers(found, wanted))),
        Some(_) | None => {
            live.len() == planned.len()
                && live.iter().zip(planned).all(|(live, planned)| covers(live, planned))
        }
    }
}

/// The apiserver drops what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn quantities(value: &Value) -> serde_json::Result<BTreeMap<String, Quantity>> {
    serde_json::from_value(Value::Object(value.as_object().cloned().unwrap_or_else(Map::new)))
}

fn same(left: &Quantity, right: &Quantity) -> bool {
    left == right || amount(left).zip(amount(right)).is_some_and(|(left, right)| left == right)
}

/// Value of a quantity in thousandths; none for what is no plain quantity.
fn amount(quantity: &Quantity) -> Option<i128> {
    const SUFFIXES: [(&str, i128); 13] = [
        ("Ki", 1_024_000),
        ("Mi", 1024_i128.pow(2) * 1000),
        ("Gi", 1024_i128.pow(3) * 1000),
        ("Ti", 1024_i128.pow(4) * 1000),
        ("Pi", 1024_i128.pow(5) * 1000),
        ("Ei", 1024_i128.pow(6) * 1000),
        ("m", 1),
        ("k", 1_000_000),
        ("M", 1_000_000_000),
        ("G", 1_000_000_000_000),
        ("T", 1_000_000_000_000_000),
        ("P", 1_000_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000_000),
    ];
    let text = quantity.0.trim();
    let (number, unit) = SUFFIXES
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1000));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.checked_mul(unit)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::defaults_added(json!({"a": 1, "b": 2}), json!({"a": 1}), true)]
    #[case::value_changed(json!({"a": 2}), json!({"a": 1}), false)]
    #[case::missing(json!({}), json!({"a": 1}), false)]
    #[case::empty_is_missing(json!({}), json!({"a": {}, "b": []}), true)]
    #[case::injected_item(json!([{"name": "x", "v": 1}, {"name": "y"}]), json!([{"name": "x"}]), true)]
    #[case::named_item_gone(json!([{"name": "y"}]), json!([{"name": "x"}]), false)]
    #[case::plain_list_grew(json!(["a", "b"]), json!(["a"]), false)]
    #[case::quantity_spelling(json!({"limits": {"cpu": "1"}}), json!({"limits": {"cpu": "1000m"}}), true)]
    #[case::quantity_differs(json!({"limits": {"cpu": "2"}}), json!({"limits": {"cpu": "1000m"}}), false)]
    #[case::memory(json!({"requests": {"memory": "1Gi"}}), json!({"requests": {"memory": "1024Mi"}}), true)]
    #[case::text_is_no_quantity(json!({"data": "1"}), json!({"data": "1000m"}), false)]
    fn live_covers_planned(#[case] live: Value, #[case] planned: Value, #[case] covered: bool) {
        assert_eq!(covers(&live, &planned), covered);
    }

    #[test]
    fn the_version_to_write_over_is_no_difference() {
        let object = |version: &str| -> DynamicObject {
            serde_json::from_value(json!({"metadata": {"name": "x", "resourceVersion": version}})).unwrap()
        };

        assert!(!differs(&object("1"), &object("2")));
        assert_eq!(hash(&object("1")), hash(&object("2")));
    }

    #[test]
    fn a_field_that_left_the_plan_is_a_difference() {
        let object = |data: Value, hash: &str| -> DynamicObject {
            let metadata = json!({"name": "x", "annotations": {HASH_ANNOTATION: hash}});
            serde_json::from_value(json!({"metadata": metadata, "data": data})).unwrap()
        };

        let live = object(json!({"kept": "1", "left": "2"}), "before");

        assert!(differs(&object(json!({"kept": "1"}), "after"), &live));
        assert!(fields(&object(json!({"kept": "1"}), "after"), &live).is_empty());
        assert_eq!(
            fields(&object(json!({"kept": "3", "new": "4"}), "after"), &live),
            ["data.kept", "data.new"]
        );
        assert!(!differs(&object(json!({"kept": "1"}), "before"), &live));
    }
}
