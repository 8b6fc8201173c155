//! The objects of a large cluster: claims that are bound and used, each by a pod of its own.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use orlop::bed::{Component, NodeNumber};
use orlop_e2e::{eventually, site::Site};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::kubelets;

/// How many claims there are on a node, as many as pods by default.
const CLAIMS_A_NODE: usize = 100;
/// How many claims there are in a namespace.
const CLAIMS_A_NAMESPACE: usize = 1000;
/// How many requests are under way at a time.
const AT_ONCE: usize = 48;
/// What each volume has, GiB.
pub const SIZE_GIB: u64 = 100;

/// How many claims there are, and what follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    pub claims: usize,
    /// Where the kubelets are.
    pub address: Ipv4Addr,
}

impl Fleet {
    pub const fn nodes(self) -> usize {
        self.claims.div_ceil(CLAIMS_A_NODE)
    }

    pub fn node(number: usize) -> String {
        format!("scale-{number:04}")
    }

    pub fn namespace(claim: usize) -> String {
        format!("scale-{:03}", claim / CLAIMS_A_NAMESPACE)
    }

    pub fn name(claim: usize) -> String {
        format!("data-db-{claim}")
    }

    pub fn volume(claim: usize) -> String {
        format!("pvc-{claim}")
    }

    pub fn pod(claim: usize) -> String {
        format!("db-{claim}")
    }

    /// The node of a claim's pod.
    pub const fn node_of(claim: usize) -> usize {
        claim / CLAIMS_A_NODE
    }

    /// The claims of a node.
    pub fn of_node(self, node: usize) -> std::ops::Range<usize> {
        node * CLAIMS_A_NODE..((node + 1) * CLAIMS_A_NODE).min(self.claims)
    }

    /// Makes everything, and ends whoever would change it: without kubelets, nodes would be given up and their pods
    /// evicted.
    pub async fn make(self, site: &Site) -> anyhow::Result<()> {
        site.apply(CLASS_AND_POLICY).await?;
        let namespaces = self.claims.div_ceil(CLAIMS_A_NAMESPACE);
        let client = &site.client;
        each(namespaces, |number| async move {
            let name = Self::namespace(number * CLAIMS_A_NAMESPACE);
            create::<Namespace>(&Api::all(client.clone()), json!({"metadata": {"name": name}})).await?;
            // A pod is admitted only where its account is there.
            let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
            eventually("the namespace's account", Duration::from_mins(1), || async {
                Ok(accounts.get_opt("default").await?)
            })
            .await
            .map(drop)
        })
        .await?;
        for component in [Component::ControllerManager, Component::Scheduler, Component::Kubelet(NodeNumber(1))] {
            site.kill(component)?;
        }
        each(self.nodes(), |number| self.make_node(client, number)).await?;
        each(self.claims, |number| self.make_claim(client, number)).await
    }

    async fn make_node(self, client: &Client, number: usize) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(client.clone());
        let name = Self::node(number);
        create(&nodes, json!({"metadata": {"name": name}})).await?;
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": self.address.to_string()}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelets::port(number)?}},
        }});
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    async fn make_claim(self, client: &Client, number: usize) -> anyhow::Result<()> {
        let (name, namespace, size) = (Self::name(number), Self::namespace(number), format!("{SIZE_GIB}Gi"));
        let volume = Self::volume(number);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
        let claim = json!({
            "metadata": {
                "name": name,
                "labels": {"app": "db", "app.kubernetes.io/instance": Self::pod(number)},
                "annotations": {
                    "pv.kubernetes.io/bind-completed": "yes",
                    "pv.kubernetes.io/bound-by-controller": "yes",
                    "volume.kubernetes.io/storage-provisioner": "ebs.csi.aws.com",
                },
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "scale", "volumeName": volume,
                "resources": {"requests": {"storage": size}},
            },
        });
        let uid = create(&claims, claim).await?.uid().context("a claim without a UID")?;
        let bound = json!({"status": {
            "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size},
        }});
        claims.patch_status(&name, &PatchParams::default(), &Patch::Merge(bound)).await?;
        let volume = json!({
            "metadata": {"name": volume},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": "scale",
                "persistentVolumeReclaimPolicy": "Delete",
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": format!("vol-{number:017x}"), "fsType": "ext4"},
                "claimRef": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": name, "uid": uid},
            },
        });
        create::<PersistentVolume>(&Api::all(client.clone()), volume).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let pod = json!({
            "metadata": {"name": Self::pod(number), "labels": {"app": "db"}},
            "spec": {
                "nodeName": Self::node(Self::node_of(number)),
                "containers": [{
                    "name": "db", "image": "postgres:17",
                    "env": [{"name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/var/lib/postgresql/data"}],
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
            },
        });
        create(&pods, pod).await.map(drop)
    }
}

pub async fn create<K>(api: &Api<K>, object: Value) -> anyhow::Result<K>
where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let object: K = serde_json::from_value(object)?;
    Ok(api.create(&PostParams::default(), &object).await?)
}

/// Does something for each number, many at a time.
async fn each<F, Fut>(count: usize, make: F) -> anyhow::Result<()>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    stream::iter(0..count).map(make).buffer_unordered(AT_ONCE).try_collect().await
}

const CLASS_AND_POLICY: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: scale}
provisioner: ebs.csi.aws.com
allowVolumeExpansion: true
parameters: {type: gp3}
---
apiVersion: orlop.dev/v1alpha1
kind: ClusterStoragePolicy
metadata: {name: scale}
spec:
  mode: Auto
  selector: {matchLabels: {app: db}}
  capacity: {maximum: 1Ti}
";
