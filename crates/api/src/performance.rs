//! The `performance` section of a policy: between which `VolumeAttributesClass`es a claim moves, and when.

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::units::{Percent, Period};

/// Between which VolumeAttributesClasses a claim moves, and when.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.lowerBelow) || !self.lowerBelow.matches('^[1-9][0-9]?%$') \
         || !has(self.raiseAbove) || !self.raiseAbove.matches('^[1-9][0-9]?%$') \
         || int(self.lowerBelow.replace('%', '')) < int(self.raiseAbove.replace('%', ''))",
    ).message(
        "lowerBelow is not below raiseAbove, so that a claim that has just been lowered would be raised again: make \
         lowerBelow smaller, 40% where it is left out, or raiseAbove larger, 90% where it is left out",
    ),
)]
pub struct PerformanceSpec {
    /// The names of VolumeAttributesClasses of the claims' driver, from the slowest to the fastest. A claim whose class is
    /// none of them is left as it is.
    #[schemars(schema_with = "attributes_classes")]
    pub attributes_classes: Vec<String>,
    /// Take a faster class when the volume does more than this share of what its class gives, in I/O operations or in
    /// bytes.
    #[serde(default = "default_raise_above")]
    pub raise_above: Percent,
    /// For how long it must have done so.
    #[serde(default = "default_raise_after")]
    pub raise_after: Period,
    /// Take the next slower class when the volume does less than this share of what that class gives, in I/O operations
    /// and in bytes.
    #[serde(default = "default_lower_below")]
    pub lower_below: Percent,
    /// For how long it must have done so.
    #[serde(default = "default_lower_after")]
    pub lower_after: Period,
}

impl PerformanceSpec {
    /// What a section says that has nothing but the classes.
    pub fn among(attributes_classes: Vec<String>) -> Self {
        Self {
            attributes_classes,
            raise_above: default_raise_above(),
            raise_after: default_raise_after(),
            lower_below: default_lower_below(),
            lower_after: default_lower_after(),
        }
    }
}

/// With so few the API server can afford to compare each with each.
fn attributes_classes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 2,
        "maxItems": 16,
        "items": { "type": "string", "minLength": 1, "maxLength": 253 },
        "x-kubernetes-list-type": "atomic",
        "x-kubernetes-validations": [{
            "rule": "self.all(name, self.exists_one(other, other == name))",
            "message": "names a class twice: name each once, from the slowest to the fastest",
        }],
    })
}

/// Of a device that counts what is done, and not what waits: one that does nine tenths of what it may is nearly always
/// waited for.
fn default_raise_above() -> Percent {
    Percent::new(90)
}

fn default_raise_after() -> Period {
    Period::from_secs(30)
}

fn default_lower_below() -> Percent {
    Percent::new(40)
}

/// So that a class is not given up in the lull before the next rush hour, where a service allows few modifications a day.
fn default_lower_after() -> Period {
    Period::from_secs(6 * 3600)
}
