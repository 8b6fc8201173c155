//! The operator as a process outside the cluster, so that a test can end it where it likes.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
};

use anyhow::Context as _;
use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Api, Client, Config, api::PostParams, config::AuthInfo};
use orlop_api::names::Reason;
use rustix::process::Pid;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    metrics,
    proxy::Proxy,
    site::{SYSTEM, Site},
};

/// The binary under test, as cargo has built it beside the tests.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path =
        std::env::current_exe()?.ancestors().nth(2).context("a test binary outside the target folder")?.join("orlop");
    anyhow::ensure!(path.exists(), "there is no {}: run `cargo build -p orlop`", path.display());
    Ok(path)
}

/// A client with the rights of the operator's own ServiceAccount, so that a missing right shows.
pub async fn client(site: &Site) -> anyhow::Result<Client> {
    let accounts: Api<ServiceAccount> = Api::namespaced(site.client.clone(), SYSTEM);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 7200}}))?;
    let answer = accounts.create_token_request("orlop-operator", &PostParams::default(), &request).await?;
    let token = answer.status.and_then(|status| status.token).context("a token request without an answer")?;
    let kubeconfig = kube::config::Kubeconfig::read_from(site.bed.kubeconfig_path())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    config.auth_info = AuthInfo { token: Some(token.into_boxed_str().into()), ..AuthInfo::default() };
    Ok(Client::try_from(config)?)
}

/// A running operator, killed when dropped.
pub struct Operator {
    child: Child,
    http: SocketAddr,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Operator {
    /// Starts an operator that reaches the API server through `proxy`.
    pub fn start(proxy: &Proxy) -> anyhow::Result<Self> {
        Self::start_with(proxy, &[])
    }

    /// The same, with more arguments.
    pub fn start_with(proxy: &Proxy, arguments: &[&str]) -> anyhow::Result<Self> {
        let kubeconfig = tempfile::NamedTempFile::new()?;
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": proxy.url()}}],
            "users": [{"name": "none", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "none"}}],
        });
        std::fs::write(kubeconfig.path(), text.to_string())?;
        let log = std::env::var_os("ORLOP_E2E_LOGS").map(|folder| PathBuf::from(folder).join("operator.log"));
        let stderr = match log {
            Some(path) => Stdio::from(std::fs::File::options().create(true).append(true).open(path)?),
            None => Stdio::null(),
        };
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new(binary()?)
            .args(["operator", "--namespace", SYSTEM, "--identity", "e2e", "--pod-ip", "127.0.0.1"])
            .args(["--agents-address", "127.0.0.1:0"])
            .arg(format!("--http-address={http}"))
            .args(arguments)
            .env("KUBECONFIG", kubeconfig.path())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start an operator")?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("an operator without a pid")?;
        proxy.watch_over(pid);
        Ok(Self { child, http, _kubeconfig: kubeconfig })
    }

    /// How many claims it has last decided about with that reason. Fails before it serves.
    pub fn claims_with(&self, reason: Reason) -> anyhow::Result<u64> {
        let metric = metrics::read(self.http, &format!("orlop_claims{{reason=\"{reason}\"}}"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        Ok(metric.unwrap_or_default() as u64)
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends it at once.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot end the operator")
    }
}
