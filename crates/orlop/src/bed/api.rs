//! What a bed asks of its own API server.

use std::{collections::BTreeSet, path::Path, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{ListParams, ObjectList},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;

use super::{Error, NodeNumber};

/// How long the API server may take for one answer. It answers within milliseconds, or is not up.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How often a kubelet is asked whether it is up.
const POLL: Duration = Duration::from_millis(100);

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

/// What the API server, or a kubelet behind it, has at a path, if it answers at all.
async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Option<T> {
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    tokio::time::timeout(ANSWER_DEADLINE, client.request(request)).await.ok()?.ok()
}

/// Waits until pods can be created in the namespace `default`: the controller manager makes the service account that
/// they run as.
pub(super) async fn default_service_account(client: &Client, deadline: Duration) -> Result<(), Error> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let what = "the service account that pods run as (see kube-controller-manager's log)";
    watch(api, "default", deadline, what, |_| true).await
}

/// Waits until a node is ready, and its kubelet serves the pods that it has: a node stays ready for a while after its
/// kubelet died, and a kubelet that starts again answers before it has learnt of its pods.
pub(super) async fn node(client: &Client, number: NodeNumber, deadline: Duration) -> Result<(), Error> {
    let name = number.to_string();
    let what = format!("{name} (see its kubelet's log)");
    let serves = async {
        while !kubelet_serves(client, &name).await {
            tokio::time::sleep(POLL).await;
        }
    };
    let late = |_| Error::Late { what: what.clone(), after: deadline, tail: String::new() };
    tokio::time::timeout(deadline, serves).await.map_err(late)?;
    watch(Api::all(client.clone()), &name, deadline, &what, is_ready).await
}

/// Whether a node's kubelet answers and knows every pod that the API server has for it.
async fn kubelet_serves(client: &Client, node: &str) -> bool {
    let Some(known) = get::<ObjectList<Pod>>(client, &format!("/api/v1/nodes/{node}/proxy/pods")).await else {
        return false;
    };
    let known: BTreeSet<_> = known.items.into_iter().map(|pod| pod.metadata.uid).collect();
    let api: Api<Pod> = Api::all(client.clone());
    let of_node = ListParams::default().fields(&format!("spec.nodeName={node},status.phase=Running"));
    api.list(&of_node).await.is_ok_and(|pods| pods.items.iter().all(|pod| known.contains(&pod.metadata.uid)))
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
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
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
