use serde_json::json;

use super::*;
use crate::{Bytes, Expansion, VolumeType};

/// What a class says to ask for this kind.
fn class_of(kind: &VolumeType) -> BTreeMap<String, String> {
    kind.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.values[0].clone())).collect()
}

/// What holds for each kind of volume, and for one that no class asks for by a parameter.
#[test]
fn each_profile_says_what_holds_for_each_kind_of_volume() {
    for profile in all() {
        let mut abilities = vec![json!({ "parameters": {}, "abilities": profile.spec.abilities(&BTreeMap::new()) })];
        for kind in &profile.spec.volume_types {
            let parameters = class_of(kind);
            let of_kind = profile.spec.abilities(&parameters);
            assert_eq!(of_kind.volume_type, Some(&*kind.name), "a class can ask for each kind");
            abilities.push(json!({ "parameters": parameters, "abilities": of_kind }));
        }
        insta::assert_yaml_snapshot!(profile.metadata.name.as_deref(), abilities);
    }
}

#[test]
fn a_profile_is_found_by_its_drivers_name_also_where_that_has_one_of_its_own_before_it() {
    let expansion = |driver: &str| of(driver).expansion;
    assert_eq!(PROFILES.len(), FILES.len());
    assert_eq!(expansion("rancher.io/local-path"), Expansion::None);
    assert_eq!(of("rook-ceph.rbd.csi.ceph.com"), &PROFILES["rbd.csi.ceph.com"].spec);
    assert_eq!(of("local.orlop.dev").size_increment, Bytes::MIB);
    for unknown in ["csi.example.com", "com", "", ".", "ebs.csi.aws.com.example"] {
        assert_eq!(of(unknown), &DriverProfileSpec::default(), "{unknown}");
    }
}

#[test]
fn ebs_has_four_modifications_in_a_rolling_day_of_every_kind_of_volume() {
    let ebs = of("ebs.csi.aws.com");
    for kind in ["gp3", "gp2", "io1", "io2", "st1", "sc1"] {
        let parameters = BTreeMap::from([("type".to_owned(), kind.to_owned())]);
        let modifications = ebs.abilities(&parameters).modifications.unwrap();
        assert_eq!((modifications.count, modifications.window.as_secs()), (4, 86_400), "{kind}");
        assert!(modifications.next_when_completed);
    }
}

#[test]
fn every_figure_says_where_it_comes_from() {
    for profile in all() {
        let name = &profile.metadata.name;
        assert!(profile.spec.source.is_some() && profile.spec.as_of.is_some(), "{name:?}");
        for kind in &profile.spec.volume_types {
            let of_performance = kind.iops.is_some() || kind.throughput.is_some();
            assert!(!of_performance || kind.source.is_some(), "{name:?} {}", kind.name);
        }
    }
}
