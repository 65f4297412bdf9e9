//! The JSON text of the contract's schemas: the same schema has the same text, always.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::schema::{Field, Named, Schema, Type, Unit};

/// The text of `schema`, for people: one line per part.
pub(super) fn pretty(schema: &Schema) -> String {
    let defined = RefCell::default();
    let mut text = serde_json::to_string_pretty(&Text { of: &schema.root, schema, defined: &defined })
        .expect("all keys are text, and no writer can fail");
    text.push('\n');
    text
}

/// A type and what is around it.
#[derive(Clone, Copy)]
struct Text<'s> {
    of: &'s Type,
    schema: &'s Schema,
    /// Names that were defined further up: a type is spelt out where it occurs first.
    defined: &'s RefCell<BTreeSet<&'s str>>,
}

impl<'s> Text<'s> {
    fn with(self, of: &'s Type) -> Self {
        Self { of, ..self }
    }

    fn definition<S: Serializer>(&self, name: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.schema.named(name) {
            Some(Named::Record(fields)) => {
                map.serialize_entry("type", "record")?;
                map.serialize_entry("name", name)?;
                let fields: Vec<_> = fields.iter().map(|field| FieldText { field, around: *self }).collect();
                map.serialize_entry("fields", &fields)?;
            }
            Some(Named::Enum(symbols)) => {
                map.serialize_entry("type", "enum")?;
                map.serialize_entry("name", name)?;
                map.serialize_entry("symbols", symbols)?;
            }
            Some(Named::Fixed(size)) => {
                map.serialize_entry("type", "fixed")?;
                map.serialize_entry("name", name)?;
                map.serialize_entry("size", size)?;
            }
            None => return Err(serde::ser::Error::custom("a name without definition")),
        }
        map.end()
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.of {
            Type::Null => serializer.serialize_str("null"),
            Type::Boolean => serializer.serialize_str("boolean"),
            Type::Int => serializer.serialize_str("int"),
            Type::Long => serializer.serialize_str("long"),
            Type::Float => serializer.serialize_str("float"),
            Type::Double => serializer.serialize_str("double"),
            Type::Bytes => serializer.serialize_str("bytes"),
            Type::String => serializer.serialize_str("string"),
            Type::Choice(values) => with_attribute(serializer, "string", "values", values),
            Type::Uuid => with_attribute(serializer, "string", "logicalType", "uuid"),
            Type::Timestamp(unit) => with_attribute(serializer, "long", "logicalType", logical_name(*unit)),
            Type::Array(items) => with_attribute(serializer, "array", "items", &self.with(items)),
            Type::Map(values) => with_attribute(serializer, "map", "values", &self.with(values)),
            Type::Union(branches) => {
                let mut list = serializer.serialize_seq(Some(branches.len()))?;
                for branch in branches {
                    list.serialize_element(&self.with(branch))?;
                }
                list.end()
            }
            Type::Named(name) if self.defined.borrow_mut().insert(name) => self.definition(name, serializer),
            Type::Named(name) => serializer.serialize_str(name),
        }
    }
}

fn with_attribute<S: Serializer>(
    serializer: S,
    of: &str,
    attribute: &str,
    value: &(impl Serialize + ?Sized),
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("type", of)?;
    map.serialize_entry(attribute, value)?;
    map.end()
}

const fn logical_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Millis => "timestamp-millis",
        Unit::Micros => "timestamp-micros",
        Unit::Nanos => "timestamp-nanos",
    }
}

struct FieldText<'s> {
    field: &'s Field,
    around: Text<'s>,
}

impl Serialize for FieldText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Field { name, of } = self.field;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", name)?;
        map.serialize_entry("type", &self.around.with(of))?;
        // What may be left out: only such a field can be added or removed later.
        match of {
            Type::Union(branches) if branches.first() == Some(&Type::Null) => {
                map.serialize_entry("default", &())?
            }
            Type::Map(_) => map.serialize_entry("default", &serde_json::Map::new())?,
            _ => {}
        }
        map.end()
    }
}
