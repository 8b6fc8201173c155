use serde_json::{Value, json};

use super::*;

fn of(metadata: &Value) -> Belonging {
    let mut metadata = metadata.clone();
    metadata["name"] = json!("db");
    metadata["namespace"] = json!("shop");
    belonging(&serde_json::from_value(metadata).unwrap(), "StatefulSet")
}

fn labelled(labels: &Value) -> Option<String> {
    of(&json!({ "labels": labels })).manager.map(|manager| manager.to_string())
}

fn annotated(annotations: &Value) -> Option<String> {
    of(&json!({ "annotations": annotations })).manager.map(|manager| manager.to_string())
}

fn reference(api_version: &str, kind: &str, controller: bool) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "name": "main", "uid": "u", "controller": controller })
}

#[test]
fn what_flux_and_argo_cd_apply_they_say_by_a_label_or_an_annotation() {
    assert_eq!(labelled(&json!({ FLUX_KUSTOMIZATION: "apps" })).as_deref(), Some("Flux Kustomization apps"));
    assert_eq!(labelled(&json!({ FLUX_HELM_RELEASE: "shop" })).as_deref(), Some("Flux HelmRelease shop"));
    assert_eq!(labelled(&json!({ ARGO_INSTANCE: "shop" })).as_deref(), Some("Argo CD Application shop"));
    assert_eq!(annotated(&json!({ ARGO_INSTANCE: "shop" })).as_deref(), Some("Argo CD Application shop"));
    let tracked = json!({ ARGO_TRACKING: "shop:apps/StatefulSet:shop/db" });
    assert_eq!(annotated(&tracked).as_deref(), Some("Argo CD Application shop"));
}

#[test]
fn what_argo_cd_has_written_on_another_object_counts_nothing_on_its_copy() {
    for other in ["shop:apps/StatefulSet:shop/other", "shop:example.com/Database:shop/db", "shop"] {
        assert_eq!(annotated(&json!({ ARGO_TRACKING: other })), None, "{other}");
    }
}

#[test]
fn what_helm_applies_has_its_label_and_its_annotation() {
    let helm = |release: Option<&str>| {
        let annotations = release.map(|release| json!({ HELM_RELEASE: release }));
        of(&json!({ "labels": { MANAGED_BY: "Helm" }, "annotations": annotations })).manager
    };
    assert_eq!(helm(Some("shop")), Some(Manager::Helm("shop".into())));
    assert_eq!(helm(None), None, "a template of the chart has copied the label");
    assert_eq!(annotated(&json!({ HELM_RELEASE: "shop" })), None);
    assert_eq!(labelled(&json!({ MANAGED_BY: "terraform" })).as_deref(), Some("terraform"));
    assert_eq!(labelled(&json!({ MANAGED_BY: "" })), None);
}

#[test]
fn the_outermost_of_several_managers_counts() {
    let both = json!({
        "labels": { MANAGED_BY: "Helm", FLUX_HELM_RELEASE: "shop", ARGO_INSTANCE: "all" },
        "annotations": { HELM_RELEASE: "shop" },
    });
    assert_eq!(of(&both).manager, Some(Manager::ArgoCd("all".into())));
    let flux =
        json!({ "labels": { MANAGED_BY: "Helm", FLUX_HELM_RELEASE: "shop" }, "annotations": { HELM_RELEASE: "s" } });
    assert_eq!(of(&flux).manager, Some(Manager::FluxHelmRelease("shop".into())));
}

#[test]
fn the_owner_is_what_controls_an_object_and_not_what_it_is_deleted_with() {
    let kind =
        |references: &[Value]| of(&json!({ "ownerReferences": references })).owner.map(|owner| owner.kind.to_string());
    let cluster = |controller| reference("postgresql.cnpg.io/v1", "Cluster", controller);
    assert_eq!(kind(&[cluster(false)]).as_deref(), Some("Cluster"));
    assert_eq!(kind(&[reference("v1", "Secret", false), cluster(true)]).as_deref(), Some("Cluster"));
    assert_eq!(kind(&[reference("apps/v1", "StatefulSet", true)]), None);
    assert_eq!(kind(&[reference("v1", "Pod", false), cluster(false)]).as_deref(), Some("Cluster"));
    assert_eq!(kind(&[]), None);
}
