//! Keeps a stream to the operator: dials again whenever it ends, and says when it begins, ends, and what comes on it.

use std::{error::Error, sync::Arc, time::Duration};

use orlop_api::{Bytes, Count};
use orlop_planner::Watch;
use tokio::{sync::mpsc, time::Instant};

use super::dial::{self, DialError, Directory};
use crate::{
    rpc::agent_v1::{self, FromAgent},
    spread::spread,
};

/// The first pause between two attempts; it doubles with each failure in a row.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A stream that lasted this long was a success: the next failure is the first in its row.
pub(crate) const SUCCESS: Duration = Duration::from_secs(10);

/// What happens to the stream.
#[derive(Debug)]
pub enum Event {
    /// The operator has taken a stream, and knows nothing yet.
    Began(mpsc::Sender<FromAgent>),
    /// The operator asks to be told at once of these; none to be told nothing of a volume any more.
    Watches(Vec<(String, Option<Watch>)>),
    /// The stream has ended.
    Ended,
}

/// Dials for as long as somebody listens to the events.
pub async fn keep(directory: impl Directory, node: String, events: mpsc::Sender<Event>) {
    let mut failures = 0;
    while !events.is_closed() {
        match open(&directory, &node).await {
            Ok(stream) => {
                let began = Instant::now();
                tracing::info!("the operator has taken the stream");
                let ended = pump(stream, &events).await;
                if events.send(Event::Ended).await.is_err() {
                    return;
                }
                tracing::info!(reason = ended, "the stream has ended");
                failures = if began.elapsed() >= SUCCESS { 0 } else { failures + 1 };
            }
            Err(error) => {
                // Once in a row: an operator that is away for a day is not worth a line every five seconds.
                if failures == 0 {
                    tracing::warn!(error = &error as &dyn Error, "no stream to the operator; goes on trying");
                } else {
                    tracing::debug!(error = &error as &dyn Error, "no stream to the operator");
                }
                failures += 1;
            }
        }
        tokio::time::sleep(pause(&node, failures)).await;
    }
}

async fn open(directory: &impl Directory, node: &str) -> Result<dial::Stream, DialError> {
    dial::dial(directory.look_up().await?, node).await
}

/// Hands on what comes until the stream ends, and says why it did.
async fn pump(stream: dial::Stream, events: &mpsc::Sender<Event>) -> String {
    let dial::Stream { outgoing, mut incoming } = stream;
    if events.send(Event::Began(outgoing)).await.is_err() {
        return "the agent ends".to_owned();
    }
    loop {
        let message = match incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return "the operator has ended it".to_owned(),
            Err(status) => return status.message().to_owned(),
        };
        let watches = message.watches.unwrap_or_default().watches;
        let watches = watches.into_iter().map(|watch| (watch.volume.clone(), wanted(&watch))).collect();
        if events.send(Event::Watches(watches)).await.is_err() {
            return "the agent ends".to_owned();
        }
    }
}

/// What a watch asks for; none where it asks for nothing.
fn wanted(watch: &agent_v1::Watch) -> Option<Watch> {
    let &agent_v1::Watch { available_bytes_below, free_inodes_below, seconds_to_full_below, load, .. } = watch;
    let nothing = available_bytes_below == 0 && free_inodes_below == 0 && seconds_to_full_below == 0 && load.is_none();
    (!nothing).then_some(Watch {
        available_below: Bytes(available_bytes_below),
        free_inodes_below: Count(free_inodes_below),
        seconds_to_full_below,
        load: load.map(|load| Arc::new(load.into())),
    })
}

/// The pause after so many failures in a row: half of it is the same for all, half is spread over the nodes, since all
/// of them lose their operator at the same time.
pub(crate) fn pause(node: &str, failures: u32) -> Duration {
    let whole = PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
    whole / 2 + spread(&(node, failures), whole / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_differ_between_nodes() {
        for failures in [0, 1, 5, 1_000] {
            let one = pause("node-1", failures);
            assert!(one >= PAUSE_MIN / 2 && one <= PAUSE_MAX, "{one:?}");
            assert_ne!(one, pause("node-2", failures));
        }
        assert!(pause("node-1", 0) <= PAUSE_MIN);
        assert!(pause("node-1", 1_000) >= PAUSE_MAX / 2);
    }

    #[test]
    fn a_watch_without_any_bound_asks_for_nothing() {
        assert_eq!(wanted(&agent_v1::Watch { volume: "v".to_owned(), ..Default::default() }), None);
        let watch = agent_v1::Watch { seconds_to_full_below: 60, ..Default::default() };
        assert_eq!(wanted(&watch).map(|watch| watch.seconds_to_full_below), Some(60));
    }
}
