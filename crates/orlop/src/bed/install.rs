//! Installs Orlop into a bed, from its chart and by helm, as into any cluster. Only the values are the bed's own: its
//! kubelets and pools have directories of their own, and its pods share the machine's network.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Bed, Error, NodeNumber, error::OnPath as _, files, process};

/// The namespace that Orlop is installed in.
pub const NAMESPACE: &str = "orlop-system";

/// What a node's pool may hold at most. The file is sparse: it takes space as volumes are filled.
const POOL_SIZE: &str = "64Gi";

/// Installs the chart, or brings what is installed up to date, and waits until all of it is ready.
pub async fn chart(bed: &Bed, chart: &Path) -> Result<(), Error> {
    let values = bed.layout.dir.join("values.json");
    files::write(&values, &values_of(bed)?.to_string(), files::Readers::Everyone)?;
    let text = |path: &Path| path.display().to_string();
    let kubeconfig = text(&bed.kubeconfig_path());
    // Helm installs definitions once and never again: what they have become since is applied here.
    let definitions = text(&chart.join("crds"));
    let apply = ["--kubeconfig", &kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", &definitions];
    process::run(&bed.program("kubectl"), &apply).await?;
    let (chart, values) = (text(chart), text(&values));
    let upgrade = [
        "--kubeconfig",
        &kubeconfig,
        "upgrade",
        "--install",
        "orlop",
        &chart,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--skip-crds",
        "--values",
        &values,
        "--wait",
        "--timeout",
        "180s",
    ];
    process::run(&bed.program("helm"), &upgrade).await?;
    Ok(())
}

fn values_of(bed: &Bed) -> Result<Value, Error> {
    let groups: Vec<_> = bed.nodes().map(|node| group(bed, node)).collect();
    Ok(json!({
        "hostNetwork": true,
        "kubernetesServiceHost": "127.0.0.1",
        "kubernetesServicePort": bed.api_server_port().to_string(),
        // An image of the same name may be another one after a build: its pods are to be new ones then.
        "podAnnotations": {"orlop.dev/image": image_digest(bed)?},
        "nodeGroups": groups,
        "operator": {
            "replicas": 1,
            "httpPort": bed.operator_port(),
            "agentsPort": 0,
            "kubeletSource": {"enabled": true, "interval": "10s"},
        },
        "local": {"enabled": true, "capacityPollInterval": "5s", "snapshots": {"enabled": true}},
        "sidecars": {
            "provisioner": {"repository": "orlop.dev/bed/csi-provisioner"},
            "resizer": {"repository": "orlop.dev/bed/csi-resizer"},
            "snapshotter": {"repository": "orlop.dev/bed/csi-snapshotter"},
        },
    }))
}

fn group(bed: &Bed, node: NodeNumber) -> Value {
    let pool = bed.pool_dir(node);
    // A directory of its own: the driver's container gets the file's directory, and must not get the kubelet's with it.
    let file: PathBuf = pool.with_file_name("disk").join("pool.img");
    json!({
        "name": node.to_string(),
        "nodeSelector": {"kubernetes.io/hostname": node.to_string()},
        "kubeletDir": bed.kubelet_dir(node),
        "cgroupRoot": bed.cgroup_root(node),
        "pool": {"directory": pool, "file": file, "size": POOL_SIZE},
    })
}

fn image_digest(bed: &Bed) -> Result<String, Error> {
    let archive = bed.bundle_dir().join("images/orlop.tar");
    let content = std::fs::read(&archive).on("read", &archive)?;
    let digest = Sha256::digest(&content);
    Ok(digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect())
}
