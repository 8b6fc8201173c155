//! The way to the operator that leads: its Lease says which pod that is, and the API server passes the question on to it
//! (the pod's `proxy` subresource). So nothing has to be open but the API server, and its rights decide who may ask.

use std::path::PathBuf;

use form_urlencoded::Serializer;
use http::{Request, Uri};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    core::Status,
};
use orlop_operator::inspect::{API_VERSION, Content, Document};
use serde::de::DeserializeOwned;

use super::super::{Failure, Outcome};

/// The Lease that the acting operator holds.
const LEASE: &str = "orlop-operator";

/// The name of the port that it answers on.
const PORT: &str = "http";

/// How to reach the operator.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Reach {
    /// The kubeconfig to use [default: $KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_hint = clap::ValueHint::FilePath)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long)]
    context: Option<String>,
    /// The namespace that Orlop is installed in
    #[arg(long, value_name = "NAMESPACE", default_value = "orlop-system")]
    operator_namespace: String,
    /// Ask the operator at this address, such as that of a forwarded port, and not through the API server
    #[arg(long, value_name = "URL", conflicts_with_all = ["kubeconfig", "context", "operator_namespace"])]
    operator_url: Option<Uri>,
}

/// The operator that leads.
#[derive(Clone)]
pub(super) struct Operator {
    client: Client,
    way: Way,
    /// The namespace of the kubeconfig's context.
    pub(super) namespace: String,
}

#[derive(Clone)]
enum Way {
    /// Through the API server to the pod that leads in this namespace.
    Proxy(String),
    /// Straight to it.
    Direct,
}

impl Operator {
    /// Makes ready to ask; nothing is asked yet.
    pub(super) async fn new(args: &Reach) -> Outcome<Self> {
        let (mut config, way) = match &args.operator_url {
            Some(url) => (Config::new(url.clone()), Way::Direct),
            None => (kubeconfig(args).await?, Way::Proxy(args.operator_namespace.clone())),
        };
        // What is refused for now is told, and not asked for again behind the user's back.
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|error| Failure::because("cannot use the kubeconfig", error))?;
        Ok(Self { client, way, namespace })
    }

    /// Asks for a document.
    pub(super) async fn get<T: Content + DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Outcome<(T, Timestamp)> {
        let mut uri = format!("{}{path}", self.base().await?);
        if !query.is_empty() {
            uri = format!("{uri}?{}", Serializer::new(String::new()).extend_pairs(query).finish());
        }
        let request = Request::get(uri)
            .body(Vec::new())
            .map_err(|error| Failure::because(format!("cannot ask the operator for {path}"), error))?;
        let text = self.client.request_text(request).await.map_err(|error| self.unanswered(error))?;
        let document: Document<T> = serde_json::from_str(&text).map_err(|error| {
            Failure::because("cannot read the operator's answer", error)
                .remedy("use an orlop of the operator's version: see the image of its pod")
        })?;
        document.open().map_err(|refused| {
            Failure::new(refused.to_string()).remedy("use an orlop of the operator's version: see the image of its pod")
        })
    }

    /// What comes before the path.
    async fn base(&self) -> Outcome<String> {
        let Way::Proxy(namespace) = &self.way else { return Ok(String::new()) };
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let lease =
            leases.get_opt(LEASE).await.map_err(|error| self.refused("read the Lease of Orlop's operator", error))?;
        let lease = lease.ok_or_else(|| {
            Failure::new(format!("there is no operator of Orlop in the namespace {namespace}: it has no Lease {LEASE}"))
                .remedy("name the namespace that Orlop is installed in with --operator-namespace, or install it there")
        })?;
        let leader = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
        let leader = leader.ok_or_else(|| no_leader(namespace, "nobody holds its Lease"))?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod = pods.get_opt(&leader).await.map_err(|error| self.refused("read the operator's pod", error))?;
        let pod =
            pod.ok_or_else(|| no_leader(namespace, &format!("the pod {leader}, which holds its Lease, is gone")))?;
        let port = port(&pod).ok_or_else(|| {
            Failure::new(format!("the operator's pod {leader} in {namespace} has no port named {PORT}"))
                .remedy("install the operator from Orlop's chart, or name its address with --operator-url")
        })?;
        Ok(format!("/api/v1/namespaces/{namespace}/pods/{leader}:{port}/proxy"))
    }

    /// Why the API server does not let us find the operator.
    fn refused(&self, what: &str, error: kube::Error) -> Failure {
        let remedy = match &error {
            kube::Error::Api(status) if status.is_forbidden() => self.rights(),
            _ => "see whether kubectl get nodes works with this kubeconfig and context".to_owned(),
        };
        Failure::because(format!("cannot {what}"), error).remedy(remedy)
    }

    /// Why the operator gave no answer.
    fn unanswered(&self, error: kube::Error) -> Failure {
        let (what, remedy) = match &error {
            kube::Error::Api(status) if is_operators(status) => return by_operator(status),
            kube::Error::Api(status) if status.is_forbidden() => {
                ("you may not reach the operator through the API server", self.rights())
            }
            kube::Error::Api(status) if status.code == 404 => (
                "the operator does not know the question",
                "use an orlop of the operator's version: see the image of its pod".to_owned(),
            ),
            kube::Error::Api(_) => ("the API server cannot reach the operator", self.around()),
            _ => ("the operator cannot be asked", self.around()),
        };
        Failure::because(what, error).remedy(remedy)
    }

    fn rights(&self) -> String {
        let Way::Proxy(namespace) = &self.way else { return "see who may reach that address".to_owned() };
        format!(
            "have an administrator give you the Role orlop-viewer, such as by kubectl -n {namespace} create rolebinding \
             orlop-viewer-YOU --role=orlop-viewer --user=YOU; the verdicts are also in kubectl describe storagepolicies"
        )
    }

    fn around(&self) -> String {
        let Way::Proxy(namespace) = &self.way else { return "see whether an operator listens there".to_owned() };
        format!(
            "see whether its pod is ready and a NetworkPolicy keeps the API server from it (kubectl -n {namespace} get \
             pods,networkpolicies); or run kubectl -n {namespace} port-forward POD 8080 and add --operator-url \
             http://127.0.0.1:8080"
        )
    }
}

async fn kubeconfig(args: &Reach) -> Outcome<Config> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    let config = match &args.kubeconfig {
        Some(path) => async { Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await }.await,
        None => Config::from_kubeconfig(&options).await,
    };
    config.map_err(|error| {
        Failure::because("cannot read a kubeconfig", error)
            .remedy("set KUBECONFIG, or name the file with --kubeconfig; of a cluster of orlop up: $(orlop kubeconfig)")
    })
}

fn no_leader(namespace: &str, why: &str) -> Failure {
    Failure::new(format!("no operator of Orlop leads in the namespace {namespace}: {why}")).remedy(format!(
        "wait some seconds for another to take over, or see why none runs: kubectl -n {namespace} describe pods -l \
         app.kubernetes.io/component=operator"
    ))
}

/// The number of the operator's port.
fn port(pod: &Pod) -> Option<i32> {
    let containers = &pod.spec.as_ref()?.containers;
    let ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.into_iter().find(|port| port.name.as_deref() == Some(PORT)).map(|port| port.container_port)
}

/// Is it the operator's word, and not the API server's?
fn is_operators(status: &Status) -> bool {
    let group = API_VERSION.split('/').next().unwrap_or_default();
    status.details.as_ref().is_some_and(|details| details.group == group)
}

fn by_operator(status: &Status) -> Failure {
    let failure = Failure::new(status.message.clone());
    match status.code {
        404 => failure.remedy("see kubectl get pvc, and name its namespace with --namespace"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;
    use serde_json::json;

    use super::*;

    fn proxied() -> Operator {
        let mut config = Config::new(Uri::from_static("http://127.0.0.1:1"));
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        Operator { client, way: Way::Proxy("orlop-system".to_owned()), namespace: "default".to_owned() }
    }

    fn answered(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[tokio::test]
    async fn who_may_not_reach_the_operator_is_told_which_role_to_ask_for() {
        let failure = proxied().unanswered(answered(403, "Forbidden", "pods \"op-1:8080\" is forbidden")).to_string();
        assert!(failure.contains("create rolebinding") && failure.contains("--role=orlop-viewer"), "{failure}");
        let failure = proxied().refused("read the operator's pod", answered(403, "Forbidden", "no")).to_string();
        assert!(failure.contains("--role=orlop-viewer"), "{failure}");
    }

    #[tokio::test]
    async fn where_the_api_server_cannot_reach_the_operator_another_way_is_named() {
        let failure =
            proxied().unanswered(answered(503, "ServiceUnavailable", "error trying to reach service")).to_string();
        assert!(failure.contains("--operator-url"), "{failure}");
    }

    #[tokio::test]
    async fn the_operators_own_word_is_told_as_it_is() {
        let details: StatusDetails = serde_json::from_value(json!({ "group": "inspect.orlop.dev" })).unwrap();
        let status = Status::failure("there is no claim shop/x", "NotFound").with_code(404).with_details(details);
        let failure = proxied().unanswered(kube::Error::Api(status.boxed())).to_string();
        assert!(failure.starts_with("error: there is no claim shop/x"), "{failure}");
        let older = proxied().unanswered(answered(404, "", "")).to_string();
        assert!(older.contains("of the operator's version"), "{older}");
    }

    #[test]
    fn the_port_is_the_one_of_that_name() {
        let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [
            { "name": "operator", "ports": [
                { "name": "agents", "containerPort": 8443 }, { "name": "http", "containerPort": 18080 },
            ] },
        ] } }))
        .unwrap();
        assert_eq!(port(&pod), Some(18080));
        assert_eq!(port(&Pod::default()), None);
    }
}
