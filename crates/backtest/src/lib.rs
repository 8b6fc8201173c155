//! What a policy would have done: usage history is replayed, and the planner that decides in production decides in it.
//! Pure: samples are fed to a [`Replay`] in the order of their times, and a [`Report`] comes out; where the samples are
//! from, and where the report goes, is for others. [`generate`] makes histories that look like real ones, and [`page`]
//! and [`text`] show a report.
//!
//! The demand is what was recorded as used. Between two samples it changes evenly. The simulated volume is to its size as
//! the recorded one was, a growth can be used some time after it was asked for, and everything else is the planner's.

pub mod generate;
mod history;
mod life;
mod line;
mod money;
mod outline;
pub mod page;
mod replay;
mod report;
mod room;
mod tally;
#[cfg(test)]
mod tests;
pub mod text;
mod world;

pub use history::Sample;
pub use money::{Amount, GibMonths};
pub use replay::{ClaimIndex, Rejected, Replay};
pub use report::{
    ClaimReport, Closing, Compared, Cost, Forecast, Full, GrowthReport, Report, SlotsReport, Totals, WaitReport,
    WaitTotal,
};
pub use world::{Known, Terms, World, governs_all, namespace};
