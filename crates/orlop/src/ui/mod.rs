//! What the commands show: progress, tables, colours where there is a terminal.

pub mod claim;
pub mod fill;
pub mod fleet;
pub mod live;
pub mod progress;
pub mod table;
mod words;
