//! `/metrics`. Of 100,000 claims that is a hundred megabytes of text: it is made piece by piece, as fast as it is read, and
//! beside the event loop.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use orlop_operator::Metrics;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

/// How many may read at the same time. Each takes a thread.
const READERS_MAX: usize = 4;

/// How large a piece is, about, in bytes.
const PIECE: usize = 64 << 10;

/// How many pieces wait to be read.
const WAITING_MAX: usize = 2;

/// Who reads nothing for this long reads no more.
const PATIENCE: Duration = Duration::from_secs(10);

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics, for whoever asks for them.
#[derive(Debug, Clone)]
pub(super) struct Scrapes {
    metrics: Metrics,
    readers: Arc<Semaphore>,
}

impl Scrapes {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, readers: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// The metrics as they are now.
    pub(super) fn answer(&self) -> Response {
        let Ok(reader) = self.readers.clone().try_acquire_owned() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many read the metrics at the same time").into_response();
        };
        let (pieces, read) = mpsc::channel(WAITING_MAX);
        let metrics = self.metrics.clone();
        tokio::task::spawn_blocking(move || {
            let mut pieces = Pieces { text: String::new(), to: pieces };
            // Fails when the reader is gone, who then lacks the mark of the end.
            let _ = metrics.encode_into(&mut pieces).and_then(|()| pieces.pass_on());
            drop(reader);
        });
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], Body::from_stream(ReceiverStream::new(read))).into_response()
    }
}

/// Text that is passed on when there is enough of it.
struct Pieces {
    text: String,
    to: mpsc::Sender<Result<Bytes, Infallible>>,
}

impl Pieces {
    /// Fails when nobody takes it.
    fn pass_on(&mut self) -> fmt::Result {
        let piece = std::mem::replace(&mut self.text, String::with_capacity(PIECE));
        match Handle::current().block_on(timeout(PATIENCE, self.to.send(Ok(piece.into())))) {
            Ok(Ok(())) => Ok(()),
            _ => Err(fmt::Error),
        }
    }
}

impl fmt::Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        if self.text.len() < PIECE { Ok(()) } else { self.pass_on() }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    /// Metrics that do not fit into what waits to be read.
    fn many() -> Scrapes {
        let metrics = Metrics::default();
        for server in 0..5_000 {
            metrics.prometheus_asked(&format!("http://prometheus-{server:0>20}.example.com"), "complete");
        }
        Scrapes::new(metrics)
    }

    #[tokio::test]
    async fn what_is_read_piece_by_piece_is_the_whole() {
        let scrapes = many();
        let mut pieces = scrapes.answer().into_body().into_data_stream();
        let (mut text, mut count) = (String::new(), 0);
        while let Some(piece) = pieces.next().await {
            text.push_str(str::from_utf8(&piece.unwrap()).unwrap());
            count += 1;
        }
        assert!(count > WAITING_MAX, "{count}");
        assert_eq!(text.matches("orlop_prometheus_queries_total{").count(), 5_000);
        assert!(text.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn readers_that_do_not_read_keep_others_out_until_they_go() {
        let scrapes = many();
        let idle: Vec<_> = (0..READERS_MAX).map(|_| scrapes.answer()).collect();
        assert!(idle.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!(scrapes.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(idle);
        let room = scrapes.readers.acquire_many(u32::try_from(READERS_MAX).unwrap()).await;
        drop(room.unwrap());
        assert_eq!(scrapes.answer().status(), StatusCode::OK);
    }
}
