//! Which templates ask for less than their claims have, and what stands in the way of larger ones.

use orlop_api::{Bytes, CapacitySpec, Mode, TemplateSync};

use crate::{
    owner::{SetId, StatefulSet},
    view::{Claim, ClaimId, Governance, Policy, PolicyId, View},
};

/// A template that asks for less than its claims have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The template's name.
    pub template: Box<str>,
    /// Which of `spec.volumeClaimTemplates` it is, from 0.
    pub index: usize,
    /// How much it asks for.
    pub asks: Bytes,
    /// How much it is to ask for: what the largest of its claims has, and no more than the policy's maximum.
    pub wants: Bytes,
    /// The policy that governs that claim.
    pub policy: PolicyId,
    /// What is done about it.
    pub stance: Stance,
}

/// What is done about a template that asks for too little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stance {
    /// It is reported: somebody else is to change it. Why, and how.
    Report(String),
    /// The StatefulSet is to be made anew, and waits for this.
    Wait(String),
    /// The StatefulSet is made anew now.
    Recreate,
}

impl Drift {
    /// In a sentence with its numbers.
    pub fn sentence(&self) -> String {
        let Self { template, asks, wants, .. } = self;
        let what = format!(
            "template {template} asks for {asks}, and its claims have up to {wants}: the claim of the next replica would be \
             smaller"
        );
        match &self.stance {
            Stance::Report(how) => format!("{what}; {how}"),
            Stance::Wait(what_for) => format!("{what}; the StatefulSet is made anew {what_for}"),
            Stance::Recreate => format!("{what}; the StatefulSet is made anew"),
        }
    }

    /// The change of the StatefulSet's manifest, as a JSON patch, which kustomize takes as well.
    pub fn patch(&self) -> String {
        let at = format!("/spec/volumeClaimTemplates/{}", self.index);
        format!(
            r#"[{{"op":"test","path":"{at}/metadata/name","value":"{}"}},{{"op":"replace","path":"{at}/spec/resources/requests/storage","value":"{}"}}]"#,
            self.template, self.wants
        )
    }
}

/// A claim of a template with the policy that governs it.
struct Governed<'a> {
    id: &'a ClaimId,
    claim: &'a Claim,
    policy_id: &'a PolicyId,
    policy: &'a Policy,
    spec: &'a CapacitySpec,
}

impl Governed<'_> {
    /// What it has: not what it has asked for and may never get, nor what its driver has made more of it.
    fn size(&self) -> Bytes {
        self.claim.requested.min(self.claim.capacity)
    }
}

/// The templates of a StatefulSet that ask for less than their claims have that policies govern.
pub(super) fn of(view: &View, id: &SetId, set: &StatefulSet) -> Vec<Drift> {
    let drift = |(index, template): (usize, &crate::owner::ClaimTemplate)| {
        let asks = template.size?;
        let claims = view.claims_of(id, &template.name).filter_map(|(_, id, claim)| governed(view, id, claim));
        let claims: Vec<Governed<'_>> = claims.collect();
        // Of several the first by its name, so that it is the same one each time.
        let largest = claims.iter().rev().max_by_key(|it| it.size())?;
        let wants = largest.size().min(largest.spec.maximum);
        (wants > asks).then(|| Drift {
            template: template.name.clone(),
            index,
            asks,
            wants,
            policy: largest.policy_id.clone(),
            stance: stance(view, set, largest, &claims),
        })
    };
    set.templates.iter().enumerate().filter_map(drift).collect()
}

fn governed<'a>(view: &'a View, id: &'a ClaimId, claim: &'a Claim) -> Option<Governed<'a>> {
    let Governance::By(policy) = view.governance(id, claim) else { return None };
    let (policy_id, policy) = view.policies.get_key_value(&policy).filter(|(_, policy)| policy.mode != Mode::Off)?;
    let spec = policy.capacity.as_ref().filter(|_| claim.bound)?;
    Some(Governed { id, claim, policy_id, policy, spec })
}

fn stance(view: &View, set: &StatefulSet, largest: &Governed<'_>, claims: &[Governed<'_>]) -> Stance {
    if let Some(why) = not_ours(view, set, largest, claims) {
        return Stance::Report(why);
    }
    if let Some(how) = not_allowed(view, set, largest, claims) {
        return Stance::Report(how);
    }
    match not_now(set, claims) {
        Some(what_for) => Stance::Wait(what_for),
        None => Stance::Recreate,
    }
}

/// Whose the StatefulSet is, where it is made by something else than a user's hand: a change would be taken back.
fn not_ours(view: &View, set: &StatefulSet, largest: &Governed<'_>, claims: &[Governed<'_>]) -> Option<String> {
    let owner = set.belonging.owner.as_ref();
    let owner = owner.or_else(|| claims.iter().find_map(|it| it.claim.belonging.as_ref()?.owner.as_ref()));
    if let Some(owner) = owner {
        let (kind, name) = (&owner.kind, &owner.name);
        return Some(format!("{kind} {name} has made the StatefulSet: change the size that {kind} {name} asks for"));
    }
    // Some operators say only by a label what they have made.
    if let Some(owner) = claims.iter().find_map(|it| view.write_back(it.id, it.claim)) {
        return Some(format!("{owner} has made the StatefulSet: change the size that {owner} asks for"));
    }
    let manager = view.ownership(largest.id, largest.claim).manager?;
    Some(format!("{manager} applies the StatefulSet: make this change where that has it from"))
}

/// Why the StatefulSet is not made anew by Orlop, and what to do.
fn not_allowed(view: &View, set: &StatefulSet, largest: &Governed<'_>, claims: &[Governed<'_>]) -> Option<String> {
    let by_hand = "make this change in its manifest, delete the StatefulSet with --cascade=orphan, and apply it again";
    if claims.iter().any(|it| it.spec.template_sync == TemplateSync::Report) {
        return Some(by_hand.to_owned());
    }
    if !set.keeps_claims.when_deleted {
        return Some(format!(
            "its persistentVolumeClaimRetentionPolicy deletes its claims with it, so Orlop does not delete it: {by_hand}"
        ));
    }
    if claims.iter().any(|it| it.policy_id != largest.policy_id) {
        return Some(format!("several policies govern its claims, so Orlop does not make it anew: {by_hand}"));
    }
    if largest.policy.mode != Mode::Auto {
        return Some("in mode Auto the StatefulSet would be made anew".to_owned());
    }
    if !view.allowed.template_sync {
        return Some(
            "templateSync is Recreate, and the operator may not make StatefulSets: set operator.templateSync in the chart's \
             values"
                .to_owned(),
        );
    }
    None
}

/// What is waited for.
fn not_now(set: &StatefulSet, claims: &[Governed<'_>]) -> Option<String> {
    if let Some(paused) = claims.iter().find(|it| it.claim.paused.is_some()) {
        return Some(format!("when the claim {} is no longer paused", paused.id.name));
    }
    if set.deleting {
        return Some("when it is no longer being deleted".to_owned());
    }
    if set.scaled.is_some() {
        return Some(
            "when it has its replicas again, which was stopped so that volumes of it can be expanded".to_owned(),
        );
    }
    if !set.settled {
        return Some("when all its pods are ready and no rollout is under way".to_owned());
    }
    // Claims that grow together are to be followed once.
    let growing = claims.iter().find(|it| it.claim.requested > it.claim.capacity)?;
    Some(format!("when the claim {} has grown", growing.id.name))
}
