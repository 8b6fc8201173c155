//! By what agents know the operator that leads, and where they find it.
//!
//! A leader makes a key when it starts and keeps it in its memory alone. It publishes the certificate together with its
//! address in one ConfigMap, in one request, so that an agent never sees one leader's address with another's
//! certificate. Agents read it through the API server, which they trust anyway: whoever may write that ConfigMap may
//! redirect them, whoever signs. So there is no authority whose key would have to be kept in a Secret, shared between
//! replicas, and renewed: no key is at rest anywhere, the operator needs access to no Secret, and what a certificate is
//! worth ends with its leader, when the next one overwrites it.

use std::{net::SocketAddr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use orlop_api::names;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use serde_json::json;

/// A node's clock may be this far behind.
const VALID_BEFORE: SignedDuration = SignedDuration::from_hours(24);

/// Longer than any process runs: it is not the expiry that ends what a certificate is worth.
const VALID_AFTER: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// How often what is published is put right: somebody may have deleted or changed it.
const PUBLISH_EVERY: Duration = Duration::from_mins(1);

/// The pause after a failure to publish: without it no agent finds the leader.
const PUBLISH_AGAIN: Duration = Duration::from_secs(2);

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A leader's key (ECDSA P-256) and the certificate for it. The certificate signs itself.
pub struct Identity {
    /// The certificate, PEM.
    pub certificate: String,
    /// The key, PEM. Never leaves the process.
    pub(super) key: String,
}

impl Identity {
    /// Makes a key and its certificate.
    pub fn new(now: Timestamp) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([names::OPERATOR_TLS_NAME.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, names::OPERATOR_TLS_NAME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = (std::time::SystemTime::from(now - VALID_BEFORE)).into();
        params.not_after = (std::time::SystemTime::from(now + VALID_AFTER)).into();
        Ok(Self { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
    }
}

/// Says where the leader listens, and by which certificate it is known.
#[derive(Clone)]
pub struct Publication {
    api: Api<ConfigMap>,
    object: serde_json::Value,
}

impl Publication {
    /// Of a leader that listens on `endpoint`, in its own namespace.
    pub fn new(client: Client, namespace: &str, endpoint: SocketAddr, identity: &Identity) -> Self {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": names::AGENTS_CONFIG_MAP },
            "data": {
                names::AGENTS_ENDPOINT_KEY: endpoint.to_string(),
                names::AGENTS_CERTIFICATE_KEY: identity.certificate,
            },
        });
        Self { api: Api::namespaced(client, namespace), object }
    }

    /// Writes it. A ConfigMap that is already as it should be is not changed.
    pub async fn write(&self) -> kube::Result<()> {
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        self.api.patch(names::AGENTS_CONFIG_MAP, &params, &Patch::Apply(&self.object)).await.map(drop)
    }

    /// Writes it again and again, for as long as this process leads.
    pub async fn keep(&self) {
        loop {
            let pause = match tokio::time::timeout(PATIENCE, self.write()).await {
                Ok(Ok(())) => PUBLISH_EVERY,
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot tell the agents where the operator is"
                    );
                    PUBLISH_AGAIN
                }
                Err(_) => {
                    tracing::warn!("cannot tell the agents where the operator is: the API server does not answer");
                    PUBLISH_AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}
