//! What cannot be done is said clearly, once, and nothing is harmed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use orlop_api::{Bytes, PolicyStatus, StoragePolicy, names::Reason};
use orlop_e2e::{
    eventually,
    namespace::LIMIT,
    site::Site,
    volume::{Volume, Wanted},
};
use serde_json::json;

use crate::growth::policy;

/// Long enough for a hot loop to show, and for a forbidden growth to happen.
const QUIET: Duration = Duration::from_secs(6);

/// Waits until a policy's status satisfies `predicate`.
async fn status(
    site: &Site,
    namespace: &str,
    name: &str,
    what: &str,
    predicate: impl Fn(&PolicyStatus) -> bool,
) -> anyhow::Result<PolicyStatus> {
    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), namespace);
    eventually(what, LIMIT, || async { Ok(policies.get(name).await?.status.filter(&predicate)) }).await
}

fn condition<'a>(status: &'a PolicyStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

fn is(status: &PolicyStatus, type_: &str, value: &str, reason: &str) -> bool {
    condition(status, type_).is_some_and(|condition| condition.status == value && condition.reason == reason)
}

pub(crate) async fn at_the_maximum_there_is_one_condition_one_event_and_no_hot_loop(site: &Site) -> anyhow::Result<()> {
    let namespace = "maximum";
    site.namespace(namespace).await?;
    let volume =
        Volume::create(site, &Wanted { namespace, name: "capped", size: "320Mi", class: "orlop-local" }).await?;
    site.apply(&policy(
        namespace,
        "capped",
        "Auto",
        &json!({"minFree": "64Mi", "increase": "256Mi", "maximum": "384Mi"}),
    ))
    .await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    // The step is cut to the maximum.
    volume.grown_to(Bytes(384 << 20), LIMIT).await?;
    volume.fill_until_free(Bytes(16 << 20)).await?;
    let seen = status(site, namespace, "capped", "the condition to say that the maximum is reached", |status| {
        is(status, "Healthy", "False", "AtMaximum")
    })
    .await?;
    let message = condition(&seen, "Healthy").map(|condition| condition.message.clone()).unwrap_or_default();
    ensure!(message.contains("maximum"), "the message does not say what to do: {message}");
    let events = || site.events(namespace, "capped", "AtMaximum");
    eventually("an Event", LIMIT, || async { Ok((!events().await?.is_empty()).then_some(())) }).await?;
    let version = |status: &PolicyStatus| status.conditions.clone();
    tokio::time::sleep(QUIET).await;
    let told: i32 = events().await?.iter().map(|event| event.count.unwrap_or(1)).sum();
    ensure!(told == 1, "the Event was sent {told} times");
    let later = status(site, namespace, "capped", "the status", |_| true).await?;
    ensure!(version(&seen) == version(&later), "the conditions do not rest: {seen:?} and {later:?}");
    ensure!(volume.standing().await?.requested == Bytes(384 << 20), "it grew beyond the maximum");
    // A higher maximum is all it takes.
    site.apply(&policy(namespace, "capped", "Auto", &json!({"minFree": "64Mi", "increase": "64Mi", "maximum": "1Gi"})))
        .await?;
    volume.grown_to(Bytes(448 << 20), LIMIT).await?;
    status(site, namespace, "capped", "the policy to be healthy again", |status| is(status, "Healthy", "True", "Kept"))
        .await?;
    site.remove_namespace(namespace).await
}

pub(crate) async fn a_class_that_does_not_allow_expansion_is_reported_and_left_alone(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = "fixed";
    site.namespace(namespace).await?;
    let volume = Volume::create(site, &Wanted { namespace, name: "fixed", size: "320Mi", class: "e2e-fixed" }).await?;
    site.apply(&policy(namespace, "fixed", "Auto", &json!({"minFree": "64Mi", "maximum": "1Gi"}))).await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    let seen = status(site, namespace, "fixed", "the policy to say that the class cannot expand", |status| {
        is(status, "Healthy", "False", "NotExpandable")
    })
    .await?;
    let claim = seen.claims.first().context("the claim is not listed")?;
    ensure!(
        claim.reason == Reason::NotExpandable && claim.message.contains("allowVolumeExpansion"),
        "an unhelpful reason: {claim:?}"
    );
    tokio::time::sleep(QUIET).await;
    ensure!(volume.standing().await?.requested == Bytes(320 << 20), "it asked for a growth that cannot be");
    site.remove_namespace(namespace).await
}

pub(crate) async fn a_policy_that_selects_nothing_says_so(site: &Site) -> anyhow::Result<()> {
    let namespace = "nothing";
    site.namespace(namespace).await?;
    site.apply(&policy(namespace, "nobody", "Auto", &json!({"maximum": "1Gi"}))).await?;
    let seen = status(site, namespace, "nobody", "the policy to say that it selects nothing", |status| {
        condition(status, "Healthy").is_some_and(|condition| condition.reason == "NoClaims")
    })
    .await?;
    ensure!(seen.claim_count == 0 && seen.observed_generation == Some(1), "an odd status: {seen:?}");
    site.remove_namespace(namespace).await
}

pub(crate) async fn two_policies_that_select_one_claim_are_both_told_and_neither_acts(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = "conflict";
    site.namespace(namespace).await?;
    let volume = Volume::create(site, &Wanted { namespace, name: "torn", size: "320Mi", class: "orlop-local" }).await?;
    site.apply(&policy(namespace, "torn", "Auto", &json!({"minFree": "64Mi", "maximum": "1Gi"}))).await?;
    let second = policy(namespace, "torn", "Auto", &json!({"minFree": "64Mi", "maximum": "2Gi"})).replacen(
        "\"name\":\"torn\"",
        "\"name\":\"other\"",
        1,
    );
    site.apply(&second).await?;
    for name in ["torn", "other"] {
        status(site, namespace, name, "the policy to tell of the conflict", |status| {
            is(status, "Ready", "False", "PolicyConflict")
        })
        .await?;
    }
    volume.fill_until_free(Bytes(48 << 20)).await?;
    tokio::time::sleep(QUIET).await;
    ensure!(volume.standing().await?.requested == Bytes(320 << 20), "one of the two policies acted");
    // With one of them gone the other is in force.
    site.kubectl(&["-n", namespace, "delete", "storagepolicy", "other"], "").await?;
    eventually("the claim to grow", LIMIT, || async { Ok(volume.standing().await?.growth) }).await?;
    status(site, namespace, "torn", "the policy to be in force", |status| {
        condition(status, "Ready").is_some_and(|condition| condition.status == "True")
    })
    .await?;
    site.remove_namespace(namespace).await
}

pub(crate) async fn an_invalid_policy_is_rejected_with_what_to_do(site: &Site) -> anyhow::Result<()> {
    let namespace = "invalid";
    site.namespace(namespace).await?;
    for (capacity, sentence) in [
        (json!({"maximum": "ten"}), "write a Kubernetes quantity above zero, such as 512Mi or 100Gi"),
        (json!({"maximum": "0"}), "write a Kubernetes quantity above zero"),
        (json!({"maximum": "1Gi", "minFree": "120%"}), "write a value such as 10Gi or a percentage from 1% to 99%"),
        (
            json!({"maximum": "1Gi", "minFreeInodes": "few"}),
            "write a value such as 10000 or a percentage from 1% to 99%",
        ),
        (json!({"maximum": "1Gi", "timeToFull": "soon"}), "write hours, minutes and seconds"),
        (json!({"maximum": "1Gi", "targetUtilization": "80%"}), "together they are below 100%"),
        (json!({"maximum": "1Gi", "groupBy": "my app"}), "is not the key of a label"),
        (json!({"minFree": "20%"}), "maximum"),
    ] {
        let Err(refusal) = site.apply(&policy(namespace, "wrong", "Auto", &capacity)).await else {
            anyhow::bail!("the API server took {capacity}");
        };
        ensure!(refusal.to_string().contains(sentence), "{capacity} is refused with: {refusal}");
    }
    let Err(refusal) = site.apply(&policy(namespace, "wrong", "Sometimes", &json!({"maximum": "1Gi"}))).await else {
        anyhow::bail!("the API server took an unknown mode");
    };
    ensure!(refusal.to_string().contains("\"Recommend\""), "the modes are not named: {refusal}");
    site.remove_namespace(namespace).await
}

pub(crate) async fn an_invalid_budget_or_profile_is_rejected_with_what_to_do(site: &Site) -> anyhow::Result<()> {
    for (kind, spec, sentence) in [
        ("StorageBudget", json!({"limits": {}}), "there is no limit: write bytes, iops or monthlyCost"),
        ("StorageBudget", json!({"limits": {"bytes": "a lot"}}), "write a Kubernetes quantity above zero"),
        ("StorageBudget", json!({"limits": {"monthlyCost": "0"}}), "write an amount above zero, or leave it out"),
        (
            "StorageBudget",
            json!({"limits": {"bytes": "1Gi"}, "emergencyReserve": "1Gi"}),
            "make it smaller, or raise limits.bytes",
        ),
        ("DriverProfile", json!({"expansion": "Sometimes"}), "\"Online\""),
        ("DriverProfile", json!({"minimumSize": "2Gi", "maximumSize": "1Gi"}), "exchange them"),
        ("DriverProfile", json!({"modifications": {"count": 4, "window": "1d"}}), "write hours, minutes and seconds"),
        ("DriverProfile", json!({"source": "a page"}), "write both, or neither"),
    ] {
        let object = json!({
            "apiVersion": "orlop.dev/v1alpha1", "kind": kind, "metadata": {"name": "e2e-wrong"}, "spec": spec,
        });
        let Err(refusal) = site.apply(&object.to_string()).await else {
            anyhow::bail!("the API server took {object}");
        };
        ensure!(refusal.to_string().contains(sentence), "{object} is refused with: {refusal}");
    }
    Ok(())
}
