//! From Avro's binary form to the JSON form of the same value.
//!
//! Written here and not taken from a library, because what comes in is not to be trusted: the library's reader
//! takes a value that was cut off for one with nulls at its end, and reserves whatever memory a length asks for,
//! so that a few bytes end the process. This one refuses what is not exactly one value, and takes no more memory
//! than the value has parts. Tests compare it with the library.

use std::str;

use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::Mismatch;
use super::schema::{Field, Named, Schema, Type, Unit};

/// Deepest nesting: far above that of any event, and shallow enough for the stack of any thread.
const MAX_DEPTH: usize = 64;
/// Most parts of one value. Nulls take no bytes, so a short value could have any number of them.
const MAX_PARTS: usize = 1_000_000;

/// Reads the value that was written by `schema`.
///
/// # Errors
/// The bytes are not exactly one value of the schema.
pub fn read(bytes: &[u8], schema: &Schema) -> Result<Value, Mismatch> {
    let mut reader = Reader { schema, rest: bytes, parts_left: MAX_PARTS };
    let value = reader.any(&schema.root, MAX_DEPTH)?;
    match reader.rest.len() {
        0 => Ok(value),
        more => Err(Mismatch::new(format!("{more} bytes follow the value"))),
    }
}

struct Reader<'s, 'b> {
    schema: &'s Schema,
    rest: &'b [u8],
    parts_left: usize,
}

impl<'s, 'b> Reader<'s, 'b> {
    fn any(&mut self, of: &'s Type, depth: usize) -> Result<Value, Mismatch> {
        let depth = depth.checked_sub(1).ok_or_else(|| Mismatch::new("it is nested too deeply"))?;
        let too_many = || Mismatch::new("it has too many parts");
        self.parts_left = self.parts_left.checked_sub(1).ok_or_else(too_many)?;
        Ok(match of {
            Type::Null => Value::Null,
            Type::Boolean => match self.array_of()? {
                [0] => false.into(),
                [1] => true.into(),
                [other] => return Err(Mismatch::new(format!("{other} is no boolean"))),
            },
            Type::Int => i32::try_from(self.long()?)
                .map_err(|_wide| Mismatch::new("the int has more than 32 bits"))?
                .into(),
            Type::Long => self.long()?.into(),
            Type::Float => number(f32::from_le_bytes(self.array_of()?).into()),
            Type::Double => number(f64::from_le_bytes(self.array_of()?)),
            Type::Bytes => latin(self.counted()?),
            Type::String | Type::Choice(_) | Type::Uuid => self.text()?.into(),
            Type::Timestamp(unit) => timestamp(self.long()?, *unit)?.to_string().into(),
            Type::Array(items) => self.array(items, depth)?.into(),
            Type::Map(values) => self.map(values, depth)?.into(),
            Type::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|index| branches.get(index));
                self.any(branch.ok_or_else(|| Mismatch::new("the union has no such branch"))?, depth)?
            }
            Type::Named(name) => self.named(name, depth)?,
        })
    }

    fn named(&mut self, name: &str, depth: usize) -> Result<Value, Mismatch> {
        Ok(match self.schema.named(name) {
            Some(Named::Record(fields)) => {
                let mut record = Map::new();
                for Field { name, of } in fields {
                    let value = self.any(of, depth).map_err(|error| error.inside(name))?;
                    record.insert(name.clone(), value);
                }
                record.into()
            }
            Some(Named::Enum(symbols)) => {
                let symbol = usize::try_from(self.long()?).ok().and_then(|index| symbols.get(index));
                symbol.ok_or_else(|| Mismatch::new(format!("{name} has no such symbol")))?.clone().into()
            }
            Some(Named::Fixed(size)) => latin(self.take(*size)?),
            None => return Err(Mismatch::new(format!("{name} is not defined"))),
        })
    }

    fn array(&mut self, items: &'s Type, depth: usize) -> Result<Vec<Value>, Mismatch> {
        let mut list = Vec::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(list);
            }
            for _ in 0..count {
                list.push(self.any(items, depth)?);
            }
        }
    }

    fn map(&mut self, values: &'s Type, depth: usize) -> Result<Map<String, Value>, Mismatch> {
        let mut map = Map::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(map);
            }
            for _ in 0..count {
                let key = self.text()?.to_owned();
                let value = self.any(values, depth).map_err(|error| error.inside(&key))?;
                map.insert(key, value);
            }
        }
    }

    /// How many items follow; a negative count is followed by their size, for those who skip them.
    fn block(&mut self) -> Result<u64, Mismatch> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    fn text(&mut self) -> Result<&'b str, Mismatch> {
        str::from_utf8(self.counted()?).map_err(|_other| Mismatch::new("the text is not UTF-8"))
    }

    fn counted(&mut self) -> Result<&'b [u8], Mismatch> {
        let length =
            usize::try_from(self.long()?).map_err(|_negative| Mismatch::new("a length is negative"))?;
        self.take(length)
    }

    fn long(&mut self) -> Result<i64, Mismatch> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array_of()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err(Mismatch::new("a number has more than 64 bits"))
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Mismatch> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| Mismatch::new("it is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Mismatch> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| Mismatch::new("it is cut off"))?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// JSON has no infinity; such a number is none.
fn number(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn latin(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()
}

fn timestamp(count: i64, unit: Unit) -> Result<Timestamp, Mismatch> {
    let timestamp = match unit {
        Unit::Millis => Timestamp::from_millisecond(count),
        Unit::Micros => Timestamp::from_microsecond(count),
        Unit::Nanos => Timestamp::from_nanosecond(count.into()),
    };
    timestamp.map_err(|_far| Mismatch::new("the timestamp is out of range"))
}
