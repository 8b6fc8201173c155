//! What the commands show: progress, tables, colours where there is a terminal.

pub mod progress;
