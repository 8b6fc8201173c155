//! Paths of fields: names with points between them, and behind a list's name in brackets which of its elements is meant, by
//! the value of a field of it: `spec.nodeSets[name={set}].count`. The value is a [`Pattern`].

use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Bindings, Pattern};
use crate::written::written_as_text;

/// How deep a path goes at most.
const STEPS_MAX: usize = 16;

/// The path of a field below `spec`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    name: String,
    element: Option<Element>,
}

/// The element of a list whose field has this value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Element {
    key: Vec<String>,
    value: Pattern,
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the path of a field: begin with spec, write points between fields, and the element of a list by a field \
     of it, such as spec.nodeSets[name={{set}}].count"
)]
pub struct NoPath(String);

impl FromStr for FieldPath {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        let steps: Option<Vec<_>> = split(text).map(step).collect();
        steps
            .filter(|steps| steps.len() > 1 && steps.len() <= STEPS_MAX)
            .filter(|steps| steps[0] == Step { name: "spec".to_owned(), element: None })
            .map(Self)
            .ok_or_else(|| NoPath(text.to_owned()))
    }
}

/// The texts between the points that are not in brackets.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut is_bracketed = false;
    text.split(move |character| {
        match character {
            '[' => is_bracketed = true,
            ']' => is_bracketed = false,
            _ => {}
        }
        character == '.' && !is_bracketed
    })
}

fn step(text: &str) -> Option<Step> {
    let (name, element) = match text.split_once('[') {
        None => (text, None),
        Some((name, bracketed)) => {
            let (key, value) = bracketed.strip_suffix(']')?.split_once('=')?;
            let key = key.split('.').map(|name| is_name(name).then(|| name.to_owned())).collect::<Option<_>>()?;
            let value = Some(value).filter(|value| !value.is_empty() && !value.contains(['[', ']']))?;
            (name, Some(Element { key, value: value.parse().ok()? }))
        }
    };
    is_name(name).then(|| Step { name: name.to_owned(), element })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'))
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Step { name, element }) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { "." })?;
            if let Some(Element { key, value }) = element {
                write!(f, "[{}={value}]", key.join("."))?;
            }
        }
        Ok(())
    }
}

written_as_text!(
    FieldPath,
    max_length: 253,
    rule: r"self.matches('^spec(\\.[A-Za-z][-A-Za-z0-9_]*(\\[[A-Za-z][-A-Za-z0-9_]*(\\.[A-Za-z][-A-Za-z0-9_]*)*=([^\\[\\]{}]|\\{[A-Za-z][A-Za-z0-9]*\\})+\\])?)+$')",
    message: "is not the path of a field: begin with spec, write points between fields, and the element of a \
              list by a field of it, such as spec.nodeSets[name={set}].count",
);

/// Where a path leads in an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place<'a> {
    /// The JSON pointer of the field.
    pub(super) pointer: String,
    /// What is there.
    pub(super) value: &'a Value,
    /// The JSON pointers of the fields by which elements of lists were chosen, with their values: an index in the pointer
    /// means the same only as long as they have them.
    pub(super) chosen_by: Vec<(String, Value)>,
}

impl FieldPath {
    /// The field of an object, where it is there.
    pub(super) fn find<'a>(&self, object: &'a Value, known: &Bindings) -> Option<Place<'a>> {
        let mut place = Place { pointer: String::new(), value: object, chosen_by: Vec::new() };
        for Step { name, element } in &self.0 {
            place.value = place.value.get(name)?;
            place.pointer = format!("{}/{name}", place.pointer);
            let Some(Element { key, value }) = element else { continue };
            let wanted = value.fill(known)?;
            let key = format!("/{}", key.join("/"));
            let mut elements = place.value.as_array()?.iter().enumerate();
            let is_wanted = |element: &Value| {
                element.pointer(&key).is_some_and(|value| text(value).is_some_and(|value| value == wanted))
            };
            let (index, element) = elements.find(|(_, element)| is_wanted(element))?;
            place.pointer = format!("{}/{index}", place.pointer);
            place.chosen_by.push((format!("{}{key}", place.pointer), element.pointer(&key)?.clone()));
            place.value = element;
        }
        Some(place).filter(|place| !place.value.is_null())
    }

    /// The path with what the variables stand for, as far as that is known.
    pub(super) fn with(&self, known: &Bindings) -> String {
        let filled = self.0.iter().map(|Step { name, element }| {
            let element = element.as_ref().map(|Element { key, value }| Element {
                key: key.clone(),
                value: value.fill(known).and_then(|text| text.parse().ok()).unwrap_or_else(|| value.clone()),
            });
            Step { name: name.clone(), element }
        });
        Self(filled.collect()).to_string()
    }

    /// What of an object these paths can lead to, and the fields by which they choose elements of lists.
    pub(super) fn prune<'a>(object: &Value, paths: impl Iterator<Item = &'a Self>) -> Value {
        let paths: Vec<_> = paths.map(|path| &*path.0).collect();
        pruned(object, &paths)
    }

    /// The names of the variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| step.element.as_ref()).flat_map(|element| element.value.variables())
    }
}

fn pruned(value: &Value, paths: &[&[Step]]) -> Value {
    let mut kept = Map::new();
    let names: BTreeSet<&str> = paths.iter().filter_map(|path| Some(&*path.first()?.name)).collect();
    for name in names {
        let Some(value) = value.get(name) else { continue };
        let through = paths.iter().filter_map(|path| path.split_first()).filter(|(step, _)| step.name == name);
        let (mut below, mut choices): (Vec<&[Step]>, Vec<Vec<Step>>) = (Vec::new(), Vec::new());
        for (step, rest) in through {
            below.push(rest);
            let keys = step.element.iter().map(|element| element.key.iter());
            choices.extend(keys.map(|key| key.map(|name| Step { name: name.clone(), element: None }).collect()));
        }
        let below: Vec<_> = below.into_iter().chain(choices.iter().map(Vec::as_slice)).collect();
        let part = match value {
            // The place of an element in a list is a part of its pointer, so that none is left out.
            Value::Array(items) => items.iter().map(|item| pruned(item, &below)).collect(),
            Value::Object(_) => pruned(value, &below),
            scalar => scalar.clone(),
        };
        kept.insert(name.to_owned(), part);
    }
    Value::Object(kept)
}

/// A value as a label or a name can have it.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> FieldPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_leads_through_lists_by_a_field_of_their_elements() {
        let object = json!({ "spec": { "sets": [
            { "name": "a", "volumes": [{ "id": 0, "size": "1Gi" }] },
            { "name": "b", "volumes": [{ "id": 0, "size": "2Gi" }, { "id": 7, "metadata": { "name": "x" }, "size": "3Gi" }] },
        ] } });
        let known = Bindings::from([("set".to_owned(), "b".to_owned()), ("id".to_owned(), "7".to_owned())]);
        let found = path("spec.sets[name={set}].volumes[id={id}].size").find(&object, &known).unwrap();
        assert_eq!((&*found.pointer, found.value), ("/spec/sets/1/volumes/1/size", &json!("3Gi")));
        let chosen_by = [("/spec/sets/1/name", json!("b")), ("/spec/sets/1/volumes/1/id", json!(7))];
        assert_eq!(found.chosen_by, chosen_by.map(|(pointer, value)| (pointer.to_owned(), value)));
        let nested = path("spec.sets[name=b].volumes[metadata.name=x].size");
        assert_eq!(nested.find(&object, &known).unwrap().pointer, "/spec/sets/1/volumes/1/size");
        for nowhere in ["spec.sets[name=c].volumes", "spec.sets[name={other}].name", "spec.none.size", "spec.sets.name"]
        {
            assert_eq!(path(nowhere).find(&object, &known), None, "{nowhere}");
        }
    }

    #[test]
    fn a_path_is_written_as_it_was_read() {
        for text in ["spec.size", "spec.a[metadata.name={x}].b_c[id=0].d-e", "spec.a[name=pre-{x}.post]"] {
            assert_eq!(path(text).to_string(), text);
        }
        for text in [
            "",
            "spec",
            "metadata.name",
            "spec.",
            "spec..a",
            "spec.a[",
            "spec.a[b]",
            "spec.a[=c]",
            "spec.a[b=]",
            "spec.a[b=c]d",
            "spec.a[b={c]",
            "spec.a/b",
            "spec[a=b].c",
            "spec.~0",
            "spec.a[b=[c]]",
        ] {
            assert!(text.parse::<FieldPath>().is_err(), "{text}");
        }
    }
}
