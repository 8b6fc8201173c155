//! The profiles that are built in: `owners/*.yaml` of this crate, each as it could be applied to a cluster.

use std::{collections::BTreeMap, sync::LazyLock};

use super::OwnerProfile;
use crate::manifest;

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

/// By name.
static PROFILES: LazyLock<BTreeMap<String, OwnerProfile>> = LazyLock::new(|| manifest::built_in(&FILES));

/// Every built-in profile, in the order of their names.
pub fn all() -> impl Iterator<Item = &'static OwnerProfile> {
    PROFILES.values()
}

/// The profile of this name.
pub fn get(name: &str) -> Option<&'static OwnerProfile> {
    PROFILES.get(name)
}
