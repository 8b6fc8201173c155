//! The claims of a cluster by their names.

use std::{
    collections::{BTreeMap, btree_map},
    iter::Map,
    ops::{Index, RangeBounds},
};

use crate::view::{Claim, ClaimId};

/// Claims in the order of their names. Each is kept in a place of its own, because a tree that is filled in the order of its
/// keys, as by a list, is little more than half full.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims(BTreeMap<ClaimId, Box<Claim>>);

impl Claims {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is there one of this name?
    pub fn contains_key(&self, id: &ClaimId) -> bool {
        self.0.contains_key(id)
    }

    /// The claim of this name.
    pub fn get(&self, id: &ClaimId) -> Option<&Claim> {
        self.0.get(id).map(|claim| &**claim)
    }

    /// The claim of this name, with the name as it is kept here.
    pub fn get_key_value(&self, id: &ClaimId) -> Option<(&ClaimId, &Claim)> {
        self.0.get_key_value(id).map(|(id, claim)| (id, &**claim))
    }

    /// The claim of this name.
    pub fn get_mut(&mut self, id: &ClaimId) -> Option<&mut Claim> {
        self.0.get_mut(id).map(|claim| &mut **claim)
    }

    /// Puts a claim there, in the place of one of the same name.
    pub fn insert(&mut self, id: ClaimId, claim: Claim) {
        match self.0.entry(id) {
            btree_map::Entry::Occupied(mut known) => **known.get_mut() = claim,
            btree_map::Entry::Vacant(none) => {
                none.insert(Box::new(claim));
            }
        }
    }

    /// Takes the claim of this name away.
    pub fn remove(&mut self, id: &ClaimId) -> Option<Claim> {
        self.0.remove(id).map(|claim| *claim)
    }

    /// All of them.
    pub fn iter(&self) -> Iter<'_> {
        self.into_iter()
    }

    /// Those whose names are in a range.
    pub fn range(&self, names: impl RangeBounds<ClaimId>) -> Range<'_> {
        self.0.range(names).map(|(id, claim)| (id, claim))
    }

    /// Their names.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &ClaimId> {
        self.0.keys()
    }

    /// All of them, without their names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Claim> {
        self.0.values().map(|claim| &**claim)
    }

    /// All of them, without their names.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Claim> {
        self.0.values_mut().map(|claim| &mut **claim)
    }
}

impl FromIterator<(ClaimId, Claim)> for Claims {
    fn from_iter<I: IntoIterator<Item = (ClaimId, Claim)>>(claims: I) -> Self {
        Self(claims.into_iter().map(|(id, claim)| (id, Box::new(claim))).collect())
    }
}

impl Extend<(ClaimId, Claim)> for Claims {
    fn extend<I: IntoIterator<Item = (ClaimId, Claim)>>(&mut self, claims: I) {
        self.0.extend(claims.into_iter().map(|(id, claim)| (id, Box::new(claim))));
    }
}

impl<const N: usize> From<[(ClaimId, Claim); N]> for Claims {
    fn from(claims: [(ClaimId, Claim); N]) -> Self {
        claims.into_iter().collect()
    }
}

type OfAll<'a> = fn((&'a ClaimId, &'a Box<Claim>)) -> (&'a ClaimId, &'a Claim);

/// An iterator over some of the claims.
pub type Range<'a> = Map<btree_map::Range<'a, ClaimId, Box<Claim>>, OfAll<'a>>;

/// An iterator over claims.
pub type Iter<'a> = Map<btree_map::Iter<'a, ClaimId, Box<Claim>>, OfAll<'a>>;

impl<'a> IntoIterator for &'a Claims {
    type Item = (&'a ClaimId, &'a Claim);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.0.iter().map(|(id, claim)| (id, claim))
    }
}

impl IntoIterator for Claims {
    type Item = (ClaimId, Claim);
    type IntoIter = Map<btree_map::IntoIter<ClaimId, Box<Claim>>, fn((ClaimId, Box<Claim>)) -> (ClaimId, Claim)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|(id, claim)| (id, *claim))
    }
}

impl Index<&ClaimId> for Claims {
    type Output = Claim;

    fn index(&self, id: &ClaimId) -> &Claim {
        &self.0[id]
    }
}
