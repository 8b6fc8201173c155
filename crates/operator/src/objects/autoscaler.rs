//! What a HorizontalPodAutoscaler scales. KEDA makes one for each of its own objects.

use k8s_openapi::{api::autoscaling::v2::HorizontalPodAutoscaler, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use orlop_planner::{DeploymentId, SetId, WorkloadId};

use super::{namespace, set::set_id};

/// What a HorizontalPodAutoscaler is called, in the words of a StatefulSet: by its namespace and name.
pub fn autoscaler_id(meta: &ObjectMeta) -> SetId {
    set_id(meta)
}

/// The workload that it scales; nothing where that is of another kind.
pub fn autoscaler(object: HorizontalPodAutoscaler) -> Option<WorkloadId> {
    let target = object.spec.scale_target_ref;
    let (namespace, name) = (namespace(&object.metadata), target.name.into());
    match &*target.kind {
        "StatefulSet" => Some(WorkloadId::StatefulSet(SetId { namespace, name })),
        "Deployment" => Some(WorkloadId::Deployment(DeploymentId { namespace, name })),
        _ => None,
    }
}
