//! The operator: observes by shared caches, plans, and applies the plan with preconditions.

pub mod agents;
pub mod identity;
pub mod measure;
