//! Asking servers that speak the query API of Prometheus: which, how, and what an answer is not. Both ask them: the operator
//! for what is measured and how volumes have filled, and the backtest for whole histories. What is asked for, and what is made
//! of an answer, is theirs.

mod answer;
mod client;
mod server;

pub use self::{
    answer::{Success, success},
    client::{Client, QueryError},
    server::Server,
};
