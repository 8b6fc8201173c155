//! CSI ephemeral volumes: declared in a pod, made when the pod is given them, and removed with it. The kubelet publishes
//! and unpublishes such a volume under an id of its own making, and asks for nothing else: so making, staging and
//! deleting are parts of that here.
//!
//! The volume's name is made from the kubelet's id, and everything else is found from that again: a driver that was killed
//! between any two steps completes them when it is asked again, and at start removes the volumes of pods that are gone.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use orlop_volume::{NewVolume, Volume, VolumeId};
use serde::Deserialize;

use super::{
    Driver,
    parameters::Attributes,
    request::{Usage, Wanted},
    status::Refusal,
};
use crate::rpc::csi_v1::NodePublishVolumeRequest;

/// What the kubelet says of an ephemeral volume.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// What the names of ephemeral volumes begin with, and those of no others.
const PREFIX: &str = "ephemeral-";

/// Refuses a name that could be an ephemeral volume's.
pub(super) fn refuse_name(name: &str) -> Result<(), Refusal> {
    if name.starts_with(PREFIX) {
        return Err(Refusal::Invalid(format!("the name `{name}` begins with `{PREFIX}`: use another one")));
    }
    Ok(())
}

/// Is an ephemeral volume to be published?
pub(super) fn is_asked_for(request: &NodePublishVolumeRequest) -> bool {
    request.volume_context.get(EPHEMERAL).is_some_and(|value| value == "true")
}

/// Is that an id such as the kubelet makes for an ephemeral volume: `csi-` and the SHA-256 of the pod and the volume?
fn is_handle(text: &str) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix("csi-").is_some_and(|digest| digest.len() == 64 && digest.bytes().all(hex))
}

/// The kubelet's id of a volume, if it is an ephemeral one.
fn handle(volume: &Volume) -> Option<&str> {
    volume.name.strip_prefix(PREFIX)
}

impl Driver {
    /// The ephemeral volume that the kubelet means, if it means one.
    pub(super) fn ephemeral_id(&self, handle: &str) -> Option<VolumeId> {
        is_handle(handle).then(|| VolumeId::derive(&self.tag, &format!("{PREFIX}{handle}")))
    }

    /// The volume of this node that the kubelet means.
    pub(super) fn node_volume_id(&self, text: &str) -> Result<VolumeId, Refusal> {
        self.ephemeral_id(text).map_or_else(|| self.volume_id(text), Ok)
    }

    /// Makes an ephemeral volume and publishes it, as far as that is not done.
    pub(super) fn publish_ephemeral(
        &self,
        request: &NodePublishVolumeRequest,
        target: &Path,
        usage: &Usage,
    ) -> Result<(), Refusal> {
        let Some(id) = self.ephemeral_id(&request.volume_id) else {
            return Err(Refusal::Invalid(format!(
                "`{}` is not an id of the kubelet's for an ephemeral volume",
                request.volume_id
            )));
        };
        let Attributes { size, wanted, provisioning, limits } = Attributes::read(&request.volume_context)?;
        let wanted = match (wanted, usage.wanted) {
            (Wanted::AnyFilesystem, from_pod) => from_pod,
            (from_attributes, Wanted::AnyFilesystem) => from_attributes,
            (one, other) if one == other => one,
            (one, other) => {
                return Err(Refusal::Invalid(format!(
                    "the volume's attribute `fsType` is {one}, and the pod says {other}: say one of them"
                )));
            }
        };
        self.volumes.create(&NewVolume {
            name: format!("{PREFIX}{}", request.volume_id),
            at_least: size,
            at_most: None,
            content: wanted.choose(None),
            provisioning,
            source: None,
            limits,
        })?;
        let staged = self.ephemeral_dir.join(id.as_str());
        fs::create_dir_all(&staged).map_err(|error| folder("make", &staged, error))?;
        self.volumes.stage(&id, &staged, &usage.options)?;
        Ok(self.volumes.publish(&id, &staged, target, request.readonly || usage.read_only)?)
    }

    /// Unpublishes an ephemeral volume and removes it, as far as that is not done.
    pub(super) fn unpublish_ephemeral(&self, id: &VolumeId, target: &Path) -> Result<(), Refusal> {
        self.volumes.unpublish(id, target)?;
        self.discard(id)
    }

    fn unpublish_everywhere(&self, id: &VolumeId) -> Result<(), Refusal> {
        for path in self.volumes.paths(id)? {
            self.volumes.unpublish(id, &path)?;
        }
        Ok(())
    }

    fn discard(&self, id: &VolumeId) -> Result<(), Refusal> {
        let staged = self.ephemeral_dir.join(id.as_str());
        self.volumes.unstage(id, &staged)?;
        match fs::remove_dir(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(folder("remove", &staged, error)),
            _ => {}
        }
        Ok(self.volumes.delete(id)?)
    }

    /// Removes the ephemeral volumes of pods that the kubelet no longer knows, which it therefore never asks for again.
    /// Those that it knows stay, whether they are mounted or not: after a restart of the node their pods come back.
    pub fn remove_orphans(&self, kubelet_dir: &Path) -> io::Result<()> {
        let known = known_handles(kubelet_dir)?;
        for volume in self.volumes.list().map_err(io::Error::other)? {
            if handle(&volume).is_none_or(|handle| known.contains(handle)) {
                continue;
            }
            match self.unpublish_everywhere(&volume.id).and_then(|()| self.discard(&volume.id)) {
                Ok(()) => {
                    tracing::info!(id = %volume.id, name = volume.name, "removed the volume of a pod that is gone");
                }
                Err(error) => tracing::error!(
                    id = %volume.id, name = volume.name, error = &error as &dyn std::error::Error,
                    "the volume of a pod that is gone stays until the driver is started again"
                ),
            }
        }
        Ok(())
    }
}

/// The ids of the CSI volumes of the kubelet's pods. It writes `vol_data.json` before it has a volume published, and
/// removes it once the volume is unpublished.
fn known_handles(kubelet_dir: &Path) -> io::Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        volume_handle: String,
    }
    let mut handles = BTreeSet::new();
    // This directory must be there: without it nothing is known of any pod, which is not the same as that there is none.
    for pod in fs::read_dir(kubelet_dir.join("pods"))? {
        let pod = pod?.path();
        for volume in entries(&pod.join("volumes/kubernetes.io~csi"))? {
            match fs::read(volume.join("vol_data.json")) {
                Ok(text) => drop(handles.insert(serde_json::from_slice::<Data>(&text)?.volume_handle)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(handles)
}

/// What is in a directory; nothing, if it is not there.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn folder(action: &'static str, path: &Path, source: io::Error) -> Refusal {
    orlop_volume::Error::Io { action, object: path.display().to_string(), source }.into()
}

#[cfg(test)]
mod tests;
