//! To whom an object belongs, by its own metadata: its owner references, and what Helm, Flux and Argo CD write on what they
//! apply.

#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_planner::{Belonging, Manager, Owner, Uid};

/// Set by Helm on all that it applies, with the label below: <https://helm.sh/docs/topics/charts/>, "adopt".
const HELM_RELEASE: &str = "meta.helm.sh/release-name";

/// Who manages an object, by the labels that Kubernetes recommends.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Set by Flux's kustomize-controller on all that a Kustomization applies.
const FLUX_KUSTOMIZATION: &str = "kustomize.toolkit.fluxcd.io/name";

/// Set by Flux's helm-controller on all that a HelmRelease applies.
const FLUX_HELM_RELEASE: &str = "helm.toolkit.fluxcd.io/name";

/// Set by Argo CD since 3.0 on all that an Application applies: `APPLICATION:GROUP/KIND:NAMESPACE/NAME`.
const ARGO_TRACKING: &str = "argocd.argoproj.io/tracking-id";

/// Set by Argo CD as a label or an annotation, where it is configured to.
const ARGO_INSTANCE: &str = "argocd.argoproj.io/instance";

/// To whom an object of this kind belongs. What these tools write is copied to other objects, by operators and from
/// templates; where it can be told that it was, it does not count.
pub(super) fn belonging(meta: &ObjectMeta, kind: &str) -> Belonging {
    Belonging { owner: owner(meta), manager: manager(meta, kind) }
}

/// The object that controls it, or else the first that owns it.
fn owner(meta: &ObjectMeta) -> Option<Owner> {
    let references = meta.owner_references.as_deref()?;
    let controller = references.iter().find(|it| it.controller == Some(true));
    controller.or_else(|| references.iter().find(|it| !is_for_deletion(it))).and_then(read)
}

/// What controls a pod.
pub(super) fn controller(meta: &ObjectMeta) -> Option<Owner> {
    meta.owner_references.as_deref()?.iter().find(|it| it.controller == Some(true)).and_then(read)
}

fn read(reference: &OwnerReference) -> Option<Owner> {
    (!is_for_deletion(reference)).then(|| Owner {
        api_version: reference.api_version.as_str().into(),
        kind: reference.kind.as_str().into(),
        name: reference.name.as_str().into(),
        uid: Uid(reference.uid.as_str().into()),
    })
}

/// A claim is owned by its StatefulSet, or by a pod, so that it is deleted with it.
fn is_for_deletion(reference: &OwnerReference) -> bool {
    matches!((&*reference.api_version, &*reference.kind), ("apps/v1", "StatefulSet") | ("v1", "Pod"))
}

/// Argo CD may apply what a chart or Flux has rendered with its labels on it, and Flux's helm-controller leaves those of
/// Helm: so the outer of them comes first.
fn manager(meta: &ObjectMeta, kind: &str) -> Option<Manager> {
    let label = |key: &str| meta.labels.as_ref()?.get(key).filter(|value| !value.is_empty());
    let annotation = |key: &str| meta.annotations.as_ref()?.get(key);
    let application = annotation(ARGO_TRACKING).and_then(|id| tracked(id, meta, kind));
    let application =
        application.or_else(|| Some(label(ARGO_INSTANCE).or_else(|| annotation(ARGO_INSTANCE))?.as_str()));
    let managed_by = || label(MANAGED_BY).map(String::as_str);
    let helm = || match (managed_by(), annotation(HELM_RELEASE)) {
        (Some("Helm"), Some(release)) => Some(Manager::Helm(release.as_str().into())),
        // Charts write the label also into their templates for other objects.
        (Some("Helm"), None) | (None, _) => None,
        (Some(other), _) => Some(Manager::Other(other.into())),
    };
    application
        .map(|name| Manager::ArgoCd(name.into()))
        .or_else(|| Some(Manager::FluxKustomization(label(FLUX_KUSTOMIZATION)?.as_str().into())))
        .or_else(|| Some(Manager::FluxHelmRelease(label(FLUX_HELM_RELEASE)?.as_str().into())))
        .or_else(helm)
}

/// The Application of a tracking id, where that is this object's own and not that of another from which it was copied, which
/// is how Argo CD tells, too.
fn tracked<'a>(id: &'a str, meta: &ObjectMeta, kind: &str) -> Option<&'a str> {
    let mut parts = id.splitn(3, ':');
    let (application, group_kind, object) = (parts.next()?, parts.next()?, parts.next()?);
    let kind_is_its_own = group_kind.rsplit('/').next() == Some(kind);
    let name_is_its_own = object.rsplit('/').next() == meta.name.as_deref();
    (kind_is_its_own && name_is_its_own).then_some(application)
}
