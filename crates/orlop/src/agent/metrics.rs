//! What an agent says of itself, for Prometheus. Of the volumes it speaks only to the operator.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::net::TcpListener;

use super::sampler::Census;

/// The agent's metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Is there a stream to the operator? 1 or 0.
    pub connected: Gauge,
    /// How many measurements were reported.
    pub reported: Counter,
    mounted: Gauge,
    failing: Gauge,
}

impl Metrics {
    /// Notes how many volumes there are.
    pub fn count(&self, census: Census) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.mounted.set(number(census.mounted));
        self.failing.set(number(census.failing));
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("orlop_agent");
        registry.register("connected", "Is there a stream to the operator?", self.connected.clone());
        registry.register("measurements_reported", "Measurements reported to the operator", self.reported.clone());
        registry.register("volumes", "Mounted volumes", self.mounted.clone());
        registry.register("volumes_failing", "Mounted volumes that cannot be measured", self.failing.clone());
        registry
    }

    /// Serves `/metrics`, and `/healthz` for as long as the process answers at all. Fails when the address cannot be
    /// listened on.
    pub async fn serve(&self, address: SocketAddr) -> std::io::Result<()> {
        let registry = Arc::new(self.registry());
        let metrics = move || {
            let mut text = String::new();
            let encoded = encode(&mut text, &registry).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR);
            let head = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            async move { encoded.map(|()| (head, text)) }
        };
        let routes = Router::new().route("/metrics", get(metrics)).route("/healthz", get(async || "ok\n"));
        axum::serve(TcpListener::bind(address).await?, routes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alerts and people go by it: the documentation and the rules are checked against this file.
    #[test]
    fn what_is_told_is_told_by_these_names() {
        let mut text = String::new();
        encode(&mut text, &Metrics::default().registry()).unwrap();
        insta::assert_snapshot!(text);
    }
}
