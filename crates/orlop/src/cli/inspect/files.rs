//! `orlop explain --file`: what would be decided about a claim of these manifests, were it so full. The operator's own mind
//! decides, with no cluster at all.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Namespace, PersistentVolumeClaim},
    storage::v1::{StorageClass, VolumeAttributesClass},
};
use kube::{Resource as _, ResourceExt as _};
use orlop_api::{Bytes, ClusterStoragePolicy, DriverProfile, OwnerProfile, StorageBudget, StoragePolicy, Threshold};
use orlop_operator::{
    Core, Measurement, Moment,
    inspect::{self, ClaimAccount},
    objects::{self, SetObject},
    observe::{Change, ClaimFacts, Observation, PodFacts, VolumeFacts},
};
use orlop_planner::{ClaimId, Class, Knowledge, NamespaceName, PodId, Source, Uid, Usage};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::{Value, json};

use super::owners::Owners;
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
    if let Some(owner) = unknown_owner(&core, &id, now) {
        let failure = format!(
            "the claim {id} names {owner}, which none of these manifests is, and that decides whose size is changed"
        );
        return Err(Failure::new(failure).remedy("add its manifest with --file"));
    }
    inspect::claim(&core, &id, now).ok_or_else(|| Failure::new(format!("nothing can be decided about the claim {id}")))
}

/// The owner of the claim by whose field it is made larger, or may be, where that is not among the manifests.
fn unknown_owner(core: &Core, id: &ClaimId, now: Moment) -> Option<String> {
    let view = core.observer().view();
    let claim = view.claims.get(id)?;
    match view.write_back(id, claim) {
        Some(owner) => (owner.knowledge != Knowledge::Known).then(|| owner.to_string()),
        None => view.unasked_owner(id, claim, now.time).map(|owner| format!("{} {}", owner.kind, owner.id.name)),
    }
}

/// What matters of the manifests.
#[derive(Default)]
struct Manifests {
    claims: BTreeMap<ClaimId, ClaimFacts>,
    owners: Owners,
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
            "StorageBudget" => {
                let budget: StorageBudget = read(&kind, object)?;
                let name = objects::budget_name(&budget.metadata);
                self.others.push(Observation::Budget(Change::Is(name, objects::budget(Ok(budget)))));
            }
            "OwnerProfile" => {
                let profile: OwnerProfile = read(&kind, object)?;
                self.owners.profile(profile.name_any(), Arc::new(profile.spec));
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
            _ => self.owners.object(object),
        }
        Ok(())
    }

    fn claim(&mut self, claim: PersistentVolumeClaim) -> Result<(), String> {
        let id = objects::claim_id(&claim.metadata);
        let facts = objects::claim(claim).map_err(|error| format!("PersistentVolumeClaim {id}: {error}"))?;
        // It is taken to be bound to a volume of its size.
        let facts = ClaimFacts {
            uid: Uid(format!("{ASSUMED}-{id}").into()),
            volume: Some(format!("{ASSUMED}-{id}").into()),
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

    /// An operator that knows of these objects, and has measured the claim's volume as it is assumed to be.
    fn into_core(mut self, id: &ClaimId, assumption: Assumption, now: Moment) -> Core {
        let mut core = Core::default();
        let named: Vec<_> = self.claims.values().filter_map(|facts| facts.belonging.as_ref()?.owner.clone()).collect();
        let of_sets = self.others.iter().filter_map(|other| match other {
            Observation::Set(Change::Is(_, set)) => set.belonging.owner.clone(),
            _ => None,
        });
        let owners = std::mem::take(&mut self.owners).observed(&named.into_iter().chain(of_sets).collect::<Vec<_>>());
        let classes: Vec<_> = self
            .classes
            .iter()
            .map(|(name, class)| Observation::Class(Change::Is(name.clone(), class.clone())))
            .collect();
        for observation in self.others.drain(..).chain(owners).chain(classes) {
            core.observe(observation);
        }
        // The others count in groups and in budgets.
        for (other, facts) in std::mem::take(&mut self.claims) {
            let is_it = other == *id;
            let total = self.bind(&mut core, other, facts, is_it);
            if is_it {
                self.use_it(&mut core, id, now);
                let usage = usage(total, assumption, now.time);
                core.measure(Measurement::Sampled { node: ASSUMED.to_owned(), volume: ASSUMED.to_owned(), usage }, now);
            }
        }
        core
    }

    /// Has the core know a claim with its volume. Returns the volume's size.
    fn bind(&self, core: &mut Core, id: ClaimId, mut facts: ClaimFacts, is_it: bool) -> Bytes {
        facts.class = facts.class.or_else(|| self.default_class.as_deref().map(Into::into));
        if is_it {
            facts.volume = Some(ASSUMED.into());
        }
        let class = facts.class.as_deref().and_then(|class| self.classes.get(class));
        let driver = class.map(|class| class.provisioner.as_str().into());
        let capacity = facts.capacity.unwrap_or(facts.requested);
        let volume = VolumeFacts { capacity, driver, handle: None, claim: Some((id.clone(), facts.uid.clone())) };
        let name = facts.volume.clone().unwrap_or_else(|| ASSUMED.into());
        core.observe(Observation::Claim(Change::Is(id, facts)));
        core.observe(Observation::Volume(Change::Is(name, volume)));
        capacity
    }

    /// Has the claim used by a pod.
    fn use_it(&self, core: &mut Core, id: &ClaimId, now: Moment) {
        let pod = PodFacts {
            uid: Uid(ASSUMED.into()),
            version: None,
            since: Some(now.time),
            synced: None,
            controller: None,
            claims: vec![id.name.clone()],
        };
        let name = self.pods.get(id).map_or(ASSUMED, String::as_str);
        let pod_id = PodId { namespace: id.namespace.clone(), name: name.into() };
        core.observe(Observation::Pod(Change::Is(pod_id, pod)));
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

    const CLUSTER: &str = "
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: main}
spec: {instances: 3, storage: {size: 100Gi}}
";

    /// A claim as `kubectl get` prints it, of which the Cluster is the owner.
    const INSTANCE: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: main-1
  labels: {app: db, cnpg.io/cluster: main, cnpg.io/pvcRole: PG_DATA}
  ownerReferences: [{apiVersion: postgresql.cnpg.io/v1, kind: Cluster, name: main, uid: 6f0c1e2a, controller: true}]
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 100Gi}}}
";

    #[test]
    fn what_would_be_written_into_an_owner_is_seen_on_files() {
        let account = explained(&[SHOP, CLUSTER, INSTANCE].join("---"), "main-1", "85%").unwrap();
        assert_eq!((account.decision.act, account.decision.target), (Act::Grow, Some(Bytes(125 << 30))));
        let message = &account.decision.message;
        assert!(message.ends_with("set spec.storage.size of Cluster main to 125Gi"), "{message}");
        assert_eq!(account.owner.unwrap().sentence, "Cluster main");
        let flux = "metadata: {labels: {kustomize.toolkit.fluxcd.io/name: apps}, ";
        let applied = CLUSTER.replacen("metadata: {", flux, 1);
        let account = explained(&[SHOP, &applied, INSTANCE].join("---"), "main-1", "85%").unwrap();
        assert_eq!(account.decision.reason, Reason::OwnedElsewhere);
        assert!(account.owner.unwrap().write_back.unwrap().command.unwrap().starts_with("kubectl patch clusters"));
    }

    #[test]
    fn an_owner_that_no_file_has_is_asked_for() {
        let failure = explained(&[SHOP, INSTANCE].join("---"), "main-1", "85%").unwrap_err().to_string();
        assert!(failure.contains("names Cluster main"), "{failure}");
    }

    #[test]
    fn a_profile_of_ones_own_is_gone_by_wherever_it_stands() {
        let profile = "
apiVersion: orlop.dev/v1alpha1
kind: OwnerProfile
metadata: {name: clusters.postgresql.cnpg.io}
spec: {kind: Cluster, writing: RecommendOnly, claims: [{role: all, name: '{owner}-{ordinal}', size: [spec.storage.size]}]}
";
        let account = explained(&[SHOP, CLUSTER, INSTANCE, profile].join("---"), "main-1", "85%").unwrap();
        assert_eq!(account.decision.reason, Reason::OwnedElsewhere);
        assert!(account.decision.message.contains("does not pass the size on"), "{}", account.decision.message);
    }

    #[test]
    fn the_other_claims_count_in_groups_and_budgets() {
        let other = INSTANCE.replace("main-1", "main-2");
        let budget = "
apiVersion: orlop.dev/v1alpha1
kind: StorageBudget
metadata: {name: all}
spec: {namespaceSelector: {}, selector: {}, limits: {bytes: 220Gi}}
";
        let shop = &[
            SHOP,
            CLUSTER,
            INSTANCE,
            &other,
            budget,
            "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
",
        ]
        .join("---");
        // Both grow by one field, and there is another claim of 100Gi.
        let account = explained(shop, "main-1", "85%").unwrap();
        assert_eq!(account.decision.reason, Reason::OverBudget, "{}", account.decision.message);
        let group =
            SHOP.replace("maximum: 1Ti", "maximum: 1Ti, groupBy: app").replace("storage: 100Gi", "storage: 50Gi");
        let larger = INSTANCE.split("  labels:").next().unwrap().replace("main-1", "larger")
            + "  labels: {app: db}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 80Gi}}}\n";
        let account = explained(&[&group, &*larger].join("---"), "data-db-0", "10%").unwrap();
        assert_eq!((account.decision.reason, account.decision.target), (Reason::GroupGrowth, Some(Bytes(80 << 30))));
    }
}
