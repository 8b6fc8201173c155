use std::sync::{Arc, Mutex};

use orlop_api::Bytes;
use orlop_volume::{Ailment, Content, FakeVolumes, Filesystem, NodeTag, Provisioning, Severity, Storage};
use tonic::Code;

use super::*;
use crate::{
    csi::{TOPOLOGY_KEY, ZONE_KEY, peers::Peers},
    rpc::{
        csi_v1::{
            self as csi, CapacityRange, Topology, TopologyRequirement, VolumeCapability, VolumeContentSource,
            volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
            volume_content_source::{SnapshotSource, Type as SourceType, VolumeSource},
        },
        router_v1::Change,
    },
};

mod snapshots;

const GIB: i64 = 1 << 30;

fn fake(node: &str) -> Arc<FakeVolumes> {
    Arc::new(FakeVolumes::new(NodeTag::of(node), Bytes(10 << 30)))
}

fn on_volumes(node: &str, volumes: Arc<dyn Storage>) -> Driver {
    Driver::new(node.into(), volumes, "/nowhere".into())
}

fn driver(node: &str) -> Driver {
    on_volumes(node, fake(node))
}

fn capability() -> VolumeCapability {
    filesystem("")
}

fn filesystem(fs_type: &str) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() })),
    }
}

fn block() -> VolumeCapability {
    VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..capability() }
}

fn request(name: &str, required_bytes: i64) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: Some(CapacityRange { required_bytes, limit_bytes: 0 }),
        volume_capabilities: vec![capability()],
        ..Default::default()
    }
}

fn on(node: &str) -> Topology {
    Topology { segments: [(TOPOLOGY_KEY.into(), node.into())].into() }
}

async fn create(driver: &Driver, request: CreateVolumeRequest) -> Result<csi::Volume, Status> {
    Ok(driver.create_volume(Request::new(request)).await?.into_inner().volume.unwrap())
}

async fn expand(driver: &Driver, id: &str, required: i64, limit: i64) -> Result<i64, Status> {
    let request = ControllerExpandVolumeRequest {
        volume_id: id.into(),
        capacity_range: Some(CapacityRange { required_bytes: required, limit_bytes: limit }),
        ..Default::default()
    };
    let answer = driver.controller_expand_volume(Request::new(request)).await?.into_inner();
    assert!(answer.node_expansion_required);
    Ok(answer.capacity_bytes)
}

#[tokio::test]
async fn a_volume_is_bound_to_its_node() {
    let volume = create(&driver("a"), request("v", GIB)).await.unwrap();
    assert_eq!(volume.accessible_topology, [on("a")]);
    assert_eq!(volume.capacity_bytes, GIB);
}

#[tokio::test]
async fn a_volume_that_is_wanted_elsewhere_is_left_to_another_node() {
    let driver = driver("a");
    let wanted = |requisite: &[&str], preferred: &[&str]| CreateVolumeRequest {
        accessibility_requirements: Some(TopologyRequirement {
            requisite: requisite.iter().map(|node| on(node)).collect(),
            preferred: preferred.iter().map(|node| on(node)).collect(),
        }),
        ..request("v", GIB)
    };
    for (requisite, preferred) in [(&["b", "c"][..], &["b"][..]), (&[], &["b"])] {
        let status = create(&driver, wanted(requisite, preferred)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
    create(&driver, wanted(&["b", "a"], &["b"])).await.unwrap();
}

#[tokio::test]
async fn a_class_may_choose_zones() {
    let driver = driver("a").in_zone("z".into());
    let in_zone = |zone: &str| TopologyRequirement {
        requisite: vec![Topology { segments: [(ZONE_KEY.into(), zone.into())].into() }],
        preferred: Vec::new(),
    };
    let wanted =
        |name, zone| CreateVolumeRequest { accessibility_requirements: Some(in_zone(zone)), ..request(name, GIB) };
    let status = create(&driver, wanted("v", "other")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let [topology] = &create(&driver, wanted("v", "z")).await.unwrap().accessible_topology[..] else { panic!("one") };
    assert_eq!(topology.segments, [(TOPOLOGY_KEY.into(), "a".into()), (ZONE_KEY.into(), "z".into())].into());
}

#[tokio::test]
async fn a_volume_of_another_node_is_not_taken_for_deleted() {
    let volume = create(&driver("a"), request("v", GIB)).await.unwrap();
    let delete = |id: &str| Request::new(DeleteVolumeRequest { volume_id: id.into(), ..Default::default() });
    let status = driver("b").delete_volume(delete(&volume.volume_id)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("another node"), "{status}");
    driver("b").delete_volume(delete("not-an-id")).await.unwrap();
    let status = driver("b").delete_volume(delete("")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn any_driver_answers_the_resizer_and_none_grows_anything_for_it() {
    let (here, there) = (driver("a"), driver("b"));
    let volume = create(&here, request("v", GIB)).await.unwrap();
    for driver in [&here, &there] {
        assert_eq!(expand(driver, &volume.volume_id, 2 * GIB - 1, 0).await.unwrap(), 2 * GIB);
    }
    assert_eq!(here.volumes.list().unwrap()[0].size, Bytes::GIB);
    assert_eq!(expand(&here, &volume.volume_id, GIB / 2, 0).await.unwrap(), GIB, "never smaller than it is");
    let refused = async |required, limit| expand(&here, &volume.volume_id, required, limit).await.unwrap_err().code();
    assert_eq!(refused(20 * GIB, 0).await, Code::ResourceExhausted);
    assert_eq!(refused(GIB / 2, GIB / 2).await, Code::OutOfRange);
    assert_eq!(expand(&here, "not-an-id", GIB, 0).await.unwrap_err().code(), Code::NotFound);
}

fn text(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_class_decides_what_a_volume_is_when_its_bytes_are_taken_and_what_it_may_do() {
    let driver = driver("a");
    let request = CreateVolumeRequest {
        parameters: text(&[("provisioning", "thick"), ("csi.storage.k8s.io/pvc/name", "data")]),
        mutable_parameters: text(&[("writeIOPS", "100")]),
        volume_capabilities: vec![block()],
        ..request("v", GIB)
    };
    create(&driver, request).await.unwrap();
    let volume = &driver.volumes.list().unwrap()[0];
    assert_eq!((volume.content, volume.provisioning), (Content::Block, Provisioning::Thick));
    assert_eq!(volume.limits.write_iops.unwrap().get(), 100);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_name_and_nothing_is_made() {
    let driver = driver("a");
    let refused = async |request, part: &str, code| {
        let status = create(&driver, request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(part), "{status}");
    };
    let with = |parameters, mutable_parameters| CreateVolumeRequest {
        parameters: text(parameters),
        mutable_parameters: text(mutable_parameters),
        ..request("v", GIB)
    };
    let invalid = Code::InvalidArgument;
    refused(with(&[("replicas", "3")], &[]), "`replicas`", invalid).await;
    refused(with(&[("provisioning", "fat")], &[]), "`fat`", invalid).await;
    refused(with(&[], &[("readIOPS", "0")]), "`readIOPS`", invalid).await;
    refused(with(&[], &[("iops", "5")]), "`iops`", invalid).await;
    refused(request("ephemeral-v", GIB), "`ephemeral-v`", invalid).await;
    refused(request("", GIB), "`name`", invalid).await;
    refused(request("v", 1 << 20), "too small", Code::OutOfRange).await;
    refused(request("v", -1), "-1", Code::OutOfRange).await;
    refused(request("v", i64::MAX), "ask for less", Code::OutOfRange).await;
    refused(request("v", 11 * GIB), "has room for", Code::ResourceExhausted).await;
    let shared =
        VolumeCapability { access_mode: Some(AccessMode { mode: Mode::MultiNodeMultiWriter.into() }), ..capability() };
    let shared = CreateVolumeRequest { volume_capabilities: vec![shared], ..request("v", GIB) };
    refused(shared, "MULTI_NODE_MULTI_WRITER", invalid).await;
    assert!(driver.volumes.list().unwrap().is_empty());
}

async fn modify(driver: &Driver, id: &str, parameters: &[(&str, &str)]) -> Result<(), Status> {
    let request = ControllerModifyVolumeRequest {
        volume_id: id.into(),
        mutable_parameters: text(parameters),
        ..Default::default()
    };
    driver.controller_modify_volume(Request::new(request)).await.map(drop)
}

#[tokio::test]
async fn limits_are_changed_one_by_one_and_taken_away_only_by_name() {
    let driver = driver("a");
    let id = create(&driver, request("v", GIB)).await.unwrap().volume_id;
    modify(&driver, &id, &[("readIOPS", "500"), ("writeBandwidth", "100Mi")]).await.unwrap();
    modify(&driver, &id, &[("readIOPS", "none"), ("writeIOPS", "7")]).await.unwrap();
    let limits = driver.volumes.list().unwrap()[0].limits;
    assert_eq!((limits.read_iops, limits.write_iops.unwrap().get()), (None, 7));
    assert_eq!(limits.write_bandwidth.unwrap().get(), 100 << 20);

    let refused = async |id: &str, parameters| modify(&driver, id, parameters).await.unwrap_err().code();
    assert_eq!(refused(&id, &[("readIOPS", "9"), ("size", "1Gi")]).await, Code::InvalidArgument);
    assert_eq!(driver.volumes.list().unwrap()[0].limits, limits, "nothing of a bad change is done");
    assert_eq!(refused(&id, &[]).await, Code::InvalidArgument);
    assert_eq!(refused("not-an-id", &[("readIOPS", "9")]).await, Code::NotFound);
    assert_eq!(refused("../../etc", &[("readIOPS", "9")]).await, Code::NotFound);
    driver.volumes.delete(&id.parse().unwrap()).unwrap();
    assert_eq!(refused(&id, &[("readIOPS", "9")]).await, Code::NotFound);
}

/// Remembers what it was to hand on.
#[derive(Default)]
struct Remembered(Mutex<Vec<Change>>);

#[tonic::async_trait]
impl Peers for Remembered {
    async fn modify(&self, change: Change) -> Result<(), Status> {
        self.0.lock().unwrap().push(change);
        Err(Status::unavailable("nobody is there"))
    }
}

#[tokio::test]
async fn a_change_of_another_nodes_volume_is_handed_on_if_there_is_a_way() {
    let id = create(&driver("a"), request("v", GIB)).await.unwrap().volume_id;
    let status = modify(&driver("b"), &id, &[("readIOPS", "9")]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("--namespace"), "{status}");

    let peers = Arc::new(Remembered::default());
    let there = driver("b").with_peers(peers.clone());
    let status = modify(&there, &id, &[("readIOPS", "9")]).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "nobody is there"));
    let change = Change { volume_id: id.clone(), read_iops: Some(9), ..Default::default() };
    assert_eq!(*peers.0.lock().unwrap(), [change]);
    // What is wrong is known here already.
    assert_eq!(modify(&there, &id, &[("iops", "9")]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(peers.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn health_says_what_is_wrong_and_lists_only_those_with_which_something_is() {
    let volumes = fake("a");
    let driver = on_volumes("a", volumes.clone());
    let [ill, well] = ["v", "w"].map(|name| request(name, GIB));
    let ill = create(&driver, ill).await.unwrap().volume_id;
    let well = create(&driver, well).await.unwrap().volume_id;
    let ailment = Ailment { severity: Severity::Inaccessible, reason: "FilesystemShutDown", message: "sorry".into() };
    volumes.ail(Some(&ill.parse().unwrap()), vec![ailment.clone(), ailment]);

    let health = async |id: &str| {
        let request = ControllerGetVolumeHealthRequest { volume_id: id.into(), ..Default::default() };
        driver.controller_get_volume_health(Request::new(request)).await
    };
    let found = health(&ill).await.unwrap().into_inner().volume_health.unwrap();
    let [entry] = found.health_statuses.as_slice() else { panic!("each reason is said once: {found:?}") };
    assert_eq!(
        (entry.status(), entry.reason.as_str()),
        (csi::VolumeHealthErrorType::Inaccessible, "FilesystemShutDown")
    );
    assert!(health(&well).await.unwrap().into_inner().volume_health.unwrap().health_statuses.is_empty());
    assert_eq!(health("not-an-id").await.unwrap_err().code(), Code::NotFound);
    let list = ControllerListVolumeHealthRequest::default();
    let listed = driver.controller_list_volume_health(Request::new(list)).await.unwrap().into_inner().entries;
    assert_eq!(listed, [found]);
}

#[tokio::test]
async fn a_volume_is_found_by_its_id_with_its_source() {
    let driver = driver("a");
    let id = create(&driver, request("v", GIB)).await.unwrap().volume_id;
    let clone = CreateVolumeRequest { volume_content_source: Some(volume_source(&id)), ..request("w", GIB) };
    let clone = create(&driver, clone).await.unwrap();
    let get = async |id: &str| {
        driver.controller_get_volume(Request::new(ControllerGetVolumeRequest { volume_id: id.into() })).await
    };
    let found = get(&clone.volume_id).await.unwrap().into_inner();
    assert_eq!(found.volume.unwrap(), clone);
    assert_eq!(clone.content_source, Some(volume_source(&id)));
    assert!(found.status.is_some(), "CSI requires it");
    assert_eq!(get("not-an-id").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(get("").await.unwrap_err().code(), Code::InvalidArgument);
}

fn volume_source(id: &str) -> VolumeContentSource {
    VolumeContentSource { r#type: Some(SourceType::Volume(VolumeSource { volume_id: id.into() })) }
}

#[tokio::test]
async fn capacity_is_that_of_this_node_and_of_what_is_offered() {
    let driver = driver("a");
    create(&driver, request("v", 4 * GIB)).await.unwrap();
    let capacity = async |request| {
        let answer = driver.get_capacity(Request::new(request)).await.unwrap().into_inner();
        assert_eq!(answer.maximum_volume_size, Some(answer.available_capacity));
        answer.available_capacity
    };
    let at = |node| GetCapacityRequest { accessible_topology: Some(on(node)), ..Default::default() };
    assert_eq!(capacity(GetCapacityRequest::default()).await, 6 * GIB);
    assert_eq!(capacity(at("a")).await, 6 * GIB);
    assert_eq!(capacity(at("b")).await, 0);
    let unknown = GetCapacityRequest { parameters: [("replicas".into(), "3".into())].into(), ..at("a") };
    assert_eq!(capacity(unknown).await, 0, "no volume of such a class can be made");
    let thick = GetCapacityRequest { parameters: text(&[("provisioning", "thick")]), ..at("a") };
    assert_eq!(capacity(thick).await, 6 * GIB);
}

#[tokio::test]
async fn volumes_are_listed_page_by_page() {
    let driver = driver("a");
    let mut ids = Vec::new();
    for name in ["u", "v", "w"] {
        ids.push(create(&driver, request(name, GIB)).await.unwrap().volume_id);
    }
    ids.sort();
    let mut listed = Vec::new();
    let mut starting_token = String::new();
    loop {
        let request = ListVolumesRequest { max_entries: 2, starting_token };
        let page = driver.list_volumes(Request::new(request)).await.unwrap().into_inner();
        assert!(page.entries.len() <= 2);
        listed.extend(page.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id));
        starting_token = page.next_token;
        if starting_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids);
    let request = ListVolumesRequest { max_entries: 0, starting_token: "nonsense".into() };
    assert_eq!(driver.list_volumes(Request::new(request)).await.unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn capabilities_are_confirmed_or_the_reason_is_given() {
    let driver = driver("a");
    let volume = create(&driver, request("v", GIB)).await.unwrap();
    let validate = async |fs_type: &str| {
        let request = ValidateVolumeCapabilitiesRequest {
            volume_id: volume.volume_id.clone(),
            volume_capabilities: vec![filesystem(fs_type)],
            ..Default::default()
        };
        driver.validate_volume_capabilities(Request::new(request)).await.unwrap().into_inner()
    };
    assert!(validate("xfs").await.confirmed.is_some());
    assert!(validate("").await.confirmed.is_some());
    let refused = validate("ext4").await;
    assert!(refused.confirmed.is_none() && refused.message.contains("is xfs"), "{refused:?}");
}
