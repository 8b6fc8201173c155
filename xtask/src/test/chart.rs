//! The chart: it passes helm's lint and ours and renders with every set of values in `ci/` and among the examples, what it
//! renders is sound, the command lines in it are ones that `orlop` understands, and every value is documented.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize as _;
use serde_json::Value;

use crate::{cache, run};

/// Values that the chart's schema must refuse, each with a word of its message.
const REFUSED: [(&str, &str); 12] = [
    ("nodeGroups[0].name=x", "kubeletDir"),
    (
        "nodeGroups[0].name=x,nodeGroups[0].kubeletDir=/k,nodeGroups[0].pool.directory=/p,nodeGroups[0].pool.size=1Gi",
        "pool",
    ),
    (
        "nodeGroups[0].name=x,nodeGroups[0].kubeletDir=/k,nodeGroups[0].pool.directory=/p,\
         nodeGroups[0].pool.device=/dev/sdb,nodeGroups[0].pool.file=/f,nodeGroups[0].pool.size=1Gi",
        "pool",
    ),
    ("operator.replicas=0", "replicas"),
    ("operator.prometheus.servers[0].url=http://me:secret@prometheus", "url"),
    (
        "operator.prometheus.servers[0].url=http://p,operator.prometheus.servers[0].bearerTokenFile=a,\
         operator.prometheus.servers[0].basicAuthFile=b",
        "servers",
    ),
    ("monitoring.prometheusRule.runbookPrefix=https://example.com", "runbookPrefix"),
    ("opertor.replicas=1", "opertor"),
    ("local.storageClasses[0].name=x,local.storageClasses[0].provisioning=lazy", "provisioning"),
    ("local.storageClasses[0].name=x,local.storageClasses[0].fsType=zfs", "fsType"),
    ("local.volumeAttributesClasses[0].name=x", "volumeAttributesClasses"),
    ("local.volumeAttributesClasses[0].name=x,local.volumeAttributesClasses[0].iops=1", "iops"),
];

/// What must be among what is rendered with a set of values, and what must not: kinds, names, arguments of containers, and what
/// the operator may do in every namespace, as `VERB GROUP/RESOURCE`.
const RENDERED: [(&str, &[&str], &[&str]); 5] = [
    (
        "bed-values.yaml",
        &[
            "VolumeSnapshotClass",
            "VolumeGroupSnapshotClass",
            "--local-driver",
            "--http-address=$(POD_IP):9808",
            "--maintenance",
            "patch apps/deployments",
            "patch apps/statefulsets",
            "watch apps/deployments",
            "watch autoscaling/horizontalpodautoscalers",
        ],
        &["VolumeAttributesClass", "--local-clean-up-after=24h", "PodMonitor"],
    ),
    (
        "default-values.yaml",
        &["Deployment", "orlop-viewer", "--claim-metrics=100000"],
        &[
            "CSIDriver",
            "StorageClass",
            "VolumeSnapshotClass",
            "--local-driver",
            "PodMonitor",
            "PrometheusRule",
            "--prometheus-interval=30s",
            "--template-sync",
            "--maintenance",
            "patch apps/deployments",
            "patch apps/statefulsets",
            "watch apps/deployments",
            "--http-address=0.0.0.0:9809",
        ],
    ),
    (
        "local-values.yaml",
        &[
            "VolumeAttributesClass",
            "VolumeSnapshotClass",
            "--local-clean-up-after=24h",
            "--http-address=0.0.0.0:9808",
            "--pool-device=/dev/disk/by-id/nvme-eui.0123456789abcdef",
            "--cgroup-root=/kubernetes",
            "--template-sync",
            "--overcommit=1.5",
        ],
        &["--pool-device=", "--pool-file="],
    ),
    (
        "monitoring-values.yaml",
        &[
            "PodMonitor",
            "PrometheusRule",
            "--claim-metrics=0",
            "--prometheus-interval=1m",
            r#"--prometheus={"url":"http://prometheus.monitoring.svc:9090"}"#,
            r#"--prometheus={"basicAuthFile":"/run/password","caFile":"/etc/orlop/prometheus/ca.crt","matchLabels":{"cluster":"a"},"timeout":"20s","url":"https://thanos.example.com/querier"}"#,
            "--http-address=0.0.0.0:9809",
        ],
        &[],
    ),
    (
        "sources.yaml",
        &[
            "--kubelet-interval=30s",
            r#"--prometheus={"url":"http://prometheus-a.monitoring.svc:9090"}"#,
            r#"--prometheus={"matchLabels":{"cluster":"production"},"timeout":"5s","url":"http://prometheus-b.monitoring.svc:9090"}"#,
        ],
        &[],
    ),
];

pub fn check(root: &Path, orlop: &Path) -> Result<()> {
    let chart = root.join("charts/orlop");
    documented(&chart)?;
    for values in value_sets(&[&chart.join("ci"), &root.join("examples/values")])? {
        let name = values.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut template = helm("template", &chart)?;
        template.args(["--namespace", "orlop-system", "--include-crds", "--values"]).arg(&values);
        let rendered = run::output(&mut template)?;
        // After rendering, whose errors say where they are.
        run::output(helm("lint", &chart)?.arg("--strict").arg("--values").arg(&values))?;
        linted(&rendered, orlop).with_context(|| name.clone())?;
        let objects = objects(&rendered)?;
        for object in &objects {
            sound(object, orlop)
                .with_context(|| format!("{name}: {} {}", object["kind"], object["metadata"]["name"]))?;
        }
        expected(&name, &objects)?;
    }
    for (value, word) in REFUSED {
        match run::output(helm("template", &chart)?.args(["--set", value])) {
            Ok(_) => bail!("the chart's schema lets {value} pass"),
            Err(error) => {
                ensure!(error.to_string().contains(word), "{value} is refused without naming {word}: {error}");
            }
        }
    }
    Ok(())
}

/// `orlop lint` finds nothing in it that would have to be seen to, and reads it as a user's would be read.
fn linted(rendered: &str, orlop: &Path) -> Result<()> {
    let mut lint = Command::new(orlop)
        .args(["lint", "--deny", "warnings", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It prints nothing before it has read everything.
    lint.stdin.take().context("its input is not ours")?.write_all(rendered.as_bytes())?;
    let output = lint.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "orlop lint finds:\n{}", String::from_utf8_lossy(&said).trim());
    Ok(())
}

fn helm(command: &str, chart: &Path) -> Result<Command> {
    let mut helm = Command::new(cache::bundle_link()?.join("bin/helm"));
    helm.arg(command).arg(chart);
    Ok(helm)
}

fn value_sets(folders: &[&Path]) -> Result<Vec<PathBuf>> {
    let mut sets = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let before = sets.len();
        sets.extend(entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?);
        ensure!(sets.len() > before, "there are no values to render the chart with in {}", folder.display());
    }
    sets.sort();
    Ok(sets)
}

fn objects(rendered: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(rendered).map(Value::deserialize);
    Ok(documents.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|document| !document.is_null()).collect())
}

/// What is rendered with these values is what [`RENDERED`] says.
fn expected(values: &str, objects: &[Value]) -> Result<()> {
    let mut there: BTreeSet<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    there.extend(objects.iter().filter_map(|object| object["metadata"]["name"].as_str()));
    there.extend(objects.iter().flat_map(containers).flat_map(arguments));
    let rights: Vec<_> = objects.iter().filter(|object| is_operators_role(object)).flat_map(rights).collect();
    there.extend(rights.iter().map(String::as_str));
    let (_, wanted, unwanted) = RENDERED
        .iter()
        .find(|(name, ..)| *name == values)
        .with_context(|| format!("nothing is expected of {values}"))?;
    for what in *wanted {
        ensure!(there.contains(what), "{values} renders no {what}");
    }
    for what in *unwanted {
        ensure!(!there.contains(what), "{values} renders {what}");
    }
    Ok(())
}

fn is_operators_role(object: &Value) -> bool {
    object["kind"] == "ClusterRole" && object["metadata"]["name"] == "orlop-operator"
}

/// What a role lets one do: `patch apps/deployments`.
fn rights(role: &Value) -> impl Iterator<Item = String> {
    list(&role["rules"]).flat_map(|rule| {
        let texts = |field: &str| list(&rule[field]).filter_map(Value::as_str).collect::<Vec<_>>();
        let (groups, resources, verbs) = (texts("apiGroups"), texts("resources"), texts("verbs"));
        let of = |group: &&str| resources.iter().map(|resource| format!("{group}/{resource}")).collect::<Vec<_>>();
        let objects: Vec<_> = groups.iter().flat_map(of).collect();
        verbs.iter().flat_map(|verb| objects.iter().map(move |it| format!("{verb} {it}"))).collect::<Vec<_>>()
    })
}

fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    list(&object["spec"]["template"]["spec"]["containers"])
}

fn arguments(container: &Value) -> impl Iterator<Item = &str> {
    list(&container["args"]).filter_map(Value::as_str)
}

/// What must hold for every rendered object.
fn sound(object: &Value, orlop: &Path) -> Result<()> {
    for field in ["apiVersion", "kind"] {
        ensure!(object[field].is_string(), "has no {field}");
    }
    for rule in list(&object["rules"]) {
        least(rule, object["kind"] == "ClusterRole")?;
    }
    for container in containers(object) {
        if container["image"].as_str().is_some_and(|image| image.contains("orlop.dev/orlop:")) {
            // As the kubelet puts the environment in.
            let arguments: Vec<_> = arguments(container).map(|it| it.replace("$(POD_IP)", "192.0.2.1")).collect();
            understood(&arguments, orlop)?;
        }
    }
    Ok(())
}

/// No rule grants everything of a kind, and none grants Secrets in all namespaces.
fn least(rule: &Value, everywhere: bool) -> Result<()> {
    let has = |field: &str, what: &str| list(&rule[field]).any(|value| value == what);
    for field in ["apiGroups", "resources", "verbs"] {
        ensure!(!has(field, "*"), "a rule with * in its {field}");
    }
    ensure!(!everywhere || !has("resources", "secrets"), "Secrets of all namespaces");
    let reads_secrets = has("resources", "secrets") && !(list(&rule["verbs"]).all(|verb| verb == "create"));
    ensure!(!reads_secrets || rule["resourceNames"].is_array(), "Secrets of any name");
    Ok(())
}

/// `orlop` understands these arguments. It reads them all before it comes to `--help`, and does nothing.
fn understood(arguments: &[String], orlop: &Path) -> Result<()> {
    run::output(Command::new(orlop).args(arguments).arg("--help"))?;
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The README names every value that there is, and no other.
fn documented(chart: &Path) -> Result<()> {
    let values: Value = serde_yaml_ng::from_str(&fs::read_to_string(chart.join("values.yaml"))?)?;
    let mut there = BTreeSet::new();
    leaves("", &values, &mut there);
    let readme = fs::read_to_string(chart.join("README.md"))?;
    let named = named(&readme);
    let missing: Vec<_> = there.difference(&named).collect();
    ensure!(missing.is_empty(), "the chart's README does not name {missing:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !there.iter().any(|leaf| leaf.starts_with(*name))).collect();
    ensure!(unknown.is_empty(), "the chart's README names what is no value: {unknown:?}");
    Ok(())
}

/// The paths of the values that a user would set: `operator.replicas`, `nodeGroups[].name`.
fn leaves(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        // Passed on as it is, so its fields are Kubernetes' own.
        _ if path.ends_with("resources") => drop(found.insert(path.to_owned())),
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(&path, value, found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                leaves(&format!("{path}[]"), item, found);
            }
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

/// The names in the first column of the README's table of values.
fn named(readme: &str) -> BTreeSet<String> {
    readme
        .lines()
        .skip_while(|line| !line.starts_with("| value |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_named_by_their_path() {
        let mut found = BTreeSet::new();
        let values = json!({ "a": { "b": 1, "resources": { "c": 2 } }, "d": [{ "e": {} }], "f": [], "g": ["h"] });
        leaves("", &values, &mut found);
        assert_eq!(found, ["a.b", "a.resources", "d[].e", "f", "g"].map(str::to_owned).into());
    }

    #[test]
    fn names_are_those_in_the_first_column_of_the_table() {
        let readme = "| `not.me` |\n\n| value | default |\n|---|---|\n| `a.b`, `c` | `d` |\n\n| `nor.me` |\n";
        assert_eq!(named(readme), ["a.b", "c"].map(str::to_owned).into());
    }

    #[test]
    fn a_rule_that_grants_too_much_is_refused() {
        let rule = |resource: &str, verb: &str| json!({ "apiGroups": [""], "resources": [resource], "verbs": [verb] });
        assert!(least(&rule("pods", "get"), true).is_ok());
        assert!(least(&rule("secrets", "create"), false).is_ok());
        assert!(least(&rule("pods", "*"), false).is_err());
        assert!(least(&rule("*", "get"), false).is_err());
        assert!(least(&rule("secrets", "create"), true).is_err());
        assert!(least(&rule("secrets", "get"), false).is_err());
    }
}
