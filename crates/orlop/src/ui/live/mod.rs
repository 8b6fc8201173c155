//! The live view of `orlop top`. [`state`](State) is what is shown and what a key does to it; `draw` puts it on the screen.
//! Whoever has a terminal brings keys and answers; nothing here waits or asks.

mod draw;
mod state;
#[cfg(test)]
mod tests;

pub use self::{
    draw::draw,
    state::{State, Wish},
};
