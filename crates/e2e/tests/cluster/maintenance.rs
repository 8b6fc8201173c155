//! Volumes that are expanded only while no pod uses them: in a maintenance window pods are stopped, and come back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{Api, ResourceExt as _};
use orlop_api::{Bytes, StoragePolicy, names};
use orlop_e2e::{
    eventually,
    namespace::LIMIT,
    site::Site,
    volume::{Volume, statefulset},
};
use serde_json::{Value, json};

use crate::growth::policy;

const NAME: &str = "archive";
const FIRST: Bytes = Bytes(320 << 20);

/// What the local driver is said to do, for as long as the test lasts.
fn offline() -> String {
    json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "DriverProfile", "metadata": {"name": names::LOCAL_DRIVER},
        "spec": {"expansion": "Offline", "sizeIncrement": "1Mi"},
    })
    .to_string()
}

fn with_window(namespace: &str, schedule: &str) -> String {
    let windows: Value = json!([{"schedule": schedule, "duration": "1h"}]);
    let capacity =
        json!({"minFree": "64Mi", "increase": "64Mi", "maximum": "1Gi", "maintenance": {"windows": windows}});
    policy(namespace, NAME, "Auto", &capacity)
}

/// Waits until the condition of the policy has this reason, and returns what it says.
async fn condition(site: &Site, namespace: &str, type_: &str, reason: &str) -> anyhow::Result<String> {
    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), namespace);
    eventually(&format!("the policy to be {type_} with {reason}"), LIMIT, || async {
        let conditions = policies.get(NAME).await?.status.unwrap_or_default().conditions;
        let condition = conditions.into_iter().find(|condition| condition.type_ == type_ && condition.reason == reason);
        Ok(condition.map(|condition| condition.message))
    })
    .await
}

pub(crate) async fn in_a_window_a_statefulset_is_scaled_to_zero_for_its_volume_and_back(
    site: &Site,
) -> anyhow::Result<()> {
    site.upgrade(&json!({"operator": {"maintenance": true}})).await?;
    site.apply(&offline()).await?;
    let result = scaled_to_zero_and_back(site).await;
    // Whatever came of it: with such a profile the tests after this one would grow nothing.
    site.kubectl(&["delete", "driverprofile", names::LOCAL_DRIVER], "").await?;
    site.roll_back().await?;
    result
}

async fn scaled_to_zero_and_back(site: &Site) -> anyhow::Result<()> {
    let namespace = "maintenance";
    site.namespace(namespace).await?;
    let mut set = statefulset(NAME, FIRST);
    set["metadata"]["namespace"] = json!(namespace);
    site.apply(&set.to_string()).await?;
    let volume = Volume::of_pod(site, namespace, "archive-0", "data-archive-0").await?;
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), namespace);
    let before = pods.get("archive-0").await?.uid().context("a pod without a UID")?;

    site.apply(&with_window(namespace, "every night")).await?;
    let said = condition(site, namespace, "Ready", "Invalid").await?;
    ensure!(said.contains("spec.capacity.maintenance.windows[0].schedule") && said.contains("such as"), "{said}");

    // On leap days only.
    site.apply(&with_window(namespace, "0 0 29 2 *")).await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    condition(site, namespace, "Healthy", "AwaitingMaintenance").await?;
    ensure!(volume.standing().await?.requested == FIRST, "nothing is asked for outside of a window");

    site.apply(&with_window(namespace, "* * * * *")).await?;
    volume.grown_to(Bytes(384 << 20), 3 * LIMIT).await?;
    let sets: Api<StatefulSet> = Api::namespaced(site.client.clone(), namespace);
    let set = eventually("the StatefulSet to have its replica again", LIMIT, || async {
        let set = sets.get(NAME).await?;
        let ready = set.status.as_ref().and_then(|status| status.ready_replicas);
        Ok((ready == Some(1)).then_some(set))
    })
    .await?;
    ensure!(set.spec.as_ref().and_then(|spec| spec.replicas) == Some(1), "it has another number of replicas");
    ensure!(!set.annotations().contains_key(names::SCALED_ANNOTATION), "what it was scaled from is still on it");
    let after = pods.get("archive-0").await?.uid();
    ensure!(after.as_ref() != Some(&before), "its pod was never stopped");
    for reason in ["PodsStopped", "PodsStarted"] {
        let told = eventually("an Event", Duration::from_secs(20), || async {
            let events = site.events(namespace, "data-archive-0", reason).await?;
            Ok((!events.is_empty()).then_some(events.len()))
        });
        ensure!(told.await? == 1, "it was {reason} once");
    }
    site.remove_namespace(namespace).await
}
