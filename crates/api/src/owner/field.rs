//! From a claim and its owner to the field of the owner that says how large the claim is, and to the patch of that field.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Bindings, ClaimRole, Condition, FieldPath, OwnerProfileSpec, Writing, path, pattern::OWNER};
use crate::Bytes;

/// What identifies a claim among those of its owner.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// The owner's name.
    pub owner: &'a str,
    /// The claim's name.
    pub claim: &'a str,
    /// The claim's labels.
    pub labels: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// Where the size of a claim is written in its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// In this field.
    Field(Field),
    /// In none of these fields is anything.
    Absent(Vec<String>),
    /// What this field has is no size.
    NoSize(String),
    /// In this field, which the owner's operator does not pass on to its claims: why, in words.
    NotPassedOn(Field, String),
}

impl Located {
    /// The field, where it is there.
    pub const fn field(&self) -> Option<&Field> {
        match self {
            Self::Field(field) | Self::NotPassedOn(field, _) => Some(field),
            Self::Absent(_) | Self::NoSize(_) => None,
        }
    }
}

/// A field with a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its path as people write it: `spec.nodeSets[name=hot].size`.
    pub path: String,
    /// Its JSON pointer (RFC 6901).
    pub pointer: String,
    /// The size.
    pub size: Bytes,
    /// The size to the letter: a quantity can be written in many ways, and a JSON patch compares texts.
    pub written: Value,
    /// The fields by which the elements of lists on the way were chosen, by their JSON pointers, with their values.
    pub chosen_by: Vec<(String, Value)>,
}

impl Field {
    /// A JSON patch (RFC 6902) that writes another size where the object has this UID, and the field is where it was and
    /// has the size that it had.
    pub fn patch(&self, uid: &str, to: Bytes) -> Vec<Value> {
        let is = |path: &str, value: &Value| json!({ "op": "test", "path": path, "value": value });
        let mut operations = vec![is("/metadata/uid", &json!(uid))];
        operations.extend(self.chosen_by.iter().map(|(path, value)| is(path, value)));
        operations.push(is(&self.pointer, &self.written));
        operations.push(json!({ "op": "replace", "path": self.pointer, "value": to.to_string() }));
        operations
    }
}

impl OwnerProfileSpec {
    /// The field of `object` that says how large a claim is; none where the claim has none of the roles.
    pub fn locate(&self, lookup: Lookup<'_>, object: &Value) -> Option<Located> {
        let (role, known) = self.role(lookup)?;
        let Some((path, place)) =
            role.size.iter().find_map(|path| Some((path.with(&known), path.find(object, &known)?)))
        else {
            return Some(Located::Absent(role.size.iter().map(|path| path.with(&known)).collect()));
        };
        let size = path::text(place.value).filter(|_| !place.value.is_boolean()).and_then(|text| text.parse().ok());
        let Some(size) = size else { return Some(Located::NoSize(path)) };
        let path::Place { pointer, value, chosen_by } = place;
        let field = Field { path, pointer, size, written: value.clone(), chosen_by };
        Some(match self.obstacle(object, &known) {
            None => Located::Field(field),
            Some(why) => Located::NotPassedOn(field, why),
        })
    }

    /// What of an object matters to [`OwnerProfileSpec::locate`]: little of much.
    pub fn prune(&self, object: &Value) -> Value {
        let sizes = self.claims.iter().flat_map(|role| &role.size);
        FieldPath::prune(object, sizes.chain(self.requires.iter().flat_map(|condition| &condition.fields)))
    }

    /// The role of a claim, and what the variables stand for.
    pub fn role(&self, lookup: Lookup<'_>) -> Option<(&ClaimRole, Bindings)> {
        let known = BTreeMap::from([(OWNER.to_owned(), lookup.owner.to_owned())]);
        self.claims.iter().find_map(|role| Some((role, role.matches(lookup, known.clone())?)))
    }

    /// Why the operator does not pass the size on.
    fn obstacle(&self, object: &Value, known: &Bindings) -> Option<String> {
        if self.writing == Writing::RecommendOnly {
            return Some("its operator does not pass the size on to its claims".to_owned());
        }
        let unmet = self.requires.iter().find(|condition| !condition.holds(object, known))?;
        let fields: Vec<_> = unmet.fields.iter().map(|field| field.with(known)).collect();
        Some(format!(
            "its operator passes the size on only where {} is {}",
            fields.join(" or "),
            unmet.values.join(" or ")
        ))
    }
}

impl ClaimRole {
    fn matches(&self, lookup: Lookup<'_>, known: Bindings) -> Option<Bindings> {
        let known = self
            .labels
            .iter()
            .try_fold(known, |known, (key, pattern)| pattern.matches((lookup.labels)(key)?, &known))?;
        match &self.name {
            Some(pattern) => pattern.matches(lookup.claim, &known),
            None => Some(known),
        }
    }
}

impl Condition {
    fn holds(&self, object: &Value, known: &Bindings) -> bool {
        let given = self.fields.iter().find_map(|path| path.find(object, known));
        given.map_or(self.default, |place| {
            path::text(place.value).is_some_and(|text| self.values.iter().any(|value| *value == text))
        })
    }
}
