//! The kinds of object that are watched: how each is named, and what becomes of it.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Namespace, Node, PersistentVolume, PersistentVolumeClaim},
        storage::v1::{StorageClass, VolumeAttributesClass},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use orlop_api::{
    ClusterStoragePolicy, DriverProfile, DriverProfileSpec, OwnerProfile, OwnerProfileSpec, StorageBudget,
    StoragePolicy,
};
use orlop_operator::{
    objects::{self, DeploymentObject, PodObject, SetObject, Unreadable},
    observe::{BudgetFacts, Change, ClaimFacts, Observation, PodFacts, PolicyFacts, VolumeFacts},
    stored,
};
use orlop_planner::{
    AttributesClass, BudgetName, ClaimId, Class, Deployment, DeploymentId, Labels, NamespaceName, PodId, PolicyId,
    SetId, StatefulSet, StoredSet, WorkloadId,
};

/// Of the pods only those that a kubelet has and that are not over: only they have volumes in use.
const PODS_IN_USE: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";

/// One kind of object. `O` is the object as it is decoded, `K` its key, `T` what matters of it.
pub(super) struct Kind<O, K, T> {
    /// The resource's name, for logs and metrics.
    pub(super) name: &'static str,
    /// A field selector.
    pub(super) fields: Option<&'static str>,
    pub(super) key: fn(&ObjectMeta) -> K,
    /// What matters of an object; none where nothing does.
    pub(super) facts: fn(O) -> Result<Option<T>, Unreadable>,
    pub(super) observation: fn(Change<K, T>) -> Observation,
    /// May a cluster be without this kind? Then it has no object of it.
    pub(super) optional: bool,
}

pub(super) fn claims() -> Kind<DeserializeGuard<PersistentVolumeClaim>, ClaimId, ClaimFacts> {
    Kind {
        name: "persistentvolumeclaims",
        fields: None,
        key: objects::claim_id,
        facts: |object| objects::claim(object.0?).map(Some),
        observation: Observation::Claim,
        optional: false,
    }
}

pub(super) fn volumes() -> Kind<DeserializeGuard<PersistentVolume>, Arc<str>, VolumeFacts> {
    Kind {
        name: "persistentvolumes",
        fields: None,
        key: |meta| objects::name(meta).into(),
        facts: |object| objects::volume(object.0?).map(Some),
        observation: Observation::Volume,
        optional: false,
    }
}

pub(super) fn pods() -> Kind<DeserializeGuard<PodObject>, PodId, PodFacts> {
    Kind {
        name: "pods",
        fields: Some(PODS_IN_USE),
        key: objects::pod_id,
        facts: |object| Ok(objects::pod(&object.0?)),
        observation: Observation::Pod,
        optional: false,
    }
}

pub(super) fn namespaces() -> Kind<PartialObjectMeta<Namespace>, NamespaceName, Labels> {
    Kind {
        name: "namespaces",
        fields: None,
        key: objects::namespace_name,
        facts: |object| Ok(Some(object.metadata.labels.unwrap_or_default().into())),
        observation: Observation::Namespace,
        optional: false,
    }
}

pub(super) fn nodes() -> Kind<PartialObjectMeta<Node>, String, ()> {
    Kind {
        name: "nodes",
        fields: None,
        key: objects::name,
        facts: |_| Ok(Some(())),
        observation: Observation::Node,
        optional: false,
    }
}

pub(super) fn classes() -> Kind<DeserializeGuard<StorageClass>, String, Class> {
    Kind {
        name: "storageclasses",
        fields: None,
        key: objects::name,
        facts: |object| Ok(Some(objects::class(object.0?))),
        observation: Observation::Class,
        optional: false,
    }
}

/// A part of Kubernetes since 1.34.
pub(super) fn attributes_classes() -> Kind<DeserializeGuard<VolumeAttributesClass>, String, AttributesClass> {
    Kind {
        name: "volumeattributesclasses",
        fields: None,
        key: objects::name,
        facts: |object| Ok(Some(objects::attributes_class(object.0?))),
        observation: Observation::AttributesClass,
        optional: true,
    }
}

pub(super) fn policies() -> Kind<DeserializeGuard<StoragePolicy>, PolicyId, PolicyFacts> {
    Kind {
        name: "storagepolicies",
        fields: None,
        key: objects::policy_id,
        facts: |object| Ok(Some(objects::policy(object.0))),
        observation: Observation::Policy,
        optional: false,
    }
}

pub(super) fn cluster_policies() -> Kind<DeserializeGuard<ClusterStoragePolicy>, PolicyId, PolicyFacts> {
    Kind {
        name: "clusterstoragepolicies",
        fields: None,
        key: objects::cluster_policy_id,
        facts: |object| Ok(Some(objects::cluster_policy(object.0))),
        observation: Observation::ClusterPolicy,
        optional: false,
    }
}

pub(super) fn budgets() -> Kind<DeserializeGuard<StorageBudget>, BudgetName, BudgetFacts> {
    Kind {
        name: "storagebudgets",
        fields: None,
        key: objects::budget_name,
        facts: |object| Ok(Some(objects::budget(object.0))),
        observation: Observation::Budget,
        optional: false,
    }
}

pub(super) fn drivers() -> Kind<DeserializeGuard<DriverProfile>, String, DriverProfileSpec> {
    Kind {
        name: "driverprofiles",
        fields: None,
        key: objects::name,
        facts: |object| Ok(Some(object.0?.spec)),
        observation: Observation::Driver,
        optional: false,
    }
}

pub(super) fn owner_profiles() -> Kind<DeserializeGuard<OwnerProfile>, String, Arc<OwnerProfileSpec>> {
    Kind {
        name: "ownerprofiles",
        fields: None,
        key: objects::name,
        facts: |object| Ok(Some(Arc::new(object.0?.spec))),
        observation: Observation::OwnerProfile,
        optional: false,
    }
}

pub(super) fn sets() -> Kind<DeserializeGuard<SetObject>, SetId, StatefulSet> {
    Kind {
        name: "statefulsets",
        fields: None,
        key: objects::set_id,
        facts: |object| Ok(Some(objects::set(object.0?))),
        observation: Observation::Set,
        optional: false,
    }
}

pub(super) fn deployments() -> Kind<DeserializeGuard<DeploymentObject>, DeploymentId, Deployment> {
    Kind {
        name: "deployments",
        fields: None,
        key: objects::deployment_id,
        facts: |object| Ok(objects::deployment(object.0?)),
        observation: Observation::Deployment,
        optional: false,
    }
}

pub(super) fn autoscalers() -> Kind<DeserializeGuard<HorizontalPodAutoscaler>, SetId, WorkloadId> {
    Kind {
        name: "horizontalpodautoscalers",
        fields: None,
        key: objects::autoscaler_id,
        facts: |object| Ok(objects::autoscaler(object.0?)),
        observation: Observation::Autoscaler,
        optional: false,
    }
}

/// The labels of what is stored.
pub(super) const STORED: &str = "orlop.dev/purpose=statefulset-template";

/// What the operator has stored in its own namespace.
pub(super) fn stored() -> Kind<DeserializeGuard<ConfigMap>, SetId, StoredSet> {
    Kind {
        name: "configmaps",
        fields: None,
        key: stored::set_id,
        facts: |object| stored::facts(&object.0?).map(Some),
        observation: Observation::Stored,
        optional: false,
    }
}
