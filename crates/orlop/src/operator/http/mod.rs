//! `/metrics`, `/healthz` and `/readyz`, and what the operator knows below `/v1`.

mod inspect;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, time::Instant};

use super::scrape::Scrapes;

pub(super) use self::inspect::Counter;

/// The event loop turns at least every few seconds; when it has not for this long it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How the operator is: told by the event loop, asked by the kubelet's probes.
#[derive(Debug, Clone)]
pub(super) struct Health(Arc<Vitals>);

#[derive(Debug)]
struct Vitals {
    born: Instant,
    /// Milliseconds after birth.
    last_turn: AtomicU64,
    synced: AtomicBool,
}

impl Health {
    pub(super) fn new() -> Self {
        Self(Arc::new(Vitals { born: Instant::now(), last_turn: AtomicU64::new(0), synced: AtomicBool::new(false) }))
    }

    /// The event loop has turned.
    pub(super) fn turned(&self, synced: bool) {
        let age = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_turn.store(age, Ordering::Relaxed);
        self.0.synced.store(synced, Ordering::Relaxed);
    }

    fn is_alive(&self) -> bool {
        let last_turn = Duration::from_millis(self.0.last_turn.load(Ordering::Relaxed));
        self.0.born.elapsed().saturating_sub(last_turn) < STUCK_AFTER
    }

    fn is_ready(&self) -> bool {
        self.0.synced.load(Ordering::Relaxed) && self.is_alive()
    }
}

/// Serves until it fails.
pub(super) async fn serve(address: SocketAddr, health: Health, scrapes: Scrapes, counter: Counter) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(async move || scrapes.answer()))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(inspect::routes(counter));
    axum::serve(TcpListener::bind(address).await?, router).await
}

async fn healthz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_alive() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the event loop is stuck")
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_ready() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not everything has been listed yet")
    }
}
