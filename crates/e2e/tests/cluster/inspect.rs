//! `orlop explain`, `status` and `top` ask the operator that leads, through the API server.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Api, api::PostParams, config::Kubeconfig};
use orlop_api::Bytes;
use orlop_e2e::{
    eventually,
    namespace::LIMIT,
    operator::binary,
    site::{SYSTEM, Site},
    volume::{Volume, Wanted},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::growth::policy;

/// Runs `orlop` as a user with this kubeconfig does, without a terminal.
async fn orlop(kubeconfig: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary()?);
    command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command.output().await.context("cannot run orlop")
}

/// What it prints where it succeeds.
async fn printed(site: &Site, arguments: &[&str]) -> anyhow::Result<String> {
    let output = orlop(&site.bed.kubeconfig_path(), arguments).await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "orlop {}: {complaint}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// The operator's account of a claim.
pub(crate) async fn explained(site: &Site, namespace: &str, claim: &str) -> anyhow::Result<Value> {
    let explain = ["explain", &format!("pvc/{claim}"), "--namespace", namespace, "--output", "json"];
    Ok(serde_json::from_str(&printed(site, &explain).await?)?)
}

pub(crate) async fn explain_status_and_top_tell_what_the_operator_has_decided(site: &Site) -> anyhow::Result<()> {
    let namespace = "inspect";
    site.namespace(namespace).await?;
    let wanted = Wanted { namespace, name: "told", size: "320Mi", class: "orlop-local" };
    let volume = Volume::create(site, &wanted).await?;
    let capacity = json!({"minFree": "64Mi", "increase": "64Mi", "maximum": "1Gi"});
    site.apply(&policy(namespace, "told", "Recommend", &capacity)).await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    let account = eventually("the operator to recommend a growth", LIMIT, || async {
        let account = explained(site, namespace, "told").await?;
        Ok((account["decision"]["act"] == "Recommend").then_some(account))
    })
    .await?;
    ensure!(account["decision"]["reason"] == "BelowMinFree", "another reason: {account}");
    ensure!(account["decision"]["target"] == "384Mi", "another size: {account}");
    ensure!(account["usage"]["node"] == json!(volume.node), "measured elsewhere: {account}");
    ensure!(account["governed"]["policy"] == format!("StoragePolicy {namespace}/told"), "another policy: {account}");

    let text = printed(site, &["explain", "told", "-n", namespace]).await?;
    for part in ["Recommend to 384Mi (BelowMinFree)", "minFree 64Mi", "local.orlop.dev", "Another decision follows"] {
        ensure!(text.contains(part), "{part} is missing in\n{text}");
    }
    ensure!(!text.contains('\u{1b}'), "colours where there is no terminal");
    let table = printed(site, &["top", "-n", namespace]).await?;
    let line = table.lines().find(|line| line.contains("told")).context("top does not list the claim")?;
    ensure!(line.contains("BelowMinFree") && line.contains("384Mi"), "top says {line}");

    let check = ["status", "-n", namespace, "--check"];
    let output = orlop(&site.bed.kubeconfig_path(), &check).await?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(1), "a claim that needs a hand passes the check");
    ensure!(
        text.contains(&format!("{namespace}/told (BelowMinFree)")),
        "the claim is not among what is to do:\n{text}"
    );
    site.apply(&policy(namespace, "told", "Auto", &capacity)).await?;
    volume.grown_to(Bytes(384 << 20), LIMIT).await?;
    eventually("nothing to need a hand any more", LIMIT, || async {
        let output = orlop(&site.bed.kubeconfig_path(), &check).await?;
        Ok(output.status.success().then_some(()))
    })
    .await?;
    let fleet: Value = serde_json::from_str(&printed(site, &["status", "-n", namespace, "-o", "json"]).await?)?;
    ensure!(fleet["growths"]["claims"] == 1, "the growth is not counted: {fleet}");
    ensure!(fleet["agents"]["connected"] == json!(site.node_count()), "not every agent is connected: {fleet}");
    site.remove_namespace(namespace).await
}

pub(crate) async fn kubectl_runs_it_as_a_plugin(site: &Site) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(binary()?, folder.path().join("kubectl-orlop"))?;
    let mut kubectl = Command::new(site.bed.program("kubectl"));
    kubectl.args(["orlop", "status"]).env("KUBECONFIG", site.bed.kubeconfig_path()).env("PATH", folder.path());
    let output = kubectl.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.contains("Measurements"), "it says {text}");
    Ok(())
}

pub(crate) async fn only_who_has_the_role_may_ask_and_others_are_told_which_it_is(site: &Site) -> anyhow::Result<()> {
    let namespace = "inspect-rights";
    site.namespace(namespace).await?;
    site.kubectl(&["-n", namespace, "create", "serviceaccount", "looker"], "").await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(site.client.clone(), namespace);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}}))?;
    let answer = accounts.create_token_request("looker", &PostParams::default(), &request).await?;
    let token = answer.status.and_then(|status| status.token).context("a token request without an answer")?;
    let mut kubeconfig = json!(Kubeconfig::read_from(site.bed.kubeconfig_path())?);
    for user in kubeconfig["users"].as_array_mut().context("a kubeconfig without users")? {
        user["user"] = json!({"token": token});
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), kubeconfig.to_string())?;

    let output = orlop(file.path(), &["status"]).await?;
    let complaint = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && complaint.contains("--role=orlop-viewer"), "it says {complaint}");
    let subject = format!("--serviceaccount={namespace}:looker");
    let bind = ["-n", SYSTEM, "create", "rolebinding", namespace, "--role=orlop-viewer", &subject];
    site.kubectl(&bind, "").await?;
    let asked = eventually("the role to be enough", LIMIT, || async {
        let output = orlop(file.path(), &["status"]).await?;
        Ok(output.status.success().then_some(()))
    })
    .await;
    site.kubectl(&["-n", SYSTEM, "delete", "rolebinding", namespace], "").await?;
    asked?;
    site.remove_namespace(namespace).await
}
