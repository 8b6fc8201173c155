//! All that is known of one claim, and what was decided about it.

use std::borrow::Cow;

use orlop_api::{
    Bytes, DriverProfileSpec, Expansion,
    driver::{built_in, profile_name},
};
use orlop_planner::{
    Claim, ClaimId, Decision, Governance, Link, Membership, PolicyId, PolicyKind, Resize, Usage, View, WriteBack,
    plan_claims, slot_use, watch,
};

use super::{
    document::{
        ClaimAccount, ClassAccount, DriverAccount, Governed, MaintenanceAccount, ModificationAccount, OwnerAccount,
        OwnerLink, ProfileOrigin, SetbackAccount, SizeAccount, TemplateAccount, ThresholdAccount, WriteBackAccount,
    },
    outlook, performance, row,
};
use crate::{Core, Moment};

/// The account of a claim; none where there is no such claim. A claim about which nothing was reported, because no policy
/// governs it or the operator has just started, is decided for the account alone.
pub fn claim(core: &Core, id: &ClaimId, now: Moment) -> Option<ClaimAccount> {
    let (observer, view) = (core.observer(), core.observer().view());
    let claim = view.claims.get(id)?;
    let reported = core.ledger().performance(id).map(|(decision, since)| (Cow::Borrowed(decision), Some(since)));
    let (decision, of_class) = match core.ledger().decision(id) {
        Some(decision) => (Cow::Borrowed(decision), reported),
        None => {
            let mut report = plan_claims(view, [id], now.time).1;
            let of_class = report.performance.remove(id).map(|decision| (Cow::Owned(decision), None));
            (Cow::Owned(report.decisions.remove(id)?), of_class)
        }
    };
    let of_class = of_class.and_then(|(of_class, since)| {
        performance::account(core, (id, claim), &decision.governance, (&of_class, since))
    });
    let latest = observer.latest(id);
    let thresholds = thresholds(view, id, claim, latest.as_ref(), &decision);
    let modifications = modifications(view, claim, now);
    Some(ClaimAccount {
        namespace: id.namespace.0.to_string(),
        name: id.name.to_string(),
        uid: claim.uid.0.to_string(),
        turning_points: outlook::turning_points(&outlook::Facts {
            decision: &decision,
            usage: latest.as_ref(),
            thresholds: thresholds.as_ref(),
            modifications: modifications.as_ref(),
        }),
        decision: row::decision(core, id, &decision, core.ledger().since(id)),
        size: size(claim),
        volume: observer.volume_of(id).map(ToString::to_string),
        usage: latest.map(|usage| row::usage(&usage, observer.measured_on(id))),
        thresholds,
        forecast: row::forecast(claim),
        governed: governed(view, id, claim, &decision.governance),
        class: class(view, claim),
        driver: view.driver_of(claim).map(|name| driver(view, claim, name)),
        owner: owner(core, id, claim, &decision),
        maintenance: maintenance(view, claim, &decision.governance, now),
        modifications,
        growth: claim.growth.as_deref().cloned(),
        performance: of_class,
        setbacks: setbacks(core, id, now),
        pods: claim.pods.iter().map(|pod| pod.id.name.to_string()).collect(),
    })
}

fn size(claim: &Claim) -> SizeAccount {
    let known = |size: Bytes| (size > Bytes(0)).then_some(size);
    SizeAccount {
        requested: claim.requested,
        capacity: known(claim.capacity),
        volume: known(claim.volume_capacity),
        resize: match &claim.resize {
            Resize::Idle => None,
            Resize::Controller => Some("the driver's controller is at it".to_owned()),
            Resize::Node => Some("the kubelet is to do its part".to_owned()),
            Resize::Infeasible(why) | Resize::NodeInfeasible(why) => Some(format!("refused: {why}")),
        },
    }
}

/// What the governing policy promises, as a source of measurements is asked to watch it.
fn thresholds(
    view: &View,
    id: &ClaimId,
    claim: &Claim,
    latest: Option<&Usage>,
    decision: &Decision,
) -> Option<ThresholdAccount> {
    let Governance::By(policy) = &decision.governance else { return None };
    let spec = view.policies.get(policy)?.capacity.as_ref()?;
    let measured = Claim { usage: latest.cloned().or_else(|| claim.usage.clone()), ..claim.clone() };
    let watch = watch(view, id, &measured)?;
    Some(ThresholdAccount {
        min_free: spec.min_free,
        available_below: watch.available_below,
        min_free_inodes: spec.min_free_inodes,
        free_inodes_below: watch.free_inodes_below,
        time_to_full: spec.time_to_full,
        horizon: spec.horizon,
        increase: spec.increase,
        target_utilization: spec.target_utilization,
        group_by: spec.group_by.clone(),
        maximum: spec.maximum,
    })
}

fn governed(view: &View, id: &ClaimId, claim: &Claim, governance: &Governance) -> Governed {
    let selecting = view.selecting(id, claim);
    let others = |governing: &PolicyId| {
        selecting.iter().filter(|policy| *policy != governing).map(ToString::to_string).collect::<Vec<_>>()
    };
    match governance {
        Governance::None => Governed {
            policy: None,
            why: format!("no StoragePolicy of the namespace {} and no ClusterStoragePolicy selects it", id.namespace.0),
            others: Vec::new(),
        },
        Governance::By(policy) => {
            let others = others(policy);
            let why = match (&policy.kind, others.is_empty()) {
                (_, true) => "it alone selects the claim",
                (PolicyKind::Namespaced(_), false) => {
                    "a StoragePolicy takes precedence over every ClusterStoragePolicy"
                }
                (PolicyKind::Cluster, false) => "no StoragePolicy of the namespace selects the claim",
            };
            Governed { policy: Some(policy.to_string()), why: why.to_owned(), others }
        }
        Governance::Conflict(_) => Governed {
            policy: None,
            why: "several policies of one kind select it, so none of them is applied".to_owned(),
            others: selecting.iter().map(ToString::to_string).collect(),
        },
    }
}

fn class(view: &View, claim: &Claim) -> Option<ClassAccount> {
    let name = claim.class.as_deref()?;
    Some(ClassAccount { name: name.to_owned(), expandable: view.classes.get(name).map(|class| class.expandable) })
}

fn driver(view: &View, claim: &Claim, name: &str) -> DriverAccount {
    let profile = view.drivers.get(&*profile_name(name));
    let origin = match profile {
        Some(_) => ProfileOrigin::DriverProfile,
        None if *built_in::of(name) == DriverProfileSpec::default() => ProfileOrigin::Assumed,
        None => ProfileOrigin::BuiltIn,
    };
    let class = view.class_of(claim);
    let abilities = profile
        .unwrap_or_else(|| built_in::of(name))
        .abilities(class.map_or(&std::collections::BTreeMap::new(), |class| &class.parameters));
    DriverAccount {
        name: name.to_owned(),
        profile: origin,
        volume_type: abilities.volume_type.map(str::to_owned),
        expansion: abilities.expansion,
        size_increment: abilities.size_increment,
        minimum_size: abilities.minimum_size,
        maximum_size: abilities.maximum_size,
        price: abilities.price.cloned(),
        monthly: abilities.price.map(|price| price.monthly(claim.requested.max(claim.capacity))),
    }
}

fn owner(core: &Core, id: &ClaimId, claim: &Claim, decision: &Decision) -> Option<OwnerAccount> {
    let view = core.observer().view();
    let ownership = view.ownership(id, claim);
    let write_back = view.write_back(id, claim);
    let link = |link: &Link<'_>| OwnerLink {
        api_version: link.api_version.to_owned(),
        kind: link.kind.to_owned(),
        name: link.name.to_owned(),
        uid: link.uid.0.to_string(),
    };
    let template = |member: &Membership<'_>| {
        let drift = core.drift(member.id, &member.set.templates.get(member.template)?.name)?;
        Some(TemplateAccount {
            name: drift.template.to_string(),
            size: drift.asks,
            target: drift.wants,
            message: drift.sentence(),
            patch: drift.patch(),
        })
    };
    let sentence = match &write_back {
        Some(owner) if ownership.is_none() => owner.to_string(),
        _ => ownership.to_string(),
    };
    (!sentence.is_empty()).then(|| OwnerAccount {
        chain: ownership.chain.iter().map(link).collect(),
        manager: ownership.manager.map(ToString::to_string),
        sentence,
        template: ownership.set.as_ref().and_then(template),
        write_back: write_back.map(|owner| written(&owner, decision)),
    })
}

fn written(owner: &WriteBack, decision: &Decision) -> WriteBackAccount {
    let called_for = decision.target().filter(|to| owner.size().is_some_and(|size| size < *to));
    WriteBackAccount {
        owner: owner.to_string(),
        field: owner.field.as_ref().map(|field| field.path.clone()),
        size: owner.size(),
        obstacle: owner.obstacle.clone(),
        command: called_for.and_then(|to| owner.command(to)),
    }
}

fn maintenance(view: &View, claim: &Claim, governance: &Governance, now: Moment) -> Option<MaintenanceAccount> {
    let Governance::By(policy) = governance else { return None };
    let windows = view.policies.get(policy)?.maintenance.as_deref()?;
    view.abilities(claim).filter(|abilities| abilities.expansion == Expansion::Offline)?;
    let open_until = windows.open_at(now.time).map(|open| open.until).max();
    Some(MaintenanceAccount { open_until, next: windows.next_after(now.time) })
}

fn modifications(view: &View, claim: &Claim, now: Moment) -> Option<ModificationAccount> {
    let slots = slot_use(view, claim, now.time)?;
    Some(ModificationAccount {
        count: slots.rule.count,
        window: slots.rule.window,
        cooldown: slots.rule.cooldown,
        next_when_completed: slots.rule.next_when_completed,
        taken: slots.taken,
        next: slots.next,
    })
}

fn setbacks(core: &Core, id: &ClaimId, now: Moment) -> Vec<SetbackAccount> {
    let account = |setback: &crate::setbacks::Setback| {
        let wait = setback.until.saturating_duration_since(now.instant);
        SetbackAccount {
            action: setback.action.to_owned(),
            failures: setback.failures,
            again_at: now.time.checked_add(wait).unwrap_or(now.time),
            refusal: setback.refusal.clone(),
        }
    };
    core.setbacks().of(id).into_iter().map(account).collect()
}
