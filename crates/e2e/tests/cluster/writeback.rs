//! Claims whose size is written in a custom resource: a small definition with the fields of CloudNativePG's Cluster, and
//! beside it a stand-in for its operator, which passes the size on to its claims and takes note of every other change of
//! them.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
};
use orlop_api::{Bytes, StoragePolicy, names::Reason};
use orlop_e2e::{
    eventually,
    namespace::LIMIT,
    operator::{self, Operator},
    proxy::{Fault, Moment, Proxy},
    site::Site,
    volume::{Volume, Wanted},
};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Duration, sleep},
};

use crate::growth::policy;

const SMALL: Bytes = Bytes(320 << 20);
const STEP: Bytes = Bytes(32 << 20);

/// An agent's rate is of the last five seconds, or of the last minute, in which one fill is little.
const FILL_IS_FORGOTTEN: Duration = Duration::from_secs(8);

/// A kind as far as it matters: its definition, its group, what it is called, one and many, and where in its `spec` the size is.
fn definition(group: &str, (kind, plural): (&str, &str), section: &str) -> String {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {
                "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
            },
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {
                    "type": "object",
                    "properties": {section: {"type": "object", "properties": {"size": {"type": "string"}}}},
                }},
            }}}],
        },
    })
    .to_string()
}

/// CloudNativePG's kind.
fn clusters() -> String {
    definition("postgresql.cnpg.io", ("Cluster", "clusters"), "storage")
}

/// Zalando's kind. No other test has it, so that a cluster is without it until this one comes.
fn postgresqls() -> String {
    definition("acid.zalan.do", ("postgresql", "postgresqls"), "volume")
}

/// The stand-in for the operator. It ends when dropped.
struct StandIn {
    clusters: Api<DynamicObject>,
    foreign: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    /// Begins to look after the claims of the Cluster `db` of a namespace, which asks for [`SMALL`].
    async fn start(site: &Site, namespace: &str) -> anyhow::Result<Self> {
        site.apply(&clusters()).await?;
        let cluster = json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": "db", "namespace": namespace}, "spec": {"storage": {"size": SMALL.to_string()}},
        });
        eventually("the kind to be served", LIMIT, || async { Ok(site.apply(&cluster.to_string()).await.ok()) })
            .await?;
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("postgresql.cnpg.io", "v1", "Cluster"),
            "clusters",
        );
        let clusters = Api::<DynamicObject>::namespaced_with(site.client.clone(), namespace, &resource);
        let claims = Api::<PersistentVolumeClaim>::namespaced(site.client.clone(), namespace);
        let foreign = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(look_after(clusters.clone(), claims, Arc::clone(&foreign)));
        Ok(Self { clusters, foreign, task })
    }

    /// The size that the Cluster asks for.
    async fn asks(&self) -> anyhow::Result<Bytes> {
        let cluster = self.clusters.get("db").await?;
        size(&cluster).context("a Cluster without a size")
    }

    async fn change(&self, patch: &Value) -> anyhow::Result<()> {
        self.clusters.patch("db", &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Fails where somebody else has changed a claim.
    fn is_not_fought(&self) -> anyhow::Result<()> {
        let foreign = self.foreign.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ensure!(foreign.is_empty(), "claims were changed below their owner: {foreign:?}");
        Ok(())
    }
}

fn size(cluster: &DynamicObject) -> Option<Bytes> {
    cluster.data.pointer("/spec/storage/size")?.as_str()?.parse().ok()
}

/// What the operator does: a claim that requests something else than its Cluster asks for is set to that.
async fn look_after(
    clusters: Api<DynamicObject>,
    claims: Api<PersistentVolumeClaim>,
    foreign: Arc<Mutex<Vec<String>>>,
) {
    let (mut passed_on, mine) = (SMALL, ListParams::default().labels("cnpg.io/cluster=db"));
    loop {
        sleep(Duration::from_millis(200)).await;
        let Ok(Some(asked)) = clusters.get("db").await.map(|cluster| size(&cluster)) else { continue };
        let Ok(list) = claims.list(&mine).await else { continue };
        for claim in list {
            let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
            let Some(requested) = requests.and_then(|it| it.get("storage")?.0.parse::<Bytes>().ok()) else { continue };
            if requested != passed_on && requested != asked {
                let mut foreign = foreign.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                foreign.push(format!("{} requests {requested}, and its owner asks for {asked}", claim.name_any()));
            }
            if requested != asked {
                let patch = json!({"spec": {"resources": {"requests": {"storage": asked.to_string()}}}});
                // What is refused now is tried again at the next look.
                let _ = claims.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
            }
        }
        passed_on = asked;
    }
}

/// A claim of the Cluster, in use, with little room.
async fn instance<'a>(site: &'a Site, namespace: &str, name: &str) -> anyhow::Result<Volume<'a>> {
    let size = SMALL.to_string();
    let volume = Volume::create(site, &Wanted { namespace, name, size: &size, class: "orlop-local" }).await?;
    let labels = json!({"metadata": {"labels": {"cnpg.io/cluster": "db", "cnpg.io/pvcRole": "PG_DATA"}}});
    let claims = Api::<PersistentVolumeClaim>::namespaced(site.client.clone(), namespace);
    claims.patch(name, &PatchParams::default(), &Patch::Merge(&labels)).await?;
    Ok(volume)
}

fn grows(namespace: &str, mode: &str) -> String {
    let capacity = json!({"minFree": "40Mi", "increase": STEP.to_string(), "maximum": "1Gi"});
    policy(namespace, "db-1", mode, &capacity)
}

/// Waits until the policy says this of the claim `db-1`.
async fn says(site: &Site, namespace: &str, reason: Reason, words: &str) -> anyhow::Result<()> {
    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), namespace);
    let what = format!("the policy to say {reason} with `{words}`");
    eventually(&what, LIMIT, || async {
        let status = policies.get("db-1").await?.status.unwrap_or_default();
        let of_it = status.claims.iter().find(|claim| claim.name == "db-1");
        Ok(of_it.filter(|claim| claim.reason == reason && claim.message.contains(words)).map(|_| ()))
    })
    .await
}

pub(crate) async fn a_claim_grows_by_way_of_its_owner_and_is_never_fought_over(site: &Site) -> anyhow::Result<()> {
    let namespace = "writeback";
    site.namespace(namespace).await?;
    let owner = StandIn::start(site, namespace).await?;
    let (first, second) = (instance(site, namespace, "db-1").await?, instance(site, namespace, "db-2").await?);
    first.fill_until_free(Bytes(24 << 20)).await?;
    sleep(FILL_IS_FORGOTTEN).await;
    // The operator runs since before there was such a kind.
    site.apply(&grows(namespace, "Recommend")).await?;
    let to = Bytes(SMALL.0 + STEP.0);
    says(site, namespace, Reason::BelowMinFree, &format!("it would set spec.storage.size of Cluster db to {to}"))
        .await?;
    ensure!(owner.asks().await? == SMALL, "in mode Recommend the owner was changed");

    site.apply(&grows(namespace, "Auto")).await?;
    let record = first.grown_to(to, LIMIT).await?;
    ensure!(owner.asks().await? == to, "the owner does not ask for {to}");
    let by = record.owner.context("the record does not say by way of whom")?;
    ensure!(by.field == "spec.storage.size" && by.written.is_some(), "the record says {by:?}");
    eventually("the other claim of the Cluster to follow", LIMIT, || async {
        Ok((second.standing().await?.requested == to).then_some(()))
    })
    .await?;
    owner.is_not_fought()?;
    site.remove_namespace(namespace).await
}

pub(crate) async fn a_claim_whose_owners_kind_has_only_just_come_is_not_changed_itself(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = "writeback-new";
    site.namespace(namespace).await?;
    let (size, name) = (SMALL.to_string(), "pgdata-acid-0");
    let volume = Volume::create(site, &Wanted { namespace, name, size: &size, class: "orlop-local" }).await?;
    let labels = json!({"metadata": {"labels": {"cluster-name": "acid"}}});
    let claims = Api::<PersistentVolumeClaim>::namespaced(site.client.clone(), namespace);
    claims.patch(name, &PatchParams::default(), &Patch::Merge(&labels)).await?;
    volume.fill_until_free(Bytes(24 << 20)).await?;
    sleep(FILL_IS_FORGOTTEN).await;

    site.apply(&postgresqls()).await?;
    let owner = json!({
        "apiVersion": "acid.zalan.do/v1", "kind": "postgresql",
        "metadata": {"name": "acid", "namespace": namespace}, "spec": {"volume": {"size": size}},
    });
    eventually("the kind to be served", LIMIT, || async { Ok(site.apply(&owner.to_string()).await.ok()) }).await?;
    let capacity = json!({"minFree": "40Mi", "increase": STEP.to_string(), "maximum": "1Gi"});
    site.apply(&policy(namespace, name, "Auto", &capacity)).await?;

    let kind = GroupVersionKind::gvk("acid.zalan.do", "v1", "postgresql");
    let resource = ApiResource::from_gvk_with_plural(&kind, "postgresqls");
    let owners = Api::<DynamicObject>::namespaced_with(site.client.clone(), namespace, &resource);
    let to = Bytes(SMALL.0 + STEP.0).to_string();
    eventually("the owner to ask for a larger size", LIMIT, || async {
        let owner = owners.get("acid").await?;
        Ok((owner.data.pointer("/spec/volume/size") == Some(&json!(to))).then_some(()))
    })
    .await?;
    let standing = volume.standing().await?;
    ensure!(standing.requested == SMALL, "the claim was changed, and its owner would change it back");
    let by = standing.growth.context("nothing is on record")?.owner.context("another growth is on record")?;
    ensure!(by.field == "spec.volume.size", "the record says {by:?}");
    site.remove_namespace(namespace).await
}

pub(crate) async fn an_owner_that_flux_applies_is_left_alone_until_somebody_commits_the_size(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = "writeback-flux";
    site.namespace(namespace).await?;
    let owner = StandIn::start(site, namespace).await?;
    owner.change(&json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}})).await?;
    let volume = instance(site, namespace, "db-1").await?;
    volume.fill_until_free(Bytes(24 << 20)).await?;
    sleep(FILL_IS_FORGOTTEN).await;
    site.apply(&grows(namespace, "Auto")).await?;
    let to = Bytes(SMALL.0 + STEP.0);
    let words = format!("set spec.storage.size of Cluster db to {to}: Orlop does not, because Flux Kustomization apps");
    says(site, namespace, Reason::OwnedElsewhere, &words).await?;
    let standing = volume.standing().await?;
    ensure!((standing.requested, standing.growth) == (SMALL, None), "the claim was changed");
    ensure!(owner.asks().await? == SMALL, "the owner was changed");
    owner.change(&json!({"spec": {"storage": {"size": to.to_string()}}})).await?;
    // Whether Orlop records it goes by who sees the new size first: it is not Orlop's growth.
    eventually("the claim to have what its owner asks for", LIMIT, || async {
        Ok((volume.standing().await?.capacity == to).then_some(()))
    })
    .await?;
    says(site, namespace, Reason::EnoughRoom, "").await?;
    owner.is_not_fought()?;
    site.remove_namespace(namespace).await
}

pub(crate) async fn an_operator_that_is_killed_between_record_and_owner_writes_the_owner_once(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = "writeback-kill";
    site.namespace(namespace).await?;
    let owner = StandIn::start(site, namespace).await?;
    let volume = instance(site, namespace, "db-1").await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    sleep(FILL_IS_FORGOTTEN).await;
    site.scale_operator(0).await?;
    site.apply(&grows(namespace, "Auto")).await?;
    let result = killed_around_the_write(site, namespace, &owner, &volume).await;
    site.scale_operator(1).await?;
    result?;
    owner.is_not_fought()?;
    site.remove_namespace(namespace).await
}

async fn killed_around_the_write(
    site: &Site,
    namespace: &str,
    owner: &StandIn,
    volume: &Volume<'_>,
) -> anyhow::Result<()> {
    let call = format!("PATCH /apis/postgresql.cnpg.io/v1/namespaces/{namespace}/clusters/db");
    let client = operator::client(site).await?;
    for (moment, left_to_do) in [(Moment::Before, 1), (Moment::After, 0)] {
        let to = Bytes(volume.standing().await?.requested.0 + STEP.0);
        volume.fill_until_free(Bytes(24 << 20)).await?;
        let proxy = Proxy::start(client.clone(), Some(Fault { call: call.clone(), occurrence: 0, moment })).await?;
        let mut first = Operator::start(&proxy)?;
        eventually(&format!("the operator to be killed {moment:?} it writes the owner"), LIMIT, || {
            let ended = first.has_ended();
            async move { Ok(ended?.then_some(())) }
        })
        .await
        .with_context(|| format!("its calls: {:#?}", proxy.calls()))?;
        ensure!(proxy.has_fired(), "the operator has ended by itself");
        let record = volume.standing().await?.growth.context("the growth was not recorded before")?;
        ensure!(record.to == to && record.owner.is_some_and(|by| by.written.is_none()), "another growth is on record");
        let proxy = Proxy::start(client.clone(), None).await?;
        let second = Operator::start(&proxy)?;
        volume.grown_to(to, LIMIT).await.with_context(|| format!("its calls: {:#?}", proxy.calls()))?;
        let written = proxy.calls().iter().filter(|other| **other == call).count();
        ensure!(written == left_to_do, "killed {moment:?} the owner was written, it was written {written} times more");
        ensure!(owner.asks().await? == to, "the owner asks for something else than {to}");
        second.kill().await?;
    }
    Ok(())
}
