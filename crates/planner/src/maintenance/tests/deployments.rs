//! A Deployment is scaled as a StatefulSet is.

use super::*;
use crate::PodUse;

fn deployment_id() -> DeploymentId {
    DeploymentId { namespace: id("x").namespace, name: "web".into() }
}

fn web() -> WorkloadId {
    WorkloadId::Deployment(deployment_id())
}

fn the_deployment(view: &mut View) -> &mut Deployment {
    view.deployments.get_mut(&deployment_id()).unwrap()
}

fn controlled(name: &str, api_version: &str, kind: &str, by: &str) -> PodUse {
    let controller =
        Owner { api_version: api_version.into(), kind: kind.into(), name: by.into(), uid: Uid("rs".into()) };
    PodUse { controller: Some(Arc::new(controller)), ..pod(name) }
}

/// A claim that is nearly full, of a Deployment with three replicas that share it.
fn shared() -> View {
    let mut view = world();
    view.sets.clear();
    view.claims.remove(&id("data-db-1"));
    let claim = the_claim(&mut view);
    claim.pods = ["a", "b", "c"]
        .map(|pod| controlled(&format!("web-5d4f8c7b9-{pod}"), "apps/v1", "ReplicaSet", "web-5d4f8c7b9"))
        .into();
    let deployment = Deployment {
        uid: Uid("d".into()),
        belonging: Belonging::default(),
        replicas: 3,
        scaled: None,
        in_vain: None,
        claims: [id("data-db-0").name].into(),
        deleting: false,
        version: Some(1),
    };
    view.deployments = [(deployment_id(), deployment)].into();
    view
}

#[test]
fn a_deployment_is_scaled_to_zero_for_the_claim_that_its_template_names_and_back() {
    let mut view = shared();
    let (actions, _) = decide(&view, OPENS);
    assert!(matches!(&actions[..], [Action::Grow { .. }]), "{actions:?}");
    asked(&mut view, OPENS);
    let (actions, decision) = decide(&view, OPENS + 1);
    let [stop @ Action::ScaleToZero { workload, uid, scaled, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((workload, &uid.0[..], scaled.replicas, decision.reason), (&web(), "d", 3, Reason::Growing));
    assert_eq!(
        stop.to_string(),
        "scale Deployment shop/web from 3 to 0, so that the volume of claim shop/data-db-0 can be expanded"
    );

    the_deployment(&mut view).scaled = Some(Box::new(scaled.clone()));
    the_deployment(&mut view).replicas = 0;
    view.scaled = [(id("data-db-0"), [web()].into())].into();
    assert_eq!(decide(&view, OPENS + 2).0, vec![], "its pods are ending");
    the_claim(&mut view).pods.clear();
    assert_eq!(restored(&view, OPENS + 60), None, "the driver is at it");
    the_claim(&mut view).volume_capacity = mib(640);
    let back = restored(&view, OPENS + 61).unwrap();
    assert_eq!(back.to_string(), "scale Deployment shop/web back to 3");
    assert_eq!(retain_sound(&view, Plan { actions: vec![back] }).1, []);
}

#[test]
fn a_deployment_is_left_alone_where_its_pods_would_come_back_or_others_use_the_volume() {
    type Change<'a> = &'a dyn Fn(&mut View);
    let operator = Owner {
        api_version: "mongodb.com/v1".into(),
        kind: "OpsManager".into(),
        name: "main".into(),
        uid: Uid("o".into()),
    };
    let owned = || Belonging { owner: Some(operator.clone()), manager: None };
    let by_itself = || Belonging {
        owner: Some(Owner { api_version: "apps/v1".into(), kind: "Deployment".into(), ..operator.clone() }),
        manager: None,
    };
    let cases: [(Change<'_>, &str); 9] = [
        (&|view| the_deployment(view).belonging = owned(), "belongs to OpsManager main"),
        (&|view| the_claim(view).belonging = Some(Arc::new(owned())), "belongs to OpsManager main"),
        (&|view| view.autoscalers = [(web(), "busy".into())].into(), "HorizontalPodAutoscaler busy"),
        (&|view| the_deployment(view).claims = ["logs".into()].into(), "of no Deployment whose template names it"),
        (&|view| the_deployment(view).replicas = 0, "has no replicas"),
        (&|view| the_deployment(view).deleting = true, "is being deleted"),
        (
            &|view| the_claim(view).pods.push(controlled("nightly-x", "batch/v1", "Job", "nightly")),
            "pod shop/nightly-x uses it beside Deployment shop/web",
        ),
        (
            &|view| the_claim(view).pods.push(controlled("web-2-x", "apps/v1", "ReplicaSet", "web-2-5d4f8c7b9")),
            "pod shop/web-2-x uses it beside Deployment shop/web",
        ),
        (
            &|view| {
                the_claim(view).pods.iter_mut().for_each(|pod| {
                    let rollout = Owner { api_version: "argoproj.io/v1alpha1".into(), ..operator.clone() };
                    pod.controller =
                        Some(Arc::new(Owner { kind: "ReplicaSet".into(), name: "web-1".into(), ..rollout }));
                });
            },
            "of no Deployment",
        ),
    ];
    for (change, words) in cases {
        let mut view = shared();
        change(&mut view);
        let (actions, decision) = decide(&view, OPENS);
        assert_eq!((actions, decision.reason), (vec![], Reason::OfflineOnly), "{words}");
        assert!(decision.message.contains(words), "{}", decision.message);
    }
    let mut view = shared();
    the_claim(&mut view).belonging = Some(Arc::new(by_itself()));
    assert_eq!(decide(&view, OPENS).0.len(), 1, "it only is to be deleted with it");
}

/// The policy of each has windows; that of the second opens on leap days.
#[test]
fn claims_of_several_policies_are_expanded_by_the_same_stop() {
    let mut view = shared();
    let second = Claim { labels: crate::Labels::from([("app", "logs")]), ..view.claims[&id("data-db-0")].clone() };
    view.claims.insert(id("logs"), second);
    the_deployment(&mut view).claims = [id("data-db-0").name, id("logs").name].into();
    let selecting = |app: &str| crate::Selector(vec![crate::Requirement::In("app".to_owned(), vec![app.to_owned()])]);
    let other = crate::Policy {
        claims: selecting("logs"),
        maintenance: Some(opening("0 0 29 2 *", 3600)),
        ..the_policy(&mut view).clone()
    };
    the_claim(&mut view).labels = crate::Labels::from([("app", "data")]);
    the_policy(&mut view).claims = selecting("data");
    view.policies.insert(crate::fixture::namespaced("other"), other);
    asked(&mut view, OPENS);
    let of_second = |view: &View| {
        let mut view = view.clone();
        view.claims.values_mut().filter_map(|claim| claim.usage.as_mut()).for_each(|usage| usage.at = at(OPENS + 2));
        let (plan, report) = plan_claims(&view, [&id("logs")], at(OPENS + 2));
        assert_eq!(retain_sound(&view, plan.clone()).1, []);
        (plan.actions, report.decisions[&id("logs")].reason)
    };
    assert_eq!(of_second(&view), (vec![], Reason::AwaitingMaintenance), "nothing is stopped yet, nor for its own sake");
    the_deployment(&mut view).scaled = Some(Box::new(note(OPENS + 1)));
    the_deployment(&mut view).replicas = 0;
    view.scaled = [(id("data-db-0"), [web()].into())].into();
    let (actions, _) = of_second(&view);
    assert!(matches!(&actions[..], [Action::Grow { .. }]), "{actions:?}");

    let logs = view.claims.get_mut(&id("logs")).unwrap();
    (logs.requested, logs.growth) = (mib(640), Some(Box::new(GrowthRecord { decided: at(OPENS + 2), ..record() })));
    view.claims.values_mut().for_each(|claim| claim.pods.clear());
    the_claim(&mut view).volume_capacity = mib(640);
    assert_eq!(restored(&view, OPENS + 60), None, "the other one is waited for");
    view.claims.get_mut(&id("logs")).unwrap().volume_capacity = mib(640);
    assert!(restored(&view, OPENS + 61).is_some());
}

#[test]
fn who_comes_to_use_the_claim_while_another_is_stopped_for_it_is_not_stopped_too() {
    let mut view = shared();
    asked(&mut view, OPENS);
    let mut other = the_deployment(&mut view).clone();
    other.scaled = Some(Box::new(note(OPENS)));
    other.replicas = 0;
    let other_id = DeploymentId { name: "worker".into(), ..deployment_id() };
    view.deployments.insert(other_id.clone(), other);
    view.scaled = [(id("data-db-0"), [WorkloadId::Deployment(other_id)].into())].into();
    let (actions, decision) = decide(&view, OPENS + 1);
    assert_eq!((actions, decision.reason), (vec![], Reason::OfflineOnly));
    assert!(decision.message.contains("Deployment shop/worker uses it beside Deployment shop/web"));
}

#[test]
fn several_workloads_that_were_stopped_for_one_claim_are_all_scaled_back() {
    let mut view = shared();
    the_deployment(&mut view).scaled = Some(Box::new(note(OPENS)));
    the_deployment(&mut view).replicas = 0;
    let copy = DeploymentId { name: "copy".into(), ..deployment_id() };
    let deployment = the_deployment(&mut view).clone();
    view.deployments.insert(copy.clone(), deployment);
    view.scaled = [(id("data-db-0"), [web(), WorkloadId::Deployment(copy)].into())].into();
    view.claims.remove(&id("data-db-0"));
    let (plan, _) = plan_claims(&view, [&id("data-db-0")], at(OPENS + 10));
    let said: Vec<_> = plan.actions.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["scale Deployment shop/copy back to 2", "scale Deployment shop/web back to 2"]);
    assert_eq!(retain_sound(&view, plan).1, []);
}
