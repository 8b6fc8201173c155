//! What becomes of volumes that their cluster has lost.

pub mod lost;
