//! The API server as far as the operator can tell: objects with UIDs and versions, patches with their preconditions, and
//! what it refuses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::LeaseSpec, core::v1::ConfigMap};
use kube::core::{DeserializeGuard, Status, params::Patch};
use orlop_api::Bytes;
use orlop_operator::{
    objects::{self, PodObject},
    observe::{Change, Observation},
    request::{Request, StatusId, Target},
    stored,
};
use orlop_planner::{ClaimId, NamespaceName, PolicyKind, SetId, WorkloadId};
use serde_json::{Value, json};

use crate::scenario::Scenario;

/// Where a claim has its requested size.
const REQUEST: &str = "/spec/resources/requests/storage";

/// The namespace of everything.
pub(crate) const NAMESPACE: &str = "app";

/// The kinds of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Claim,
    Volume,
    Pod,
    Namespace,
    Node,
    Class,
    Policy,
    ClusterPolicy,
    Budget,
    Driver,
    AttributesClass,
    Set,
    /// What is stored of a StatefulSet, by the StatefulSet's name.
    Stored,
}

impl Kind {
    /// Those that every world has.
    const ALWAYS: [Self; 10] = [
        Self::Claim,
        Self::Volume,
        Self::Pod,
        Self::Namespace,
        Self::Node,
        Self::Class,
        Self::Policy,
        Self::ClusterPolicy,
        Self::Budget,
        Self::Driver,
    ];

    /// Those that a world may do without. Whoever watches them takes a part of the chance, so they are watched where they are
    /// there, and known to be empty elsewhere.
    const SOMETIMES: [Self; 3] = [Self::AttributesClass, Self::Set, Self::Stored];

    /// The kinds of which the world of a scenario has objects.
    pub(crate) fn present(scenario: &Scenario) -> Vec<Self> {
        Self::ALWAYS.into_iter().chain(Self::SOMETIMES.into_iter().filter(|kind| kind.is_in(scenario))).collect()
    }

    /// The kinds of which it has none.
    pub(crate) fn absent(scenario: &Scenario) -> Vec<Self> {
        Self::SOMETIMES.into_iter().filter(|kind| !kind.is_in(scenario)).collect()
    }

    fn is_in(self, scenario: &Scenario) -> bool {
        match self {
            Self::Set | Self::Stored => !scenario.sets.is_empty(),
            Self::AttributesClass => !scenario.attributes_classes.is_empty(),
            _ => true,
        }
    }

    const fn is_namespaced(self) -> bool {
        matches!(self, Self::Claim | Self::Pod | Self::Policy | Self::Set)
    }

    /// What the operator is told of an object of the kind, by its own reading; none where it cannot read it.
    pub(crate) fn observe(self, name: &str, object: Option<&Value>) -> Option<Observation> {
        let meta: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta = serde_json::from_value(json!({
            "name": name,
            "namespace": self.is_namespaced().then_some(NAMESPACE),
        }))
        .ok()?;
        let meta = &meta;
        Some(match self {
            Self::Claim => Observation::Claim(change(objects::claim_id(meta), object, |it| objects::claim(it).ok())),
            Self::Volume => Observation::Volume(change(name.into(), object, |it| objects::volume(it).ok())),
            Self::Pod => Observation::Pod(change(objects::pod_id(meta), object, |it: PodObject| objects::pod(&it))),
            Self::Namespace => Observation::Namespace(change(objects::namespace_name(meta), object, |_: Value| {
                Some(orlop_planner::Labels::default())
            })),
            Self::Node => Observation::Node(change(name.to_owned(), object, |_: Value| Some(()))),
            Self::Class => Observation::Class(change(name.to_owned(), object, |it| Some(objects::class(it)))),
            Self::Policy => Observation::Policy(change(objects::policy_id(meta), object, |it: DeserializeGuard<_>| {
                Some(objects::policy(it.0))
            })),
            Self::ClusterPolicy => Observation::ClusterPolicy(change(
                objects::cluster_policy_id(meta),
                object,
                |it: DeserializeGuard<_>| Some(objects::cluster_policy(it.0)),
            )),
            Self::Budget => {
                Observation::Budget(change(objects::budget_name(meta), object, |it: DeserializeGuard<_>| {
                    Some(objects::budget(it.0))
                }))
            }
            Self::Set => Observation::Set(change(objects::set_id(meta), object, |it| Some(objects::set(it)))),
            Self::Stored => Observation::Stored(change(set_id(name), object, |it: ConfigMap| stored::facts(&it).ok())),
            Self::AttributesClass => {
                Observation::AttributesClass(change(name.to_owned(), object, |it| Some(objects::attributes_class(it))))
            }
            Self::Driver => {
                Observation::Driver(change(name.to_owned(), object, |it: orlop_api::DriverProfile| Some(it.spec)))
            }
        })
    }

    /// What begins and ends a list of the kind.
    pub(crate) fn list(self) -> (Observation, Observation) {
        macro_rules! list {
            ($kind:ident) => {
                (Observation::$kind(Change::ListBegins), Observation::$kind(Change::ListComplete))
            };
        }
        match self {
            Self::Claim => list!(Claim),
            Self::Volume => list!(Volume),
            Self::Pod => list!(Pod),
            Self::Namespace => list!(Namespace),
            Self::Node => list!(Node),
            Self::Class => list!(Class),
            Self::Policy => list!(Policy),
            Self::ClusterPolicy => list!(ClusterPolicy),
            Self::Budget => list!(Budget),
            Self::Driver => list!(Driver),
            Self::AttributesClass => list!(AttributesClass),
            Self::Set => list!(Set),
            Self::Stored => list!(Stored),
        }
    }
}

fn change<K, T, O: serde::de::DeserializeOwned>(
    key: K,
    object: Option<&Value>,
    read: impl FnOnce(O) -> Option<T>,
) -> Change<K, T> {
    let facts = object.and_then(|object| serde_json::from_value(object.clone()).ok()).and_then(read);
    match facts {
        Some(facts) => Change::Is(key, facts),
        None => Change::Gone(key),
    }
}

/// A change of an object, as watches tell it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) observation: Observation,
    pub(crate) is_deletion: bool,
}

/// The lease, with its resource version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease {
    pub(crate) spec: Option<LeaseSpec>,
    pub(crate) version: u64,
}

/// What a request has changed.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) after: Value,
    pub(crate) observation: Option<Observation>,
}

/// The API server.
#[derive(Debug, Default)]
pub(crate) struct Server {
    objects: BTreeMap<(Kind, String), Value>,
    version: u64,
    uids: u64,
    events: Vec<Event>,
    pub(crate) lease: Lease,
}

impl Server {
    /// Makes an object.
    pub(crate) fn create(&mut self, kind: Kind, name: &str, mut object: Value, now: Timestamp) {
        self.uids += 1;
        let meta = &mut object["metadata"];
        meta["name"] = json!(name);
        if kind.is_namespaced() {
            meta["namespace"] = json!(NAMESPACE);
        }
        meta["uid"] = json!(format!("uid-{}", self.uids));
        meta["generation"] = json!(1);
        meta["creationTimestamp"] = json!(now.round(jiff::Unit::Second).unwrap_or(now));
        self.store(kind, name, object);
    }

    /// An object as it is.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// Changes an object, as a controller of the cluster does. Nothing happens where it is not there, or is left as it is.
    pub(crate) fn update(&mut self, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(before) = self.get(kind, name) else { return };
        let mut after = before.clone();
        change(&mut after);
        if *before != after {
            self.store(kind, name, after);
        }
    }

    /// Deletes an object.
    pub(crate) fn delete(&mut self, kind: Kind, name: &str) {
        if self.objects.remove(&(kind, name.to_owned())).is_some() {
            self.version += 1;
            self.tell(kind, name);
        }
    }

    /// Carries out a request, or says why not.
    pub(crate) fn patch(&mut self, request: &Request) -> Result<Applied, Box<Status>> {
        let (kind, name) = target(&request.target);
        let before = self.get(kind, &name).cloned().ok_or_else(|| status(404, "NotFound", "not found", Value::Null))?;
        let mut after = before.clone();
        match &request.patch {
            Patch::Json(patch) => {
                // The API server takes what is missing for null.
                let operations: Vec<_> = patch.0.iter().filter(|it| !is_absent(it, &before)).cloned().collect();
                json_patch::patch(&mut after, &operations).map_err(|_| {
                    let message = "the server rejected our request due to an error in our request";
                    status(422, "Invalid", message, json!({}))
                })?;
            }
            Patch::Merge(patch) => json_patch::merge(&mut after, patch),
            _ => return Err(status(415, "UnsupportedMediaType", "unsupported patch", Value::Null)),
        }
        check_identity(&name, &before, &after)?;
        if kind == Kind::Claim && !may_request(&before, requested(&after)) {
            let details = json!({ "name": name, "causes": [{ "field": "spec.resources.requests.storage" }] });
            return Err(status(422, "Invalid", "field can not be less than status.capacity", details));
        }
        if after != before {
            if kind == Kind::Set && after["spec"] != before["spec"] {
                after["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
            }
            self.store(kind, &name, after);
        }
        let after = self.get(kind, &name).cloned().unwrap_or_default();
        Ok(Applied { observation: kind.observe(&name, Some(&after)), after })
    }

    /// Makes an object where there is none of its name.
    pub(crate) fn create_new(
        &mut self,
        kind: Kind,
        name: &str,
        object: Value,
        now: Timestamp,
    ) -> Result<Value, Box<Status>> {
        if self.get(kind, name).is_some() {
            return Err(status(409, "AlreadyExists", "already exists", Value::Null));
        }
        self.create(kind, name, object, now);
        Ok(self.get(kind, name).cloned().unwrap_or_default())
    }

    /// Merges a patch into an object that still is what the patch says.
    pub(crate) fn merge(&mut self, kind: Kind, name: &str, patch: &Value) -> Result<Value, Box<Status>> {
        let before = self.get(kind, name).cloned().ok_or_else(|| status(404, "NotFound", "not found", Value::Null))?;
        let mut after = before.clone();
        json_patch::merge(&mut after, patch);
        check_identity(name, &before, &after)?;
        if after != before {
            self.store(kind, name, after);
        }
        Ok(self.get(kind, name).cloned().unwrap_or_default())
    }

    /// What a list of the kind has.
    pub(crate) fn list(&self, kind: Kind) -> Vec<Observation> {
        let (begins, complete) = kind.list();
        let objects = self.objects.range((kind, String::new())..).take_while(|((of, _), _)| *of == kind);
        let items = objects.filter_map(|((_, name), object)| kind.observe(name, Some(object)));
        std::iter::once(begins).chain(items).chain([complete]).collect()
    }

    /// What has changed since this was last asked.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn store(&mut self, kind: Kind, name: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert((kind, name.to_owned()), object);
        self.tell(kind, name);
    }

    fn tell(&mut self, kind: Kind, name: &str) {
        let object = self.get(kind, name);
        if let Some(observation) = kind.observe(name, object) {
            let is_deletion = object.is_none();
            self.events.push(Event { kind, observation, is_deletion });
        }
    }
}

/// Refuses a change that names another object, or another state of it.
fn check_identity(name: &str, before: &Value, after: &Value) -> Result<(), Box<Status>> {
    if after["metadata"]["uid"] != before["metadata"]["uid"] {
        let details = json!({ "name": name, "causes": [{ "field": "metadata.uid" }] });
        return Err(status(422, "Invalid", "field is immutable", details));
    }
    if after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] {
        return Err(status(409, "Conflict", "the object has been modified", Value::Null));
    }
    Ok(())
}

/// Is this the test that something is missing, and is it?
fn is_absent(operation: &json_patch::PatchOperation, object: &Value) -> bool {
    match operation {
        json_patch::PatchOperation::Test(test) => test.value.is_null() && object.pointer(test.path.as_str()).is_none(),
        _ => false,
    }
}

/// The claim of this name.
pub(crate) fn claim_id(name: &str) -> ClaimId {
    ClaimId { namespace: NamespaceName(NAMESPACE.into()), name: name.into() }
}

/// The StatefulSet of this name.
pub(crate) fn set_id(name: &str) -> SetId {
    SetId { namespace: NamespaceName(NAMESPACE.into()), name: name.into() }
}

/// What a request is for.
pub(crate) fn target(target: &Target) -> (Kind, String) {
    match target {
        Target::Claim(id) => (Kind::Claim, id.name.to_string()),
        Target::Pod(id) => (Kind::Pod, id.name.to_string()),
        Target::Workload(WorkloadId::StatefulSet(id)) => (Kind::Set, id.name.to_string()),
        // No Deployment is in the world, and so none is scaled.
        Target::Workload(WorkloadId::Deployment(id)) => unreachable!("{id} is not in the world"),
        // No custom resource is in the world, and so none is changed.
        Target::Owner(owner) => unreachable!("{} is not in the world", owner.id),
        Target::Status(StatusId::Budget(name)) => (Kind::Budget, name.to_string()),
        Target::Status(StatusId::Policy(id)) => match id.kind {
            PolicyKind::Namespaced(_) => (Kind::Policy, id.name.to_string()),
            PolicyKind::Cluster => (Kind::ClusterPolicy, id.name.to_string()),
        },
    }
}

/// The size that a request asks for, where it asks for one.
pub(crate) fn asks(request: &Request) -> Option<Bytes> {
    let Patch::Json(patch) = &request.patch else { return None };
    patch.0.iter().find_map(|operation| match operation {
        json_patch::PatchOperation::Replace(replace) if replace.path.as_str() == REQUEST => {
            Some(Bytes(bytes(&replace.value)))
        }
        _ => None,
    })
}

/// May so many bytes be requested for a claim? A request can be lowered again, but not to what there is or less.
pub(crate) fn may_request(claim: &Value, bytes: u64) -> bool {
    bytes >= requested(claim) || bytes > capacity(claim)
}

/// A claim's requested size in bytes.
pub(crate) fn requested(claim: &Value) -> u64 {
    bytes(&claim["spec"]["resources"]["requests"]["storage"])
}

/// A claim's capacity in bytes.
pub(crate) fn capacity(claim: &Value) -> u64 {
    bytes(&claim["status"]["capacity"]["storage"])
}

fn bytes(quantity: &Value) -> u64 {
    quantity.as_str().and_then(|text| text.parse::<Bytes>().ok()).map_or(0, |bytes| bytes.0)
}

/// An answer that says no.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: Value) -> Box<Status> {
    let details = if details.is_null() { json!({ "name": "object" }) } else { details };
    let status = json!({
        "status": "Failure", "code": code, "reason": reason, "message": message, "details": details,
    });
    Box::new(serde_json::from_value(status).unwrap_or_default())
}
