//! What a history is replayed in: the policies, the classes and drivers, and what is known of the claims.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Abilities, Bytes, Mode, Period};
use orlop_planner::{
    Action, Claim, ClaimId, Claims, Decision, Governance, Labels, NamespaceName, PodId, PodUse, Policy, PolicyId,
    PolicyKind, Resize, Uid, Usage, View, Watch, forecast::Outlook, invariants, is_foreseen, plan_claims, watch,
};

/// What is known of a claim beside its history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its labels.
    pub labels: Labels,
    /// Its StorageClass.
    pub class: Option<String>,
    /// The driver of its volume.
    pub driver: Option<String>,
    /// The size that it has now.
    pub size: Option<Bytes>,
}

/// How a replay goes, where nothing that was recorded says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long after it was asked for a growth can be used. Most drivers take seconds.
    pub growth_takes: Period,
    /// Of what is between two samples that are further apart than this, nothing is assumed.
    pub gap: Period,
    /// Every claim begins with this size instead of the recorded one, or as much more as its first sample needs.
    pub start_size: Option<Bytes>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { growth_takes: Period::from_secs(30), gap: Period::from_secs(3 * 3600), start_size: None }
    }
}

/// The world of a replay.
#[derive(Debug, Clone)]
pub struct World {
    view: View,
    known: BTreeMap<ClaimId, Known>,
    class: String,
    /// How many actions broke a rule of [`invariants`].
    pub(crate) violations: u64,
}

impl World {
    /// A world with these policies, classes, driver profiles and labels of namespaces; the view's claims are those of the
    /// history, whatever it has now. What is known of a claim is looked up in `known`; one that is not there, or has no
    /// class, has the class of the name `class`.
    ///
    /// A policy in mode Recommend is replayed as in Auto: the question is what it would have done.
    pub fn new(view: View, known: BTreeMap<ClaimId, Known>, class: impl Into<String>) -> Self {
        let mut view = View { claims: Claims::default(), ..view };
        for policy in view.policies.values_mut().filter(|policy| policy.mode == Mode::Recommend) {
            policy.mode = Mode::Auto;
        }
        Self { view, known, class: class.into(), violations: 0 }
    }

    /// The policies.
    pub fn policies(&self) -> &BTreeMap<PolicyId, Policy> {
        &self.view.policies
    }

    /// The claims that are known beside their history.
    pub fn known(&self) -> &BTreeMap<ClaimId, Known> {
        &self.known
    }

    pub(crate) fn known_size(&self, id: &ClaimId) -> Option<Bytes> {
        self.known.get(id)?.size
    }

    /// Adds a claim, in use from then on.
    pub(crate) fn add(&mut self, id: &ClaimId, since: Timestamp) {
        let known = self.known.get(id).cloned().unwrap_or_default();
        let pod = PodUse {
            id: PodId { namespace: id.namespace.clone(), name: id.name.clone() },
            uid: Uid("pod".into()),
            since: Some(since),
            synced: None,
            controller: None,
        };
        let claim = Claim {
            uid: Uid(id.to_string().into()),
            labels: known.labels,
            belonging: None,
            class: Some(known.class.as_deref().unwrap_or(&self.class).into()),
            driver: known.driver.map(Into::into),
            bound: true,
            raw_block: false,
            requested: Bytes(0),
            capacity: Bytes(0),
            volume_capacity: Bytes(0),
            resize: Resize::Idle,
            growth: None,
            paused: None,
            pods: vec![pod],
            usage: None,
            outgrown: None,
            attributes: None,
            load: None,
            outlook: None,
        };
        // Every namespace has this label, so that selectors by it work without the namespaces' manifests.
        let name = [("kubernetes.io/metadata.name", &*id.namespace.0)];
        self.view.namespaces.entry(id.namespace.clone()).or_insert_with(|| Labels::from(name));
        self.view.claims.insert(id.clone(), claim);
    }

    pub(crate) fn claim(&self, id: &ClaimId) -> Option<&Claim> {
        self.view.claims.get(id)
    }

    /// The claim gets the size, as if its driver and kubelet had done their parts.
    pub(crate) fn resize(&mut self, id: &ClaimId, size: Bytes) {
        if let Some(claim) = self.view.claims.get_mut(id) {
            (claim.requested, claim.capacity, claim.volume_capacity) = (size, size, size);
        }
    }

    /// Plans for the claim with this measurement, and writes on the claim what the plan says.
    pub(crate) fn decide(&mut self, id: &ClaimId, usage: Usage, now: Timestamp) -> Option<Decision> {
        self.view.claims.get_mut(id)?.usage = Some(usage);
        let (plan, mut report) = plan_claims(&self.view, [id], now);
        let (plan, violations) = invariants::retain_sound(&self.view, plan);
        self.violations += u64::try_from(violations.len()).unwrap_or(u64::MAX);
        let claim = self.view.claims.get_mut(id)?;
        for action in plan.actions {
            match action {
                Action::Grow { record, .. } | Action::TakeBack { record, .. } => {
                    claim.requested = record.to;
                    claim.growth = Some(record.into());
                }
                Action::RecordUsable { record, .. } => claim.growth = Some(record.into()),
                // History has neither owners nor I/O, by which a class would be called for.
                Action::RecordGrowth { .. }
                | Action::WriteOwner { .. }
                | Action::SetClass { .. }
                | Action::SyncPod { .. }
                | Action::ScaleToZero { .. }
                | Action::ScaleBack { .. } => {}
            }
        }
        report.decisions.remove(id)
    }

    /// What the operator would have the agent watch for.
    pub(crate) fn watch(&self, id: &ClaimId, usage: Usage) -> Option<Watch> {
        let claim = Claim { usage: Some(usage), ..self.view.claims.get(id)?.clone() };
        watch(&self.view, id, &claim)
    }

    /// Does the policy that governs the claim ask for a forecast?
    pub(crate) fn has_horizon(&self, id: &ClaimId) -> bool {
        let Some(claim) = self.view.claims.get(id) else { return false };
        let Governance::By(policy) = self.view.governance(id, claim) else { return false };
        self.view.policies.get(&policy).and_then(|policy| policy.capacity.as_ref()?.horizon).is_some()
    }

    /// How the claim will fill over days, from now on.
    pub(crate) fn set_outlook(&mut self, id: &ClaimId, outlook: Option<Outlook>) {
        if let Some(claim) = self.view.claims.get_mut(id) {
            claim.outlook = outlook.map(Box::new);
        }
    }

    /// Is the claim to grow for the days ahead, however much is free?
    pub(crate) fn is_foreseen(&self, id: &ClaimId, usage: Usage) -> bool {
        let claim = self.view.claims.get(id).map(|claim| Claim { usage: Some(usage), ..claim.clone() });
        claim.is_some_and(|claim| is_foreseen(&self.view, id, &claim))
    }

    /// The driver of the claim, and what it can do; none where the claim's class is not known.
    pub(crate) fn driver(&self, id: &ClaimId) -> Option<(&str, Abilities<'_>)> {
        let claim = self.view.claims.get(id)?;
        Some((self.view.driver_of(claim)?, self.view.abilities(claim)?))
    }

    /// When a growth that waits for a modification slot may be possible: a slot is free again a window after it was taken,
    /// and a cooldown ends that much after the last one. Whether it is, the planner says then.
    pub(crate) fn slot_may_be_free_at(&self, id: &ClaimId, now: Timestamp) -> Option<Timestamp> {
        let (_, abilities) = self.driver(id)?;
        let rule = abilities.modifications?;
        let record = self.claim(id)?.growth.as_ref()?;
        let freed = record.earlier.iter().chain([&record.decided]).map(|at| after(*at, rule.window));
        let cooled = rule.cooldown.map(|cooldown| after(record.decided, cooldown));
        freed.chain(cooled).filter(|at| *at > now).min()
    }
}

fn after(at: Timestamp, period: Period) -> Timestamp {
    at.checked_add(SignedDuration::from(period)).unwrap_or(Timestamp::MAX)
}

/// A policy without selectors in each of these kinds governs every claim: what to use where labels are not known.
pub fn governs_all(view: &mut View) -> Result<(), PolicyKind> {
    let mut kinds: Vec<&PolicyKind> = view.policies.keys().map(|id| &id.kind).collect();
    kinds.sort_unstable();
    if let Some(twice) = kinds.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(twice[0].clone());
    }
    for policy in view.policies.values_mut() {
        policy.claims = orlop_planner::Selector::default();
    }
    Ok(())
}

/// A namespace's name.
pub fn namespace(name: &str) -> NamespaceName {
    NamespaceName(name.into())
}
