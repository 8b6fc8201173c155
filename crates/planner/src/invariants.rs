//! What no plan may do, whatever led to it. Checked before every plan is applied, in production too, and written
//! without the code that decides: an action that fails here is a bug there, and is refused, counted and reported.

mod budgets;
mod classes;
mod forecast;
mod maintenance;
mod owners;
mod templates;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use orlop_api::{
    Abilities, Bytes, Expansion, Mode,
    names::{PerformanceReason, Reason},
};

pub use self::templates::{TemplateRule, check_template};
use self::{budgets::Sums, classes::Given};
use crate::{
    budget::BudgetName,
    plan::{Action, Plan},
    view::{Claim, ClaimId, Governance, GrowthRecord, PodId, Resize, Uid, View},
};

/// An action that was refused, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The claim that the action is for.
    pub claim: ClaimId,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused an action for the claim {}, which is a bug in the planner: {}", self.claim, self.rule)
    }
}

/// The rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The object of that name is another one by now, or there is none.
    #[error("the view holds no such object of UID {}", .0.0)]
    Uid(Uid),
    /// Only an Auto policy with a capacity section lets a claim be changed.
    #[error("no single policy in mode Auto with a capacity section governs it")]
    NotGoverned,
    /// A claim that is unbound, or has no filesystem, or was never measured.
    #[error("its volume is not one that can be measured")]
    NotMeasurable,
    /// The action's precondition is not what the view shows.
    #[error("what the action expects to find is not what is there")]
    Precondition,
    /// A volume cannot be made smaller: whatever is asked for is above what the claim has, and what its volume has. A size
    /// that it has is no growth.
    #[error("{to} is not larger than the {present} that it has")]
    NotLarger {
        /// What it has or requests.
        present: Bytes,
        /// The action's size.
        to: Bytes,
    },
    /// Beyond what the policy or the driver allows, once the driver has rounded it up.
    #[error("the driver would make {to} of it, above the maximum {maximum}")]
    AboveMaximum {
        /// The action's size as the driver rounds it.
        to: Bytes,
        /// The lower of the two maxima.
        maximum: Bytes,
    },
    /// The driver makes no volume so small.
    #[error("{to} is below the driver's minimum {minimum}")]
    BelowMinimum {
        /// The action's size.
        to: Bytes,
        /// The driver's minimum.
        minimum: Bytes,
    },
    /// The driver allows no modification of the volume at that time.
    #[error("every modification slot of its driver is taken")]
    NoSlot,
    /// With the actions before it in the plan, more than the claims of the budget may have.
    #[error("with the plan's actions before it, it takes more than StorageBudget {0} allows")]
    OverBudget(BudgetName),
    /// Pods are stopped only in a window of which enough is left, for a growth that is under way, where nothing else scales
    /// them or uses the volume, and not at once again where that was in vain.
    #[error("no maintenance window is open for long enough in which its pods may be stopped")]
    NoWindow,
    /// A workload is scaled back to what it had.
    #[error("it would not be scaled back to what it had")]
    ScaledOtherwise,
    /// Only a forecast, and a policy that asks for one, calls for a growth for the days ahead.
    #[error("no forecast says that it would be full within its policy's horizon")]
    NotForeseen,
    /// A growth for the days ahead leaves a modification for when room runs short.
    #[error("it would take the last modification slot of its driver for the days ahead")]
    LastSlot,
    /// What is forgotten of the slots could be taken twice.
    #[error("the record does not say which modification slots are taken")]
    Slots,
    /// The class or the driver does not expand it, or not now.
    #[error("its class and driver do not expand it as it is now")]
    NotExpandable,
    /// Nothing is asked for while the claim's annotation says so.
    #[error("its annotation says that it is paused")]
    Paused,
    /// Its operator would change the claim back.
    #[error("its owner says how large it is, and the owner is to be changed in its place")]
    OwnedElsewhere,
    /// Who makes a claim is known before it is changed.
    #[error("it names an owner of a kind of which nobody has asked lately whether the cluster has it")]
    OwnerNotAskedFor,
    /// Only an owner that nobody else writes, in the field that is known, with a size that is on record.
    #[error("its owner is not one whose field is to be written so")]
    NotItsOwner,
    /// No claim grows further for its group's sake than the largest of the group.
    #[error("no claim of its group requests as much")]
    NoLeader,
    /// Growing on what was measured before the last growth grows twice.
    #[error("an earlier growth of it is still under way")]
    InFlight,
    /// One growth or change of class of a claim in a plan.
    #[error("the plan asks for more than one change of it")]
    AskedTwice,
    /// A request is lowered only where the driver has refused for good what we asked for, and never to a size that it has
    /// refused.
    #[error("its driver has not refused what is taken back, or has refused what is asked for in its place")]
    NotRefused,
    /// A class is changed to one that the policy names, by as many steps as the reason allows.
    #[error("its policy does not name the class, or not in that order")]
    NotListed,
    /// One thing at a time is asked of the driver.
    #[error("an earlier change of its class is still under way")]
    ModificationInFlight,
    /// Only growth itself makes a claim larger.
    #[error("the record would be changed in more than what the action is for")]
    Record,
    /// The volume is not yet as large as the pod's kubelet is to be told.
    #[error("no pod is to be touched before the volume has its new size")]
    NothingToNotice,
}

/// The actions of the plan that break no rule, in their order, and what the others break.
#[must_use = "a violation is a bug: it is to be counted and reported"]
pub fn retain_sound(view: &View, plan: Plan) -> (Plan, Vec<Violation>) {
    let mut sound = Plan::default();
    let mut violations = Vec::new();
    let mut grown = BTreeSet::new();
    let mut recorded = Recorded::new();
    let mut sums = Sums::default();
    let mut given = Given::default();
    for action in plan.actions {
        // An owner is written after that was recorded, which is the same growth.
        let is_first = !matches!(action, Action::WriteOwner { .. });
        let asks = action.requests().is_some() || action.sets_class().is_some();
        let again = asks && is_first && !grown.insert(action.claim().clone());
        let checked =
            if again { Err(Rule::AskedTwice) } else { check(view, &action, &recorded, &mut sums, &mut given) };
        match checked {
            Ok(()) => {
                if let Action::RecordGrowth { claim, record, .. } = &action {
                    recorded.insert(claim.clone(), record.clone());
                }
                sound.actions.push(action);
            }
            Err(rule) => violations.push(Violation { claim: action.claim().clone(), rule }),
        }
    }
    (sound, violations)
}

/// What is on record of a claim by the actions before.
type Recorded = BTreeMap<ClaimId, GrowthRecord>;

fn check(view: &View, action: &Action, recorded: &Recorded, sums: &mut Sums, given: &mut Given) -> Result<(), Rule> {
    let id = action.claim();
    match action {
        Action::Grow { uid, previous, record, .. } => {
            let claim = claim(view, id, uid)?;
            if record.owner.is_some() {
                return Err(Rule::OwnedElsewhere);
            }
            owners::claim_itself(view, id, claim, record.decided)?;
            let abilities = growth(view, id, claim, previous.as_ref(), record)?;
            sums.add(view, id, claim, abilities.price, record.to.round_up(abilities.size_increment))
        }
        Action::RecordGrowth { uid, previous, record, .. } => {
            owners::recorded(view, id, claim(view, id, uid)?, previous.as_ref(), record, sums)
        }
        Action::WriteOwner { uid, owner, owner_uid, field, to, .. } => {
            let claim = claim(view, id, uid)?;
            let record = recorded.get(id).or(claim.growth.as_deref());
            owners::written(view, id, claim, &owners::Write { owner, owner_uid, field, to: *to, record })
        }
        Action::TakeBack { uid, previous, record, .. } => {
            let claim = claim(view, id, uid)?;
            if view.write_back(id, claim).is_some() {
                return Err(Rule::OwnedElsewhere);
            }
            not_paused(claim)?;
            auto_maximum(view, id, claim).filter(|_| claim.bound).ok_or(Rule::NotGoverned)?;
            taken_back(view, claim, previous, record)
        }
        Action::SetClass { uid, previous, record, .. } => {
            let claim = claim(view, id, uid)?;
            not_paused(claim)?;
            classes::check(view, id, claim, (previous.as_ref(), record), given)
        }
        Action::RecordUsable { uid, previous, record, .. } => usable(claim(view, id, uid)?, previous, record),
        Action::SyncPod { pod, uid, .. } => touch(view, id, pod, uid),
        Action::ScaleToZero { workload, uid, scaled, .. } => {
            maintenance::scaled_to_zero(view, id, workload, uid, scaled)
        }
        Action::ScaleBack { workload, uid, scaled, replicas, in_vain, .. } => {
            maintenance::scaled_back(view, id, workload, uid, (scaled, *replicas, in_vain.as_ref()))
        }
    }
}

/// All that must hold of a growth but that its budgets have room.
fn growth<'a>(
    view: &'a View,
    id: &ClaimId,
    claim: &Claim,
    previous: Option<&GrowthRecord>,
    record: &GrowthRecord,
) -> Result<Abilities<'a>, Rule> {
    measurable(claim)?;
    not_paused(claim)?;
    in_flight(claim)?;
    expected(previous, record, claim)?;
    larger(claim, record.to)?;
    let maximum = auto_maximum(view, id, claim).ok_or(Rule::NotGoverned)?;
    let abilities = expandable(view, id, claim, record.decided)?;
    within_limits(&abilities, maximum, record.to)?;
    follows(view, id, claim, record)?;
    within_slots(&abilities, claim, record)?;
    forecast::foreseen(view, id, claim, &abilities, record)?;
    Ok(abilities)
}

fn claim<'a>(view: &'a View, id: &ClaimId, uid: &Uid) -> Result<&'a Claim, Rule> {
    view.claims.get(id).filter(|claim| claim.uid == *uid).ok_or_else(|| Rule::Uid(uid.clone()))
}

fn measurable(claim: &Claim) -> Result<(), Rule> {
    let measured = claim.usage.as_ref().is_some_and(|usage| usage.total > Bytes(0) && usage.available <= usage.total);
    if claim.bound && !claim.raw_block && measured { Ok(()) } else { Err(Rule::NotMeasurable) }
}

fn not_paused(claim: &Claim) -> Result<(), Rule> {
    if claim.paused.is_none() { Ok(()) } else { Err(Rule::Paused) }
}

fn in_flight(claim: &Claim) -> Result<(), Rule> {
    let resizing = claim.requested > claim.capacity;
    let unseen = claim.growth.as_ref().is_some_and(|last| {
        let own = last.to > last.from && claim.requested >= last.to;
        own && last.usable.is_none()
    });
    if resizing || unseen { Err(Rule::InFlight) } else { Ok(()) }
}

fn expected(previous: Option<&GrowthRecord>, record: &GrowthRecord, claim: &Claim) -> Result<(), Rule> {
    let as_observed = previous == claim.growth.as_deref() && record.from == claim.requested;
    let as_measured = claim.usage.as_ref().is_some_and(|usage| record.filesystem == usage.total);
    let new = record.usable.is_none()
        && record.refused.is_empty()
        && matches!(
            record.reason,
            Reason::BelowMinFree
                | Reason::BelowMinFreeInodes
                | Reason::FillsTooSoon
                | Reason::FullWithinHorizon
                | Reason::GroupGrowth
        );
    if as_observed && as_measured && new { Ok(()) } else { Err(Rule::Precondition) }
}

fn larger(claim: &Claim, to: Bytes) -> Result<(), Rule> {
    let present = claim.capacity.max(claim.requested);
    if to > present { Ok(()) } else { Err(Rule::NotLarger { present, to }) }
}

fn expandable<'a>(view: &'a View, id: &ClaimId, claim: &Claim, now: Timestamp) -> Result<Abilities<'a>, Rule> {
    let class = view.class_of(claim).ok_or(Rule::NotExpandable)?;
    let abilities = view.abilities(claim).ok_or(Rule::NotExpandable)?;
    let expands = match abilities.expansion {
        Expansion::Online => true,
        Expansion::Offline => claim.pods.is_empty() || maintenance::may_stop(view, id, claim, now),
        Expansion::None => false,
    };
    if class.expandable && expands { Ok(abilities) } else { Err(Rule::NotExpandable) }
}

fn within_limits(abilities: &Abilities<'_>, policy_maximum: Bytes, to: Bytes) -> Result<(), Rule> {
    let minimum = abilities.minimum_size.unwrap_or(Bytes(0));
    if to < minimum {
        return Err(Rule::BelowMinimum { to, minimum });
    }
    let maximum = abilities.maximum_size.map_or(policy_maximum, |size| size.min(policy_maximum));
    let to = to.round_up(abilities.size_increment);
    if to <= maximum { Ok(()) } else { Err(Rule::AboveMaximum { to, maximum }) }
}

/// Who grows for the group's sake alone becomes no larger than the claim that it follows: claims that follow each other
/// would grow without end.
fn follows(view: &View, id: &ClaimId, claim: &Claim, record: &GrowthRecord) -> Result<(), Rule> {
    if record.reason != Reason::GroupGrowth {
        return Ok(());
    }
    let governance = view.governance(id, claim);
    let Governance::By(policy) = &governance else { return Err(Rule::NotGoverned) };
    let key = view.policies.get(policy).and_then(|policy| policy.capacity.as_ref()?.group_by.as_ref());
    let (leader, _) = view.leader(id, claim.requested).ok_or(Rule::NoLeader)?;
    let other = view.claims.get(leader).ok_or(Rule::NoLeader)?;
    let alike =
        key.is_some_and(|key| claim.labels.get(key).is_some() && claim.labels.get(key) == other.labels.get(key));
    let together = leader.namespace == id.namespace && view.governance(leader, other) == governance;
    if alike && together && record.to <= other.requested { Ok(()) } else { Err(Rule::NoLeader) }
}

/// However the growth came about, at its time fewer slots may be taken than there are, and the record must keep them all.
fn within_slots(abilities: &Abilities<'_>, claim: &Claim, record: &GrowthRecord) -> Result<(), Rule> {
    let Some(rule) = abilities.modifications else {
        return if record.earlier.is_empty() { Ok(()) } else { Err(Rule::Slots) };
    };
    let age_ns = |at: &Timestamp| record.decided.as_nanosecond() - at.as_nanosecond();
    let within = |at: &Timestamp, seconds: u64| age_ns(at).unsigned_abs() < u128::from(seconds) * 1_000_000_000;
    let taken: Vec<_> = modifications(claim).into_iter().filter(|at| within(at, rule.window.as_secs())).collect();
    let cooling = rule
        .cooldown
        .is_some_and(|cooldown| taken.iter().any(|at| age_ns(at) < i128::from(cooldown.as_secs()) * 1_000_000_000));
    if cooling || taken.len() >= usize::try_from(rule.count).unwrap_or(usize::MAX) {
        return Err(Rule::NoSlot);
    }
    if record.earlier == taken { Ok(()) } else { Err(Rule::Slots) }
}

/// When modifications of the volume were asked for, by its records of both kinds, the oldest first.
fn modifications(claim: &Claim) -> BTreeSet<Timestamp> {
    let growth = claim.growth.as_ref().filter(|last| last.to > last.from);
    let growths = growth.map_or_else(Vec::new, |last| [&last.earlier[..], &[last.decided]].concat());
    let change = claim.attributes.as_ref().and_then(|attributes| attributes.change.as_ref());
    let changes = change.map_or_else(Vec::new, |last| {
        let begun = last.reason != PerformanceReason::ClassTakenBack;
        [&last.earlier[..], if begun { std::slice::from_ref(&last.decided) } else { &[] }].concat()
    });
    growths.into_iter().chain(changes).collect()
}

/// The maximum of the one policy that lets the claim be changed.
fn auto_maximum(view: &View, id: &ClaimId, claim: &Claim) -> Option<Bytes> {
    let Governance::By(policy) = view.governance(id, claim) else { return None };
    let policy = view.policies.get(&policy).filter(|policy| policy.mode == Mode::Auto)?;
    policy.capacity.as_ref().map(|capacity| capacity.maximum)
}

/// What is asked for in place of a size that the driver refused lies between what there is and that size.
fn taken_back(view: &View, claim: &Claim, previous: &GrowthRecord, record: &GrowthRecord) -> Result<(), Rule> {
    if claim.growth.as_deref() != Some(previous) || claim.requested != previous.to || previous.usable.is_some() {
        return Err(Rule::Precondition);
    }
    let abilities = view.abilities(claim).ok_or(Rule::NotExpandable)?;
    let as_made = record.to.round_up(abilities.size_increment);
    let refused = matches!(claim.resize, Resize::Infeasible(_)) && claim.volume_capacity < previous.to;
    if !refused || as_made >= previous.to || previous.refused.iter().any(|size| *size <= as_made) {
        return Err(Rule::NotRefused);
    }
    let present = claim.capacity.max(claim.volume_capacity).max(previous.from);
    if record.to <= present {
        return Err(Rule::NotLarger { present, to: record.to });
    }
    let refused = previous.refused.iter().copied().chain([previous.to]).collect();
    let (to, decided) = (record.to, record.decided);
    if *record == (GrowthRecord { to, decided, refused, ..previous.clone() }) { Ok(()) } else { Err(Rule::Record) }
}

fn usable(claim: &Claim, previous: &GrowthRecord, record: &GrowthRecord) -> Result<(), Rule> {
    if claim.growth.as_deref() != Some(previous) {
        return Err(Rule::Precondition);
    }
    if claim.requested > claim.capacity {
        return Err(Rule::InFlight);
    }
    let only_usable = record.usable.is_some_and(|at| at >= record.crossed)
        && *previous == GrowthRecord { usable: None, ..record.clone() };
    if only_usable { Ok(()) } else { Err(Rule::Record) }
}

fn touch(view: &View, id: &ClaimId, pod: &PodId, uid: &Uid) -> Result<(), Rule> {
    let claim = view.claims.get(id).ok_or_else(|| Rule::Uid(uid.clone()))?;
    if !claim.pods.iter().any(|used| used.id == *pod && used.uid == *uid) {
        return Err(Rule::Uid(uid.clone()));
    }
    auto_maximum(view, id, claim).ok_or(Rule::NotGoverned)?;
    let to_notice = claim.requested > claim.capacity && claim.volume_capacity >= claim.requested;
    if to_notice { Ok(()) } else { Err(Rule::NothingToNotice) }
}
