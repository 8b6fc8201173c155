//! The cluster under test.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{Event, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use orlop::{
    bed::{Bed, BedName, BedOptions, Component, NodeNumber, install},
    ui::progress::Progress,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{eventually, processes};

/// Where Orlop is installed.
pub const SYSTEM: &str = install::NAMESPACE;

/// The name of the chart's release.
const RELEASE: &str = "orlop";

/// What has helm wait until what it has changed is ready.
/// A test may have changed for a while what the chart had installed, and then owns those fields.
const CHANGE: [&str; 4] = ["--wait", "--timeout", "120s", "--force-conflicts"];

/// The image that the chart installs, which has `sleep` and the `orlop` binary in it.
pub const IMAGE: &str = concat!("orlop.dev/orlop:", env!("CARGO_PKG_VERSION"));

/// A bed with Orlop in it.
pub struct Site {
    /// The cluster.
    pub bed: Bed,
    /// A client with every right.
    pub client: Client,
}

/// The repository's root.
pub fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

impl Site {
    /// Starts a bed of `nodes` nodes under `name`, or repairs it, and installs the chart.
    pub async fn start(name: &str, nodes: u8) -> anyhow::Result<Self> {
        let name: BedName = name.parse()?;
        let options = BedOptions { name, nodes: Some(nodes), kubernetes_dir: None };
        let bed = Bed::up(&options, &Progress::shown()).await.context("cannot start a bed")?;
        install::chart(&bed, &repository().join("charts/orlop")).await.context("cannot install the chart")?;
        let client = bed.client().await?;
        Ok(Self { bed, client })
    }

    /// Removes the bed of this name with every trace of it.
    pub async fn remove(name: &str) -> anyhow::Result<()> {
        Bed::down(&name.parse()?, &Progress::shown()).await.context("cannot remove the bed")
    }

    /// What a second `orlop up` does.
    pub async fn repair(&self) -> anyhow::Result<()> {
        let options = BedOptions { name: self.bed.name().clone(), ..BedOptions::default() };
        Bed::up(&options, &Progress::hidden()).await.map(|_| ()).context("cannot repair the bed")
    }

    /// Ends a component at once.
    pub fn kill(&self, component: Component) -> anyhow::Result<()> {
        let pid =
            self.bed.pid(component).and_then(Pid::from_raw).with_context(|| format!("{component} does not run"))?;
        kill_process(pid, Signal::KILL).with_context(|| format!("cannot end {component}"))
    }

    /// Ends the local driver of a node at once. If the node's kubelet runs, that starts it again.
    pub fn kill_driver(&self, node: NodeNumber) -> anyhow::Result<()> {
        let directory = self.bed.kubelet_dir(node).display().to_string();
        let is_driver = |arguments: &[String]| {
            arguments.get(1).is_some_and(|role| role == "csi")
                && arguments.iter().any(|argument| argument.contains(&directory))
        };
        for pid in processes(is_driver)? {
            // One that has just ended by itself is as dead as it should be.
            let _ = kill_process(pid, Signal::KILL);
        }
        Ok(())
    }

    /// How many nodes the bed has.
    pub fn node_count(&self) -> usize {
        self.bed.nodes().count()
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> anyhow::Result<NodeNumber> {
        self.bed.nodes().find(|node| node.to_string() == name).with_context(|| format!("the bed has no {name}"))
    }

    /// Applies manifests as a user does, by kubectl.
    pub async fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        self.kubectl(&["apply", "-f", "-"], manifests).await.map(|_| ())
    }

    /// Runs kubectl with `input` on its standard input, and returns what it printed; an error holds what it complained.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        self.run("kubectl", arguments, input).await
    }

    /// The values that Orlop is installed with.
    pub async fn values(&self) -> anyhow::Result<Value> {
        let values =
            self.run("helm", &["get", "values", RELEASE, "--namespace", SYSTEM, "--output", "json"], "").await?;
        Ok(serde_json::from_str(&values)?)
    }

    /// Changes some of these values, as a user does, and waits until it shows.
    pub async fn upgrade(&self, values: &Value) -> anyhow::Result<()> {
        let chart = repository().join("charts/orlop").display().to_string();
        let to = ["upgrade", RELEASE, &chart, "--namespace", SYSTEM, "--reuse-values", "--values", "-"];
        self.run("helm", &[&to[..], &CHANGE].concat(), &values.to_string()).await.map(drop)
    }

    /// Takes the last change back, and waits until it shows.
    pub async fn roll_back(&self) -> anyhow::Result<()> {
        self.run("helm", &[&["rollback", RELEASE, "--namespace", SYSTEM][..], &CHANGE].concat(), "").await.map(drop)
    }

    /// Runs a program of the bed's bundle as its administrator.
    async fn run(&self, program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = Command::new(self.bed.program(program))
            .arg("--kubeconfig")
            .arg(self.bed.kubeconfig_path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let mut stdin = child.stdin.take().with_context(|| format!("{program} has no standard input"))?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Creates an empty namespace; one of that name that was there is removed first.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        self.kubectl(&["delete", "namespace", name, "--ignore-not-found", "--wait"], "").await?;
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string()).await
    }

    /// Removes a namespace with all that is in it, and waits until it is gone.
    pub async fn remove_namespace(&self, name: &str) -> anyhow::Result<()> {
        // What has to be waited for, a namespace that is being deleted looks at again only after eight seconds.
        let slow = ["-n", name, "delete", "deployments,statefulsets,pods,pvc", "--all", "--wait", "--timeout=120s"];
        self.kubectl(&slow, "").await?;
        self.kubectl(&["delete", "namespace", name, "--ignore-not-found", "--wait", "--timeout=120s"], "")
            .await
            .map(|_| ())
    }

    /// Sets how many operators run in the cluster, and waits until it is so.
    pub async fn scale_operator(&self, replicas: i32) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), SYSTEM);
        deployments
            .patch("orlop-operator", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": replicas}})))
            .await?;
        eventually("the operator's pods to be as many as asked for", Duration::from_mins(1), || async {
            let pods = self.pods("app.kubernetes.io/component=operator").await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            Ok((pods.len() == ready && i32::try_from(ready)? == replicas).then_some(()))
        })
        .await
    }

    /// Switches a DaemonSet off (its pods end) or on again (and waits until they are ready).
    pub async fn switch_daemon_sets(&self, component: &str, on: bool) -> anyhow::Result<()> {
        let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), SYSTEM);
        let label = format!("app.kubernetes.io/component={component}");
        // A node selector that no node has ends all pods; removing it brings them back.
        let value = if on { json!(null) } else { json!("true") };
        let patch = json!({"spec": {"template": {"spec": {"nodeSelector": {"e2e.orlop.dev/nowhere": value}}}}});
        for set in sets.list(&ListParams::default().labels(&label)).await? {
            sets.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        let wanted = if on { self.node_count() } else { 0 };
        eventually(&format!("{wanted} pods of {component}"), Duration::from_secs(90), || async {
            let pods = self.pods(&label).await?;
            Ok((pods.len() == wanted && pods.iter().all(is_ready)).then_some(()))
        })
        .await
    }

    /// The pods of Orlop with this label.
    pub async fn pods(&self, label: &str) -> anyhow::Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM);
        Ok(pods.list(&ListParams::default().labels(label)).await?.items)
    }

    /// Ends the pods of Orlop with this label at once, as a node that loses power would, and waits for the next.
    pub async fn kill_pods(&self, component: &str) -> anyhow::Result<()> {
        let label = format!("app.kubernetes.io/component={component}");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM);
        let old = self.pods(&label).await?;
        for pod in &old {
            pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
        }
        eventually(&format!("{component} to be back"), Duration::from_secs(90), || async {
            let new = self.pods(&label).await?;
            let fresh = new.iter().all(|pod| old.iter().all(|before| before.uid() != pod.uid()));
            Ok((new.len() == old.len() && fresh && new.iter().all(is_ready)).then_some(()))
        })
        .await
    }

    /// The Events about an object, of one reason, each with its count.
    pub async fn events(&self, namespace: &str, object: &str, reason: &str) -> anyhow::Result<Vec<Event>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let selection = ListParams::default().fields(&format!("involvedObject.name={object},reason={reason}"));
        Ok(events.list(&selection).await?.items)
    }
}

/// Is a pod running, with every container ready?
pub fn is_ready(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.conditions.as_ref()).is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}
