//! The main job: volumes grow before they are full.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use orlop_api::{Bytes, ClusterStoragePolicy, StorageBudget, StoragePolicy, names::Reason};
use orlop_e2e::{
    eventually,
    namespace::LIMIT,
    site::{Site, repository},
    volume::{Volume, Wanted, statefulset},
};
use serde_json::{Value, json};

/// A policy for the claims with this `app` label, whose capacity section is `capacity`. Where that names no
/// `timeToFull` it is so short that the pace at which the tests fill volumes does not count.
pub(crate) fn policy(namespace: &str, app: &str, mode: &str, capacity: &Value) -> String {
    let mut capacity = capacity.clone();
    if let Some(fields) = capacity.as_object_mut() {
        fields.entry("timeToFull").or_insert_with(|| json!("1s"));
    }
    json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
        "metadata": {"name": app, "namespace": namespace},
        "spec": {"mode": mode, "selector": {"matchLabels": {"app": app}}, "capacity": capacity},
    })
    .to_string()
}

const SMALL: &str = "320Mi";

fn small<'a>(namespace: &'a str, name: &'a str) -> Wanted<'a> {
    Wanted { namespace, name, size: SMALL, class: "orlop-local" }
}

pub(crate) async fn a_volume_grows_before_it_is_full_and_the_data_of_the_quickstart_is_whole(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = "orlop-quickstart";
    site.remove_namespace(namespace).await?;
    let folder = repository().join("examples/quickstart");
    let folder = folder.to_str().context("a path that is not UTF-8")?;
    site.kubectl(&["apply", "-f", folder], "").await?;
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), namespace);
    let (wrote, verified) =
        eventually("the quickstart's writer to verify its data", Duration::from_mins(7), || async {
            let log = pods.logs("writer-0", &LogParams { tail_lines: Some(2), ..LogParams::default() }).await?;
            let lines: Vec<Value> = log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            Ok(match &lines[..] {
                [wrote, verified] if verified.get("verified").is_some() => Some((wrote.clone(), verified.clone())),
                _ => None,
            })
        })
        .await?;
    ensure!(verified["verified"] == json!(true), "the data does not read back: {verified}");
    ensure!(verified["bytes"] == json!(3_u64 << 30), "the writer did not verify all of it: {verified}");
    ensure!(wrote["enospc"] == json!(0), "the writer ran out of space: {wrote}");
    let claim = site
        .kubectl(&["-n", namespace, "get", "pvc", "data-writer-0", "-o", "jsonpath={.status.capacity.storage}"], "")
        .await?;
    ensure!(claim.parse::<Bytes>()? >= Bytes(3 << 30), "3 GiB are in a volume of {claim}");
    let grown = site.events(namespace, "data-writer-0", "Grown").await?;
    ensure!(!grown.is_empty(), "no Event tells of a growth");
    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), namespace);
    eventually("the policy to be healthy", LIMIT, || async {
        let status = policies.get("grow").await?.status.unwrap_or_default();
        Ok(status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Healthy" && condition.status == "True")
            .then_some(()))
    })
    .await?;
    site.remove_namespace(namespace).await
}

pub(crate) async fn volumes_on_every_node_grow(site: &Site) -> anyhow::Result<()> {
    let namespace = "every-node";
    site.namespace(namespace).await?;
    let nodes = site.node_count();
    let mut set = statefulset("spread", Bytes(320 << 20));
    set["metadata"]["namespace"] = json!(namespace);
    set["spec"]["replicas"] = json!(nodes);
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    // An anti-affinity between the pods of one StatefulSet puts one on each node.
    set["spec"]["template"]["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "spread"}},
    }]}});
    site.apply(&set.to_string()).await?;
    site.apply(&policy(namespace, "spread", "Auto", &json!({"minFree": "64Mi", "increase": "64Mi", "maximum": "1Gi"})))
        .await?;
    let mut seen = std::collections::BTreeSet::new();
    for replica in 0..nodes {
        let volume =
            Volume::of_pod(site, namespace, &format!("spread-{replica}"), &format!("data-spread-{replica}")).await?;
        volume.fill_until_free(Bytes(48 << 20)).await?;
        volume.grown_to(Bytes(384 << 20), LIMIT).await?;
        seen.insert(volume.node.clone());
    }
    ensure!(seen.len() == nodes, "the volumes are on {seen:?} only");
    site.remove_namespace(namespace).await
}

pub(crate) async fn a_volume_that_fills_fast_grows_by_as_much_as_its_rate_asks_for(site: &Site) -> anyhow::Result<()> {
    let namespace = "rate";
    site.namespace(namespace).await?;
    let volume = Volume::create(site, &small(namespace, "fast")).await?;
    let capacity = json!({"minFree": "32Mi", "increase": "32Mi", "timeToFull": "60s", "maximum": "8Gi"});
    site.apply(&policy(namespace, "fast", "Auto", &capacity)).await?;
    // About 10 MiB a second for a few seconds: at that rate the 250 MiB that are left are full in less than 60 s, and
    // 600 MiB must be free for them not to be.
    for _ in 0..40 {
        volume.allocate(Bytes::MIB)?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let growth = eventually("the volume to grow for its rate", LIMIT, || async {
        Ok(volume.standing().await?.growth.filter(|growth| growth.usable.is_some()))
    })
    .await?;
    ensure!(growth.reason == Reason::FillsTooSoon, "it grew for another reason: {growth:?}");
    ensure!(growth.to >= Bytes(512 << 20), "the step does not follow the rate: {growth:?}");
    site.remove_namespace(namespace).await
}

pub(crate) async fn a_volume_grows_when_its_inodes_run_short(site: &Site) -> anyhow::Result<()> {
    let namespace = "inodes";
    site.namespace(namespace).await?;
    let volume = Volume::create(site, &small(namespace, "many")).await?;
    let free = rustix::fs::statvfs(&volume.mount)?.f_ffree;
    // One fewer than there are: the next thousand files cross it.
    let capacity =
        json!({"minFree": "16Mi", "minFreeInodes": (free - 500).to_string(), "increase": "64Mi", "maximum": "1Gi"});
    site.apply(&policy(namespace, "many", "Auto", &capacity)).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(volume.standing().await?.growth.is_none(), "it grew before its inodes ran short");
    for number in 0..1000 {
        std::fs::File::create(volume.mount.join(format!("file-{number}")))?;
    }
    let growth = volume.grown_to(Bytes(384 << 20), LIMIT).await?;
    ensure!(growth.reason == Reason::BelowMinFreeInodes, "it grew for another reason: {growth:?}");
    site.remove_namespace(namespace).await
}

pub(crate) async fn replicas_grow_as_one_and_one_that_is_paused_follows_when_it_no_longer_is(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = "replicas";
    site.namespace(namespace).await?;
    let leader = Volume::create(site, &small(namespace, "replica-0")).await?;
    let follower = Volume::create(site, &small(namespace, "replica-1")).await?;
    site.kubectl(&["-n", namespace, "label", "pvc", "--all", "set=a"], "").await?;
    site.kubectl(&["-n", namespace, "annotate", "pvc", "replica-1", "orlop.dev/paused=a test"], "").await?;
    site.apply(
        &json!({
            "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
            "metadata": {"name": "replicas", "namespace": namespace},
            "spec": {
                "mode": "Auto", "selector": {"matchLabels": {"set": "a"}},
                "capacity": {
                    "minFree": "64Mi", "increase": "64Mi", "timeToFull": "1s", "maximum": "1Gi", "groupBy": "set",
                },
            },
        })
        .to_string(),
    )
    .await?;
    leader.fill_until_free(Bytes(48 << 20)).await?;
    leader.grown_to(Bytes(384 << 20), LIMIT).await?;
    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), namespace);
    let paused = eventually("the paused claim to be told what would be done", LIMIT, || async {
        let claims = policies.get("replicas").await?.status.unwrap_or_default().claims;
        Ok(claims.into_iter().find(|claim| claim.name == "replica-1" && claim.target == Some(Bytes(384 << 20))))
    })
    .await?;
    ensure!(
        paused.reason == Reason::Paused && paused.message.contains("a test") && paused.message.contains("replica-0"),
        "an unhelpful reason: {paused:?}"
    );
    ensure!(follower.standing().await?.requested == Bytes(320 << 20), "a paused claim was grown");
    site.kubectl(&["-n", namespace, "annotate", "pvc", "replica-1", "orlop.dev/paused-"], "").await?;
    let record = follower.grown_to(Bytes(384 << 20), LIMIT).await?;
    ensure!(record.reason == Reason::GroupGrowth, "it grew for another reason: {record:?}");
    site.remove_namespace(namespace).await
}

pub(crate) async fn recommend_writes_the_decision_and_changes_nothing(site: &Site) -> anyhow::Result<()> {
    let namespace = "recommend";
    site.namespace(namespace).await?;
    let volume = Volume::create(site, &small(namespace, "advised")).await?;
    let capacity = json!({"minFree": "64Mi", "increase": "64Mi", "maximum": "1Gi"});
    site.apply(&policy(namespace, "advised", "Recommend", &capacity)).await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), namespace);
    let advice = eventually("a recommendation", LIMIT, || async {
        let status = policies.get("advised").await?.status.unwrap_or_default();
        Ok(status.claims.into_iter().find(|claim| claim.target == Some(Bytes(384 << 20))))
    })
    .await?;
    ensure!(
        advice.reason == Reason::BelowMinFree && advice.message.contains("minFree"),
        "an unhelpful reason: {advice:?}"
    );
    let standing = volume.standing().await?;
    ensure!(standing.requested == Bytes(320 << 20) && standing.growth.is_none(), "the claim was changed: {standing:?}");
    site.remove_namespace(namespace).await
}

pub(crate) async fn a_cluster_policy_governs_what_no_namespaced_policy_selects(site: &Site) -> anyhow::Result<()> {
    let namespace = "wide";
    site.namespace(namespace).await?;
    let plain = Volume::create(site, &small(namespace, "plain")).await?;
    let special = Volume::create(site, &small(namespace, "special")).await?;
    let wide = json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "ClusterStoragePolicy", "metadata": {"name": "wide"},
        "spec": {
            "mode": "Auto", "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}, "selector": {},
            "capacity": {"minFree": "64Mi", "increase": "64Mi", "timeToFull": "1s", "maximum": "1Gi"},
        },
    });
    site.apply(&policy(
        namespace,
        "special",
        "Auto",
        &json!({"minFree": "64Mi", "increase": "128Mi", "maximum": "1Gi"}),
    ))
    .await?;
    site.apply(&wide.to_string()).await?;
    for volume in [&plain, &special] {
        volume.fill_until_free(Bytes(48 << 20)).await?;
    }
    plain.grown_to(Bytes(384 << 20), LIMIT).await?;
    special.grown_to(Bytes(448 << 20), LIMIT).await?;
    let policies: Api<ClusterStoragePolicy> = Api::all(site.client.clone());
    eventually("the cluster policy to count its one claim", LIMIT, || async {
        Ok((policies.get("wide").await?.status.unwrap_or_default().claim_count == 1).then_some(()))
    })
    .await?;
    site.kubectl(&["delete", "clusterstoragepolicy", "wide"], "").await?;
    site.remove_namespace(namespace).await
}

pub(crate) async fn what_a_budget_has_left_is_given_and_who_wants_more_waits_until_it_has_more(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = "budgeted";
    site.namespace(namespace).await?;
    let first = Volume::create(site, &small(namespace, "first")).await?;
    let second = Volume::create(site, &small(namespace, "second")).await?;
    site.kubectl(&["-n", namespace, "label", "pvc", "--all", "kept=together"], "").await?;
    // Room for one step of 64 MiB beside the two claims of 320 MiB.
    let budget = |limit: &str| {
        json!({
            "apiVersion": "orlop.dev/v1alpha1", "kind": "StorageBudget", "metadata": {"name": namespace},
            "spec": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "selector": {}, "limits": {"bytes": limit},
            },
        })
        .to_string()
    };
    site.apply(&budget("704Mi")).await?;
    site.apply(
        &json!({
            "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
            "metadata": {"name": "together", "namespace": namespace},
            "spec": {
                "mode": "Auto", "selector": {"matchLabels": {"kept": "together"}},
                "capacity": {"minFree": "64Mi", "increase": "64Mi", "timeToFull": "1s", "maximum": "1Gi"},
            },
        })
        .to_string(),
    )
    .await?;
    first.fill_until_free(Bytes(48 << 20)).await?;
    first.grown_to(Bytes(384 << 20), LIMIT).await?;
    second.fill_until_free(Bytes(48 << 20)).await?;
    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), namespace);
    let budgets: Api<StorageBudget> = Api::all(site.client.clone());
    let waiting = eventually("the second claim to wait for the budget", LIMIT, || async {
        let claims = policies.get("together").await?.status.unwrap_or_default().claims;
        Ok(claims.into_iter().find(|claim| claim.name == "second" && claim.reason == Reason::OverBudget))
    })
    .await?;
    ensure!(waiting.message.contains(namespace), "an unhelpful reason: {waiting:?}");
    eventually("the budget to say who waits", LIMIT, || async {
        let status = budgets.get(namespace).await?.status.unwrap_or_default();
        Ok(status.waiting.iter().any(|claim| claim.name == "second").then_some(()))
    })
    .await?;
    ensure!(second.standing().await?.requested == Bytes(320 << 20), "a claim was grown beyond its budget");
    site.apply(&budget("1Gi")).await?;
    second.grown_to(Bytes(384 << 20), LIMIT).await?;
    site.kubectl(&["delete", "storagebudget", namespace], "").await?;
    site.remove_namespace(namespace).await
}
