//! What a bed asks of its own API server.

use std::{path::Path, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;

use super::{Error, NodeNumber, kubelet};

/// How long the API server may take for one answer. It answers within milliseconds, or is not up.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A client with the rights of the kubeconfig at `path`.
pub(super) async fn client(path: &Path) -> Result<Client, Error> {
    let config = async {
        let options = KubeConfigOptions::default();
        Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await
    };
    let config = config.await.map_err(|source| Error::Kubeconfig { path: path.to_owned(), source })?;
    Client::try_from(config).map_err(refused("be called"))
}

/// Whether the API server serves.
pub(super) async fn ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    matches!(tokio::time::timeout(ANSWER_DEADLINE, client.request_text(request)).await, Ok(Ok(_)))
}

/// Waits until pods can be created in the namespace `default`: the controller manager makes the service account that
/// they run as.
pub(super) async fn default_service_account(client: &Client, deadline: Duration) -> Result<(), Error> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let what = "the service account that pods run as (see kube-controller-manager's log)";
    watch(api, "default", deadline, what, |_| true).await
}

/// Gives a node its address, which lets it take pods, and waits until it is ready.
pub(super) async fn initialize_node(client: &Client, number: NodeNumber, deadline: Duration) -> Result<(), Error> {
    let api: Api<Node> = Api::all(client.clone());
    let name = number.to_string();
    watch(api.clone(), &name, deadline, &format!("{name}'s registration"), |_| true).await?;

    let status = json!({"status": {"addresses": kubelet::addresses(number)}});
    let patched = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
    patched.map_err(refused(format!("give {name} its address")))?;
    untaint(&api, &name).await?;

    watch(api, &name, deadline, &format!("{name} (see its kubelet's log)"), is_ready).await
}

/// Takes away the taint that keeps pods from a node without an address. Other taints stay.
async fn untaint(api: &Api<Node>, name: &str) -> Result<(), Error> {
    let action = || refused(format!("let pods run on {name}"));
    loop {
        let node = api.get(name).await.map_err(action())?;
        let mut taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let before = taints.len();
        taints.retain(|taint| taint.key != kubelet::UNINITIALIZED_TAINT);
        if taints.len() == before {
            return Ok(());
        }
        // The version makes the patch fail when a controller has set a taint since.
        let version = node.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            result => result.map(drop).map_err(action())?,
        }
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until all replicas of a Deployment are available.
pub(super) async fn deployment(client: &Client, namespace: &str, name: &str, deadline: Duration) -> Result<(), Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let available = |deployment: &Deployment| {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
        let available = deployment.status.as_ref().and_then(|status| status.available_replicas);
        observed == deployment.metadata.generation && available >= Some(wanted)
    };
    watch(api, name, deadline, &format!("Deployment {namespace}/{name}"), available).await
}

/// Watches one object until it is as wanted.
async fn watch<K>(
    api: Api<K>,
    name: &str,
    deadline: Duration,
    what: &str,
    wanted: impl Fn(&K) -> bool,
) -> Result<(), Error>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut objects = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    let found = async {
        while let Some(object) = objects.next().await {
            // An error is followed by another attempt, until the deadline.
            if object.is_ok_and(|object| wanted(&object)) {
                break;
            }
        }
    };
    tokio::time::timeout(deadline, found).await.map_err(|_| Error::Late {
        what: what.to_owned(),
        after: deadline,
        tail: String::new(),
    })
}

fn refused(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let action = action.into();
    move |source| Error::Api { action, source: Box::new(source) }
}
