//! The custom resources of Orlop (`orlop.dev/v1alpha1`), their validation, and the units and names that every other
//! part shares. There is no client here and no I/O: whoever has a manifest can check it with this crate alone.

pub mod budget;
mod days;
pub mod driver;
pub mod maintenance;
mod manifest;
pub mod names;
pub mod owner;
mod performance;
pub mod policy;
mod quantity;
pub mod units;
mod written;

pub use budget::{BudgetLimits, StorageBudget, StorageBudgetSpec, StorageBudgetStatus};
pub use days::Days;
pub use driver::{
    Abilities, AttributeParameter, Dimension, DriverProfile, DriverProfileSpec, ExceededCounter, Expansion, Limits,
    Modifications, ParameterMatch, ParameterUnit, Performance, Price, Saturation, TimeUnit, VolumeType, amount,
};
pub use manifest::to_yaml;
pub use owner::{OwnerProfile, OwnerProfileSpec, Writing};
pub use performance::PerformanceSpec;
pub use policy::{
    CapacitySpec, ClusterStoragePolicy, ClusterStoragePolicySpec, Mode, PolicyStatus, StoragePolicy, StoragePolicySpec,
    TemplateSync,
};
pub use units::{Bytes, Count, Decimal, Percent, Period, Threshold, UnitError};

/// The API group of every custom resource of Orlop.
pub const GROUP: &str = "orlop.dev";

/// The custom resource definitions, in the order in which `orlop crd` prints them.
pub fn definitions() -> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>
{
    use kube::CustomResourceExt as _;
    vec![
        StoragePolicy::crd(),
        ClusterStoragePolicy::crd(),
        StorageBudget::crd(),
        DriverProfile::crd(),
        OwnerProfile::crd(),
    ]
}
