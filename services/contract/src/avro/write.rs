//! From the JSON form of a value to Avro's binary form.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Mismatch;
use super::schema::{Field, Named, Schema, Type, Unit};

/// Writes `value` by `schema`. Fields that the schema does not have are left out.
///
/// # Errors
/// The value is none of the schema.
pub fn write(value: &Value, schema: &Schema) -> Result<Vec<u8>, Mismatch> {
    let mut writer = Writer { schema, bytes: Vec::with_capacity(256) };
    writer.any(&schema.root, value)?;
    Ok(writer.bytes)
}

struct Writer<'s> {
    schema: &'s Schema,
    bytes: Vec<u8>,
}

impl<'s> Writer<'s> {
    fn any(&mut self, of: &'s Type, value: &Value) -> Result<(), Mismatch> {
        match of {
            Type::Null => value.as_null().ok_or_else(|| not("null", value))?,
            Type::Boolean => self.bytes.push(value.as_bool().ok_or_else(|| not("a boolean", value))?.into()),
            Type::Int => {
                let int = value.as_i64().and_then(|number| i32::try_from(number).ok());
                self.long(int.ok_or_else(|| not("an int", value))?.into());
            }
            Type::Long => self.long(value.as_i64().ok_or_else(|| not("a long", value))?),
            Type::Float => {
                #[expect(clippy::cast_possible_truncation, reason = "a float is what the schema asks for")]
                let float = value.as_f64().ok_or_else(|| not("a float", value))? as f32;
                self.bytes.extend(float.to_le_bytes());
            }
            Type::Double => {
                self.bytes.extend(value.as_f64().ok_or_else(|| not("a double", value))?.to_le_bytes());
            }
            Type::Bytes => self.counted(&raw(value)?),
            Type::String | Type::Choice(_) | Type::Uuid => {
                self.counted(value.as_str().ok_or_else(|| not("a text", value))?.as_bytes());
            }
            Type::Timestamp(unit) => self.long(count_of(value, *unit)?),
            Type::Array(items) => self.array(items, value.as_array().ok_or_else(|| not("a list", value))?)?,
            Type::Map(values) => self.map(values, value.as_object().ok_or_else(|| not("a map", value))?)?,
            Type::Union(branches) => self.union(branches, value)?,
            Type::Named(name) => self.named(name, value)?,
        }
        Ok(())
    }

    fn named(&mut self, name: &str, value: &Value) -> Result<(), Mismatch> {
        match self.schema.named(name) {
            Some(Named::Record(fields)) => {
                let record = value.as_object().ok_or_else(|| not("a record", value))?;
                for Field { name, of } in fields {
                    let value = record.get(name).unwrap_or(&Value::Null);
                    self.any(of, value).map_err(|error| error.inside(name))?;
                }
            }
            Some(Named::Enum(symbols)) => {
                let index = symbols.iter().position(|symbol| value.as_str() == Some(symbol));
                self.length(index.ok_or_else(|| not("a symbol", value))?);
            }
            Some(Named::Fixed(size)) => {
                let bytes = raw(value)?;
                if bytes.len() != *size {
                    return Err(Mismatch::new(format!("{} bytes instead of {size}", bytes.len())));
                }
                self.bytes.extend(bytes);
            }
            None => return Err(Mismatch::new(format!("{name} is not defined"))),
        }
        Ok(())
    }

    fn array(&mut self, items: &'s Type, list: &[Value]) -> Result<(), Mismatch> {
        if !list.is_empty() {
            self.length(list.len());
            list.iter().try_for_each(|item| self.any(items, item))?;
        }
        self.long(0);
        Ok(())
    }

    fn map(&mut self, values: &'s Type, map: &Map<String, Value>) -> Result<(), Mismatch> {
        if !map.is_empty() {
            self.length(map.len());
            for (key, value) in map {
                self.counted(key.as_bytes());
                self.any(values, value).map_err(|error| error.inside(key))?;
            }
        }
        self.long(0);
        Ok(())
    }

    /// The first branch that takes the value.
    fn union(&mut self, branches: &'s [Type], value: &Value) -> Result<(), Mismatch> {
        let start = self.bytes.len();
        let mut refusal = not("of any branch", value);
        for (index, branch) in branches.iter().enumerate() {
            self.length(index);
            match self.any(branch, value) {
                Ok(()) => return Ok(()),
                Err(error) => refusal = error,
            }
            self.bytes.truncate(start);
        }
        Err(refusal)
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend(bytes);
    }

    fn length(&mut self, length: usize) {
        self.long(i64::try_from(length).unwrap_or(i64::MAX));
    }

    /// Zigzag, then seven bits per byte, the lowest first.
    fn long(&mut self, number: i64) {
        let mut rest = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
        while rest > 0x7f {
            self.bytes.push(low_byte(rest) | 0x80);
            rest >>= 7;
        }
        self.bytes.push(low_byte(rest));
    }
}

const fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

fn not(what: &str, value: &Value) -> Mismatch {
    // The kind only: values of events are personal data, and errors are logged.
    let kind = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "this number",
        Value::String(_) => "this text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Mismatch::new(format!("{kind} is not {what}"))
}

/// Bytes are texts of characters up to 255, as in Avro's own JSON form.
fn raw(value: &Value) -> Result<Vec<u8>, Mismatch> {
    let text = value.as_str().ok_or_else(|| not("bytes", value))?;
    text.chars().map(|c| u8::try_from(c).map_err(|_wide| not("bytes", value))).collect()
}

fn count_of(value: &Value, unit: Unit) -> Result<i64, Mismatch> {
    let timestamp: Option<Timestamp> = value.as_str().and_then(|text| text.parse().ok());
    let count = timestamp.and_then(|timestamp| match unit {
        Unit::Millis => Some(timestamp.as_millisecond()),
        Unit::Micros => Some(timestamp.as_microsecond()),
        Unit::Nanos => i64::try_from(timestamp.as_nanosecond()).ok(),
    });
    count.ok_or_else(|| not("a timestamp", value))
}
