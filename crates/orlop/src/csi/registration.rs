//! The kubelet's plugin registration: a socket in a directory that the kubelet watches, on which it asks where the
//! driver is, and tells whether it has taken it on.

use std::path::PathBuf;

use orlop_api::names;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::rpc::registration_v1::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse, registration_server::Registration,
};

/// Answers the kubelet.
pub(super) struct Registrar {
    /// The driver's socket, by its path on the node.
    pub endpoint: PathBuf,
    /// Takes why the kubelet has refused the driver.
    pub refused: mpsc::Sender<String>,
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".into(),
            name: names::LOCAL_DRIVER.into(),
            endpoint: self.endpoint.display().to_string(),
            // The version of the interface, of which all since 1.0 are one to the kubelet.
            supported_versions: vec!["1.0.0".into()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!("registered with the kubelet");
        } else {
            // If nobody listens any more, the driver is on its way out already.
            let _ = self.refused.try_send(status.error);
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
