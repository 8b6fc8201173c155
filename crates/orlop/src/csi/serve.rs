//! Serving the driver on its sockets until it is told to stop.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use orlop_api::names;
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::{Driver, authority, registration::Registrar};
use crate::rpc::{
    csi_v1::{
        controller_server::ControllerServer, group_controller_server::GroupControllerServer,
        identity_server::IdentityServer, node_server::NodeServer, snapshot_metadata_server::SnapshotMetadataServer,
    },
    registration_v1::registration_server::RegistrationServer,
};

/// Where the driver is found.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// The socket of the driver, by a path that is the same on the node and in the driver's container.
    pub csi: PathBuf,
    /// The directory in which the kubelet looks for plugins.
    pub registration: PathBuf,
}

/// Why the driver stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket cannot be made.
    #[error("cannot listen on {}", .path.display())]
    Listen {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A server failed.
    #[error("cannot serve")]
    Serve(#[from] tonic::transport::Error),
    /// Signals cannot be received.
    #[error("cannot wait for signals")]
    Signal(#[source] io::Error),
    /// The kubelet does not want the driver.
    #[error("the kubelet has refused the driver: {0}")]
    Refused(String),
}

/// Serves the driver until SIGTERM or SIGINT, and then completes the calls that are under way. The kubelet is told of the
/// driver only once it can be reached.
pub async fn serve(driver: Driver, endpoints: &Endpoints) -> Result<(), ServeError> {
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;

    let listener = listen(&endpoints.csi)?;
    let csi = Server::builder()
        .add_service(IdentityServer::new(driver.clone()))
        .add_service(ControllerServer::new(driver.clone()))
        .add_service(GroupControllerServer::new(driver.clone()))
        .add_service(SnapshotMetadataServer::new(driver.clone()))
        .add_service(NodeServer::new(driver))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());

    let socket = endpoints.registration.join(format!("{}-reg.sock", names::LOCAL_DRIVER));
    let listener = listen(&socket)?;
    let (refused, mut refusals) = mpsc::channel(1);
    let registrar = Registrar { endpoint: endpoints.csi.clone(), refused };
    let registration = Server::builder()
        .add_service(RegistrationServer::new(registrar))
        .serve_with_incoming_shutdown(authority::connections(listener), stop.clone().cancelled_owned());

    tracing::info!(socket = %endpoints.csi.display(), "serving");
    let told = async {
        let result = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            Some(reason) = refusals.recv() => Err(ServeError::Refused(reason)),
        };
        tracing::info!("stopping once the calls under way are done");
        stop.cancel();
        result
    };
    let served = async { tokio::try_join!(csi, registration).map(drop).map_err(ServeError::from) };
    let result = tokio::try_join!(served, told).map(drop);
    // The kubelet is to see at once that the driver is gone.
    let _ = fs::remove_file(socket);
    result
}

/// Listens on a socket, in place of what a previous process may have left there.
fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    let bound = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        UnixListener::bind(path)
    };
    bound().map_err(|source| ServeError::Listen { path: path.to_owned(), source })
}
