//! The templates of StatefulSets follow their claims: a StatefulSet is made anew, whatever ends the operator on the way, and its
//! pods stay; one that somebody else applies is left alone.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use orlop_api::{Bytes, StoragePolicy};
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace},
    operator::{self, Operator},
    proxy::{Fault, Moment, Proxy},
    site::{SYSTEM, Site},
    volume::statefulset,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::growth::policy;

const NAME: &str = "db";
const FIRST: Bytes = Bytes(320 << 20);
const STEP: Bytes = Bytes(16 << 20);

/// A StatefulSet of one pod with a volume, with this metadata beside its name.
fn set(metadata: &Value) -> Value {
    let mut set = statefulset(NAME, FIRST);
    set["metadata"] = metadata.clone();
    set["metadata"]["name"] = json!(NAME);
    set
}

/// The namespace with the StatefulSet, and a policy under which it is made anew.
async fn governed<'a>(site: &'a Site, name: &'a str, metadata: &Value) -> anyhow::Result<Namespace<'a>> {
    let namespace = Namespace::create(site, name).await?;
    let capacity = json!({"minFree": "16Mi", "increase": "16Mi", "maximum": "4Gi", "templateSync": "Recreate"});
    namespace.apply([set(metadata)]).await?;
    site.apply(&policy(name, NAME, "Auto", &capacity)).await?;
    namespace.ready("db-0").await?;
    Ok(namespace)
}

pub(crate) async fn a_statefulset_is_made_anew_with_a_larger_template_whatever_ends_the_operator(
    site: &Site,
) -> anyhow::Result<()> {
    site.upgrade(&json!({"operator": {"templateSync": true}})).await?;
    let namespace = governed(site, "templates", &json!({"annotations": {"note": "kept"}})).await?;
    let before = namespace.pods().get("db-0").await?;
    site.scale_operator(0).await?;
    let result = every_call(site, &namespace).await;
    site.scale_operator(1).await?;
    let (size, faults) = result?;
    println!("the operator was killed at each of {} moments", faults.len());
    for call in ["DELETE", "POST"] {
        let is_it = |fault: &&Fault| fault.call.starts_with(call) && fault.call.contains("/statefulsets");
        let moments = faults.iter().filter(is_it).count();
        ensure!(moments >= 2, "killed {moments} times at a {call} of the StatefulSet, but at {faults:#?}");
    }

    let sets: Api<StatefulSet> = Api::namespaced(site.client.clone(), namespace.name);
    let more = Patch::Merge(json!({"spec": {"replicas": 2}}));
    let set = sets.patch(NAME, &PatchParams::default(), &more).await?;
    ensure!(set.annotations().get("note").is_some_and(|note| note == "kept"), "its annotation is lost: {set:?}");
    namespace.ready("db-1").await?;
    let next = namespace.claims().get("data-db-1").await?.spec.and_then(|spec| spec.resources?.requests);
    let next = next.and_then(|it| it.get("storage").cloned()).context("a claim without a size")?;
    ensure!(next.0.parse::<Bytes>()? == size, "the next replica has {}, and the first {size}", next.0);

    let after = namespace.pods().get("db-0").await?;
    ensure!(after.uid() == before.uid(), "its pod is another one");
    ensure!(restarts(&after) == 0, "its pod was restarted {} times", restarts(&after));
    site.roll_back().await?;
    namespace.remove().await
}

fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
    containers.map(|container| container.restart_count).sum()
}

/// Makes the StatefulSet anew once for each call that an operator makes for that, and ends the operator there; returns the size
/// that its template has in the end, and where the operator was ended.
async fn every_call(site: &Site, namespace: &Namespace<'_>) -> anyhow::Result<(Bytes, Vec<Fault>)> {
    let client = operator::client(site).await?;
    let mut size = FIRST;
    let calls = one(site, namespace, client.clone(), &mut size, None).await?.calls;
    let mut ended = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let occurrence = calls[..index].iter().filter(|other| *other == call).count();
        // What only asks has no effect that could outlive the operator.
        let moments = if call.starts_with("GET ") { &[Moment::Before][..] } else { &[Moment::Before, Moment::After] };
        for moment in moments {
            let fault = Fault { call: call.clone(), occurrence, moment: *moment };
            let run = one(site, namespace, client.clone(), &mut size, Some(fault.clone())).await;
            if run.with_context(|| format!("killed at {fault:?}"))?.has_fired {
                ended.push(fault);
            }
        }
    }
    Ok((size, ended))
}

/// What became of one time.
struct Run {
    /// The calls of the first operator for it.
    calls: Vec<String>,
    /// Was it ended at the fault?
    has_fired: bool,
}

/// The claim grows by a step, and the template follows: begun by one operator, and seen through by a second.
async fn one(
    site: &Site,
    namespace: &Namespace<'_>,
    client: kube::Client,
    size: &mut Bytes,
    fault: Option<Fault>,
) -> anyhow::Result<Run> {
    size.0 += STEP.0;
    namespace.resize("data-db-0", &size.to_string()).await?;
    namespace.has_size("db-0", "data-db-0", *size).await?;
    let proxy = Proxy::start(client.clone(), fault).await?;
    let mut first = Operator::start_with(&proxy, &["--template-sync"])?;
    let start = Instant::now();
    while !first.has_ended()? && !is_done(site, namespace, *size).await? {
        ensure!(start.elapsed() < LIMIT, "neither killed nor done; its calls: {:#?}", proxy.calls());
        sleep(Duration::from_millis(50)).await;
    }
    let run =
        Run { calls: proxy.calls().into_iter().filter(|call| is_for_it(call)).collect(), has_fired: proxy.has_fired() };
    first.kill().await.ok();
    let second_proxy = Proxy::start(client, None).await?;
    let mut second = Operator::start_with(&second_proxy, &["--template-sync"])?;
    eventually("the template to have followed its claim", LIMIT, || async {
        Ok(is_done(site, namespace, *size).await?.then_some(()))
    })
    .await
    .with_context(|| format!("after {:#?}; then {:#?}", run.calls, second_proxy.calls()))?;
    ensure!(!second.has_ended()?, "the second operator has ended");
    second.kill().await?;
    Ok(run)
}

/// Is it a call for making the StatefulSet anew?
fn is_for_it(call: &str) -> bool {
    let of_the_set = call.contains("/namespaces/templates/statefulsets");
    let of_what_is_stored = call.contains("/configmaps/orlop-statefulset-")
        || call == format!("POST /api/v1/namespaces/{SYSTEM}/configmaps");
    of_the_set || of_what_is_stored
}

/// Does the template ask for this much, has the StatefulSet its pod, and is nothing stored of it?
async fn is_done(site: &Site, namespace: &Namespace<'_>, size: Bytes) -> anyhow::Result<bool> {
    let sets: Api<StatefulSet> = Api::namespaced(site.client.clone(), namespace.name);
    let maps: Api<ConfigMap> = Api::namespaced(site.client.clone(), SYSTEM);
    let stored = maps.list(&ListParams::default().labels("orlop.dev/purpose=statefulset-template")).await?;
    let Some(set) = sets.get_opt(NAME).await? else { return Ok(false) };
    let ready = set.status.as_ref().and_then(|status| status.ready_replicas) == Some(1);
    Ok(asks(&set)? == size && ready && set.metadata.deletion_timestamp.is_none() && stored.items.is_empty())
}

/// How much the template of the StatefulSet asks for.
fn asks(set: &StatefulSet) -> anyhow::Result<Bytes> {
    let templates = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_ref());
    let spec = templates.and_then(|all| all.first()?.spec.as_ref());
    let requests = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    Ok(requests.and_then(|it| it.get("storage")).context("a template without a size")?.0.parse()?)
}

pub(crate) async fn a_statefulset_that_helm_applies_is_reported_and_left_alone(site: &Site) -> anyhow::Result<()> {
    site.upgrade(&json!({"operator": {"templateSync": true}})).await?;
    let helm = json!({
        "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "shop"},
    });
    let namespace = governed(site, "helm", &helm).await?;
    let sets: Api<StatefulSet> = Api::namespaced(site.client.clone(), namespace.name);
    let before = sets.get(NAME).await?;
    let size = Bytes(FIRST.0 + STEP.0);
    namespace.resize("data-db-0", &size.to_string()).await?;
    namespace.has_size("db-0", "data-db-0", size).await?;

    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), namespace.name);
    let template = eventually("the policy's status to tell of the template", LIMIT, || async {
        let status = policies.get(NAME).await?.status.unwrap_or_default();
        Ok(status.templates.into_iter().find(|template| template.target == size))
    })
    .await?;
    ensure!((&*template.stateful_set, &*template.template, template.size) == (NAME, "data", FIRST), "{template:?}");
    ensure!(template.message.contains("; Helm release shop applies the StatefulSet: "), "{}", template.message);
    // The patch is one that the manifest takes.
    let patch: json_patch::Patch = serde_json::from_str(&template.patch)?;
    let mut manifest = set(&helm);
    json_patch::patch(&mut manifest, &patch)?;
    let changed: StatefulSet = serde_json::from_value(manifest)?;
    ensure!(asks(&changed)? == size, "the patch leads to {changed:?}");

    eventually("an Event of the StatefulSet", LIMIT, || async {
        let told = site.events(namespace.name, NAME, "TemplateDrift").await?;
        Ok((told.len() == 1).then_some(()))
    })
    .await?;
    let after = sets.get(NAME).await?;
    ensure!(after.uid() == before.uid() && asks(&after)? == FIRST, "it was made anew");
    site.roll_back().await?;
    namespace.remove().await
}
