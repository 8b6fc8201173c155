//! A program that has filled its disk and crashes since, again and again, is rescued by a policy that comes too late. Of a
//! pod that waits to be started again the kubelet reports no volumes, and the agent does.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use orlop_api::Bytes;
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace, claim, pod},
    site::Site,
    volume::Volume,
};
use serde_json::{Value, json};

use crate::{growth::policy, inspect::explained};

/// Writes 96 files of 4 MiB, each named by the checksum of what is in it, and ends where it cannot, as a database does. When
/// all are there and read back as they were written, it says so, and rests.
const PROGRAM: &str = r#"
cd /data
rm -f part
while [ "$(ls | wc -l)" -lt 96 ]; do
    head -c 4194304 /dev/urandom > part
    sync part
    sum=$(sha256sum part)
    mv part "${sum%% *}"
    sleep 0.1
done
for file in *; do
    [ "$(sha256sum "$file")" = "$file  $file" ]
done
touch /tmp/whole
exec sleep infinity
"#;

/// What the program has written completely.
fn written(mount: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(mount).with_context(|| format!("cannot list {}", mount.display()))? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    names.remove("part");
    Ok(names)
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// Is the pod waiting to be started again after it has crashed more than once?
fn crashes_in_a_loop(pod: &Pod) -> bool {
    container(pod).is_some_and(|status| {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        status.restart_count > 1 && waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    })
}

/// Does a kubelet say how full the claim's volume is?
async fn kubelet_tells(site: &Site, node: &str, namespace: &str, claim: &str) -> anyhow::Result<bool> {
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
    let summary: Value = site.client.request(http::Request::get(path).body(Vec::new())?).await?;
    let volumes = summary["pods"].as_array().into_iter().flatten().filter_map(|pod| pod["volume"].as_array()).flatten();
    let wanted = json!({"name": claim, "namespace": namespace});
    Ok(volumes.into_iter().any(|volume| volume["pvcRef"] == wanted && volume["availableBytes"].is_u64()))
}

pub(crate) async fn a_pod_that_crashes_in_a_loop_on_a_full_disk_is_rescued_with_its_data(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "rescue").await?;
    let data = claim("data", "orlop-local", "320Mi");
    let mut program = pod("program", &[&data]);
    let main = &mut program["spec"]["containers"][0];
    main["command"] = json!(["sh", "-euc", PROGRAM]);
    main["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "/tmp/whole"]}, "periodSeconds": 1});
    namespace.apply([data, program]).await?;

    let pods = namespace.pods();
    let crashing = eventually("the pod to crash again and again", LIMIT, || async {
        Ok(Some(pods.get("program").await?).filter(crashes_in_a_loop))
    })
    .await?;
    let volume = Volume::of(site, &crashing, "data").await?;
    ensure!(volume.free()? < Bytes(8 << 20), "it crashes for another reason: {} are free", volume.free()?);
    let before = written(&volume.mount)?;
    let (node, name) = (&volume.node, namespace.name);
    // While the container does not run: on a bed for two seconds at a time, elsewhere for up to five minutes.
    eventually("the kubelet to say nothing of the volume", LIMIT, || async {
        Ok((!kubelet_tells(site, node, name, "data").await?).then_some(()))
    })
    .await?;
    let account = explained(site, name, "data").await?;
    ensure!(account["usage"]["source"] == "Agent", "the agent does not measure it: {account}");
    ensure!(
        account["governed"]["policy"].is_null() && account["growth"].is_null(),
        "it is governed already: {account}"
    );

    // One growth is enough for what the program still writes, so that its record is of the one that rescued it.
    let capacity = json!({"minFree": "64Mi", "increase": "256Mi", "maximum": "1Gi"});
    site.apply(&policy(name, "data", "Auto", &capacity)).await?;
    let record = volume.grown_to(Bytes(576 << 20), LIMIT).await?;
    namespace.ready("program").await?;
    let rescued = pods.get("program").await?;
    let status = container(&rescued).context("a ready pod without a container")?;
    let running = status.state.as_ref().and_then(|state| state.running.as_ref()).context("a ready pod does not run")?;
    let began = running.started_at.as_ref().context("a container that has begun at no time")?;
    // Kubernetes tells times in whole seconds.
    ensure!(
        record.decided.as_second() <= began.0.as_second(),
        "the growth was decided only when the pod ran again: {record:?}, {status:?}"
    );
    let crashed = container(&crashing).context("a pod that crashes without a container")?.restart_count;
    ensure!(status.restart_count > crashed, "it has not crashed again: {status:?}");

    // The program has read all of it back; what it had written before the rescue is among that.
    let after = written(&volume.mount)?;
    ensure!(after.len() == 96 && after.is_superset(&before), "of {before:?} there are {after:?}");
    namespace.remove().await
}
