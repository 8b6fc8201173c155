//! The custom resources whose operators make claims: which kinds there are, and of each object just what its
//! [`OwnerProfile`](orlop_api::OwnerProfile) speaks of. And the field of such an object that says how large a claim is,
//! because a change of the claim itself would be reverted or fought.

mod kinds;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use orlop_api::{
    Bytes, OwnerProfileSpec,
    owner::{Field, Located, Lookup, built_in},
};
use serde_json::Value;

pub use self::kinds::{NamedOwner, Objects, OwnerKind, Unknown};
use crate::{
    owner::{Belonging, Link},
    view::{Claim, ClaimId, NamespaceName, Uid, View},
};

/// A custom resource's kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// The name of its CustomResourceDefinition: `clusters.postgresql.cnpg.io`.
    pub definition: Arc<str>,
    /// The object's namespace.
    pub namespace: NamespaceName,
    /// The object's name.
    pub name: Arc<str>,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.definition, self.namespace.0, self.name)
    }
}

/// A custom resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// The object's UID.
    pub uid: Uid,
    /// To whom it belongs itself.
    pub belonging: Belonging,
    /// What its profile speaks of, by [`OwnerProfileSpec::prune`].
    pub fields: Value,
}

/// The custom resources.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// Profiles that override the built-in ones, by their names.
    pub profiles: BTreeMap<String, Arc<OwnerProfileSpec>>,
    /// What is known of the kinds of which there is a profile, by the names of their definitions. One that is not here is not
    /// known to be there.
    pub kinds: BTreeMap<String, OwnerKind>,
    /// Is there a cluster that can be asked which kinds it has? Without one, what is not here is not there.
    pub can_be_asked: bool,
    /// The objects of these kinds.
    pub objects: BTreeMap<ResourceId, Resource>,
}

impl Resources {
    /// What is known of a kind, by an object of its definition's name or else by what is built in.
    pub fn profile(&self, definition: &str) -> Option<&OwnerProfileSpec> {
        let given = self.profiles.get(definition).map(|profile| &**profile);
        given.or_else(|| built_in::get(definition).map(|profile| &profile.spec))
    }
}

/// The owner whose field says how large a claim is.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteBack {
    /// The owner.
    pub id: ResourceId,
    /// Its kind: `Cluster`.
    pub kind: String,
    /// Its UID; none where it is not known.
    pub uid: Option<Uid>,
    /// The field, where it is there.
    pub field: Option<Field>,
    /// Why the field is not for Orlop to write, in words that go on from "because".
    pub obstacle: Option<String>,
    /// Does the owner's operator pass the size on to its claims?
    pub is_passed_on: bool,
    /// How well the owner is known.
    pub knowledge: Knowledge,
}

/// How well an owner is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// It is known what it says.
    Known,
    /// The objects of its kind are being listed, which is a matter of seconds.
    Awaited,
    /// It cannot be found out: since when, where that is known.
    Unknown(Option<Timestamp>),
}

impl fmt::Display for WriteBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id.name)
    }
}

impl WriteBack {
    /// The size that the owner asks for.
    pub fn size(&self) -> Option<Bytes> {
        self.field.as_ref().map(|field| field.size)
    }

    /// The size that the owner asks for and its operator is to give the claim, where that is more than the claim requests.
    pub fn ahead_of(&self, claim: &Claim) -> Option<Bytes> {
        self.size().filter(|size| self.is_passed_on && *size > claim.requested)
    }

    /// Is this the owner with this UID, and the field of this path?
    pub fn is_field(&self, uid: &str, path: &str) -> bool {
        self.uid.as_ref().is_some_and(|own| *own.0 == *uid) && self.field.as_ref().is_some_and(|own| own.path == path)
    }

    /// The command that writes this size into the field, for whoever may.
    pub fn command(&self, to: Bytes) -> Option<String> {
        let (field, uid) = (self.field.as_ref()?, self.uid.as_ref()?);
        let patch = Value::from(field.patch(&uid.0, to));
        let ResourceId { definition, namespace, name } = &self.id;
        Some(format!("kubectl patch {definition} {name} -n {} --type=json -p '{patch}'", namespace.0))
    }
}

impl View {
    /// The owner whose field says how large the claim is, where the claim has one of which a profile is known.
    pub fn write_back(&self, id: &ClaimId, claim: &Claim) -> Option<WriteBack> {
        if self.resources.kinds.values().all(OwnerKind::is_absent) {
            return None;
        }
        let ownership = self.ownership(id, claim);
        ownership.chain.iter().find_map(|link| self.by_reference(id, claim, link)).or_else(|| self.by_label(id, claim))
    }

    /// By the `ownerReferences` of the claim or of its StatefulSet.
    fn by_reference(&self, id: &ClaimId, claim: &Claim, link: &Link<'_>) -> Option<WriteBack> {
        self.resources.kinds.iter().filter(|(_, kind)| !kind.is_absent()).find_map(|(definition, kind)| {
            let profile = self.resources.profile(definition).filter(|profile| is_of(link, definition, profile))?;
            let of = resource_id(definition, id, link.name);
            let object = self.resources.objects.get(&of).filter(|object| object.uid == *link.uid);
            Some(resolve(id, claim, of, profile, kind, object))
        })
    }

    /// By a label of the claim, where it is one of those that an object makes which is there: others may have the label, too.
    fn by_label(&self, id: &ClaimId, claim: &Claim) -> Option<WriteBack> {
        self.resources.kinds.iter().filter(|(_, kind)| !kind.is_absent()).find_map(|(definition, kind)| {
            let profile = self.resources.profile(definition)?;
            let of = labelled(id, claim, definition, profile)?;
            let object = self.resources.objects.get(&of);
            (object.is_some() || !kind.is_listed()).then(|| resolve(id, claim, of, profile, kind, object))
        })
    }

    /// The claims whose size is in the same field, with this one, in the order of their names.
    pub fn siblings<'a>(&'a self, of: &'a WriteBack) -> impl Iterator<Item = (&'a ClaimId, &'a Claim)> {
        let is_sibling = move |(id, claim): &(&ClaimId, &Claim)| {
            let other = self.write_back(id, claim);
            other.is_some_and(|other| {
                other.id == of.id && other.field.as_ref().map(|it| &it.path) == of.field.as_ref().map(|it| &it.path)
            })
        };
        self.claims_in(&of.id.namespace).filter(is_sibling)
    }

    /// The claims of a custom resource.
    pub fn claims_of_resource<'a>(&'a self, of: &'a ResourceId) -> impl Iterator<Item = &'a ClaimId> {
        let of_it = move |(id, claim): &(&ClaimId, &Claim)| {
            self.write_back(id, claim).is_some_and(|write_back| write_back.id == *of)
        };
        self.claims_in(&of.namespace).filter(of_it).map(|(id, _)| id)
    }

    /// What a claim is to have by way of its owner: what the owner asks for, or was decided to ask for. Nothing where the
    /// claim has as much.
    pub(crate) fn asked_by_owner(&self, id: &ClaimId, claim: &Claim) -> Bytes {
        let ahead = self.write_back(id, claim).and_then(|write_back| write_back.ahead_of(claim));
        let decided = claim.growth.as_ref().filter(|record| record.owner.is_some() && record.usable.is_none());
        ahead.into_iter().chain(decided.map(|record| record.to)).max().unwrap_or_default()
    }
}

/// Is the owner of this kind?
fn is_of(link: &Link<'_>, definition: &str, profile: &OwnerProfileSpec) -> bool {
    let group = link.api_version.split_once('/').map(|(group, _)| group);
    profile.kind == link.kind && definition.split_once('.').is_some_and(|(_, its_group)| Some(its_group) == group)
}

/// The object that the claim's label names, where the claim is one of those that such an object makes.
fn labelled(id: &ClaimId, claim: &Claim, definition: &str, profile: &OwnerProfileSpec) -> Option<ResourceId> {
    let of = resource_id(definition, id, claim.labels.get(profile.name_label.as_ref()?)?);
    let labels = |key: &str| claim.labels.get(key);
    profile.role(Lookup { owner: &of.name, claim: &id.name, labels: &labels })?;
    Some(of)
}

fn resource_id(definition: &str, claim: &ClaimId, name: &str) -> ResourceId {
    ResourceId { definition: definition.into(), namespace: claim.namespace.clone(), name: name.into() }
}

/// The owner with its field, or with what stands in the way.
fn resolve(
    id: &ClaimId,
    claim: &Claim,
    of: ResourceId,
    profile: &OwnerProfileSpec,
    kind: &OwnerKind,
    object: Option<&Resource>,
) -> WriteBack {
    let labels = |key: &str| claim.labels.get(key);
    let lookup = Lookup { owner: &of.name, claim: &id.name, labels: &labels };
    // What was kept of it by an earlier profile may not be what this one speaks of.
    let object = object.filter(|_| !kind.is_listing());
    let located = object.map(|object| profile.locate(lookup, &object.fields));
    let (field, obstacle) = match located {
        None => (None, Some(unknown(kind, &of))),
        Some(None) => (None, Some(format!("its OwnerProfile {} has no role for such a claim", of.definition))),
        Some(Some(Located::Absent(fields))) => (None, Some(format!("it has no {}: set it", fields.join(" and no ")))),
        Some(Some(Located::NoSize(field))) => (None, Some(format!("what it has in {field} is no size"))),
        Some(Some(Located::NotPassedOn(field, why))) => (Some(field), Some(why)),
        Some(Some(Located::Field(field))) => (Some(field), None),
    };
    let is_passed_on = obstacle.is_none();
    WriteBack {
        id: of,
        kind: profile.kind.clone(),
        uid: object.map(|object| object.uid.clone()),
        field,
        obstacle: obstacle.or_else(|| set_back_by(&object?.belonging)),
        is_passed_on,
        knowledge: match object {
            Some(_) => Knowledge::Known,
            None if kind.is_listing() => Knowledge::Awaited,
            None => Knowledge::Unknown(kind.unknown().map(|unknown| unknown.since)),
        },
    }
}

/// Why an owner is not known.
fn unknown(kind: &OwnerKind, of: &ResourceId) -> String {
    if kind.is_listing() {
        return format!("the {} are being listed", of.definition);
    }
    let gone = || "the cluster has no such object with the UID that the claim names".to_owned();
    kind.unknown().map_or_else(gone, |unknown| unknown.why.clone())
}

/// Who would set an object back to what it was, in words.
fn set_back_by(belonging: &Belonging) -> Option<String> {
    match belonging {
        Belonging { manager: Some(manager), .. } => {
            Some(format!("{manager} applies its manifest and would set it back: commit the size there"))
        }
        Belonging { owner: Some(owner), .. } => {
            Some(format!("it belongs to {} {}, which would set it back", owner.kind, owner.name))
        }
        Belonging { owner: None, manager: None } => None,
    }
}
