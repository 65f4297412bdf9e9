//! Schemas: the types that a value is written and read by, from and to their JSON text.
//!
//! Only what reading needs: names, fields, symbols, sizes. Aliases and defaults of foreign schemas are left out,
//! because a value is always read by the very schema that it was written with.

use std::collections::BTreeMap;

use serde_json::Value;

/// Why a text is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no Avro schema: {0}")]
pub struct InvalidSchema(String);

/// A schema, as values are written and read by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    pub(super) root: Type,
    /// Records, enums and fixed types by their full name: one may occur in several places, or in itself.
    pub(super) named: BTreeMap<String, Named>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// A text whose values are listed: the contract's form of an enum.
    Choice(Vec<String>),
    Uuid,
    Timestamp(Unit),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    /// By its full name.
    Named(String),
}

/// What a timestamp counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    Record(Vec<Field>),
    Enum(Vec<String>),
    Fixed(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(super) name: String,
    pub(super) of: Type,
}

impl Schema {
    /// Reads the JSON text of a schema, as a registry keeps it.
    ///
    /// # Errors
    /// The text is no schema, or names a type that it does not hold (as schemas with references do).
    pub fn parse(text: &str) -> Result<Self, InvalidSchema> {
        let json: Value = serde_json::from_str(text).map_err(|error| InvalidSchema(error.to_string()))?;
        let mut parser = Parser { named: BTreeMap::new() };
        let root = parser.any(&json, "")?;
        Ok(Self { root, named: parser.named })
    }

    pub(super) fn named(&self, name: &str) -> Option<&Named> {
        self.named.get(name)
    }
}

struct Parser {
    named: BTreeMap<String, Named>,
}

impl Parser {
    /// The type that `json` defines or names, inside of `namespace`.
    fn any(&mut self, json: &Value, namespace: &str) -> Result<Type, InvalidSchema> {
        match json {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => branches
                .iter()
                .map(|branch| self.any(branch, namespace))
                .collect::<Result<_, _>>()
                .map(Type::Union),
            Value::Object(_) => self.defined(json, namespace),
            other => Err(InvalidSchema(format!("{other} is no type"))),
        }
    }

    fn by_name(&self, name: &str, namespace: &str) -> Result<Type, InvalidSchema> {
        Ok(match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::String,
            _ => {
                let full = full_name(name, namespace);
                if !self.named.contains_key(&full) {
                    return Err(InvalidSchema(format!("the type {full:?} is not defined")));
                }
                Type::Named(full)
            }
        })
    }

    fn defined(&mut self, json: &Value, namespace: &str) -> Result<Type, InvalidSchema> {
        let of = json.get("type").ok_or_else(|| InvalidSchema("a type without \"type\"".to_owned()))?;
        let Value::String(of) = of else { return self.any(of, namespace) };
        match of.as_str() {
            "array" => Ok(Type::Array(Box::new(self.any(part(json, "items")?, namespace)?))),
            "map" => Ok(Type::Map(Box::new(self.any(part(json, "values")?, namespace)?))),
            "record" | "error" | "enum" | "fixed" => self.named(of, json, namespace),
            plain => {
                let logical = json.get("logicalType").and_then(Value::as_str);
                Ok(match (self.by_name(plain, namespace)?, logical) {
                    (Type::Long, Some("timestamp-millis")) => Type::Timestamp(Unit::Millis),
                    (Type::Long, Some("timestamp-micros")) => Type::Timestamp(Unit::Micros),
                    (Type::Long, Some("timestamp-nanos")) => Type::Timestamp(Unit::Nanos),
                    (Type::String, Some("uuid")) => Type::Uuid,
                    (other, _) => other,
                })
            }
        }
    }

    fn named(&mut self, kind: &str, json: &Value, enclosing: &str) -> Result<Type, InvalidSchema> {
        let name = text(json, "name")?;
        let full = match json.get("namespace").and_then(Value::as_str) {
            Some(namespace) => full_name(name, namespace),
            None => full_name(name, enclosing),
        };
        let definition = match kind {
            "enum" => Named::Enum(strings(part(json, "symbols")?)?),
            "fixed" => {
                let size = part(json, "size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                Named::Fixed(size.ok_or_else(|| InvalidSchema(format!("the size of {full} is no size")))?)
            }
            // Known before its fields are read: a record may hold itself.
            _ => Named::Record(Vec::new()),
        };
        if self.named.insert(full.clone(), definition).is_some() {
            return Err(InvalidSchema(format!("{full} is defined twice")));
        }
        if matches!(kind, "record" | "error") {
            let fields = self.fields(json, &full)?;
            self.named.insert(full.clone(), Named::Record(fields));
        }
        Ok(Type::Named(full))
    }

    fn fields(&mut self, json: &Value, record: &str) -> Result<Vec<Field>, InvalidSchema> {
        let namespace = record.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let fields = part(json, "fields")?.as_array();
        let fields = fields.ok_or_else(|| InvalidSchema(format!("the fields of {record} are no list")))?;
        let field = |field: &Value| {
            Ok(Field {
                name: text(field, "name")?.to_owned(),
                of: self.any(part(field, "type")?, namespace)?,
            })
        };
        fields.iter().map(field).collect()
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn part<'j>(json: &'j Value, name: &str) -> Result<&'j Value, InvalidSchema> {
    json.get(name).ok_or_else(|| InvalidSchema(format!("{name:?} is missing in {json}")))
}

fn text<'j>(json: &'j Value, name: &str) -> Result<&'j str, InvalidSchema> {
    part(json, name)?.as_str().ok_or_else(|| InvalidSchema(format!("{name:?} is no text in {json}")))
}

fn strings(json: &Value) -> Result<Vec<String>, InvalidSchema> {
    let list = json.as_array().map(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    list.flatten().ok_or_else(|| InvalidSchema(format!("{json} is no list of names")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_the_namespace_around_them() {
        let text = r#"{"type": "record", "name": "Node", "namespace": "a.b", "fields": [
            {"name": "next", "type": ["null", "Node"]},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["X"]}},
            {"name": "again", "type": "a.b.Kind"},
            {"name": "hash", "type": {"type": "fixed", "name": "c.Hash", "size": 2}}
        ]}"#;

        let schema = Schema::parse(text).unwrap();

        assert_eq!(schema.root, Type::Named("a.b.Node".to_owned()));
        assert_eq!(schema.named.keys().collect::<Vec<_>>(), ["a.b.Kind", "a.b.Node", "c.Hash"]);
        let Some(Named::Record(fields)) = schema.named("a.b.Node") else { panic!("{schema:?}") };
        assert_eq!(fields[0].of, Type::Union(vec![Type::Null, Type::Named("a.b.Node".to_owned())]));
        assert_eq!(fields[2].of, Type::Named("a.b.Kind".to_owned()));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for bad in [
            "",
            "{}",
            "42",
            r#""strnig""#,
            r#"{"type": "array"}"#,
            r#"{"type": "record", "name": "A"}"#,
            r#"{"type": "record", "name": "A", "fields": [{"name": "b", "type": "B"}]}"#,
            r#"[{"type": "fixed", "name": "A", "size": 1}, {"type": "fixed", "name": "A", "size": 2}]"#,
            r#"{"type": "fixed", "name": "A", "size": -1}"#,
            r#"{"type": "enum", "name": "A", "symbols": [1]}"#,
        ] {
            assert!(Schema::parse(bad).is_err(), "{bad} was accepted");
        }
    }
}
