//! The control plane's processes and their flags. Flags that only repeat a default are left out.

use super::{Component, bundle::Bundle, daemon::Daemon, layout::Layout, pki, ports::Ports};

/// The addresses of Services. Nothing routes to them, for there is no kube-proxy, but Services exist as anywhere.
const SERVICE_SUBNET: &str = "10.96.0.0/16";

pub(super) fn etcd(layout: &Layout, bundle: &Bundle, ports: &Ports) -> Daemon {
    let client = format!("https://127.0.0.1:{}", ports.etcd);
    let peer = format!("https://127.0.0.1:{}", ports.etcd_peer);
    let certificate = layout.certificate(pki::ETCD);
    let key = layout.key(pki::ETCD);
    let authority = layout.certificate(pki::ETCD_CA);
    Daemon {
        component: Component::Etcd,
        program: bundle.program("etcd"),
        args: vec![
            format!("--name={}", layout.name),
            format!("--data-dir={}", layout.etcd_dir().display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}={peer}", layout.name),
            format!("--cert-file={}", certificate.display()),
            format!("--key-file={}", key.display()),
            format!("--trusted-ca-file={}", authority.display()),
            "--client-cert-auth".to_owned(),
            format!("--peer-cert-file={}", certificate.display()),
            format!("--peer-key-file={}", key.display()),
            format!("--peer-trusted-ca-file={}", authority.display()),
            "--peer-client-cert-auth".to_owned(),
            // A bed shares its disk with the storage that is tested on it, and a writer at full speed would make every
            // fsync of etcd take seconds. What is not synced survives a killed etcd, though not a power cut.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ],
        configs: vec![certificate],
    }
}

pub(super) fn api_server(layout: &Layout, bundle: &Bundle, ports: &Ports) -> Daemon {
    let certificate = |name| layout.certificate(name).display().to_string();
    let key = |name| layout.key(name).display().to_string();
    Daemon {
        component: Component::ApiServer,
        program: bundle.program("kube-apiserver"),
        args: vec![
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", ports.api_server),
            format!("--tls-cert-file={}", certificate(pki::API_SERVER)),
            format!("--tls-private-key-file={}", key(pki::API_SERVER)),
            format!("--client-ca-file={}", certificate(pki::CA)),
            "--anonymous-auth=false".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--etcd-servers=https://127.0.0.1:{}", ports.etcd),
            format!("--etcd-cafile={}", certificate(pki::ETCD_CA)),
            format!("--etcd-certfile={}", certificate(pki::ETCD_CLIENT)),
            format!("--etcd-keyfile={}", key(pki::ETCD_CLIENT)),
            format!("--kubelet-certificate-authority={}", certificate(pki::CA)),
            format!("--kubelet-client-certificate={}", certificate(pki::KUBELET_CLIENT)),
            format!("--kubelet-client-key={}", key(pki::KUBELET_CLIENT)),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--service-cluster-ip-range={SERVICE_SUBNET}"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", certificate(pki::SERVICE_ACCOUNTS)),
            format!("--service-account-signing-key-file={}", key(pki::SERVICE_ACCOUNTS)),
            // It refuses to publish a loopback address as the endpoint of the Service `kubernetes`.
            "--endpoint-reconciler-type=none".to_owned(),
        ],
        configs: vec![layout.certificate(pki::API_SERVER)],
    }
}

pub(super) fn controller_manager(layout: &Layout, bundle: &Bundle) -> Daemon {
    let component = Component::ControllerManager;
    let kubeconfig = layout.kubeconfig_of(component);
    Daemon {
        component,
        program: bundle.program("kube-controller-manager"),
        args: vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            "--leader-elect=false".to_owned(),
            // It serves nothing that a bed needs, so it opens no port.
            "--secure-port=0".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", layout.key(pki::SERVICE_ACCOUNTS).display()),
            format!("--root-ca-file={}", layout.certificate(pki::CA).display()),
            format!("--flex-volume-plugin-dir={}", layout.dir.join("flexvolume").display()),
        ],
        configs: vec![kubeconfig],
    }
}

pub(super) fn scheduler(layout: &Layout, bundle: &Bundle) -> Daemon {
    let component = Component::Scheduler;
    let kubeconfig = layout.kubeconfig_of(component);
    Daemon {
        component,
        program: bundle.program("kube-scheduler"),
        args: vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ],
        configs: vec![kubeconfig],
    }
}
