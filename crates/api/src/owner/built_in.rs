//! The profiles that are built in: `owners/*.yaml` of this crate, each as it could be applied to a cluster.

use std::{collections::BTreeMap, sync::LazyLock};

use super::OwnerProfile;

const FILES: [&str; 8] = [
    include_str!("../../owners/clusters.postgresql.cnpg.io.yaml"),
    include_str!("../../owners/elasticsearches.elasticsearch.k8s.elastic.co.yaml"),
    include_str!("../../owners/kafkanodepools.kafka.strimzi.io.yaml"),
    include_str!("../../owners/mongodb.mongodb.com.yaml"),
    include_str!("../../owners/mongodbcommunity.mongodbcommunity.mongodb.com.yaml"),
    include_str!("../../owners/perconaservermongodbs.psmdb.percona.com.yaml"),
    include_str!("../../owners/postgresclusters.postgres-operator.crunchydata.com.yaml"),
    include_str!("../../owners/postgresqls.acid.zalan.do.yaml"),
];

/// By name. The tests read each file, so that no program ever meets one that it cannot read.
static PROFILES: LazyLock<BTreeMap<String, OwnerProfile>> = LazyLock::new(|| {
    let read = |text| serde_yaml_ng::from_str::<OwnerProfile>(text).expect("a built-in profile can be read");
    FILES.into_iter().map(read).map(|profile| (profile.metadata.name.clone().unwrap_or_default(), profile)).collect()
});

/// Every built-in profile, in the order of their names.
pub fn all() -> impl Iterator<Item = &'static OwnerProfile> {
    PROFILES.values()
}

/// The profile of this name.
pub fn get(name: &str) -> Option<&'static OwnerProfile> {
    PROFILES.get(name)
}
