//! A Prometheus server outside the cluster that reads kubelets, as one that watches over a cluster does. Needs the program
//! `prometheus`, which the set-up of this repository installs.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use k8s_openapi::{ByteString, api::core::v1::Node};
use kube::Api;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{eventually, site::Site};

/// How often the kubelets are read.
const INTERVAL: &str = "2s";

/// How long it may take to begin.
const START: Duration = Duration::from_secs(30);

/// A running server, killed when dropped.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one on loopback that reads the kubelets of these nodes, and waits until it listens.
    pub async fn start(site: &Site, nodes: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        write_credentials(site, folder.path())?;
        let mut targets = Vec::new();
        for node in nodes {
            targets.push(kubelet(site, node).await?);
        }
        let config = json!({
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL},
            "scrape_configs": [{
                "job_name": "kubelet", "scheme": "https",
                "tls_config": {"ca_file": "ca.crt", "cert_file": "tls.crt", "key_file": "tls.key"},
                "static_configs": [{"targets": targets}],
            }],
        });
        // What is JSON is YAML too.
        std::fs::write(folder.path().join("prometheus.yml"), config.to_string())?;
        // Free at this moment; Prometheus does not say which it took of itself.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new("prometheus")
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run prometheus: make setup installs it")?;
        let listens = eventually("prometheus to listen", START, || async {
            Ok(TcpStream::connect(address).await.is_ok().then_some(()))
        });
        if let Err(error) = listens.await {
            bail!("{error}:\n{}", std::fs::read_to_string(folder.path().join("log"))?);
        }
        Ok(Self { child, address, _folder: folder })
    }

    /// Where it is asked. Orlop's pods are in the host's network on a bed.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it at once.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot end prometheus")
    }
}

/// Where a node's kubelet listens.
async fn kubelet(site: &Site, node: &str) -> anyhow::Result<String> {
    let nodes: Api<Node> = Api::all(site.client.clone());
    let status = nodes.get(node).await?.status.with_context(|| format!("{node} has no status"))?;
    let addresses = status.addresses.unwrap_or_default();
    let address = addresses.iter().find(|address| address.type_ == "InternalIP");
    let port = status.daemon_endpoints.and_then(|endpoints| endpoints.kubelet_endpoint).map(|endpoint| endpoint.port);
    match (address, port) {
        (Some(address), Some(port)) => Ok(format!("{}:{port}", address.address)),
        _ => bail!("{node} does not say where its kubelet is"),
    }
}

/// Writes the administrator's certificate and key, and that of the bed's authority, as files.
fn write_credentials(site: &Site, folder: &Path) -> anyhow::Result<()> {
    let kubeconfig: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(site.bed.kubeconfig_path())?)?;
    let (cluster, user) = (&kubeconfig["clusters"][0]["cluster"], &kubeconfig["users"][0]["user"]);
    for (file, data) in [
        ("ca.crt", &cluster["certificate-authority-data"]),
        ("tls.crt", &user["client-certificate-data"]),
        ("tls.key", &user["client-key-data"]),
    ] {
        let ByteString(bytes) = serde_json::from_value(data.clone()).context("a kubeconfig without certificates")?;
        std::fs::write(folder.join(file), bytes)?;
    }
    Ok(())
}
