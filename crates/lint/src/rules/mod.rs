//! The rules, each beside the function that applies it. A rule says only what is so by what is among the texts.

pub(crate) mod budgets;
pub(crate) mod claims;
pub(crate) mod classes;
pub(crate) mod databases;
pub(crate) mod manifests;
pub(crate) mod operator;
pub(crate) mod performance;
pub(crate) mod policies;
pub(crate) mod snapshots;
pub(crate) mod statefulsets;
pub(crate) mod workloads;

use crate::{Findings, world::World};

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    classes::check(world, found);
    claims::check(world, found);
    policies::check(world, found);
    performance::check(world, found);
    operator::check(world, found);
    budgets::check(world, found);
    workloads::check(world, found);
    databases::check(world, found);
    statefulsets::check(world, found);
    snapshots::check(world, found);
}
