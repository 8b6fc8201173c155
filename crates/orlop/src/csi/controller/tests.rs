use std::sync::Arc;

use orlop_volume::{FakeVolumes, NodeTag};
use tonic::Code;

use super::*;
use crate::{
    csi::TOPOLOGY_KEY,
    rpc::csi_v1::{
        CapacityRange, Topology, VolumeCapability,
        volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
    },
};

const GIB: i64 = 1 << 30;

fn driver(node: &str) -> Driver {
    Driver::new(node.into(), Arc::new(FakeVolumes::new(NodeTag::of(node), Bytes(10 << 30))))
}

fn capability() -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
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

#[tokio::test]
async fn an_unknown_parameter_is_refused_by_name() {
    let request = CreateVolumeRequest { parameters: [("replicas".into(), "3".into())].into(), ..request("v", GIB) };
    let status = create(&driver("a"), request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("`replicas`"), "{status}");
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
        let mount = MountVolume { fs_type: fs_type.into(), ..Default::default() };
        let request = ValidateVolumeCapabilitiesRequest {
            volume_id: volume.volume_id.clone(),
            volume_capabilities: vec![VolumeCapability { access_type: Some(AccessType::Mount(mount)), ..capability() }],
            ..Default::default()
        };
        driver.validate_volume_capabilities(Request::new(request)).await.unwrap().into_inner()
    };
    assert!(validate("xfs").await.confirmed.is_some());
    let refused = validate("ext4").await;
    assert!(refused.confirmed.is_none() && refused.message.contains("is xfs"), "{refused:?}");
}
