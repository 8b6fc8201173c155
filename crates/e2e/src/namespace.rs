//! A namespace of a test: claims and pods in it, and commands that run in the pods.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{AttachParams, DeleteParams, Patch, PatchParams},
};
use orlop_api::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::{
    eventually,
    site::{IMAGE, Site, is_ready},
};

/// How long a pod may take to run, or an object to become what it is to be. Mostly it is a second or two.
pub const LIMIT: Duration = Duration::from_mins(1);

/// A namespace.
pub struct Namespace<'a> {
    site: &'a Site,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Namespace<'a> {
    /// Makes the namespace anew.
    pub async fn create(site: &'a Site, name: &'a str) -> anyhow::Result<Self> {
        site.namespace(name).await?;
        Ok(Self { site, name })
    }

    /// Removes it, and all that is in it.
    pub async fn remove(self) -> anyhow::Result<()> {
        self.site.remove_namespace(self.name).await
    }

    /// Applies objects, which get this namespace.
    pub async fn apply(&self, objects: impl IntoIterator<Item = Value>) -> anyhow::Result<()> {
        let items: Vec<Value> = objects
            .into_iter()
            .map(|mut object| {
                object["metadata"]["namespace"] = json!(self.name);
                object
            })
            .collect();
        self.site.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await
    }

    /// The pods of the namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.site.client.clone(), self.name)
    }

    /// The claims of the namespace.
    pub fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.site.client.clone(), self.name)
    }

    /// Waits until a pod is ready, and returns the name of its node.
    pub async fn ready(&self, pod: &str) -> anyhow::Result<String> {
        let pods = self.pods();
        let what = format!("pod {}/{pod} to be ready", self.name);
        let pod = eventually(&what, LIMIT, || async { Ok(Some(pods.get(pod).await?).filter(is_ready)) }).await?;
        pod.spec.and_then(|spec| spec.node_name).context("a ready pod without a node")
    }

    /// Deletes a pod, and waits until it is gone. The kubelet keeps a volume mounted for a moment longer.
    pub async fn delete_pod(&self, pod: &str) -> anyhow::Result<()> {
        let pods = self.pods();
        pods.delete(pod, &DeleteParams::default()).await?;
        eventually(&format!("pod {pod} to be gone"), LIMIT, || async {
            Ok(pods.get_opt(pod).await?.is_none().then_some(()))
        })
        .await
    }

    /// Runs a script in a pod, by its shell, and returns what it printed; fails where the script does.
    pub async fn run(&self, pod: &str, script: &str) -> anyhow::Result<String> {
        let attach = AttachParams::default().container("main").stderr(true);
        let mut process = self
            .pods()
            .exec(pod, ["sh", "-ec", script], &attach)
            .await
            .with_context(|| format!("cannot run in {pod}"))?;
        let (mut stdout, mut stderr) = (process.stdout().context("no output")?, process.stderr().context("no errors")?);
        let status = process.take_status().context("no status")?;
        let (mut printed, mut complaints) = (String::new(), String::new());
        let (read, complained, status) =
            tokio::join!(stdout.read_to_string(&mut printed), stderr.read_to_string(&mut complaints), status);
        read?;
        complained?;
        process.join().await?;
        match status.and_then(|status| status.status).as_deref() {
            Some("Success") => Ok(printed.trim().to_owned()),
            _ => bail!("`{script}` failed in {pod}: {}", complaints.trim()),
        }
    }

    /// Asks for another size of a claim.
    pub async fn resize(&self, claim: &str, size: &str) -> anyhow::Result<()> {
        self.patch(claim, &json!({"spec": {"resources": {"requests": {"storage": size}}}})).await
    }

    /// Changes a claim.
    pub async fn patch(&self, claim: &str, patch: &Value) -> anyhow::Result<()> {
        self.claims().patch(claim, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until a claim's status has a size, and no growth under way. The pod's kubelet is made to look at the pod
    /// again, as Orlop does for claims that it grows: by itself it does so every minute only.
    pub async fn has_size(&self, pod: &str, claim: &str, size: Bytes) -> anyhow::Result<()> {
        let (claims, pods) = (self.claims(), self.pods());
        // A kubelet whose driver could not grow a volume while it was mounted asks again after up to two minutes.
        eventually(&format!("claim {claim} to have {size}"), 3 * LIMIT, || async {
            let status = claims.get(claim).await?.status.unwrap_or_default();
            let capacity = status.capacity.and_then(|capacity| Some(capacity.get("storage")?.0.parse::<Bytes>()));
            let growing = status.allocated_resource_statuses.is_some_and(|statuses| !statuses.is_empty());
            if capacity.transpose()? == Some(size) && !growing {
                return Ok(Some(()));
            }
            let now = jiff::Timestamp::now().as_second().to_string();
            let nudge = json!({"metadata": {"annotations": {"e2e.orlop.dev/look": now}}});
            pods.patch_metadata(pod, &PatchParams::default(), &Patch::Merge(nudge)).await?;
            Ok(None)
        })
        .await
    }

    /// The volume that a claim is bound to.
    pub async fn volume(&self, claim: &str) -> anyhow::Result<PersistentVolume> {
        let claim = self.claims().get(claim).await?;
        let name = claim.spec.and_then(|spec| spec.volume_name).context("a claim without a volume")?;
        Ok(Api::all(self.site.client.clone()).get(&name).await?)
    }

    /// The id by which the driver knows a claim's volume.
    pub async fn volume_id(&self, claim: &str) -> anyhow::Result<String> {
        let volume = self.volume(claim).await?;
        let source = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
        source
            .map(|csi| csi.volume_handle.clone())
            .with_context(|| format!("{} is of no CSI driver", volume.name_any()))
    }
}

/// A claim of a StorageClass.
pub fn claim(name: &str, class: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        },
    })
}

/// The same, for a raw block device.
pub fn block_claim(name: &str, class: &str, size: &str) -> Value {
    let mut claim = claim(name, class, size);
    claim["spec"]["volumeMode"] = json!("Block");
    claim
}

/// The same as `claim`, with what is in `source`: `(kind, name)` of a VolumeSnapshot or a PersistentVolumeClaim.
pub fn from_source(mut claim: Value, (kind, name): (&str, &str)) -> Value {
    let group = if kind == "VolumeSnapshot" { json!("snapshot.storage.k8s.io") } else { json!(null) };
    claim["spec"]["dataSource"] = json!({"apiGroup": group, "kind": kind, "name": name});
    claim
}

/// A snapshot of a claim.
pub fn snapshot(name: &str, claim: &str) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": name},
        "spec": {"source": {"persistentVolumeClaimName": claim}},
    })
}

/// A pod that does nothing, with claims: each is mounted at `/NAME`, or is the device `/dev/NAME` if it is a block one.
pub fn pod(name: &str, claims: &[&Value]) -> Value {
    let (mut volumes, mut mounts, mut devices) = (Vec::new(), Vec::new(), Vec::new());
    for claim in claims {
        let claim_name = claim["metadata"]["name"].as_str().unwrap_or_default();
        volumes.push(json!({"name": claim_name, "persistentVolumeClaim": {"claimName": claim_name}}));
        if claim["spec"]["volumeMode"] == "Block" {
            devices.push(json!({"name": claim_name, "devicePath": format!("/dev/{claim_name}")}));
        } else {
            mounts.push(json!({"name": claim_name, "mountPath": format!("/{claim_name}")}));
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            // Not 0: without grace, the object is gone before its volumes are unmounted.
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": IMAGE, "command": ["sleep", "infinity"],
                "volumeMounts": mounts, "volumeDevices": devices,
            }],
            "volumes": volumes,
        },
    })
}

/// The same pod, on a node of that name.
pub fn on_node(mut pod: Value, node: &str) -> Value {
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    pod
}
