//! Reads JSON bodies field by field and collects every fault, where a derived `Deserialize` would stop at
//! the first. Numbers stay text until their reader parses them, so that prices never pass through a float.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::problem::{Fault, Kind, Location, Problem};

/// The faults found in one body, in the order of finding.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes that the field at `path` is at fault.
    pub fn add(&mut self, path: &Path, detail: impl Into<String>) {
        self.0.push(Fault {
            location: Location::Body,
            field: path.dotted(),
            pointer: Some(path.pointer()),
            detail: detail.into(),
        });
    }

    /// The whole body as a problem, when there is any fault.
    ///
    /// # Errors
    /// All of the faults.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::invalid(self.0)) }
    }
}

/// Where a field stands in a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Name(&'static str),
    Index(usize),
}

impl Path {
    /// The field `name` of the object at this path.
    pub fn field(&self, name: &'static str) -> Self {
        self.with(Segment::Name(name))
    }

    /// The element `index` of the array at this path.
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        Self(self.0.iter().cloned().chain([segment]).collect())
    }

    /// `orderItems[0].quantity`; the body itself is `body`.
    fn dotted(&self) -> String {
        let mut text = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Name(name) if text.is_empty() => text.push_str(name),
                Segment::Name(name) => text.extend([".", name]),
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        if text.is_empty() { "body".to_owned() } else { text }
    }

    /// `#/orderItems/0/quantity` (RFC 6901, section 6); our names need no escaping.
    fn pointer(&self) -> String {
        let mut text = "#".to_owned();
        for segment in &self.0 {
            match segment {
                Segment::Name(name) => text.extend(["/", name]),
                Segment::Index(index) => text.push_str(&format!("/{index}")),
            }
        }
        text
    }
}

/// One JSON object of a body. A member that is missing and one that is `null` are the same.
#[derive(Debug)]
pub struct Object<'a> {
    path: Path,
    members: BTreeMap<String, &'a RawValue>,
}

/// Whether a member may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its absence is a fault.
    Required,
    /// Its absence is fine.
    Optional,
}

impl<'a> Object<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// When it is not JSON, or not an object.
    pub fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let members = serde_json::from_slice(body).map_err(|error| {
            let detail = if error.is_data() {
                "the body must be a JSON object".to_owned()
            } else {
                format!("the body is not JSON: line {}, column {}", error.line(), error.column())
            };
            Problem::new(Kind::Malformed, detail)
        })?;
        Ok(Self { path: Path::default(), members })
    }

    /// Where the object stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a member is there and not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|raw| raw.get() != "null")
    }

    fn member(&self, name: &'static str, presence: Presence, faults: &mut Faults) -> Option<&'a RawValue> {
        if self.has(name) {
            return self.members.get(name).copied();
        }
        if presence == Presence::Required {
            faults.add(&self.path.field(name), "is required");
        }
        None
    }

    /// A text, as it was sent.
    pub fn text(&self, name: &'static str, presence: Presence, faults: &mut Faults) -> Option<String> {
        let raw = self.member(name, presence, faults)?;
        let text = serde_json::from_str(raw.get()).ok();
        if text.is_none() {
            faults.add(&self.path.field(name), "must be a string");
        }
        text
    }

    /// A text in the form that `T` parses; its error says what is wrong.
    pub fn parsed<T>(&self, name: &'static str, presence: Presence, faults: &mut Faults) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let text = self.text(name, presence, faults)?;
        text.parse().map_err(|error| faults.add(&self.path.field(name), format!("{error}"))).ok()
    }

    /// A whole number within `range`.
    pub fn integer(
        &self,
        name: &'static str,
        range: std::ops::RangeInclusive<u32>,
        faults: &mut Faults,
    ) -> Option<u32> {
        let raw = self.member(name, Presence::Required, faults)?;
        let number = serde_json::from_str(raw.get()).ok().filter(|number| range.contains(number));
        if number.is_none() {
            let detail = format!("must be a whole number from {} to {}", range.start(), range.end());
            faults.add(&self.path.field(name), detail);
        }
        number
    }

    /// A decimal number: a JSON number, or a string that holds one. Exact, exponents included.
    pub fn decimal(&self, name: &'static str, faults: &mut Faults) -> Option<Decimal> {
        let raw = self.member(name, Presence::Required, faults)?;
        let text = raw.get();
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let number = parse_decimal(digits);
        if number.is_none() {
            faults.add(&self.path.field(name), "must be a decimal number of at most 28 digits");
        }
        number
    }

    /// An object within this one.
    pub fn object(&self, name: &'static str, faults: &mut Faults) -> Option<Object<'a>> {
        let raw = self.member(name, Presence::Required, faults)?;
        Self::nested(self.path.field(name), raw, faults)
    }

    /// An array of objects; elements that are none are faults, and `None`.
    pub fn objects(
        &self,
        name: &'static str,
        length: std::ops::RangeInclusive<usize>,
        faults: &mut Faults,
    ) -> Option<Vec<Option<Object<'a>>>> {
        let raw = self.member(name, Presence::Required, faults)?;
        let path = self.path.field(name);
        let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            faults.add(&path, "must be an array");
            return None;
        };
        if !length.contains(&elements.len()) {
            faults.add(&path, format!("must have {} to {} elements", length.start(), length.end()));
            return None;
        }
        let nested = |(index, raw): (usize, &&'a RawValue)| Self::nested(path.index(index), raw, faults);
        Some(elements.iter().enumerate().map(nested).collect())
    }

    fn nested(path: Path, raw: &'a RawValue, faults: &mut Faults) -> Option<Object<'a>> {
        match serde_json::from_str(raw.get()) {
            Ok(members) => Some(Self { path, members }),
            Err(_not_an_object) => {
                faults.add(&path, "must be an object");
                None
            }
        }
    }
}

/// Reads the text of a JSON number exactly, exponents included; at most 28 digits.
pub fn parse_decimal(text: &str) -> Option<Decimal> {
    Decimal::from_str_exact(text).or_else(|_not_plain| Decimal::from_scientific(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(body: &str, read: impl FnOnce(&Object<'_>, &mut Faults)) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        read(&Object::parse(body.as_bytes()).unwrap(), &mut faults);
        faults.0.into_iter().map(|fault| (fault.field, fault.detail)).collect()
    }

    #[test]
    fn every_fault_is_collected_with_its_place() {
        let body = r#"{"a": 1, "list": [{"n": 0}, 7], "o": {"d": "x"}}"#;

        let faults = faults_of(body, |object, faults| {
            object.text("a", Presence::Required, faults);
            object.text("missing", Presence::Required, faults);
            object.text("optional", Presence::Optional, faults);
            for element in object.objects("list", 1..=2, faults).unwrap().into_iter().flatten() {
                element.integer("n", 1..=9, faults);
            }
            object.object("o", faults).unwrap().decimal("d", faults);
        });

        let expected = [
            ("a", "must be a string"),
            ("missing", "is required"),
            ("list[1]", "must be an object"),
            ("list[0].n", "must be a whole number from 1 to 9"),
            ("o.d", "must be a decimal number of at most 28 digits"),
        ];
        assert_eq!(faults, expected.map(|(field, detail)| (field.to_owned(), detail.to_owned())));
    }

    #[test]
    fn decimals_are_exact() {
        let body = r#"{"a": 0.1, "b": "25.99", "c": 1e-2, "d": 1.10}"#;
        let object = Object::parse(body.as_bytes()).unwrap();
        let mut faults = Faults::default();

        let read = ["a", "b", "c", "d"].map(|name| object.decimal(name, &mut faults).unwrap().to_string());

        assert_eq!(read, ["0.1", "25.99", "0.01", "1.10"]);
    }

    #[test]
    fn what_is_not_an_object_is_malformed() {
        for body in ["", "{", "[]", "7", r#"{"a":1}x"#] {
            let problem = Object::parse(body.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, Kind::Malformed, "{body}");
        }
    }

    #[test]
    fn pointers_follow_rfc_6901() {
        let path = Path::default().field("orderItems").index(0).field("quantity");

        assert_eq!(path.pointer(), "#/orderItems/0/quantity");
        assert_eq!(path.dotted(), "orderItems[0].quantity");
    }
}
