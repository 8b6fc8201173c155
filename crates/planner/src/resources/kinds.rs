//! Which kinds of custom resource the cluster has. A claim whose owner is of a kind that has only just come must not be
//! taken for one that nobody owns: so that the cluster has no such kind counts for a moment only, and then it is asked
//! again.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{OwnerProfileSpec, owner::built_in};

use super::{ResourceId, Resources, is_of, labelled, resource_id};
use crate::view::{Claim, ClaimId, View};

/// So old an answer may be that the cluster has no such kind: enough for a decision that waits for it.
const ABSENT_FOR: SignedDuration = SignedDuration::from_secs(10);

/// What is known of a kind of custom resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerKind {
    /// The cluster had none when it was asked, which was then.
    Absent(Timestamp),
    /// The cluster has it.
    Served {
        /// The version by which it is read and written.
        version: Arc<str>,
        /// What is known of its objects.
        objects: Objects,
    },
    /// It cannot be found out whether the cluster has it.
    Unknown(Unknown),
}

/// What is known of the objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objects {
    /// They are being listed for the first time, by the profile as it is.
    Listing,
    /// They have been listed.
    Listed,
    /// They cannot be listed, or no longer be watched: what is known of some may be old, and of others nothing is.
    Unknown(Unknown),
}

/// What cannot be found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Why, in words that go on from "because", and what to do about it.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

impl OwnerKind {
    /// Had the cluster none?
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }

    /// Are its objects being listed for the first time?
    pub const fn is_listing(&self) -> bool {
        matches!(self, Self::Served { objects: Objects::Listing, .. })
    }

    /// Are all its objects known?
    pub const fn is_listed(&self) -> bool {
        matches!(self, Self::Served { objects: Objects::Listed, .. })
    }

    /// What cannot be found out.
    pub const fn unknown(&self) -> Option<&Unknown> {
        match self {
            Self::Unknown(unknown) | Self::Served { objects: Objects::Unknown(unknown), .. } => Some(unknown),
            Self::Absent(_) | Self::Served { .. } => None,
        }
    }

    /// The version by which it is read and written.
    pub const fn version(&self) -> Option<&Arc<str>> {
        match self {
            Self::Served { version, .. } => Some(version),
            Self::Absent(_) | Self::Unknown(_) => None,
        }
    }
}

/// An owner that a claim names, of a kind of which it is to be asked whether the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedOwner {
    /// The owner.
    pub id: ResourceId,
    /// Its kind: `Cluster`.
    pub kind: String,
}

impl Resources {
    /// Every profile by the name of its kind's definition: those of the cluster, and those that are built in.
    fn all_profiles(&self) -> impl Iterator<Item = (&str, &OwnerProfileSpec)> {
        let given = self.profiles.iter().map(|(definition, profile)| (definition.as_str(), &**profile));
        let built_in = built_in::all().filter_map(|it| Some((it.metadata.name.as_deref()?, &it.spec)));
        given.chain(built_in.filter(|(definition, _)| !self.profiles.contains_key(*definition)))
    }
}

impl View {
    /// The owner that the claim names, by its references or by a label, where that is of a kind that has a profile and of which
    /// nobody has asked lately whether the cluster has it. Before the claim itself is changed, that is to be known.
    pub fn unasked_owner(&self, id: &ClaimId, claim: &Claim, now: Timestamp) -> Option<NamedOwner> {
        if !self.resources.can_be_asked {
            return None;
        }
        let is_open = |definition: &str| match self.resources.kinds.get(definition) {
            None => true,
            Some(OwnerKind::Absent(at)) => now.duration_since(*at).abs() > ABSENT_FOR,
            Some(_) => false,
        };
        let ownership = self.ownership(id, claim);
        self.resources.all_profiles().filter(|(definition, _)| is_open(definition)).find_map(|(definition, profile)| {
            let link = ownership.chain.iter().find(|link| is_of(link, definition, profile));
            let named = link.map(|link| resource_id(definition, id, link.name));
            let of = named.or_else(|| labelled(id, claim, definition, profile))?;
            Some(NamedOwner { id: of, kind: profile.kind.clone() })
        })
    }
}
