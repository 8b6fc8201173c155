//! The world of a backtest, from manifests as they are applied or as `kubectl get -o yaml` prints them: policies, classes,
//! driver profiles, claims with their volumes, and namespaces, in any order and in any file.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs, io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::{
    core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use orlop_api::{ClusterStoragePolicy, DriverProfile, Mode, StoragePolicy};
use orlop_backtest::{Known, World, governs_all};
use orlop_operator::{objects, observe::PolicyFacts};
use orlop_planner::{ClaimId, Class, NamespaceName, Policy, PolicyId, PolicyKind, View};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::Value;

/// Marks the class that claims without one get.
const DEFAULT_CLASS_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";

/// The class of claims of which no class is known.
const ASSUMED_CLASS: &str = "assumed";

/// Without a policy a claim grows as far as the largest volumes that common drivers make.
const ASSUMED_MAXIMUM: &str = "16Ti";

/// Why manifests cannot be taken. The message says in which file and which object.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not YAML.
    #[error("{} is not YAML", .path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_yaml_ng::Error,
    },
    /// An object is not what it should be.
    #[error("{}: {object}: {what}", .path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// The object's kind and name.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// Labels are not known, and selectors cannot tell.
    #[error(
        "there are several policies of one kind, and the labels of the claims are not known: give --claims with what \
         `kubectl get pvc,pv,ns -A -o yaml` prints"
    )]
    SeveralPolicies,
}

/// What manifests say.
#[derive(Debug, Default)]
pub struct Manifests {
    view: View,
    claims: BTreeMap<ClaimId, (Known, Option<String>)>,
    /// The driver of each volume.
    volumes: BTreeMap<String, Option<String>>,
    default_class: Option<String>,
}

impl Manifests {
    /// Takes all objects of a file.
    pub fn read(&mut self, path: &Path) -> Result<(), ManifestError> {
        let text = fs::read_to_string(path).map_err(|source| ManifestError::Read { path: path.to_owned(), source })?;
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let object = Value::deserialize(document);
            let object = object.map_err(|source| ManifestError::Yaml { path: path.to_owned(), source })?;
            self.take(path, object)?;
        }
        Ok(())
    }

    /// How many policies there are.
    pub fn policies(&self) -> usize {
        self.view.policies.len()
    }

    /// How many claims there are.
    pub fn claims(&self) -> usize {
        self.claims.len()
    }

    /// How many classes and driver profiles there are.
    pub fn classes(&self) -> usize {
        self.view.classes.len() + self.view.drivers.len()
    }

    /// The world of these manifests, and what was assumed of it. A claim of which no class is known has the default class,
    /// the only class, or else one of this driver with these parameters.
    pub fn world(
        mut self,
        driver: Option<&str>,
        parameters: BTreeMap<String, String>,
    ) -> Result<(World, Vec<String>), ManifestError> {
        let mut notes = Vec::new();
        if self.view.policies.is_empty() {
            let (id, policy) = assumed_policy();
            notes.push(format!(
                "no policy was given: every claim is governed by one with all defaults and the maximum {ASSUMED_MAXIMUM}"
            ));
            self.view.policies.insert(id, policy);
        } else if self.claims.is_empty() {
            let had_selectors = self.view.policies.values().any(|policy| !policy.claims.0.is_empty());
            governs_all(&mut self.view).map_err(|_| ManifestError::SeveralPolicies)?;
            if had_selectors {
                notes.push(
                    "the labels of the claims are not known, so every claim is taken for selected; give --claims"
                        .to_owned(),
                );
            }
        }
        let is_recommended = |policy: &&Policy| policy.mode == Mode::Recommend;
        let recommending = self.view.policies.values().filter(is_recommended).count();
        if recommending > 0 {
            notes.push(format!("policies in mode Recommend are replayed as in Auto: {recommending} of those given"));
        }
        let class = self.class_of_others(driver, parameters, &mut notes);
        let classes = &self.view.classes;
        let mut unknown = BTreeSet::new();
        let known = self.claims.into_iter().map(|(id, (mut known, volume))| {
            known.driver = volume.and_then(|volume| self.volumes.get(&volume).cloned().flatten());
            unknown.extend(known.class.take_if(|class| !classes.contains_key(class)));
            (id, known)
        });
        let known = known.collect();
        for name in unknown {
            notes.push(format!(
                "the StorageClass {name} is not known, and taken for one that can be expanded; give --class"
            ));
        }
        Ok((World::new(self.view, known, class), notes))
    }

    fn class_of_others(
        &mut self,
        driver: Option<&str>,
        parameters: BTreeMap<String, String>,
        notes: &mut Vec<String>,
    ) -> String {
        let only = || (self.view.classes.len() == 1).then(|| self.view.classes.keys().next().cloned()).flatten();
        if driver.is_none()
            && let Some(class) = self.default_class.clone().or_else(only)
        {
            return class;
        }
        if driver.is_none() {
            notes.push(
                "of claims whose class is not known the driver is not known either: they grow in whole GiB and have no \
                 price; give --driver, --class or --claims"
                    .to_owned(),
            );
        }
        let provisioner = driver.unwrap_or("unknown").to_owned();
        self.view.classes.insert(ASSUMED_CLASS.to_owned(), Class { provisioner, expandable: true, parameters });
        ASSUMED_CLASS.to_owned()
    }

    fn take(&mut self, path: &Path, object: Value) -> Result<(), ManifestError> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let told = format!("{} {name}", if kind.is_empty() { "an object without a kind" } else { &kind });
        let failed = |what: String| ManifestError::Object { path: path.to_owned(), object: told.clone(), what };
        match &*kind {
            "List" => {
                let items = object["items"].as_array().cloned().unwrap_or_default();
                return items.into_iter().try_for_each(|item| self.take(path, item));
            }
            _ if object.is_null() => {}
            "StoragePolicy" => {
                let object: StoragePolicy = decode(object).map_err(&failed)?;
                let mut id = objects::policy_id(&object.metadata);
                if let PolicyKind::Namespaced(namespace) = &mut id.kind {
                    default_namespace(namespace);
                }
                self.policy(id, objects::policy(Ok(object))).map_err(failed)?;
            }
            "ClusterStoragePolicy" => {
                let object: ClusterStoragePolicy = decode(object).map_err(&failed)?;
                let id = objects::cluster_policy_id(&object.metadata);
                self.policy(id, objects::cluster_policy(Ok(object))).map_err(failed)?;
            }
            "DriverProfile" => {
                let object: DriverProfile = decode(object).map_err(failed)?;
                self.view.drivers.insert(objects::name(&object.metadata), object.spec);
            }
            "StorageClass" => self.class(decode(object).map_err(failed)?),
            "PersistentVolumeClaim" => self.claim(decode(object).map_err(&failed)?).map_err(failed)?,
            "PersistentVolume" => {
                let object: PersistentVolume = decode(object).map_err(failed)?;
                let driver = object.spec.and_then(|spec| Some(spec.csi?.driver));
                self.volumes.insert(object.metadata.name.unwrap_or_default(), driver);
            }
            "Namespace" => {
                let object: Namespace = decode(object).map_err(failed)?;
                let name = objects::namespace_name(&object.metadata);
                self.view.namespaces.insert(name, object.metadata.labels.unwrap_or_default().into());
            }
            // A file of a whole application has other objects, too.
            _ => {}
        }
        Ok(())
    }

    fn policy(&mut self, id: PolicyId, facts: PolicyFacts) -> Result<(), String> {
        match self.view.policies.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(facts.policy?);
                Ok(())
            }
            Entry::Occupied(_) => Err("there is another policy of that name: give one of them".to_owned()),
        }
    }

    fn class(&mut self, object: StorageClass) {
        let name = objects::name(&object.metadata);
        let annotations = object.metadata.annotations.as_ref();
        if annotations.is_some_and(|all| all.get(DEFAULT_CLASS_ANNOTATION).is_some_and(|value| value == "true")) {
            self.default_class = Some(name.clone());
        }
        self.view.classes.insert(name, objects::class(object));
    }

    fn claim(&mut self, object: PersistentVolumeClaim) -> Result<(), String> {
        let mut id = objects::claim_id(&object.metadata);
        default_namespace(&mut id.namespace);
        let volume = object.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let facts = objects::claim(object).map_err(|unreadable| unreadable.to_string())?;
        let size = facts.capacity.unwrap_or(facts.requested);
        let known = Known {
            labels: facts.labels,
            class: facts.class.as_deref().map(str::to_owned),
            driver: None,
            size: Some(size),
        };
        self.claims.insert(id, (known, volume));
        Ok(())
    }
}

fn decode<T: DeserializeOwned>(object: Value) -> Result<T, String> {
    serde_json::from_value(object).map_err(|error| error.to_string())
}

/// Where a manifest names none, `kubectl apply` takes it.
fn default_namespace(namespace: &mut NamespaceName) {
    if namespace.0.is_empty() {
        *namespace = orlop_backtest::namespace("default");
    }
}

/// What governs all where nothing was given: the defaults are those of the custom resource.
fn assumed_policy() -> (PolicyId, Policy) {
    let spec = serde_json::json!({ "selector": {}, "mode": "Auto", "capacity": { "maximum": ASSUMED_MAXIMUM } });
    let object = serde_json::json!({
        "apiVersion": "orlop.dev/v1alpha1",
        "kind": "ClusterStoragePolicy",
        "metadata": { "name": "assumed" },
        "spec": spec,
    });
    let object: ClusterStoragePolicy = serde_json::from_value(object).expect("the manifest is the one above");
    let id = objects::cluster_policy_id(&object.metadata);
    (id, objects::cluster_policy(Ok(object)).policy.expect("it has no selectors"))
}

#[cfg(test)]
mod tests {
    use orlop_api::Bytes;
    use orlop_planner::Selector;

    use super::*;

    fn manifests(text: &str) -> Result<Manifests, ManifestError> {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("all.yaml");
        fs::write(&path, text).unwrap();
        let mut manifests = Manifests::default();
        manifests.read(&path).map(|()| manifests)
    }

    const POLICY: &str = "
apiVersion: orlop.dev/v1alpha1
kind: StoragePolicy
metadata: {name: grow, namespace: shop}
spec: {selector: {matchLabels: {app: db}}, capacity: {maximum: 1Ti}}
";

    const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- kind: PersistentVolumeClaim
  metadata: {name: data, namespace: shop, labels: {app: db}}
  spec: {storageClassName: gone, volumeName: pv-1, resources: {requests: {storage: 10Gi}}}
  status: {phase: Bound, capacity: {storage: 20Gi}}
- kind: PersistentVolume
  metadata: {name: pv-1}
  spec: {capacity: {storage: 20Gi}, csi: {driver: ebs.csi.aws.com, volumeHandle: v}}
";

    #[test]
    fn a_list_of_claims_and_volumes_says_what_is_known_of_a_claim() {
        let (world, notes) = manifests(&[POLICY, CLUSTER].join("---")).unwrap().world(None, BTreeMap::new()).unwrap();
        let (id, known) = world.known().first_key_value().unwrap();
        assert_eq!(id.to_string(), "shop/data");
        assert_eq!((known.driver.as_deref(), known.size), (Some("ebs.csi.aws.com"), Some(Bytes(20 << 30))));
        assert_eq!(known.labels.get("app"), Some("db"));
        assert_eq!(known.class, None, "a class that is not known says nothing");
        assert!(notes.iter().any(|note| note.contains("mode Recommend")), "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("StorageClass gone")), "{notes:?}");
        assert_eq!(world.policies().values().next().unwrap().mode, Mode::Auto);
    }

    #[test]
    fn without_claims_a_policy_governs_whatever_its_selector_says_unless_there_are_several() {
        let (world, notes) = manifests(POLICY).unwrap().world(Some("ebs.csi.aws.com"), BTreeMap::new()).unwrap();
        assert_eq!(world.policies().values().next().unwrap().claims, Selector::default());
        assert!(notes.iter().any(|note| note.contains("give --claims")), "{notes:?}");
        let two = [POLICY, &POLICY.replace("name: grow", "name: other")].join("---");
        assert!(matches!(manifests(&two).unwrap().world(None, BTreeMap::new()), Err(ManifestError::SeveralPolicies)));
    }

    #[test]
    fn without_a_policy_one_is_assumed_and_said() {
        let (world, notes) = manifests("").unwrap().world(None, BTreeMap::new()).unwrap();
        assert_eq!(world.policies().len(), 1);
        assert!(notes[0].contains("no policy was given"), "{notes:?}");
    }

    #[test]
    fn what_is_wrong_with_an_object_is_said_with_its_file_and_name() {
        let error = manifests(&POLICY.replace("1Ti", "a lot")).unwrap_err().to_string();
        assert!(error.contains("all.yaml: StoragePolicy grow: "), "{error}");
        assert!(error.contains("`a lot` is not a size"), "{error}");
        let twice = manifests(&[POLICY, POLICY].join("---")).unwrap_err().to_string();
        assert!(twice.contains("another policy of that name"), "{twice}");
    }
}
