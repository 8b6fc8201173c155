//! The claim templates of StatefulSets. A StatefulSet's claims grow and its templates cannot be changed, so that the claim
//! of the next replica is as small as the first ones were. [`templates`] says which templates ask for less than their claims
//! have, and what is to be done about it: mostly to report it with the change that its author can make, and where the policy
//! says so, to make the StatefulSet anew.
//!
//! To make it anew takes four requests that change something: its manifest with the larger templates is stored, the StatefulSet
//! is deleted and its pods and claims are left, it is created from what was stored, and that is removed. What was stored and
//! the StatefulSet itself are all the memory there is, so that an operator may be killed between any two of them: [`step`]
//! says from these alone what comes next.

mod drift;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use orlop_api::Bytes;

pub use self::drift::{Drift, Stance};
use crate::{
    owner::{SetId, StatefulSet},
    view::{Uid, View},
};

/// A StatefulSet's manifest that is stored while the StatefulSet is made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSet {
    /// The UID of the ConfigMap that it is in.
    pub uid: Uid,
    /// The UID of the StatefulSet whose manifest it is.
    pub set: Uid,
    /// Which state of that StatefulSet it is: its `resourceVersion`.
    pub version: u64,
    /// How much each template asks for, by its name.
    pub sizes: BTreeMap<Box<str>, Bytes>,
}

/// By how much the templates are to be larger: from what they ask for, to what they are to, by their names.
pub type Resizes = BTreeMap<Box<str>, (Bytes, Bytes)>;

/// One step on the way to larger templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateAction {
    /// Store the manifest of a StatefulSet with larger templates; only where the StatefulSet still has this UID and its
    /// templates ask for what they did, nothing is stored of it, and the API server would take the manifest as it is now.
    Store {
        /// The StatefulSet.
        set: SetId,
        /// Its UID.
        uid: Uid,
        /// Its templates that are to be larger.
        resizes: Resizes,
    },
    /// Delete the StatefulSet and leave its pods and claims; only where it still has this UID and is in the state that was
    /// stored, and that still is.
    Delete {
        /// The StatefulSet.
        set: SetId,
        /// Its UID.
        uid: Uid,
        /// The state that was stored.
        version: u64,
        /// The UID of what was stored.
        stored: Uid,
    },
    /// Create the StatefulSet from what was stored; only where there is none of its name.
    Create {
        /// The StatefulSet.
        set: SetId,
        /// The UID of what was stored.
        stored: Uid,
    },
    /// Change an annotation of the StatefulSet, so that no deletion of the state that was stored can be carried out any more, were
    /// one still on its way; only where it still has this UID and is in that state.
    GiveUp {
        /// The StatefulSet.
        set: SetId,
        /// Its UID.
        uid: Uid,
        /// The state that was stored.
        version: u64,
        /// The UID of what was stored.
        stored: Uid,
    },
    /// Remove what was stored; only where it still has this UID.
    Forget {
        /// The StatefulSet.
        set: SetId,
        /// The UID of what was stored.
        stored: Uid,
    },
}

impl TemplateAction {
    /// The StatefulSet that it is for.
    pub const fn set(&self) -> &SetId {
        match self {
            Self::Store { set, .. }
            | Self::Delete { set, .. }
            | Self::Create { set, .. }
            | Self::GiveUp { set, .. }
            | Self::Forget { set, .. } => set,
        }
    }
}

impl fmt::Display for TemplateAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { set, resizes, .. } => {
                write!(f, "store {set} with")?;
                let mut before = "";
                for (template, (from, to)) in resizes {
                    write!(f, "{before} template {template} from {from} to {to}")?;
                    before = ",";
                }
                Ok(())
            }
            Self::Delete { set, .. } => write!(f, "delete {set}, and leave its pods and claims, to make it anew"),
            Self::Create { set, .. } => write!(f, "create {set} from what was stored of it"),
            Self::GiveUp { set, .. } => write!(f, "give up making {set} anew"),
            Self::Forget { set, .. } => write!(f, "remove what was stored of {set}"),
        }
    }
}

/// Which templates of a StatefulSet ask for less than their claims have, and the next step to larger ones, where one is to be
/// made. Also of a StatefulSet that the view does not hold: what was stored of it may be all that there is of it.
pub fn templates(view: &View, id: &SetId) -> (Option<TemplateAction>, Vec<Drift>) {
    let (stored, set) = (view.stored.get(id), view.sets.get(id));
    let drifts = set.map_or_else(Vec::new, |set| drift::of(view, id, set));
    let is_waited_for = drifts.iter().any(|drift| matches!(drift.stance, Stance::Wait(_)));
    let resizes = drifts.iter().filter(|drift| drift.stance == Stance::Recreate && !is_waited_for);
    let resizes = resizes.map(|drift| (drift.template.clone(), (drift.asks, drift.wants))).collect();
    let namespace_is_gone = !view.namespaces.contains_key(&id.namespace);
    (step(id, stored, set, resizes, namespace_is_gone), drifts)
}

/// What comes next of what was stored and of what is there; `resizes` is what is to be changed now. Each step is safe to
/// repeat and to come late, and from each there is a way on: a StatefulSet is only deleted while its manifest is stored, and
/// what is stored is only removed when no deletion that relies on it can be carried out any more.
fn step(
    id: &SetId,
    stored: Option<&StoredSet>,
    set: Option<&StatefulSet>,
    resizes: Resizes,
    namespace_is_gone: bool,
) -> Option<TemplateAction> {
    let name = || id.clone();
    let Some(stored) = stored else {
        let set = set.filter(|set| !set.deleting && !resizes.is_empty())?;
        return Some(TemplateAction::Store { set: name(), uid: set.uid.clone(), resizes });
    };
    let (version, uid) = (stored.version, stored.uid.clone());
    match set {
        None if namespace_is_gone => Some(TemplateAction::Forget { set: name(), stored: uid }),
        None => Some(TemplateAction::Create { set: name(), stored: uid }),
        // It has been made anew: by us, or by somebody else, whose will it is then. Or it has changed since it was stored, and
        // the stored state can be deleted no more.
        Some(set) if set.uid != stored.set || (!set.deleting && set.version.is_some_and(|it| it > version)) => {
            Some(TemplateAction::Forget { set: name(), stored: uid })
        }
        // Its pods and claims are being let go of.
        Some(set) if set.deleting => None,
        Some(set) if is_wanted(stored, &resizes) => {
            Some(TemplateAction::Delete { set: name(), uid: set.uid.clone(), version, stored: uid })
        }
        Some(set) => Some(TemplateAction::GiveUp { set: name(), uid: set.uid.clone(), version, stored: uid }),
    }
}

/// Is what was stored still larger where it is to be larger? Claims that have grown further are followed when it is done.
fn is_wanted(stored: &StoredSet, resizes: &Resizes) -> bool {
    !resizes.is_empty()
        && resizes.iter().all(|(name, (from, _))| stored.sizes.get(name).is_some_and(|size| size > from))
}
