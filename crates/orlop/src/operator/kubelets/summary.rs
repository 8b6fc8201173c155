//! What a kubelet says of the volumes of its pods, through the API server.

use futures::AsyncReadExt as _;
use jiff::Timestamp;
use kube::Client;
use orlop_api::{Bytes, Count};
use orlop_operator::kubelets::Measured;
use orlop_planner::{Capacity, ClaimId, NamespaceName};
use serde::Deserialize;

/// Far more than a node full of pods has to say: a kubelet must not fill the operator's memory.
const BYTES_MAX: u64 = 16 << 20;

/// Asks a kubelet.
pub trait Summaries: Send + Sync + 'static {
    /// The kubelet's summary, as JSON.
    fn summary(&self, node: &str) -> impl Future<Output = Result<Vec<u8>, SummaryError>> + Send;
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// The API server, or the kubelet through it.
    #[error("the API server does not bring the kubelet's summary: it needs `get` on nodes/proxy")]
    Request(#[source] kube::Error),
    /// While reading it.
    #[error("the kubelet's summary breaks off")]
    Read(#[source] std::io::Error),
    /// It does not end.
    #[error("the kubelet's summary has more than {BYTES_MAX} bytes")]
    TooLarge,
    /// It is not what it should be.
    #[error("the kubelet's summary cannot be understood")]
    Parse(#[source] serde_json::Error),
    /// It does not come.
    #[error("the kubelet does not answer")]
    Silent,
}

/// Asks through the API server.
#[derive(Clone)]
pub struct ApiServer(pub Client);

impl Summaries for ApiServer {
    async fn summary(&self, node: &str) -> Result<Vec<u8>, SummaryError> {
        // A node's name is a DNS subdomain, and needs no escapes.
        let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/stats/summary")).body(Vec::new());
        let request = request.map_err(|error| SummaryError::Request(kube::Error::HttpError(error)))?;
        let body = self.0.request_stream(request).await.map_err(SummaryError::Request)?;
        let mut summary = Vec::new();
        std::pin::pin!(body).take(BYTES_MAX + 1).read_to_end(&mut summary).await.map_err(SummaryError::Read)?;
        if summary.len() as u64 > BYTES_MAX { Err(SummaryError::TooLarge) } else { Ok(summary) }
    }
}

/// The volumes of claims in a summary, several times where several pods use one. What lacks a number is passed over:
/// it is not known, and not zero.
pub(super) fn parse(summary: &[u8]) -> Result<Vec<Measured>, SummaryError> {
    let summary: Summary = serde_json::from_slice(summary).map_err(SummaryError::Parse)?;
    let volumes = summary.pods.into_iter().flatten().flat_map(|pod| pod.volumes.into_iter().flatten());
    Ok(volumes.filter_map(measured).collect())
}

fn measured(volume: Volume) -> Option<Measured> {
    let claim = volume.claim?;
    let inodes = volume.inodes.zip(volume.free_inodes).filter(|(total, _)| *total > 0);
    Some(Measured {
        claim: ClaimId { namespace: NamespaceName(claim.namespace.into()), name: claim.name.into() },
        at: volume.time?,
        total: Bytes(volume.total_bytes?),
        available: Bytes(volume.available_bytes?),
        inodes: inodes.map(|(total, free)| Capacity { total: Count(total), free: Count(free) }),
    })
}

#[derive(Deserialize)]
struct Summary {
    pods: Option<Vec<Pod>>,
}

#[derive(Deserialize)]
struct Pod {
    #[serde(rename = "volume")]
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
struct Volume {
    time: Option<Timestamp>,
    #[serde(rename = "capacityBytes")]
    total_bytes: Option<u64>,
    #[serde(rename = "availableBytes")]
    available_bytes: Option<u64>,
    inodes: Option<u64>,
    #[serde(rename = "inodesFree")]
    free_inodes: Option<u64>,
    #[serde(rename = "pvcRef")]
    claim: Option<Claim>,
}

#[derive(Deserialize)]
struct Claim {
    namespace: String,
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volumes_of_claims_are_found_among_everything_else_that_a_kubelet_says() {
        let found = parse(
            br#"{
              "node": {"nodeName": "node-1", "fs": {"availableBytes": 1}},
              "pods": [
                {"podRef": {"name": "db-0", "namespace": "shop"}, "volume": [
                  {"time": "2026-11-22T18:00:00Z", "availableBytes": 100, "capacityBytes": 400, "usedBytes": 300,
                   "inodesFree": 7, "inodes": 10, "inodesUsed": 3, "name": "data",
                   "pvcRef": {"name": "data-db-0", "namespace": "shop"}, "volumeHealthStats": {"abnormal": false}},
                  {"time": "2026-11-22T18:00:00Z", "availableBytes": 5, "capacityBytes": 6, "name": "token"}]},
                {"podRef": {"name": "starting", "namespace": "shop"}}]}"#,
        );
        assert_eq!(
            found.unwrap(),
            [Measured {
                claim: ClaimId { namespace: NamespaceName("shop".into()), name: "data-db-0".into() },
                at: "2026-11-22T18:00:00Z".parse().unwrap(),
                total: Bytes(400),
                available: Bytes(100),
                inodes: Some(Capacity { total: Count(10), free: Count(7) }),
            }]
        );
    }

    #[test]
    fn a_volume_without_numbers_is_not_taken_for_a_full_one() {
        let claim = r#""pvcRef": {"name": "c", "namespace": "n"}"#;
        for volume in [
            format!(r#"{{"time": "2026-11-22T18:00:00Z", "capacityBytes": 6, {claim}}}"#),
            format!(r#"{{"time": "2026-11-22T18:00:00Z", "availableBytes": 6, {claim}}}"#),
            format!(r#"{{"availableBytes": 5, "capacityBytes": 6, {claim}}}"#),
        ] {
            let summary = format!(r#"{{"pods": [{{"volume": [{volume}]}}]}}"#);
            assert_eq!(parse(summary.as_bytes()).unwrap(), []);
        }
    }

    #[test]
    fn a_filesystem_that_does_not_count_inodes_has_none() {
        let summary =
            br#"{"pods": [{"volume": [{"time": "2026-11-22T18:00:00Z", "availableBytes": 5, "capacityBytes": 6,
            "inodes": 0, "inodesFree": 0, "pvcRef": {"name": "c", "namespace": "n"}}]}]}"#;
        assert_eq!(parse(summary).unwrap()[0].inodes, None);
    }

    #[test]
    fn a_kubelet_without_pods_has_nothing_to_say() {
        assert_eq!(parse(b"{}").unwrap(), []);
        assert_eq!(parse(br#"{"pods": null}"#).unwrap(), []);
        assert!(matches!(parse(b"<html>"), Err(SummaryError::Parse(_))));
    }
}
