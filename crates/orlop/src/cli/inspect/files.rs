//! `orlop explain --file`: what would be decided about a claim of these manifests, were it so full. The operator's own mind
//! decides, with no cluster at all.

use std::{collections::BTreeMap, fs, path::PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Namespace, PersistentVolumeClaim},
    storage::v1::{StorageClass, VolumeAttributesClass},
};
use kube::{Resource as _, ResourceExt as _};
use orlop_api::{Bytes, ClusterStoragePolicy, DriverProfile, StoragePolicy, Threshold};
use orlop_operator::{
    Core, Measurement, Moment,
    inspect::{self, ClaimAccount},
    objects::{self, SetObject},
    observe::{Change, ClaimFacts, Observation, PodFacts, VolumeFacts},
};
use orlop_planner::{ClaimId, Class, NamespaceName, PodId, Source, Uid, Usage};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::cli::{Failure, Outcome};

/// The volume that the claim is taken to be bound to, and the pod and the node that use it.
const ASSUMED: &str = "assumed";

/// By this annotation a StorageClass is that of claims that name none.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// How full the claim is taken to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assumption {
    /// The used bytes, or their part of the claim's size.
    pub(super) used: Threshold<Bytes>,
    /// How fast it fills, in bytes a second.
    pub(super) rate: Bytes,
}

/// The account of a claim of these manifests. Objects without a namespace are in `namespace`.
pub(super) fn explain(
    files: &[PathBuf],
    namespace: &str,
    name: &str,
    assumption: Assumption,
    now: Moment,
) -> Outcome<ClaimAccount> {
    let mut manifests = Manifests::default();
    for file in files {
        let named = |what: &str| format!("cannot {what} {}", file.display());
        let text = fs::read_to_string(file).map_err(|error| Failure::because(named("read"), error))?;
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).map_err(|error| Failure::because(named("understand"), error))?;
            manifests.take(object, namespace).map_err(|error| Failure::because(named("understand"), error))?;
        }
    }
    let id = ClaimId { namespace: NamespaceName(namespace.into()), name: name.into() };
    if !manifests.claims.contains_key(&id) {
        let there: Vec<_> = manifests.claims.keys().map(ToString::to_string).collect();
        let remedy = match &there[..] {
            [] => "name a file with a PersistentVolumeClaim, or with a StatefulSet that has claim templates".to_owned(),
            there => format!("they have {}", there.join(", ")),
        };
        return Err(Failure::new(format!("these manifests have no claim {id}")).remedy(remedy));
    }
    let core = manifests.into_core(&id, assumption, now);
    inspect::claim(&core, &id, now).ok_or_else(|| Failure::new(format!("nothing can be decided about the claim {id}")))
}

/// What matters of the manifests.
#[derive(Default)]
struct Manifests {
    claims: BTreeMap<ClaimId, ClaimFacts>,
    classes: BTreeMap<String, Class>,
    default_class: Option<String>,
    /// The pods of the claims that a StatefulSet makes.
    pods: BTreeMap<ClaimId, String>,
    others: Vec<Observation>,
}

impl Manifests {
    /// Takes in an object. What no decision depends on is passed over.
    fn take(&mut self, mut object: Value, namespace: &str) -> Result<(), String> {
        if object.is_null() {
            return Ok(());
        }
        if object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
            let items = object["items"].take();
            return items.as_array().into_iter().flatten().try_for_each(|item| self.take(item.clone(), namespace));
        }
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if object["metadata"].is_object() && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        match &*kind {
            "PersistentVolumeClaim" => self.claim(read(&kind, object)?)?,
            "StatefulSet" => {
                let set: SetObject = read(&kind, object.clone())?;
                let id = objects::set_id(set.meta());
                self.others.push(Observation::Set(Change::Is(id, objects::set(set))));
                self.templates(&read(&kind, object)?)?;
            }
            "StorageClass" => self.class(read(&kind, object)?),
            "VolumeAttributesClass" => {
                let class: VolumeAttributesClass = read(&kind, object)?;
                let (name, class) = (class.name_any(), objects::attributes_class(class));
                self.others.push(Observation::AttributesClass(Change::Is(name, class)));
            }
            "StoragePolicy" => {
                let policy: StoragePolicy = read(&kind, object)?;
                let id = objects::policy_id(&policy.metadata);
                self.others.push(Observation::Policy(Change::Is(id, objects::policy(Ok(policy)))));
            }
            "ClusterStoragePolicy" => {
                let policy: ClusterStoragePolicy = read(&kind, object)?;
                let id = objects::cluster_policy_id(&policy.metadata);
                self.others.push(Observation::ClusterPolicy(Change::Is(id, objects::cluster_policy(Ok(policy)))));
            }
            "DriverProfile" => {
                let profile: DriverProfile = read(&kind, object)?;
                self.others.push(Observation::Driver(Change::Is(profile.name_any(), profile.spec)));
            }
            "Namespace" => {
                let namespace: Namespace = read(&kind, object)?;
                let name = objects::namespace_name(&namespace.metadata);
                let labels = namespace.metadata.labels.unwrap_or_default().into();
                self.others.push(Observation::Namespace(Change::Is(name, labels)));
            }
            _ => {}
        }
        Ok(())
    }

    fn claim(&mut self, claim: PersistentVolumeClaim) -> Result<(), String> {
        let id = objects::claim_id(&claim.metadata);
        let facts = objects::claim(claim).map_err(|error| format!("PersistentVolumeClaim {id}: {error}"))?;
        // It is taken to be bound to a volume of its size.
        let facts = ClaimFacts {
            uid: Uid(ASSUMED.into()),
            volume: Some(ASSUMED.into()),
            capacity: facts.capacity.or(Some(facts.requested)),
            ..facts
        };
        self.claims.insert(id, facts);
        Ok(())
    }

    /// The claims of a StatefulSet's first pod.
    fn templates(&mut self, set: &StatefulSet) -> Result<(), String> {
        let templates = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.clone());
        for mut template in templates.unwrap_or_default() {
            template.metadata.name = Some(format!("{}-{}-0", template.name_any(), set.name_any()));
            template.metadata.namespace.clone_from(&set.metadata.namespace);
            self.pods.insert(objects::claim_id(&template.metadata), format!("{}-0", set.name_any()));
            self.claim(template)?;
        }
        Ok(())
    }

    fn class(&mut self, class: StorageClass) {
        let name = class.name_any();
        if class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true") {
            self.default_class = Some(name.clone());
        }
        self.classes.insert(name, objects::class(class));
    }

    /// An operator that knows of these objects, and has measured the volume as it is assumed to be.
    fn into_core(mut self, id: &ClaimId, assumption: Assumption, now: Moment) -> Core {
        let mut core = Core::default();
        let observe = |core: &mut Core, others: Vec<Observation>| others.into_iter().for_each(|it| core.observe(it));
        observe(&mut core, self.others);
        let Some(mut facts) = self.claims.remove(id) else { return core };
        facts.class = facts.class.or(self.default_class.map(Into::into));
        let class = facts.class.as_deref().and_then(|class| self.classes.get(class));
        let driver = class.map(|class| class.provisioner.as_str().into());
        let (uid, total) = (facts.uid.clone(), facts.capacity.unwrap_or(facts.requested));
        let volume = VolumeFacts { capacity: total, driver, claim: Some((id.clone(), uid.clone())) };
        let pod = PodFacts {
            uid,
            version: None,
            since: Some(now.time),
            synced: None,
            controller: None,
            claims: vec![id.name.clone()],
        };
        let pod_name = self.pods.get(id).map_or(ASSUMED, String::as_str);
        let pod_id = PodId { namespace: id.namespace.clone(), name: pod_name.into() };
        let classes = self.classes.into_iter().map(|(name, class)| Observation::Class(Change::Is(name, class)));
        observe(&mut core, classes.collect());
        core.observe(Observation::Claim(Change::Is(id.clone(), facts)));
        core.observe(Observation::Volume(Change::Is(ASSUMED.into(), volume)));
        core.observe(Observation::Pod(Change::Is(pod_id, pod)));
        let usage = usage(total, assumption, now.time);
        core.measure(Measurement::Sampled { node: ASSUMED.to_owned(), volume: ASSUMED.to_owned(), usage }, now);
        core
    }
}

fn usage(total: Bytes, assumption: Assumption, at: Timestamp) -> Usage {
    Usage {
        at,
        source: Source::Agent,
        total,
        available: Bytes(total.0.saturating_sub(assumption.used.of(total.0))),
        inodes: None,
        fill_bytes_per_second: assumption.rate.0,
        crossed: None,
    }
}

fn read<T: DeserializeOwned>(kind: &str, object: Value) -> Result<T, String> {
    let name = object["metadata"]["name"].as_str().unwrap_or("without a name").to_owned();
    serde_json::from_value(object).map_err(|error| format!("{kind} {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use orlop_api::names::Reason;
    use orlop_operator::inspect::Act;

    use super::*;

    fn explained(manifests: &str, name: &str, used: &str) -> Outcome<ClaimAccount> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(manifests.as_bytes()).unwrap();
        let assumption = Assumption { used: used.parse().unwrap(), rate: Bytes(0) };
        explain(&[file.path().to_owned()], "shop", name, assumption, Moment::now())
    }

    const SHOP: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: gp3, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}
provisioner: ebs.csi.aws.com
allowVolumeExpansion: true
parameters: {type: gp3}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: []}}
  volumeClaimTemplates:
    - metadata: {name: data, labels: {app: db}}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 100Gi}}}
---
apiVersion: orlop.dev/v1alpha1
kind: StoragePolicy
metadata: {name: db}
spec: {mode: Auto, selector: {matchLabels: {app: db}}, capacity: {maximum: 1Ti}}
";

    #[test]
    fn a_template_of_a_statefulset_is_decided_about_as_if_it_were_so_full() {
        let full = explained(SHOP, "data-db-0", "85%").unwrap();
        assert_eq!((full.decision.act, full.decision.reason), (Act::Grow, Reason::BelowMinFree));
        assert_eq!(full.decision.target, Some(Bytes(125 << 30)));
        assert_eq!(full.driver.unwrap().monthly.unwrap(), "8.00 USD");
        assert_eq!(full.owner.unwrap().sentence, "StatefulSet db");
        let roomy = explained(SHOP, "data-db-0", "10Gi").unwrap();
        assert_eq!((roomy.decision.act, roomy.decision.reason), (Act::Keep, Reason::EnoughRoom));
    }

    #[test]
    fn a_claim_that_is_not_there_is_answered_with_those_that_are() {
        let failure = explained(SHOP, "data", "85%").unwrap_err().to_string();
        assert!(failure.contains("no claim shop/data") && failure.contains("shop/data-db-0"), "{failure}");
    }

    #[test]
    fn an_object_that_cannot_be_read_is_named() {
        let failure = explained(&SHOP.replace("1Ti", "lots"), "data-db-0", "85%").unwrap_err().to_string();
        assert!(failure.contains("StoragePolicy db") && failure.contains("lots"), "{failure}");
    }
}
