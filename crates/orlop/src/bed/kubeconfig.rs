//! Kubeconfigs with everything inside, so that one can be copied to where the bed's files are not.

use std::{fs, path::Path};

use k8s_openapi::ByteString;
use serde_json::json;

use super::{
    Error,
    error::OnPath as _,
    files::{self, Readers},
    layout::Layout,
    pki,
};

/// Writes a kubeconfig to `path` that authenticates by the certificate named `certificate` at the API server's `port`.
pub(super) fn write(layout: &Layout, path: &Path, certificate: &str, port: u16) -> Result<(), Error> {
    let read = |path: std::path::PathBuf| fs::read(&path).map(ByteString).on("read", path);
    // Named after the bed, so that several merge into one file.
    let name = format!("orlop-{}", layout.name);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": read(layout.certificate(pki::CA))?,
        }}],
        "users": [{"name": name, "user": {
            "client-certificate-data": read(layout.certificate(certificate))?,
            "client-key-data": read(layout.key(certificate))?,
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    });
    let text = serde_yaml_ng::to_string(&config).map_err(std::io::Error::other).on("write", path)?;
    files::write(path, &text, Readers::Owner)
}
