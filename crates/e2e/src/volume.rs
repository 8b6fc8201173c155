//! A claim with a pod that uses it, and the means to fill it to the byte: from the node, below the kubelet's
//! directory, which is where an application's writes end as well.

use std::{fs::File, path::PathBuf, time::Duration};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, ResourceExt as _};
use orlop_api::{Bytes, names};
use orlop_planner::GrowthRecord;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    eventually,
    namespace::claim,
    site::{IMAGE, Site, is_ready},
};

/// A claim in use.
pub struct Volume<'a> {
    site: &'a Site,
    /// Its namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// Where the kubelet has mounted it, as seen from the node.
    pub mount: PathBuf,
    /// The node it is on.
    pub node: String,
    /// The PersistentVolume's name.
    pub volume: String,
}

/// How a claim stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// What is requested.
    pub requested: Bytes,
    /// What its status says it has.
    pub capacity: Bytes,
    /// Orlop's last growth.
    pub growth: Option<GrowthRecord>,
}

/// What a test wants of a claim.
pub struct Wanted<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its size, as a quantity.
    pub size: &'a str,
    /// Its StorageClass.
    pub class: &'a str,
}

/// A StatefulSet of one pod with a volume of this size, whose claims are made from the template `data`. All of it has the label
/// `app` with this name; a namespace and what else there is to be in its metadata is for the caller.
pub fn statefulset(name: &str, size: Bytes) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "serviceName": name, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "main", "image": IMAGE, "command": ["sleep", "infinity"],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "storageClassName": "orlop-local", "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": size.to_string()}},
                },
            }],
        },
    })
}

/// A claim of this name and size, and a Deployment of one pod that uses it; as [`statefulset`] has it otherwise.
pub fn deployment(name: &str, size: Bytes) -> [Value; 2] {
    let mut template = statefulset(name, size)["spec"]["template"].take();
    template["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": name}}]);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}}, "strategy": {"type": "Recreate"},
            "template": template,
        },
    });
    [claim(name, "orlop-local", &size.to_string()), deployment]
}

impl<'a> Volume<'a> {
    /// Creates a claim and a pod that uses it, and waits until the pod is ready. The claim and the pod carry the label
    /// `app` with the claim's name.
    pub async fn create(site: &'a Site, wanted: &Wanted<'_>) -> anyhow::Result<Self> {
        let Wanted { namespace, name, size, class } = *wanted;
        let mut claim = claim(name, class, size);
        claim["metadata"]["namespace"] = json!(namespace);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "holder", "image": IMAGE, "command": ["sleep", "infinity"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
            },
        });
        site.apply(&claim.to_string()).await?;
        site.apply(&pod.to_string()).await?;
        Self::of_pod(site, namespace, name, name).await
    }

    /// Waits for a pod that somebody else has created, and finds where its claim's volume is mounted.
    pub async fn of_pod(site: &'a Site, namespace: &str, pod: &str, claim: &str) -> anyhow::Result<Self> {
        let pods: Api<Pod> = Api::namespaced(site.client.clone(), namespace);
        let pod = eventually(&format!("pod {namespace}/{pod} to be ready"), Duration::from_mins(2), || async {
            Ok(Some(pods.get(pod).await?).filter(is_ready))
        })
        .await?;
        Self::of(site, &pod, claim).await
    }

    /// Finds where a pod's claim is mounted, also of one that is not ready.
    pub async fn of(site: &'a Site, pod: &Pod, claim: &str) -> anyhow::Result<Self> {
        let namespace = pod.namespace().context("a pod without a namespace")?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(site.client.clone(), &namespace);
        let volume =
            claims.get(claim).await?.spec.and_then(|spec| spec.volume_name).context("a claim without a volume")?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("a pod without a node")?;
        let uid = pod.uid().context("a pod without a UID")?;
        let mount = site
            .bed
            .kubelet_dir(site.node(&node)?)
            .join("pods")
            .join(uid)
            .join("volumes/kubernetes.io~csi")
            .join(&volume)
            .join("mount");
        Ok(Self { site, namespace, name: claim.to_owned(), mount, node, volume })
    }

    /// The bytes that may still be written.
    pub fn free(&self) -> anyhow::Result<Bytes> {
        let stat = statvfs(&self.mount).with_context(|| format!("cannot measure {}", self.mount.display()))?;
        Ok(Bytes(stat.f_bavail * stat.f_frsize))
    }

    /// All bytes of the filesystem.
    pub fn total(&self) -> anyhow::Result<Bytes> {
        let stat = statvfs(&self.mount)?;
        Ok(Bytes(stat.f_blocks * stat.f_frsize))
    }

    /// Allocates so much that about `free` bytes would be left, at a pace of 64 MiB a second: what is written at once is a rate at
    /// which the volume fills, and a policy answers to that with a larger step. Nothing where fewer are left.
    pub async fn fill_until_free(&self, free: Bytes) -> anyhow::Result<()> {
        const CHUNK: Bytes = Bytes(16 << 20);
        // Counted from the start: the volume may grow meanwhile, and is not to be chased.
        let mut left = self.free()?.0.saturating_sub(free.0);
        while left > 0 {
            let chunk = left.min(CHUNK.0);
            self.allocate(Bytes(chunk))?;
            left -= chunk;
            sleep(Duration::from_millis(250)).await;
        }
        Ok(())
    }

    /// Allocates so many bytes at once.
    pub fn allocate(&self, bytes: Bytes) -> anyhow::Result<()> {
        let file = File::options().create(true).append(true).open(self.mount.join("filler"))?;
        let length = file.metadata()?.len();
        fallocate(&file, FallocateFlags::empty(), length, bytes.0)
            .with_context(|| format!("cannot fill {}", self.mount.display()))
    }

    /// How the claim stands now.
    pub async fn standing(&self) -> anyhow::Result<Standing> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.site.client.clone(), &self.namespace);
        let claim = claims.get(&self.name).await?;
        let storage = |quantities: Option<&std::collections::BTreeMap<String, _>>| -> anyhow::Result<Bytes> {
            let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity =
                quantities.and_then(|all| all.get("storage")).context("a claim without a size")?;
            Ok(quantity.0.parse()?)
        };
        let spec =
            claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()).and_then(|wanted| wanted.requests.as_ref());
        let status = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        let growth =
            claim.annotations().get(names::GROWTH_ANNOTATION).map(|text| serde_json::from_str(text)).transpose()?;
        Ok(Standing { requested: storage(spec)?, capacity: storage(status)?, growth })
    }

    /// Waits until the claim has grown to `to`, the filesystem shows it, and Orlop has recorded it as usable. Fails as soon
    /// as more is requested.
    pub async fn grown_to(&self, to: Bytes, limit: Duration) -> anyhow::Result<GrowthRecord> {
        let standing = eventually(&format!("{}/{} to be grown to {to}", self.namespace, self.name), limit, || async {
            let standing = self.standing().await?;
            let recorded = standing.growth.as_ref().is_some_and(|growth| growth.to == to && growth.usable.is_some());
            Ok(((recorded && standing.capacity == to) || standing.requested > to).then_some(standing))
        })
        .await?;
        anyhow::ensure!(standing.requested <= to, "the claim has grown too far: {standing:?}");
        standing.growth.context("a growth without a record")
    }

    /// Waits until the claim is larger than `from`, the filesystem shows it, and Orlop has recorded it as usable.
    pub async fn grown_beyond(&self, from: Bytes, limit: Duration) -> anyhow::Result<GrowthRecord> {
        eventually(&format!("{}/{} to be grown beyond {from}", self.namespace, self.name), limit, || async {
            let Standing { requested, capacity, growth } = self.standing().await?;
            let record = growth.filter(|growth| growth.to == requested && growth.usable.is_some());
            Ok(record.filter(|_| requested > from && capacity == requested))
        })
        .await
    }
}
