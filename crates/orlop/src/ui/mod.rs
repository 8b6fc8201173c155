//! What the commands show: progress, tables, colours where there is a terminal.

pub mod fill;
pub mod progress;
