//! The library behind the `orlop` binary. The roles that run in a cluster are `operator`, `agent` and `csi`; `bed`
//! runs a cluster on this machine; `cli` holds the commands, and `ui` what they show; `backtest` reads usage history, `prometheus`
//! asks servers that have some; `writer` is a workload to try it all with.

pub mod agent;
pub mod backtest;
pub mod bed;
pub mod causes;
pub mod cli;
pub mod csi;
pub mod operator;
pub mod prometheus;
pub mod rpc;
pub mod spread;
pub mod ui;
pub mod writer;
