//! Orlop's own custom resources against their schemas, as the API server checks them: first what is of the wrong shape,
//! each with its place, and of what has the right shape whether the rules in CEL hold. What Kubernetes makes of other
//! keywords is not here, because the schemas have no others; a test sees to that.

use kube_cel::{Validator, compile_schema};
use orlop_api::GROUP;
use serde_json::{Value, json};

use crate::{
    Findings,
    document::{Content, Node, Span},
    rules::manifests::INVALID_RESOURCE,
    world::{Object, World},
};

/// What the API server knows of every object, whatever its schema says.
const OF_EVERY_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// How alike a field must be to one that exists to be taken for a slip of the pen.
const ALIKE: f64 = 0.8;

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    let ours: Vec<_> = world.objects.iter().filter(|object| object.group == GROUP).collect();
    if ours.is_empty() {
        return;
    }
    let definitions = orlop_api::definitions();
    for definition in &definitions {
        let of_kind: Vec<_> = ours.iter().filter(|object| object.kind == definition.spec.names.kind).collect();
        for version in definition.spec.versions.iter().filter(|_| !of_kind.is_empty()) {
            let schema = json!(version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()));
            let rules = compile_schema(&schema);
            for object in &of_kind {
                if object.node.text("apiVersion") == Some(&format!("{GROUP}/{}", version.name)) {
                    for (span, message) in problems(object, &schema, &rules) {
                        found.add(&INVALID_RESOURCE, object.at(span), message);
                    }
                } else {
                    let message = format!("{GROUP} has no such version: write `{GROUP}/{}`", version.name);
                    found.add(&INVALID_RESOURCE, object.place("apiVersion"), message);
                }
            }
        }
    }
    let kinds: Vec<_> = definitions.iter().map(|definition| &*definition.spec.names.kind).collect();
    for object in ours.iter().filter(|object| !kinds.contains(&object.kind)) {
        let message = format!("{GROUP} has no kind {}: it has {}", object.kind, kinds.join(", "));
        found.add(&INVALID_RESOURCE, object.place("kind"), message);
    }
}

fn problems(object: &Object<'_>, schema: &Value, rules: &kube_cel::CompiledSchema) -> Vec<(Span, String)> {
    let mut walk = Walk { problems: Vec::new() };
    walk.map("", object.node, schema, &OF_EVERY_OBJECT);
    if !walk.problems.is_empty() {
        return walk.problems;
    }
    match Validator::new().validate_compiled(rules, &object.node.to_json(), None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .into_iter()
            .map(|error| (at(object.node, &error.field_path), format!("{} {}", error.field_path, error.message)))
            .collect(),
    }
}

/// Where a field such as `spec.volumeTypes[0].minimumSize` stands, or what is around it.
fn at(node: &Node, path: &str) -> Span {
    let mut node = node;
    for part in path.split(['.', '[']) {
        let next = match part.strip_suffix(']') {
            Some(index) => match (&node.content, index.parse::<usize>()) {
                (Content::List(items), Ok(index)) => items.get(index),
                _ => None,
            },
            None => node.get(part),
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    match node.content {
        Content::Map(_) | Content::List(_) => node.head(),
        _ => node.span,
    }
}

struct Walk {
    problems: Vec<(Span, String)>,
}

impl Walk {
    fn complain(&mut self, span: Span, message: String) {
        self.problems.push((span, message));
    }

    fn value(&mut self, path: &str, node: &Node, schema: &Value) {
        let wanted = schema["type"].as_str();
        match (&node.content, wanted) {
            (Content::Null, _)
            | (_, None)
            | (Content::Number(_), Some("number"))
            | (Content::Bool(_), Some("boolean")) => {}
            (Content::Map(_), Some("object")) => self.map(path, node, schema, &[]),
            (Content::List(items), Some("array")) => self.list(path, node, items, schema),
            (Content::Text(text), Some("string")) => self.text(path, node, text, schema),
            (Content::Number(number), Some("integer")) if number.is_i64() => self.whole(path, node, schema),
            (is, Some(wanted)) => self.complain(node.span, mistaken(path, is, wanted)),
        }
    }

    fn map(&mut self, path: &str, node: &Node, schema: &Value, beside: &[&str]) {
        let Content::Map(fields) = &node.content else { return };
        self.within(path, node, fields.len() as u64, "entries", (&Value::Null, &schema["maxProperties"]));
        let known = schema["properties"].as_object();
        let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
        for (name, value) in fields {
            let path = join(path, name);
            match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => self.value(&path, value, schema),
                _ if is_open || beside.contains(&&**name) => {}
                _ => {
                    let names = known.into_iter().flatten().map(|(name, _)| &**name);
                    self.complain(value.head(), unknown(&path, name, names));
                }
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if node.get(name).is_none() {
                self.complain(node.head(), format!("{} is missing, and is required", join(path, name)));
            }
        }
    }

    fn list(&mut self, path: &str, node: &Node, items: &[Node], schema: &Value) {
        self.within(path, node, items.len() as u64, "entries", (&schema["minItems"], &schema["maxItems"]));
        for (index, item) in items.iter().enumerate() {
            self.value(&format!("{path}[{index}]"), item, &schema["items"]);
        }
        let keys: Vec<_> =
            schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if keys.is_empty() {
            return;
        }
        let identity = |item: &Node| keys.iter().map(|key| item.get(key).and_then(Node::scalar)).collect::<Vec<_>>();
        for (index, item) in items.iter().enumerate() {
            if items[..index].iter().any(|earlier| identity(earlier) == identity(item)) {
                let what = keys.join(" and ");
                self.complain(item.place(keys[0]), format!("{path} has two entries of the same {what}: rename one"));
            }
        }
    }

    fn text(&mut self, path: &str, node: &Node, text: &str, schema: &Value) {
        let bounds = (&schema["minLength"], &schema["maxLength"]);
        self.within(path, node, text.chars().count() as u64, "characters", bounds);
        if let Some(values) = schema["enum"].as_array()
            && !values.iter().any(|value| value == text)
        {
            let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
            self.complain(node.span, format!("{path} is `{text}`: write one of {}", values.join(", ")));
        }
    }

    fn whole(&mut self, path: &str, node: &Node, schema: &Value) {
        let Content::Number(number) = &node.content else { return };
        let bound = |name: &str| schema[name].as_f64().zip(number.as_f64());
        // A bound is a floating-point number in a schema, also where it is whole.
        if let Some((least, _)) = bound("minimum").filter(|(least, number)| number < least) {
            self.complain(node.span, format!("{path} is {number}: write {least} at least"));
        }
        if let Some((most, _)) = bound("maximum").filter(|(most, number)| number > most) {
            self.complain(node.span, format!("{path} is {number}: write {most} at most"));
        }
    }

    fn within(&mut self, path: &str, node: &Node, length: u64, of: &str, (least, most): (&Value, &Value)) {
        if let Some(least) = least.as_u64().filter(|&least| length < least) {
            self.complain(node.head(), format!("{path} has {length} {of}: it needs {least} at least"));
        }
        if let Some(most) = most.as_u64().filter(|&most| length > most) {
            self.complain(node.head(), format!("{path} has {length} {of}: it may have {most} at most"));
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A value that has another type than is wanted.
fn mistaken(path: &str, is: &Content, wanted: &str) -> String {
    let is = match is {
        Content::Bool(_) if wanted == "string" => {
            return format!("{path} is a boolean, as which YAML reads such a word: put it in quotes");
        }
        Content::Number(_) if wanted == "string" => {
            return format!("{path} is a number, and is to be a text: put it in quotes");
        }
        Content::Null => "nothing",
        Content::Bool(_) => "a boolean",
        Content::Number(_) => "a number",
        Content::Text(_) => "a text",
        Content::List(_) => "a list",
        Content::Map(_) => "a map",
    };
    let wanted = match wanted {
        "object" => "a map",
        "array" => "a list",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        other => other,
    };
    format!("{path} is {is}: write {wanted}")
}

fn unknown<'a>(path: &str, name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let likeness = |known: &&str| strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase());
    let nearest = names.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let hint = nearest.filter(|known| likeness(known) > ALIKE);
    let hint = hint.map_or("remove it".to_owned(), |known| format!("did you mean {known}?"));
    format!("there is no field {path}: {hint}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Keywords that the walk heeds, that CEL heeds, or that refuse nothing.
    const HEEDED: [&str; 21] = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "nullable",
        "properties",
        "required",
        "type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];

    fn keywords(schema: &Value, into: &mut BTreeSet<String>) {
        let Value::Object(fields) = schema else { return };
        into.extend(fields.keys().cloned());
        for (_, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            keywords(property, into);
        }
        for inner in ["items", "additionalProperties"] {
            keywords(&schema[inner], into);
        }
    }

    #[test]
    fn the_schemas_have_no_keyword_that_is_not_heeded() {
        for definition in orlop_api::definitions() {
            let schema = json!(definition.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema);
            let mut there = BTreeSet::new();
            keywords(&schema["properties"]["spec"], &mut there);
            there.retain(|keyword| !HEEDED.contains(&&**keyword));
            assert!(there.is_empty(), "{}: {there:?}", definition.spec.names.kind);
        }
    }
}
