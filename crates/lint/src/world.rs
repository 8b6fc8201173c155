//! What all texts say together: objects, the claims that there are or will be, classes, drivers, policies.

use std::collections::BTreeMap;

use orlop_api::{
    Abilities, Bytes, DriverProfile, DriverProfileSpec, GROUP,
    driver::{built_in, profile_name},
};
use orlop_operator::objects;
use orlop_planner::{Budget, ClaimId, Governance, Labels, NamespaceName, Policy, PolicyId, PolicyKind, View};
use serde::de::DeserializeOwned;

use crate::{
    Place, Source,
    document::{Content, Node, Span},
};

/// An object of any kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'a> {
    pub source: usize,
    /// The API group without a version; none for the core group.
    pub group: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    /// The namespace it names, or else that of all objects that name none. Means nothing for what has none.
    pub namespace: &'a str,
    pub node: &'a Node,
}

impl<'a> Object<'a> {
    fn of(source: usize, node: &'a Node, namespace: &'a str) -> Option<Self> {
        let version = node.text("apiVersion")?;
        Some(Self {
            source,
            group: version.split_once('/').map_or("", |(group, _)| group),
            kind: node.text("kind")?,
            name: node.text("metadata.name").unwrap_or_default(),
            namespace: node.text("metadata.namespace").unwrap_or(namespace),
            node,
        })
    }

    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Where the field at a path stands, or what is around it: at last the object's name.
    pub fn place(&self, path: &str) -> Place {
        let is_there = path.split('.').next().is_some_and(|first| self.node.has(first));
        self.at(self.node.place(if is_there { path } else { "metadata.name" }))
    }

    /// A place in this object.
    pub fn at(&self, span: Span) -> Place {
        Place { source: self.source, span }
    }

    /// The kind and name.
    pub fn called(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// The labels at a path, or what else is a map of texts.
    pub fn labels(&self, path: &str) -> BTreeMap<String, String> {
        labels(self.node, path)
    }
}

pub(crate) fn labels(node: &Node, path: &str) -> BTreeMap<String, String> {
    node.fields(path).iter().filter_map(|(key, value)| Some((key.clone(), value.scalar()?))).collect()
}

/// What a claim's `storageClassName` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClassName<'a> {
    /// Nothing: the cluster's default class, whichever that is.
    Default,
    /// That there is none: no volume is made for the claim, and one is bound that is there already.
    None,
    /// This class.
    Named(&'a str),
}

/// A PersistentVolumeClaim, or the template of one, which stands for all claims that are made of it.
#[derive(Debug, Clone)]
pub(crate) struct Claim<'a> {
    /// The claim, or the StatefulSet of the template.
    pub object: Object<'a>,
    /// What has the claim's `metadata` and `spec`.
    pub node: &'a Node,
    pub id: ClaimId,
    pub labels: Labels,
    pub is_template: bool,
}

impl<'a> Claim<'a> {
    fn manifest(object: Object<'a>) -> Self {
        let id = claim_id(object.namespace, object.name);
        let labels = object.labels("metadata.labels").into();
        Self { object, node: object.node, id, labels, is_template: false }
    }

    /// A template has the labels of its own and those by which its set knows its pods (`getPersistentVolumeClaims` in
    /// the StatefulSet controller of Kubernetes). The first of its claims stands for all.
    fn template(set: Object<'a>, node: &'a Node) -> Self {
        let mut labels = labels(node, "metadata.labels");
        labels.extend(set.labels("spec.selector.matchLabels"));
        let first = set.node.whole("spec.ordinals.start").unwrap_or(0);
        let name = format!("{}-{}-{first}", node.text("metadata.name").unwrap_or_default(), set.name);
        Self { object: set, node, id: claim_id(set.namespace, &name), labels: labels.into(), is_template: true }
    }

    pub fn called(&self) -> String {
        if self.is_template {
            let template = self.node.text("metadata.name").unwrap_or_default();
            format!("claim template {template} of StatefulSet {}", self.object.name)
        } else {
            format!("claim {}", self.object.name)
        }
    }

    pub fn place(&self, path: &str) -> Place {
        self.object.at(self.node.place(path))
    }

    pub fn class(&self) -> ClassName<'a> {
        // The annotation is how a class was named before there was a field, and still is understood.
        let annotated =
            || labels(self.node, "metadata.annotations").contains_key("volume.beta.kubernetes.io/storage-class");
        match self.node.text("spec.storageClassName") {
            Some("") => ClassName::None,
            Some(name) => ClassName::Named(name),
            None if self.node.text("spec.volumeName").is_some() || annotated() => ClassName::None,
            None => ClassName::Default,
        }
    }

    /// The size that is asked for, where it is one.
    pub fn request(&self) -> Option<Bytes> {
        self.node.get("spec.resources.requests.storage")?.scalar()?.parse().ok()
    }

    pub fn is_block(&self) -> bool {
        self.node.text("spec.volumeMode") == Some("Block")
    }

    pub fn access_modes(&self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let modes = self.node.items("spec.accessModes").iter();
        modes.filter_map(|node| match &node.content {
            Content::Text(mode) => Some((mode.as_str(), node)),
            _ => None,
        })
    }

    /// Can no more than one node use it at a time?
    pub fn is_of_one_node(&self) -> bool {
        let mut modes = self.access_modes().peekable();
        modes.peek().is_some() && modes.all(|(mode, _)| matches!(mode, "ReadWriteOnce" | "ReadWriteOncePod"))
    }
}

fn claim_id(namespace: &str, name: &str) -> ClaimId {
    ClaimId { namespace: NamespaceName(namespace.into()), name: name.into() }
}

/// A StorageClass.
#[derive(Debug, Clone)]
pub(crate) struct Class<'a> {
    pub object: Object<'a>,
    pub provisioner: &'a str,
    pub is_expandable: bool,
    pub parameters: BTreeMap<String, String>,
}

impl Class<'_> {
    /// Do claims get it that name none?
    fn is_default(&self) -> bool {
        let annotations = self.object.labels("metadata.annotations");
        annotations.get("storageclass.kubernetes.io/is-default-class").is_some_and(|value| value == "true")
    }
}

/// A controller of pods, or a pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload<'a> {
    pub object: Object<'a>,
    /// The pod's `spec`.
    pub pod: &'a Node,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct World<'a> {
    sources: &'a [Source],
    pub objects: Vec<Object<'a>>,
    pub claims: Vec<Claim<'a>>,
    pub classes: BTreeMap<&'a str, Class<'a>>,
    pub workloads: Vec<Workload<'a>>,
    policies: BTreeMap<PolicyId, Object<'a>>,
    /// What the planner needs to say which policy governs a claim.
    view: View,
}

impl<'a> World<'a> {
    pub fn of(sources: &'a [Source], documents: &'a [Vec<Node>], namespace: &'a str) -> Self {
        let mut objects = Vec::new();
        for (source, documents) in documents.iter().enumerate() {
            for document in documents {
                unpack(source, document, namespace, &mut objects);
            }
        }
        let mut world = Self {
            sources,
            claims: objects.iter().copied().flat_map(claims).collect(),
            classes: objects.iter().copied().filter_map(class).collect(),
            workloads: objects.iter().copied().filter_map(workload).collect(),
            policies: BTreeMap::new(),
            view: View::default(),
            objects,
        };
        for object in world.objects.clone() {
            world.learn(object);
        }
        world
    }

    /// Puts what the planner is to know into the view. A policy or profile that cannot be read is left out: what is
    /// wrong with it is found by its schema.
    fn learn(&mut self, object: Object<'a>) {
        let namespace = || NamespaceName(object.namespace.into());
        match (object.group, object.kind) {
            ("", "Namespace") => {
                let labels = object.labels("metadata.labels");
                self.view.namespaces.insert(NamespaceName(object.name.into()), with_name(labels, object.name));
            }
            (GROUP, "StoragePolicy") => {
                let policy = typed(object).and_then(|policy| objects::policy(Ok(policy)).policy.ok());
                self.policy(PolicyKind::Namespaced(namespace()), object, policy);
            }
            (GROUP, "ClusterStoragePolicy") => {
                let policy = typed(object).and_then(|policy| objects::cluster_policy(Ok(policy)).policy.ok());
                self.policy(PolicyKind::Cluster, object, policy);
            }
            (GROUP, "DriverProfile") => {
                let profile = typed::<DriverProfile>(object);
                self.view.drivers.extend(profile.map(|profile| (object.name.to_owned(), profile.spec)));
            }
            _ => {}
        }
        // The API server gives each namespace a label with its name. Of one that no manifest describes, no other is known.
        if object.node.get("metadata.namespace").is_some() {
            let labels = with_name(BTreeMap::new(), object.namespace);
            self.view.namespaces.entry(namespace()).or_insert(labels);
        }
    }

    fn policy(&mut self, kind: PolicyKind, object: Object<'a>, policy: Option<Policy>) {
        let id = PolicyId { kind, name: object.name.into() };
        if let Some(policy) = policy {
            self.view.policies.insert(id.clone(), policy);
            self.policies.insert(id, object);
        }
    }

    pub fn policies(&self) -> impl Iterator<Item = (&PolicyId, &Policy, &Object<'a>)> {
        self.view.policies.iter().filter_map(|(id, policy)| Some((id, policy, self.policies.get(id)?)))
    }

    /// The policy that governs a claim, as the operator would have it.
    pub fn governance(&self, claim: &Claim<'_>) -> Governance {
        self.view.governance_of(&claim.id, &claim.labels)
    }

    /// Does the policy pick the claim, whether or not another goes before it?
    pub fn selects(&self, id: &PolicyId, policy: &Policy, claim: &Claim<'_>) -> bool {
        self.view.is_for(id, policy, &claim.id.namespace) && policy.claims.matches(&claim.labels)
    }

    /// Could the policy pick claims of this one's namespace?
    pub fn reaches(&self, id: &PolicyId, policy: &Policy, claim: &Claim<'_>) -> bool {
        self.view.is_for(id, policy, &claim.id.namespace)
    }

    /// Does the budget cover the claim?
    pub fn covers(&self, budget: &Budget, claim: &Claim<'_>) -> bool {
        let none = Labels::default();
        let namespace = self.view.namespaces.get(&claim.id.namespace).unwrap_or(&none);
        budget.namespaces.matches(namespace) && budget.claims.matches(&claim.labels)
    }

    /// The claim of that name that has a manifest.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Claim<'a>> {
        self.claims
            .iter()
            .find(|claim| !claim.is_template && claim.object.namespace == namespace && claim.object.name == name)
    }

    /// The claim's class, where it is among the texts.
    pub fn class_of(&self, claim: &Claim<'_>) -> Option<&Class<'a>> {
        match claim.class() {
            ClassName::Named(name) => self.classes.get(name),
            ClassName::Default => self.classes.values().find(|class| class.is_default()),
            ClassName::None => None,
        }
    }

    /// What is known of a driver, by an object among the texts or else by what is built in.
    pub fn profile(&self, driver: &str) -> Option<&DriverProfileSpec> {
        self.view.drivers.get(&*profile_name(driver)).or_else(|| built_in::get(driver))
    }

    /// What holds for the volumes of a class, where its driver is known.
    pub fn abilities<'w>(&'w self, class: &'w Class<'a>) -> Option<Abilities<'w>> {
        Some(self.profile(class.provisioner)?.abilities(&class.parameters))
    }

    /// Where an object is, for a sentence about another.
    pub fn whereabouts(&self, at: Place) -> String {
        format!("{}:{}", self.sources[at.source].name, at.span.line)
    }
}

fn with_name(mut labels: BTreeMap<String, String>, name: &str) -> Labels {
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    labels.into()
}

pub(crate) fn typed<K: DeserializeOwned>(object: Object<'_>) -> Option<K> {
    serde_json::from_value(object.node.to_json()).ok()
}

/// The object of a document, or those of a list.
fn unpack<'a>(source: usize, node: &'a Node, namespace: &'a str, objects: &mut Vec<Object<'a>>) {
    let is_list = node.text("kind").is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(Content::List(items)) = node.get("items").map(|items| &items.content) {
        for item in items {
            unpack(source, item, namespace, objects);
        }
    } else {
        objects.extend(Object::of(source, node, namespace));
    }
}

fn claims(object: Object<'_>) -> Vec<Claim<'_>> {
    match (object.group, object.kind) {
        ("", "PersistentVolumeClaim") => vec![Claim::manifest(object)],
        ("apps", "StatefulSet") => {
            object.node.items("spec.volumeClaimTemplates").iter().map(|node| Claim::template(object, node)).collect()
        }
        _ => Vec::new(),
    }
}

fn class(object: Object<'_>) -> Option<(&str, Class<'_>)> {
    let class = Class {
        object,
        provisioner: object.node.text("provisioner").unwrap_or_default(),
        is_expandable: object.node.flag("allowVolumeExpansion").unwrap_or(false),
        parameters: object.labels("parameters"),
    };
    object.is("storage.k8s.io", "StorageClass").then_some((object.name, class))
}

fn workload(object: Object<'_>) -> Option<Workload<'_>> {
    let path = match (object.group, object.kind) {
        ("", "Pod") => "spec",
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("", "ReplicationController")
        | ("batch", "Job") => "spec.template.spec",
        ("batch", "CronJob") => "spec.jobTemplate.spec.template.spec",
        _ => return None,
    };
    Some(Workload { object, pod: object.node.get(path)? })
}
