//! What a HorizontalPodAutoscaler scales. KEDA makes one for each of its own objects.

use k8s_openapi::{api::autoscaling::v2::HorizontalPodAutoscaler, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use orlop_planner::SetId;

use super::set::set_id;

/// What a HorizontalPodAutoscaler is called, in the words of a StatefulSet: by its namespace and name.
pub fn autoscaler_id(meta: &ObjectMeta) -> SetId {
    set_id(meta)
}

/// The StatefulSet that it scales; nothing where that is none.
pub fn autoscaler(object: HorizontalPodAutoscaler) -> Option<SetId> {
    let target = object.spec.scale_target_ref;
    let namespace = set_id(&object.metadata).namespace;
    (target.kind == "StatefulSet").then(|| SetId { namespace, name: target.name.into() })
}
