use super::*;

fn id() -> SetId {
    SetId { namespace: NamespaceName("shop".into()), name: "db".into() }
}

fn uid() -> Uid {
    Uid("u".into())
}

/// A StatefulSet as the API server has it.
fn object() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {
            "name": "db", "namespace": "shop", "uid": "u", "resourceVersion": "41", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}],
            "labels": { "app": "db" }, "annotations": { "note": "kept" }, "finalizers": ["example.com/kept"],
        },
        "spec": {
            "replicas": 3, "aFieldOfALaterVersion": true,
            "volumeClaimTemplates": [
                { "metadata": { "name": "wal" }, "spec": { "resources": { "requests": { "storage": "1Gi" } } } },
                { "metadata": { "name": "data" }, "spec": { "resources": { "requests": { "storage": "2048Mi" } } } },
            ],
        },
        "status": { "replicas": 3 },
    })
}

fn resizes(name: &str, from: u64, to: u64) -> Resizes {
    [(name.into(), (Bytes(from << 30), Bytes(to << 30)))].into()
}

#[test]
fn what_is_stored_is_all_that_its_author_has_written_with_the_larger_template() {
    let (manifest, mut map) = store(&id(), &uid(), &resizes("data", 2, 3), &object()).unwrap();
    let mut expected = object();
    expected.as_object_mut().unwrap().remove("status");
    for given in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
        expected["metadata"].as_object_mut().unwrap().remove(given);
    }
    expected["spec"]["volumeClaimTemplates"][1]["spec"]["resources"]["requests"]["storage"] = json!("3Gi");
    assert_eq!(manifest, expected);

    map.metadata.uid = Some("map".into());
    assert_eq!(super::manifest(&map).unwrap(), expected, "and is read as it was stored");
    let facts = facts(&map).unwrap();
    assert_eq!((facts.uid, facts.set, facts.version), (Uid("map".into()), uid(), 41));
    assert_eq!(facts.sizes, [("data".into(), Bytes(3 << 30)), ("wal".into(), Bytes::GIB)].into());
    assert_eq!(set_id(&map.metadata), id());
}

#[test]
fn a_statefulset_that_has_changed_is_not_stored() {
    let refused = |change: fn(&mut Value)| {
        let mut object = object();
        change(&mut object);
        store(&id(), &uid(), &resizes("data", 2, 3), &object).unwrap_err().0
    };
    assert_eq!(refused(|it| it["metadata"]["uid"] = json!("other")), "it has another UID");
    let deleting = |it: &mut Value| it["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(refused(deleting), "it is being deleted");
    let other_size = |it: &mut Value| {
        it["spec"]["volumeClaimTemplates"][1]["spec"]["resources"]["requests"]["storage"] = json!("3Gi");
    };
    assert_eq!(refused(other_size), "a template asks for another size");
    let other_name = |it: &mut Value| it["spec"]["volumeClaimTemplates"][1]["metadata"]["name"] = json!("logs");
    assert_eq!(refused(other_name), "a template is not there");
}

#[test]
fn what_cannot_be_read_names_the_field() {
    let (_, map) = store(&id(), &uid(), &resizes("wal", 1, 2), &object()).unwrap();
    for field in [UID, VERSION, MANIFEST] {
        let mut without = map.clone();
        without.data.as_mut().unwrap().remove(field);
        assert_eq!(facts(&without).unwrap_err().0, format!("data.{field}: is missing"));
    }
    let mut odd = map;
    odd.data.as_mut().unwrap().insert(MANIFEST.to_owned(), "{".to_owned());
    assert!(facts(&odd).unwrap_err().0.starts_with("data.manifest: "));
}

#[test]
fn the_name_is_one_that_the_api_server_takes_and_another_for_each_statefulset() {
    let of = |namespace: &str, set: &str| name(&SetId { namespace: NamespaceName(namespace.into()), name: set.into() });
    assert!(of("shop", "db").starts_with("orlop-statefulset-db-"));
    assert_ne!(of("shop", "db"), of("web", "db"));
    assert_ne!(of("a-b", "c"), of("a", "b-c"));
    assert!(of("shop", &"d.".repeat(126)).len() <= 253);
    assert!(!of("shop", &"d.".repeat(126)).contains(".-"));
}
