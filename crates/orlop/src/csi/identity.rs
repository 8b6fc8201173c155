//! The Identity service: who the driver is, what it offers, and whether it works.

use orlop_api::names;
use tonic::{Request, Response, Status};

use super::Driver;
use crate::rpc::csi_v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    PluginCapability, ProbeRequest, ProbeResponse,
    identity_server::Identity,
    plugin_capability::{
        Service, Type, VolumeExpansion,
        service::{
            self,
            Type::{
                ControllerService, GroupControllerService, SnapshotMetadataService, VolumeAccessibilityConstraints,
            },
        },
        volume_expansion,
    },
};

#[tonic::async_trait]
impl Identity for Driver {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: names::LOCAL_DRIVER.into(),
            vendor_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let service = |service: service::Type| Type::Service(Service { r#type: service.into() });
        let types = [
            service(ControllerService),
            service(GroupControllerService),
            service(SnapshotMetadataService),
            service(VolumeAccessibilityConstraints),
            Type::VolumeExpansion(VolumeExpansion { r#type: volume_expansion::Type::Online.into() }),
        ];
        let capabilities = types.map(|r#type| PluginCapability { r#type: Some(r#type) }).into();
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    /// The driver works if its pool can be measured.
    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        self.ask("Probe", "", |driver| {
            driver.volumes.pool()?;
            Ok(ProbeResponse { ready: Some(true) })
        })
        .await
    }
}
