//! The examples as a user applies them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use orlop_e2e::site::{Site, repository};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// The files with objects; those in `values` are for helm.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("values") {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Is the object of Kubernetes or of Orlop, and not of an operator that the cluster does not have?
fn is_known(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    group.is_none_or(|group| !group.contains('.') || group.ends_with(".k8s.io") || group == "orlop.dev")
}

pub(crate) async fn the_api_server_takes_every_example(site: &Site) -> anyhow::Result<()> {
    let mut namespaces = BTreeSet::new();
    for file in files(&repository().join("examples"))? {
        let text = std::fs::read_to_string(&file)?;
        let documents = serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize);
        let mut objects: Vec<Value> = documents.collect::<Result<_, _>>()?;
        objects.retain(is_known);
        ensure!(!objects.is_empty(), "there is nothing in {}", file.display());
        for name in objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str()) {
            // That one is always there, and must stay.
            if name != "default" && namespaces.insert(name.to_owned()) {
                site.namespace(name).await?;
            }
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let taken = site.kubectl(&["apply", "--dry-run=server", "-f", "-"], &list.to_string()).await;
        taken.with_context(|| file.display().to_string())?;
    }
    for name in &namespaces {
        site.remove_namespace(name).await?;
    }
    Ok(())
}
