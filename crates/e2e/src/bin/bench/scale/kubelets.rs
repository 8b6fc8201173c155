//! Kubelets that are stood in for: a server on as many ports as there are nodes, which answers the API server's proxy with
//! a summary as a kubelet writes it, for pods whose volumes are half full until one is filled.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::Context as _;
use axum::{Router, routing::get, serve::Listener};
use jiff::Timestamp;
use orlop::bed::{Bed, NodeNumber};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
    server::TlsStream,
};

use super::objects::{Fleet, SIZE_GIB};

/// The port of the first node's kubelet; the others follow.
const FIRST_PORT: u16 = 21_000;

/// The port of a node's kubelet.
pub fn port(node: usize) -> anyhow::Result<u16> {
    let number = u16::try_from(node).ok().and_then(|node| FIRST_PORT.checked_add(node));
    number.context("there are not as many ports as nodes")
}

/// All of them.
pub struct Kubelets {
    fleet: Fleet,
    /// The claims whose volumes are all but full, and when that was first handed out.
    full: Mutex<BTreeMap<usize, Option<Instant>>>,
}

impl Kubelets {
    /// Serves for as long as the program runs. They have the address and the certificate of the bed's own node.
    pub async fn serve(bed: &Bed, fleet: Fleet) -> anyhow::Result<Arc<Self>> {
        let kubelets = Arc::new(Self { fleet, full: Mutex::default() });
        let acceptor = acceptor(bed)?;
        for node in 0..fleet.nodes() {
            let listener = TcpListener::bind((fleet.address, port(node)?)).await?;
            let (kubelets, acceptor) = (kubelets.clone(), acceptor.clone());
            let summary = get(move || {
                let kubelets = kubelets.clone();
                async move { ([("content-type", "application/json")], kubelets.summary(node)) }
            });
            let router = Router::new().route("/stats/summary", summary);
            tokio::spawn(async move { axum::serve(Tls { listener, acceptor }, router).await });
        }
        Ok(kubelets)
    }

    /// From now on the volume of this claim is all but full.
    pub fn fill(&self, claim: usize) {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).entry(claim).or_insert(None);
    }

    /// When it was first said that the volume is all but full.
    pub fn served(&self, claim: usize) -> Option<Instant> {
        *self.full.lock().unwrap_or_else(PoisonError::into_inner).get(&claim)?
    }

    fn summary(&self, node: usize) -> String {
        const TOTAL: u64 = SIZE_GIB << 30;
        let now = Timestamp::now();
        let mut text = format!(
            r#"{{"node":{{"nodeName":"{name}","startTime":"{now}","cpu":{{"time":"{now}","usageNanoCores":812345678}},
            "memory":{{"time":"{now}","availableBytes":8123456789,"usageBytes":4123456789}},
            "fs":{{"time":"{now}","availableBytes":81234567890,"capacityBytes":101234567890,"usedBytes":20000000000,
            "inodesFree":6000000,"inodes":6553600,"inodesUsed":553600}}}},"pods":["#,
            name = Fleet::node(node),
        );
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        for claim in self.fleet.of_node(node) {
            let said = full.get_mut(&claim);
            let available = if said.is_some() { TOTAL / 20 } else { TOTAL / 2 };
            if let Some(said @ None) = said {
                *said = Some(Instant::now());
            }
            let separator = if claim == self.fleet.of_node(node).start { "" } else { "," };
            // Writing into a text cannot fail.
            let _ = write!(
                text,
                r#"{separator}{{"podRef":{{"name":"{pod}","namespace":"{namespace}","uid":"{claim:032x}"}},"startTime":"{now}",
                "containers":[{{"name":"db","startTime":"{now}","cpu":{{"time":"{now}","usageNanoCores":1234567,
                "usageCoreNanoSeconds":123456789012}},"memory":{{"time":"{now}","usageBytes":123456789,
                "workingSetBytes":103456789,"rssBytes":93456789,"pageFaults":12345,"majorPageFaults":12}},
                "rootfs":{{"time":"{now}","availableBytes":81234567890,"capacityBytes":101234567890,"usedBytes":40960,
                "inodesFree":6000000,"inodes":6553600,"inodesUsed":12}},"logs":{{"time":"{now}","availableBytes":81234567890,
                "capacityBytes":101234567890,"usedBytes":8192,"inodesFree":6000000,"inodes":6553600,"inodesUsed":2}}}}],
                "cpu":{{"time":"{now}","usageNanoCores":1234567,"usageCoreNanoSeconds":123456789012}},
                "memory":{{"time":"{now}","usageBytes":123456789,"workingSetBytes":103456789,"rssBytes":93456789}},
                "network":{{"time":"{now}","name":"eth0","rxBytes":123456,"rxErrors":0,"txBytes":123456,"txErrors":0}},
                "volume":[{{"time":"{now}","availableBytes":{available},"capacityBytes":{TOTAL},"usedBytes":{used},
                "inodesFree":6000000,"inodes":6553600,"inodesUsed":553600,"name":"data",
                "pvcRef":{{"name":"{name}","namespace":"{namespace}"}}}},
                {{"time":"{now}","availableBytes":4123456789,"capacityBytes":4123468800,"usedBytes":12288,
                "inodesFree":1006990,"inodes":1006999,"inodesUsed":9,"name":"kube-api-access-x7k2p"}}],
                "ephemeral-storage":{{"time":"{now}","availableBytes":81234567890,"capacityBytes":101234567890,
                "usedBytes":61440,"inodesFree":6000000,"inodes":6553600,"inodesUsed":14}},
                "process_stats":{{"process_count":0}}}}"#,
                pod = Fleet::pod(claim),
                namespace = Fleet::namespace(claim),
                name = Fleet::name(claim),
                used = TOTAL - available,
            );
        }
        text.push_str("]}");
        text
    }
}

fn acceptor(bed: &Bed) -> anyhow::Result<TlsAcceptor> {
    let (certificate, key) = bed.kubelet_certificate(NodeNumber(1));
    let certificates = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, PrivateKeyDer::from_pem_file(key)?)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Who does not come to an end with the handshake is not the API server.
            if let Ok((stream, from)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The address of the bed's own node, which the API server may reach.
pub async fn address(client: &kube::Client) -> anyhow::Result<Ipv4Addr> {
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client.clone());
    let status = nodes.get(&NodeNumber(1).to_string()).await?.status.context("the bed's node has no status")?;
    let addresses = status.addresses.unwrap_or_default();
    let internal = addresses.iter().find(|address| address.type_ == "InternalIP");
    internal.context("the bed's node has no address")?.address.parse().context("the address of the bed's node")
}
