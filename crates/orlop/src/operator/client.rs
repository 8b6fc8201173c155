//! The client of the API server: the usual configuration, with every request counted.

use std::time::Duration;

use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{BoxError, Layer, Service};

use orlop_operator::Metrics;

/// A connection that cannot be made within this time is tried again. The library waits half a minute, in which a
/// volume can fill.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A client by `KUBECONFIG`, `~/.kube/config` or the pod's service account, whichever is there first.
pub(super) async fn connect(metrics: &Metrics) -> Result<Client, kube::Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.connect_timeout = Some(CONNECT_WITHIN);
    Ok(ClientBuilder::try_from(config)?.with_layer(&CountRequests(metrics.clone())).build())
}

struct CountRequests(Metrics);

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.0.clone() }
    }
}

struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures::future::BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (metrics, verb) = (self.metrics.clone(), request.method().clone());
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await;
            metrics.requested(&verb, response.as_ref().ok().map(http::Response::status));
            response
        })
    }
}
