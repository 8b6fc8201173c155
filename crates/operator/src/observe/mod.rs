//! What is known of the cluster. The observer takes in news, one at a time and without any I/O, keeps the planner's
//! [`View`] with the indexes that connect claims, volumes, pods and measurements, and knows which claims and policies
//! the news concerns: only those are decided again, so that the cost of a pass follows what has changed.

mod budgets;
mod census;
mod cluster;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod load;
mod measured;
mod policies;
mod resources;
mod rest;
mod sets;
mod shared;
#[cfg(test)]
mod tests;
mod trends;
mod workloads;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::SignedDuration;
use orlop_api::{OwnerProfileSpec, PolicyStatus, StorageBudgetStatus};
use orlop_planner::{
    Allowed, BudgetName, Claim, ClaimId, DeploymentId, LoadWatch, NamespaceName, PodId, PolicyId, ResourceId, SetId,
    Source, Uid, Usage, View, WorkloadId, forecast::Trend,
};

pub use facts::{
    BudgetFacts, Change, ClaimFacts, Observation, PodFacts, PolicyFacts, ResourceFacts, Spelling, Version, VolumeFacts,
};

use self::{census::Census, measured::Measured, rest::Rest, shared::Texts, trends::Trends};
use super::measure::Measurement;

/// What is known of the cluster.
#[derive(Debug, Default)]
pub struct Observer {
    view: View,
    claims: HashMap<ClaimId, KnownClaim>,
    volumes: HashMap<Arc<str>, VolumeFacts>,
    pods: HashMap<PodId, PodFacts>,
    /// The pods of claims that are not known. Those of a known claim are in the view.
    waiting: HashMap<ClaimId, BTreeSet<PodId>>,
    policies: HashMap<PolicyId, KnownPolicy>,
    budgets: HashMap<BudgetName, KnownBudget>,
    /// What each HorizontalPodAutoscaler scales.
    autoscalers: BTreeMap<SetId, WorkloadId>,
    /// Which state of each custom resource is known.
    resources: HashMap<ResourceId, Version>,
    /// Have the kinds of custom resource been listed once?
    knows_owners: bool,
    /// The claims that wait until it was asked whether the cluster has these kinds.
    asked: BTreeMap<String, BTreeSet<ClaimId>>,
    wanted_kinds: Option<WantedKinds>,
    nodes: BTreeSet<String>,
    measured: Measured,
    trends: Trends,
    /// The claims that were seen to grow, and it is not known yet when.
    grown: BTreeSet<ClaimId>,
    lists: Lists,
    texts: Texts,
    dirty: Dirty,
}

/// Which kinds of owner are to be looked for in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedKinds {
    /// The cluster's own profiles. Those that are built in count, too, where these do not take their place.
    pub profiles: BTreeMap<String, Arc<OwnerProfileSpec>>,
    /// The kinds for whose answer claims wait: it is to be asked at once whether the cluster has them.
    pub asked: BTreeSet<String>,
}

/// What has changed since it was last asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// The claims to decide again; one that the view does not hold is gone.
    pub claims: BTreeSet<ClaimId>,
    /// The policies whose status is to be compared with what it should say; one that is not known is gone.
    pub policies: BTreeSet<PolicyId>,
    /// The budgets whose status is to be compared with what it should say.
    pub budgets: BTreeSet<BudgetName>,
    /// The budgets that allow something else than before, or whose claims have more or less.
    pub accounts: BTreeSet<BudgetName>,
    /// The volumes that are no longer those of a claim.
    pub released: BTreeSet<Arc<str>>,
    /// The StatefulSets whose templates are to be looked at again.
    pub sets: BTreeSet<SetId>,
}

/// What the view of a claim leaves out.
#[derive(Debug)]
struct KnownClaim {
    version: Version,
    volume: Option<Arc<str>>,
    spelling: Spelling,
    /// Is what was last decided about it to be decided again only by what is measured, and by what of that?
    rest: Option<Rest>,
    /// What of its volume's I/O is asked for.
    load_watch: Option<Arc<LoadWatch>>,
    /// The node whose agent has measured that.
    load_node: Option<Arc<str>>,
    /// How it fills over days, where a policy with a horizon governs it.
    trend: Option<Box<Trend>>,
}

/// A policy beside what the planner needs of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownPolicy {
    /// The policy's UID.
    pub uid: Uid,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// Why it cannot be read, where it cannot.
    pub invalid: Option<String>,
    /// Its status as it is.
    pub status: Option<PolicyStatus>,
}

/// A budget beside what the planner needs of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownBudget {
    /// The budget's UID.
    pub uid: Uid,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// Why it cannot be read, where it cannot.
    pub invalid: Option<String>,
    /// Its status as it is.
    pub status: Option<StorageBudgetStatus>,
}

#[derive(Debug, Default)]
struct Lists {
    claims: Census<ClaimId>,
    volumes: Census<Arc<str>>,
    pods: Census<PodId>,
    namespaces: Census<NamespaceName>,
    classes: Census<String>,
    attributes_classes: Census<String>,
    policies: Census<PolicyId>,
    cluster_policies: Census<PolicyId>,
    budgets: Census<BudgetName>,
    drivers: Census<String>,
    sets: Census<SetId>,
    deployments: Census<DeploymentId>,
    autoscalers: Census<SetId>,
    stored: Census<SetId>,
    owner_profiles: Census<String>,
    owner_kinds: Census<String>,
    resources: HashMap<Arc<str>, Census<ResourceId>>,
    nodes: Census<String>,
}

impl Observer {
    /// Takes in news of the cluster.
    pub fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Claim(change) => self.claim(change),
            Observation::Volume(change) => self.volume(change),
            Observation::Pod(change) => self.pod(change),
            Observation::Namespace(change) => self.namespace(change),
            Observation::Class(change) => self.class(change),
            Observation::AttributesClass(change) => self.attributes_class(change),
            Observation::Policy(change) => self.policy(change),
            Observation::ClusterPolicy(change) => self.cluster_policy(change),
            Observation::Budget(change) => self.budget(change),
            Observation::Driver(change) => self.driver(change),
            Observation::Set(change) => self.set(change),
            Observation::Deployment(change) => self.deployment(change),
            Observation::Autoscaler(change) => self.autoscaler(change),
            Observation::Stored(change) => self.stored(change),
            Observation::OwnerKind(change) => self.owner_kind(change),
            Observation::OwnerProfile(change) => self.owner_profile(change),
            Observation::Resource(definition, change) => self.resource(&definition, change),
            Observation::Node(change) => self.node(change),
        }
    }

    /// Takes in news of a volume's fill.
    pub fn measure(&mut self, measurement: Measurement) {
        let followed = self.followed_by(&measurement);
        match measurement {
            Measurement::Sampled { node, volume, usage } => {
                // Agents may tell of a volume before the API server does.
                let known = self.volumes.get_key_value(&*volume);
                let volume = known.map_or_else(|| volume.into(), |(volume, _)| volume.clone());
                self.sampled(&node, &volume, usage);
            }
            Measurement::SampledClaim { node, claim, usage } => {
                if let Some(volume) = self.volume_that_names(&claim).cloned() {
                    self.sampled(&node, &volume, usage);
                }
            }
            Measurement::Load { node, volume, reading } => self.load_sampled(&node, &volume, &reading),
            Measurement::Exceeded { volume, at, shares } => self.exceeded(&volume, at, shares),
            Measurement::Gone { node, volume } => {
                self.load_gone(&node, &volume);
                self.measured.gone(&node, &volume);
                self.measured_anew(&volume);
            }
            // Nothing is to be decided for it; see `refresh`.
            Measurement::Confirmed { node, at } => self.measured.confirmed(self.texts.get(&node), at),
        }
        if let Some(id) = followed {
            self.trend_goes_on(&id);
        }
    }

    fn sampled(&mut self, node: &str, volume: &Arc<str>, usage: Usage) {
        self.measured.sampled(self.texts.get(node), volume.clone(), usage);
        self.measured_anew(volume);
    }

    /// The claim that a measurement is of.
    pub(crate) fn claim_of<'a>(&'a self, measurement: &'a Measurement) -> Option<&'a ClaimId> {
        match measurement {
            Measurement::Sampled { volume, .. }
            | Measurement::Load { volume, .. }
            | Measurement::Exceeded { volume, .. }
            | Measurement::Gone { volume, .. } => self.volumes.get(&**volume)?.claim.as_ref().map(|(id, _)| id),
            Measurement::SampledClaim { claim, .. } => Some(claim),
            Measurement::Confirmed { .. } => None,
        }
    }

    /// The clock by which measurements are dated was set forward by so much, or back.
    pub fn date_anew(&mut self, set_by: SignedDuration) {
        self.measured.date_anew(set_by);
        // What a kubelet measures is dated by its own clock.
        let by_ours = |claim: &&mut Claim| claim.usage.as_ref().is_none_or(|usage| usage.source == Source::Agent);
        for outgrown in self.view.claims.values_mut().filter(by_ours).filter_map(|claim| claim.outgrown.as_mut()) {
            outgrown.until = outgrown.until.saturating_add(set_by).unwrap_or(outgrown.until);
        }
        for load in self.view.claims.values_mut().filter_map(|claim| claim.load.as_mut()) {
            load.date_anew(set_by);
        }
        let volumes: Vec<Arc<str>> = self.volumes.keys().cloned().collect();
        for volume in volumes {
            self.measured_anew(&volume);
        }
    }

    /// Has every kind of object been listed? Before that what is missing may just not have been read yet, and
    /// nothing may be decided.
    pub fn is_synced(&self) -> bool {
        let Lists {
            claims,
            volumes,
            pods,
            namespaces,
            classes,
            attributes_classes,
            policies,
            cluster_policies,
            budgets,
            drivers,
            sets,
            deployments,
            autoscalers,
            stored,
            owner_profiles: _,
            owner_kinds: _,
            resources: _,
            nodes,
        } = &self.lists;
        claims.is_complete()
            && volumes.is_complete()
            && pods.is_complete()
            && namespaces.is_complete()
            && classes.is_complete()
            && attributes_classes.is_complete()
            && policies.is_complete()
            && cluster_policies.is_complete()
            && budgets.is_complete()
            && drivers.is_complete()
            && sets.is_complete()
            && (!self.view.allowed.scaling || autoscalers.is_complete() && deployments.is_complete())
            && stored.is_complete()
            && self.knows_owners
            && nodes.is_complete()
    }

    /// What the planner decides from.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Is there anything that [`Observer::take_dirty`] would return?
    pub fn is_dirty(&self) -> bool {
        self.dirty != Dirty::default()
    }

    /// What has changed since the last call, of the claims at most so many; the others are left for the next call.
    pub fn take_dirty(&mut self, claims_max: usize) -> Dirty {
        let mut rest = std::mem::take(&mut self.dirty.claims);
        let claims: BTreeSet<_> = std::iter::from_fn(|| rest.pop_first()).take(claims_max).collect();
        for claim in &claims {
            self.refresh(claim);
        }
        let claims = self.with_those_stopped_for(claims);
        Dirty { claims, ..std::mem::replace(&mut self.dirty, Dirty { claims: rest, ..Dirty::default() }) }
    }

    /// Brings the groups of these claims up to date, and has those decided again that are to follow another.
    fn regroup<'a>(&mut self, claims: impl IntoIterator<Item = &'a ClaimId>) {
        let concerned = self.view.regroup(claims);
        self.dirty.claims.extend(concerned);
    }

    /// Has nothing decided again that has changed until now.
    pub fn forget_dirty(&mut self) {
        self.dirty = Dirty::default();
    }

    /// Has the claim decided again, though nothing about it has changed.
    pub fn mark(&mut self, claim: ClaimId) {
        self.dirty.claims.insert(claim);
    }

    /// Has the policy's status compared again.
    pub fn mark_policy(&mut self, policy: PolicyId) {
        self.dirty.policies.insert(policy);
    }

    /// Has everything decided anew.
    pub fn mark_all(&mut self) {
        self.dirty.claims = self.view.claims.keys().chain(self.view.scaled.keys()).cloned().collect();
        self.dirty.policies = self.policies.keys().cloned().collect();
        self.dirty.budgets = self.budgets.keys().cloned().collect();
        self.dirty.sets = self.view.sets.keys().chain(self.view.stored.keys()).cloned().collect();
    }

    /// Says what may be done to workloads, before anything is observed.
    pub const fn allow(&mut self, allowed: Allowed) {
        self.view.allowed = allowed;
    }

    /// Which state of a workload is known.
    pub fn workload_version(&self, workload: &WorkloadId) -> Version {
        self.view.workload(workload)?.version
    }

    /// The claim's fields to the letter, for the preconditions of a patch.
    pub fn spelling(&self, claim: &ClaimId) -> Option<&Spelling> {
        self.claims.get(claim).map(|known| &known.spelling)
    }

    /// The volume that the claim is bound to.
    pub fn volume_of(&self, claim: &ClaimId) -> Option<&Arc<str>> {
        self.claims.get(claim)?.volume.as_ref()
    }

    /// The handle by which its driver knows a volume.
    pub fn handle_of<'a>(&'a self, volume: &'a str) -> Option<&'a str> {
        let facts = self.volumes.get(volume)?;
        facts.driver.as_ref()?;
        Some(facts.handle.as_deref().unwrap_or(volume))
    }

    /// The latest measurement of a claim's volume, as it was last confirmed.
    pub fn latest(&self, claim: &ClaimId) -> Option<Usage> {
        self.measured.best(self.volume_that_names(claim)?)
    }

    /// The node on which that measurement was made.
    pub fn measured_on(&self, claim: &ClaimId) -> Option<&str> {
        self.measured.best_node(self.volume_that_names(claim)?)
    }

    /// The policies of which more is known than the planner needs, also those that cannot be read; in no order.
    pub fn known_policies(&self) -> impl Iterator<Item = (&PolicyId, &KnownPolicy)> {
        self.policies.iter()
    }

    /// What is known of a policy, also of one that cannot be read.
    pub fn known_policy(&self, policy: &PolicyId) -> Option<&KnownPolicy> {
        self.policies.get(policy)
    }

    /// What is known of a budget, also of one that cannot be read.
    pub fn known_budget(&self, budget: &BudgetName) -> Option<&KnownBudget> {
        self.budgets.get(budget)
    }

    /// The budgets that allow something else than at the last call of [`Observer::take_dirty`], or whose claims have more
    /// or less.
    pub const fn changed_accounts(&self) -> &BTreeSet<BudgetName> {
        &self.dirty.accounts
    }

    /// Which kinds of owner are to be looked for; none before all profiles are known.
    pub const fn wanted_kinds(&self) -> Option<&WantedKinds> {
        self.wanted_kinds.as_ref()
    }

    /// The names of the nodes.
    pub const fn nodes(&self) -> &BTreeSet<String> {
        &self.nodes
    }
}
