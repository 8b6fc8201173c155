//! What no step to larger templates may do.

use orlop_api::{Bytes, Mode};

use crate::{
    owner::SetId,
    template::TemplateAction,
    view::{Governance, Uid, View},
};

/// The rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateRule {
    /// There is no such object, or it is another one.
    #[error("the view holds no such object of UID {}", .0.0)]
    Uid(Uid),
    /// What something else makes is not made by us.
    #[error("the StatefulSet belongs to somebody")]
    Owned,
    /// The StatefulSet is deleted with its claims.
    #[error("its claims would be deleted with it")]
    Claims,
    /// A template is never made smaller, and asks for no more than a claim of it has.
    #[error("template {0} would not ask for more than now, or for more than any claim of it has")]
    Size(Box<str>),
    /// No policy lets it be made anew.
    #[error("no policy in mode Auto governs a claim of template {0}")]
    NotGoverned(Box<str>),
    /// Something is stored of it already, or what is to be deleted is not stored.
    #[error("what is stored of it is not what the action expects")]
    Stored,
    /// What was stored is all that there is of it, or may be.
    #[error("it is not there or may be deleted, and what was stored is all that there is of it then")]
    Last,
    /// There is one of its name.
    #[error("there is a StatefulSet of its name")]
    There,
}

/// Does the action break a rule? Written without the code that decides.
pub fn check_template(view: &View, action: &TemplateAction) -> Result<(), TemplateRule> {
    let id = action.set();
    match action {
        TemplateAction::Store { uid, resizes, .. } => {
            replaceable(view, id, uid)?;
            if view.stored.contains_key(id) {
                return Err(TemplateRule::Stored);
            }
            resizes.iter().try_for_each(|(template, sizes)| larger(view, id, template, *sizes))
        }
        TemplateAction::Delete { uid, stored, version, .. } => {
            replaceable(view, id, uid)?;
            let is_it = |it: &&crate::StoredSet| it.uid == *stored && it.set == *uid && it.version == *version;
            view.stored.get(id).filter(is_it).map(|_| ()).ok_or(TemplateRule::Stored)
        }
        TemplateAction::Create { stored, .. } => {
            is_stored(view, id, stored)?;
            if view.sets.contains_key(id) { Err(TemplateRule::There) } else { Ok(()) }
        }
        TemplateAction::GiveUp { uid, stored, .. } => {
            is_stored(view, id, stored)?;
            let is_it = view.sets.get(id).is_some_and(|set| set.uid == *uid);
            if is_it { Ok(()) } else { Err(TemplateRule::Uid(uid.clone())) }
        }
        TemplateAction::Forget { stored, .. } => {
            is_stored(view, id, stored)?;
            if may_be_last(view, id) { Err(TemplateRule::Last) } else { Ok(()) }
        }
    }
}

/// Is what was stored all that there is of the StatefulSet, or may be when a deletion is carried out that is on its way?
fn may_be_last(view: &View, id: &SetId) -> bool {
    match (view.sets.get(id), view.stored.get(id)) {
        (None, _) => view.namespaces.contains_key(&id.namespace),
        (Some(set), Some(stored)) if set.uid == stored.set => {
            set.deleting || set.version.is_none_or(|version| version <= stored.version)
        }
        (Some(_), _) => false,
    }
}

fn is_stored(view: &View, id: &SetId, uid: &Uid) -> Result<(), TemplateRule> {
    view.stored.get(id).filter(|it| it.uid == *uid).map(|_| ()).ok_or_else(|| TemplateRule::Uid(uid.clone()))
}

fn replaceable(view: &View, id: &SetId, uid: &Uid) -> Result<(), TemplateRule> {
    let set = view.sets.get(id).filter(|set| set.uid == *uid).ok_or_else(|| TemplateRule::Uid(uid.clone()))?;
    if set.belonging.owner.is_some() || set.belonging.manager.is_some() {
        return Err(TemplateRule::Owned);
    }
    if set.keeps_claims.when_deleted { Ok(()) } else { Err(TemplateRule::Claims) }
}

fn larger(view: &View, id: &SetId, name: &str, (from, to): (Bytes, Bytes)) -> Result<(), TemplateRule> {
    let asks = view.sets.get(id).and_then(|set| set.templates.iter().find(|it| *it.name == *name)?.size);
    let claims = || view.claims_of(id, name).map(|(_, id, claim)| (id, claim));
    let largest = claims().map(|(_, claim)| claim.capacity.min(claim.requested)).max();
    if asks != Some(from) || to <= from || largest.is_none_or(|largest| largest < to) {
        return Err(TemplateRule::Size(name.into()));
    }
    if claims().any(|(id, claim)| view.write_back(id, claim).is_some()) {
        return Err(TemplateRule::Owned);
    }
    let in_auto = claims().any(|(id, claim)| match view.governance(id, claim) {
        Governance::By(policy) => view.policies.get(&policy).is_some_and(|policy| policy.mode == Mode::Auto),
        Governance::None | Governance::Conflict(_) => false,
    });
    if in_auto { Ok(()) } else { Err(TemplateRule::NotGoverned(name.into())) }
}
