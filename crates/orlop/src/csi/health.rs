//! What is wrong with volumes and with the pool, in the words of CSI.

use std::collections::BTreeSet;

use orlop_volume::{Ailment, Severity, VolumeId};

use super::{Driver, page::Page, status::Refusal};
use crate::rpc::csi_v1::{
    ControllerListVolumeHealthRequest, ControllerListVolumeHealthResponse, NodeGetStorageHealthResponse,
    StorageHealthErrorType, VolumeCondition, VolumeHealth, VolumeHealthErrorType,
    node_get_storage_health_response::StorageBackendHealth, volume_health::VolumeHealthEntry,
};

impl Driver {
    /// What is wrong with a volume.
    pub(super) fn health_of(&self, id: &VolumeId) -> Result<VolumeHealth, Refusal> {
        Ok(volume_health(id, self.volumes.health(id)?))
    }

    /// The volumes with which something is wrong, page by page.
    pub(super) fn list_health(
        &self,
        request: &ControllerListVolumeHealthRequest,
    ) -> Result<ControllerListVolumeHealthResponse, Refusal> {
        let page = Page::read(&request.starting_token, request.max_entries)?;
        let mut ailing = Vec::new();
        for (id, health) in self.volumes.health_of_all()? {
            let ailments = health?;
            if !ailments.is_empty() {
                ailing.push((id, ailments));
            }
        }
        let (ailing, next_token) = page.of(ailing, |(id, _)| id);
        let entries = ailing.into_iter().map(|(id, ailments)| volume_health(&id, ailments)).collect();
        Ok(ControllerListVolumeHealthResponse { entries, next_token })
    }

    /// What is wrong with the pool. One that cannot even be looked at is what this call is for, and no error of it.
    pub(super) fn storage_health(&self) -> NodeGetStorageHealthResponse {
        let ailments = match self.volumes.pool() {
            Ok(pool) => pool.ailments,
            Err(error) => vec![unreadable(&error)],
        };
        let backend_health = distinct(ailments)
            .map(|Ailment { severity, reason, message }| StorageBackendHealth {
                status: match severity {
                    Severity::Degraded => StorageHealthErrorType::StorageDegraded,
                    Severity::Inaccessible | Severity::DataLoss => StorageHealthErrorType::StorageUnreachable,
                }
                .into(),
                reason: reason.into(),
                message,
                volume_capability: None,
            })
            .collect();
        NodeGetStorageHealthResponse { backend_health }
    }

    /// The same in the words of CSI 1.9, which the kubelet still speaks.
    pub(super) fn condition_of(&self, id: &VolumeId) -> Result<VolumeCondition, Refusal> {
        let ailments = self.volumes.health(id)?;
        let messages: Vec<_> = ailments.iter().map(|ailment| ailment.message.as_str()).collect();
        let message = if messages.is_empty() { "the volume is well".into() } else { messages.join("; ") };
        Ok(VolumeCondition { abnormal: !ailments.is_empty(), message })
    }
}

/// What is wrong with a pool that cannot be looked at.
pub(super) fn unreadable(error: &orlop_volume::Error) -> Ailment {
    Ailment { severity: Severity::Inaccessible, reason: "PoolUnreadable", message: error.to_string() }
}

fn volume_health(id: &VolumeId, ailments: Vec<Ailment>) -> VolumeHealth {
    let health_statuses = distinct(ailments)
        .map(|Ailment { severity, reason, message }| VolumeHealthEntry {
            status: match severity {
                Severity::Degraded => VolumeHealthErrorType::Degraded,
                Severity::Inaccessible => VolumeHealthErrorType::Inaccessible,
                Severity::DataLoss => VolumeHealthErrorType::DataLoss,
            }
            .into(),
            reason: reason.into(),
            message,
        })
        .collect();
    VolumeHealth { volume_id: id.to_string(), health_statuses }
}

/// The ailments without those that are said already: CSI allows each severity and reason once.
fn distinct(ailments: Vec<Ailment>) -> impl Iterator<Item = Ailment> {
    let mut said = BTreeSet::new();
    ailments.into_iter().filter(move |ailment| said.insert((ailment.severity, ailment.reason)))
}
