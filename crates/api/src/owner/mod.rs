//! `OwnerProfile`: which field of a custom resource says how large a claim is that the resource's operator has made. A
//! change of such a claim itself is reverted or fought. Profiles of common operators are [built in](built_in); an object of
//! a profile's name takes the place of the built-in one.

pub mod built_in;
mod field;
mod path;
mod pattern;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use field::{Field, Located, Lookup};
pub use path::FieldPath;
pub use pattern::{Bindings, Pattern};

/// Whether an operator passes a new size on to its claims.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Writing {
    /// It does, so the field is written where the policy's mode is Auto.
    #[default]
    Allowed,
    /// It does not, or not without a hand: the field is never written, and the change is reported.
    RecommendOnly,
}

/// How the claims of a kind of custom resource are known, and which of its fields say how large they are. The object is
/// named after the kind's CustomResourceDefinition: the plural name, a point, and the API group.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "orlop.dev",
    version = "v1alpha1",
    kind = "OwnerProfile",
    plural = "ownerprofiles",
    doc = "Which field of a custom resource says how large the claims of its operator are.",
    derive = "PartialEq",
    category = "orlop",
    validation = Rule::new("self.metadata.name.matches('^[^.]+[.].+$')")
        .message("is not named after a CustomResourceDefinition: write its plural name and its group, such as \
                  clusters.postgresql.cnpg.io"),
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Writing", type_ = "string", json_path = ".spec.writing"),
    printcolumn(name = "As of", type_ = "string", json_path = ".spec.asOf")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.source) == has(self.asOf)")
        .message("source and asOf belong together: write both, or neither"),
)]
pub struct OwnerProfileSpec {
    /// The kind, as in the `ownerReferences` of claims and StatefulSets.
    #[schemars(schema_with = "kind")]
    pub kind: String,
    /// The key of the claims' label whose value is the object's name, for claims that have no `ownerReferences`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_key")]
    pub name_label: Option<String>,
    /// Whether the operator passes a new size on to its claims.
    #[serde(default)]
    pub writing: Writing,
    /// What an object must say for its operator to pass a new size on. All of it must hold; where it does not, the field is
    /// not written, and the change is reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub requires: Vec<Condition>,
    /// The claims that the operator makes, by what they are for. A claim has the first role that it matches.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["role"]))]
    pub claims: Vec<ClaimRole>,
    /// Where the fields come from: a file of the operator's source, or the title of a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub source: Option<String>,
    /// The day on which the source said so, as 2026-01-31.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::driver::day")]
    pub as_of: Option<String>,
}

/// What an object must say.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Where it says so: the first of these fields that is there.
    #[schemars(length(min = 1, max = 4))]
    pub fields: Vec<FieldPath>,
    /// The values with which it holds.
    #[schemars(length(min = 1, max = 8), inner(length(max = 63)))]
    pub values: Vec<String>,
    /// Whether it holds, too, where none of the fields is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

/// The claims of an object that are for the same.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.labels) || has(self.name)")
        .message("says of no claim that it is one of these: write labels, name or both"),
)]
pub struct ClaimRole {
    /// What the claims are for, such as data or wal.
    #[schemars(length(min = 1, max = 63))]
    pub role: String,
    /// The labels that they have, each with a pattern of its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub labels: BTreeMap<String, Pattern>,
    /// A pattern of their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Pattern>,
    /// The field with their size: the first of these that is there.
    #[schemars(length(min = 1, max = 4))]
    pub size: Vec<FieldPath>,
}

fn kind(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "maxLength": 63,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Za-z][A-Za-z0-9]*$')",
            "message": "is not a kind: write it as in the kind of its objects, such as Cluster",
        }],
    })
}

fn label_key(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "nullable": true,
        "maxLength": 317,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",
            "message": "is not the key of a label: write it as it stands on the claims, such as cnpg.io/cluster",
        }],
    })
}
