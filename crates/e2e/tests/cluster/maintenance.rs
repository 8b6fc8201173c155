//! Volumes that are expanded only while no pod uses them: in a maintenance window pods are stopped, and come back.

use std::{future::Future, time::Duration};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::Pod,
};
use kube::{Api, ResourceExt as _, api::ListParams};
use orlop_api::{Bytes, StoragePolicy, names};
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace},
    operator::{self, Operator},
    proxy::{Fault, Moment, Proxy},
    site::{SYSTEM, Site, is_ready},
    volume::{Volume, deployment, statefulset},
};
use orlop_planner::maintenance::InVain;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::growth::policy;

const NAME: &str = "archive";
const FIRST: Bytes = Bytes(320 << 20);
const STEP: Bytes = Bytes(64 << 20);

/// At any time.
const ALWAYS: &str = "* * * * *";
/// On leap days.
const SELDOM: &str = "0 0 29 2 *";

/// What the local driver is said to do, for as long as a test lasts.
fn offline() -> String {
    json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "DriverProfile", "metadata": {"name": names::LOCAL_DRIVER},
        "spec": {"expansion": "Offline", "sizeIncrement": "1Mi"},
    })
    .to_string()
}

fn with_window(namespace: &str, schedule: &str) -> String {
    let windows: Value = json!([{"schedule": schedule, "duration": "1h"}]);
    let capacity = json!({
        "minFree": "64Mi", "increase": STEP.to_string(), "timeToFull": "1s", "maximum": "2Gi",
        "maintenance": {"windows": windows},
    });
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

/// How a workload stands.
struct Stand {
    replicas: Option<i32>,
    ready: Option<i32>,
    annotations: Value,
}

/// The workload of a test.
#[derive(Clone, Copy)]
enum Kind {
    Deployment,
    StatefulSet,
}

impl Kind {
    fn manifests(self) -> Vec<Value> {
        match self {
            Self::Deployment => deployment(NAME, FIRST).into(),
            Self::StatefulSet => vec![statefulset(NAME, FIRST)],
        }
    }

    const fn claim(self) -> &'static str {
        match self {
            Self::Deployment => NAME,
            Self::StatefulSet => "data-archive-0",
        }
    }

    async fn stands(self, site: &Site, namespace: &str) -> anyhow::Result<Stand> {
        let client = site.client.clone();
        let (annotations, replicas, ready) = match self {
            Self::Deployment => {
                let it = Api::<Deployment>::namespaced(client, namespace).get(NAME).await?;
                let ready = it.status.as_ref().and_then(|status| status.ready_replicas);
                (it.metadata.annotations, it.spec.and_then(|spec| spec.replicas), ready)
            }
            Self::StatefulSet => {
                let it = Api::<StatefulSet>::namespaced(client, namespace).get(NAME).await?;
                let ready = it.status.as_ref().and_then(|status| status.ready_replicas);
                (it.metadata.annotations, it.spec.and_then(|spec| spec.replicas), ready)
            }
        };
        Ok(Stand { replicas, ready, annotations: json!(annotations.unwrap_or_default()) })
    }

    /// How it stands, once it has its replica and nothing is written on it of having been stopped.
    async fn running(self, site: &Site, namespace: &str) -> anyhow::Result<Option<Stand>> {
        let stand = self.stands(site, namespace).await?;
        let is_noted = stand.annotations.get(names::SCALED_ANNOTATION).is_some();
        Ok((stand.replicas == Some(1) && stand.ready == Some(1) && !is_noted).then_some(stand))
    }

    /// Waits for that.
    async fn runs(self, site: &Site, namespace: &str) -> anyhow::Result<Stand> {
        eventually("the workload to have its replica", 2 * LIMIT, || self.running(site, namespace)).await
    }
}

/// The one pod of the workload that is ready.
async fn the_pod(site: &Site, namespace: &str) -> anyhow::Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), namespace);
    eventually("a pod of the workload", 2 * LIMIT, || async {
        let all = pods.list(&ListParams::default().labels(&format!("app={NAME}"))).await?;
        Ok(all.items.into_iter().find(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none()))
    })
    .await
}

/// The volume as its present pod has it.
async fn the_volume<'a>(site: &'a Site, namespace: &str, kind: Kind) -> anyhow::Result<Volume<'a>> {
    Volume::of(site, &the_pod(site, namespace).await?, kind.claim()).await
}

async fn started<'a>(site: &'a Site, name: &'a str, kind: Kind) -> anyhow::Result<Namespace<'a>> {
    let namespace = Namespace::create(site, name).await?;
    namespace.apply(kind.manifests()).await?;
    the_pod(site, name).await?;
    Ok(namespace)
}

/// Runs a test while the local driver is said to expand only volumes that no pod uses.
async fn while_offline(site: &Site, test: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    site.upgrade(&json!({"operator": {"maintenance": true}})).await?;
    site.apply(&offline()).await?;
    let result = test.await;
    // Whatever came of it: with such a profile the tests after this one would grow nothing.
    let_resizers_work(site).await?;
    site.kubectl(&["delete", "driverprofile", names::LOCAL_DRIVER], "").await?;
    site.roll_back().await?;
    result
}

pub(crate) async fn in_a_window_a_statefulset_is_scaled_to_zero_for_its_volume_and_back(
    site: &Site,
) -> anyhow::Result<()> {
    while_offline(site, Box::pin(scaled_to_zero_and_back(site, "maintenance", Kind::StatefulSet))).await
}

pub(crate) async fn in_a_window_a_deployment_is_scaled_to_zero_for_its_volume_and_back(
    site: &Site,
) -> anyhow::Result<()> {
    while_offline(site, Box::pin(scaled_to_zero_and_back(site, "maintenance-web", Kind::Deployment))).await
}

async fn scaled_to_zero_and_back(site: &Site, name: &str, kind: Kind) -> anyhow::Result<()> {
    let namespace = started(site, name, kind).await?;
    let volume = the_volume(site, name, kind).await?;
    let before = the_pod(site, name).await?.uid().context("a pod without a UID")?;

    site.apply(&with_window(name, "every night")).await?;
    let said = condition(site, name, "Ready", "Invalid").await?;
    ensure!(said.contains("spec.capacity.maintenance.windows[0].schedule") && said.contains("such as"), "{said}");

    site.apply(&with_window(name, SELDOM)).await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    condition(site, name, "Healthy", "AwaitingMaintenance").await?;
    ensure!(volume.standing().await?.requested == FIRST, "nothing is asked for outside of a window");

    let mut driver = Offline::begin(site, name, kind).await?;
    site.apply(&with_window(name, ALWAYS)).await?;
    let (target, start) = (Bytes(FIRST.0 + STEP.0), Instant::now());
    while !driver.is_done(&volume, target).await? {
        ensure!(start.elapsed() < 4 * LIMIT, "not expanded and started again: {:?}", volume.standing().await?);
        sleep(Duration::from_millis(200)).await;
    }
    let stand = kind.runs(site, name).await?;
    ensure!(stand.annotations.get(names::IN_VAIN_ANNOTATION).is_none(), "it was of use: {}", stand.annotations);
    ensure!(the_pod(site, name).await?.uid().as_ref() != Some(&before), "its pod was never stopped");
    for reason in ["PodsStopped", "PodsStarted"] {
        let told = eventually("an Event", Duration::from_secs(20), || async {
            let events = site.events(name, kind.claim(), reason).await?;
            Ok((!events.is_empty()).then_some(events.len()))
        });
        ensure!(told.await? == 1, "it was {reason} once");
    }
    namespace.remove().await
}

pub(crate) async fn an_operator_killed_at_any_request_of_a_window_leaves_nothing_stopped(
    site: &Site,
) -> anyhow::Result<()> {
    let name = "maintenance-killed";
    let test = Box::pin(async {
        let namespace = started(site, name, Kind::Deployment).await?;
        site.apply(&with_window(name, ALWAYS)).await?;
        site.scale_operator(0).await?;
        let result = every_request(site, name).await;
        site.scale_operator(1).await?;
        let ended = result?;
        println!("the operator was killed at each of {} moments", ended.len());
        let of_deployment = ended.iter().filter(|fault| fault.call.contains("/deployments/")).count();
        ensure!(of_deployment >= 4, "it is scaled to zero and back, but only killed at {ended:#?}");
        namespace.remove().await
    });
    while_offline(site, test).await
}

/// Ends an operator at each request of a window that changes something; returns where it was ended.
async fn every_request(site: &Site, name: &str) -> anyhow::Result<Vec<Fault>> {
    let client = operator::client(site).await?;
    let (calls, _) = one_window(site, name, client.clone(), None).await?;
    let mut ended = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let occurrence = calls[..index].iter().filter(|other| *other == call).count();
        for moment in [Moment::Before, Moment::After] {
            let fault = Fault { call: call.clone(), occurrence, moment };
            let run = one_window(site, name, client.clone(), Some(fault.clone())).await;
            if run.with_context(|| format!("killed at {fault:?}"))?.1 {
                ended.push(fault);
            }
        }
    }
    Ok(ended)
}

/// One growth with its stop: begun by one operator, and seen through by a second. Returns the first one's requests for claim and
/// Deployment, and whether it was ended at the fault.
async fn one_window(
    site: &Site,
    name: &str,
    client: kube::Client,
    fault: Option<Fault>,
) -> anyhow::Result<(Vec<String>, bool)> {
    let volume = the_volume(site, name, Kind::Deployment).await?;
    let target = Bytes(volume.standing().await?.requested.0 + STEP.0);
    let mut driver = Offline::begin(site, name, Kind::Deployment).await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    let proxy = Proxy::start(client.clone(), fault).await?;
    let mut first = Operator::start_with(&proxy, &["--maintenance"])?;
    let start = Instant::now();
    while !first.has_ended()? && !driver.is_done(&volume, target).await? {
        ensure!(start.elapsed() < 4 * LIMIT, "neither killed nor done; its calls: {:#?}", proxy.calls());
        sleep(Duration::from_millis(50)).await;
    }
    let is_for_it = |call: &String| call.starts_with("PATCH ") && call.contains(&format!("/namespaces/{name}/"));
    let of_status = |call: &String| call.contains("/storagepolicies/") || call.contains("/pods/");
    let calls = proxy.calls().into_iter().filter(|call| is_for_it(call) && !of_status(call)).collect();
    let has_fired = proxy.has_fired();
    first.kill().await.ok();

    let second_proxy = Proxy::start(client, None).await?;
    let mut second = Operator::start_with(&second_proxy, &["--maintenance"])?;
    let start = Instant::now();
    while !driver.is_done(&volume, target).await? {
        let made = || format!("after {calls:#?}; then {:#?}", second_proxy.calls());
        ensure!(start.elapsed() < 4 * LIMIT, "not grown, or not started again, {}", made());
        sleep(Duration::from_millis(50)).await;
    }
    condition(site, name, "Healthy", "Kept").await?;
    ensure!(volume.standing().await?.requested == target, "it grew twice");
    ensure!(!second.has_ended()?, "the second operator has ended");
    second.kill().await?;
    Ok((calls, has_fired))
}

/// The local driver as one that expands only what no pod uses: it is asked for nothing before the pods are gone.
struct Offline<'a> {
    site: &'a Site,
    name: &'a str,
    kind: Kind,
    is_asked: bool,
}

impl<'a> Offline<'a> {
    async fn begin(site: &'a Site, name: &'a str, kind: Kind) -> anyhow::Result<Self> {
        let_no_resizer_work(site).await?;
        Ok(Self { site, name, kind, is_asked: false })
    }

    /// Has the claim grown, and does the workload run again?
    async fn is_done(&mut self, volume: &Volume<'_>, target: Bytes) -> anyhow::Result<bool> {
        if !self.is_asked {
            let pods: Api<Pod> = Api::namespaced(self.site.client.clone(), self.name);
            if pods.list(&ListParams::default()).await?.items.is_empty() {
                let_resizers_work(self.site).await?;
                self.is_asked = true;
            }
            return Ok(false);
        }
        let is_grown = volume.grown_to(target, Duration::ZERO).await.is_ok();
        Ok(is_grown && self.kind.running(self.site, self.name).await?.is_some())
    }
}

pub(crate) async fn pods_that_were_stopped_in_vain_are_not_stopped_again_at_once(site: &Site) -> anyhow::Result<()> {
    let name = "maintenance-vain";
    let test = Box::pin(async {
        let namespace = started(site, name, Kind::Deployment).await?;
        stopped_in_vain(site, &namespace).await?;
        namespace.remove().await
    });
    while_offline(site, test).await
}

/// Has no resizer work, so that the driver is asked for nothing: somebody else has their Lease. Until the one that worked notices.
async fn let_no_resizer_work(site: &Site) -> anyhow::Result<()> {
    let before = restarts(site).await?;
    resizers_lease(site, &json!({"holderIdentity": "nobody", "leaseDurationSeconds": 3600})).await?;
    eventually("the resizer that worked to end", LIMIT, || async { Ok((restarts(site).await? > before).then_some(())) })
        .await
}

async fn let_resizers_work(site: &Site) -> anyhow::Result<()> {
    resizers_lease(site, &json!({"holderIdentity": "", "leaseDurationSeconds": 15})).await
}

async fn resizers_lease(site: &Site, spec: &Value) -> anyhow::Result<()> {
    let patch = json!({"spec": spec}).to_string();
    let lease = ["patch", "lease", "external-resizer-local-orlop-dev", "--type=merge", "-p", &patch];
    site.kubectl(&[&["-n", SYSTEM], &lease[..]].concat(), "").await.map(drop)
}

/// How often resizers were restarted.
async fn restarts(site: &Site) -> anyhow::Result<i32> {
    let pods = site.pods("app.kubernetes.io/component=csi").await?;
    let statuses = pods.into_iter().filter_map(|pod| pod.status?.container_statuses).flatten();
    Ok(statuses.filter(|status| status.name == "resizer").map(|status| status.restart_count).sum())
}

async fn stopped_in_vain(site: &Site, namespace: &Namespace<'_>) -> anyhow::Result<()> {
    let (name, kind) = (namespace.name, Kind::Deployment);
    let volume = the_volume(site, name, kind).await?;
    let_no_resizer_work(site).await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    site.apply(&with_window(name, ALWAYS)).await?;
    eventually("the Deployment to be scaled to zero", 2 * LIMIT, || async {
        let stand = kind.stands(site, name).await?;
        Ok((stand.replicas == Some(0)).then_some(()))
    })
    .await?;
    // Nobody waits for the end of the window: pods that nobody wants stopped any more come back at once.
    let paused = |value: Value| json!({"metadata": {"annotations": {names::PAUSED_ANNOTATION: value}}});
    namespace.patch(kind.claim(), &paused(json!("the driver hangs"))).await?;
    let stand = kind.runs(site, name).await?;
    let note = stand.annotations.get(names::IN_VAIN_ANNOTATION).and_then(Value::as_str);
    let note: InVain = serde_json::from_str(note.context("nothing is written of what came of it")?)?;
    ensure!(note.claims.iter().any(|claim| &**claim == kind.claim()), "{note:?}");
    let told = site.events(name, kind.claim(), "StoppedInVain").await?;
    ensure!(told.len() == 1, "{told:#?}");

    namespace.patch(kind.claim(), &paused(Value::Null)).await?;
    condition(site, name, "Healthy", "GrowthOverdue").await?;
    ensure!(kind.stands(site, name).await?.replicas == Some(1), "it was stopped again");

    let_resizers_work(site).await?;
    let off = format!("{}-", names::IN_VAIN_ANNOTATION);
    site.kubectl(&["-n", name, "annotate", "deployment", NAME, &off], "").await?;
    volume.grown_to(Bytes(FIRST.0 + STEP.0), 4 * LIMIT).await?;
    kind.runs(site, name).await?;
    Ok(())
}
