//! The bed's keys and certificates: its parts authenticate each other as on any cluster, and nobody is anonymous.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::{
    Error, NodeNumber,
    error::OnPath as _,
    files::{self, Readers},
    layout::Layout,
};

/// The authority behind all certificates but etcd's.
pub(super) const CA: &str = "ca";
/// etcd's own authority: whoever it signs for reads and writes everything, past the API server's authorization.
pub(super) const ETCD_CA: &str = "etcd-ca";
/// etcd's certificate.
pub(super) const ETCD: &str = "etcd";
/// The API server's certificate towards etcd.
pub(super) const ETCD_CLIENT: &str = "apiserver-etcd";
/// The API server's serving certificate.
pub(super) const API_SERVER: &str = "apiserver";
/// The API server's certificate towards kubelets.
pub(super) const KUBELET_CLIENT: &str = "apiserver-kubelet";
/// The user of [`KUBELET_CLIENT`].
pub(super) const KUBELET_CLIENT_USER: &str = "kube-apiserver-kubelet-client";
/// The administrator's certificate.
pub(super) const ADMIN: &str = "admin";
/// The key pair that signs service-account tokens.
pub(super) const SERVICE_ACCOUNTS: &str = "service-accounts";

/// The first address of the bed's service range, at which the `kubernetes` Service would answer.
const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// What a certificate is for.
enum Purpose {
    Server(Vec<SanType>),
    Client {
        user: String,
        group: Option<&'static str>,
    },
    /// etcd uses one certificate towards clients and towards its peers.
    ServerAndClient(Vec<SanType>),
}

/// The name of a kubelet's certificate towards the API server.
pub(super) fn node_client(node: NodeNumber) -> String {
    format!("{node}-client")
}

/// The name of a kubelet's serving certificate.
pub(super) fn node_server(node: NodeNumber) -> String {
    format!("{node}-server")
}

/// Makes what is missing of the control plane's certificates.
pub(super) fn ensure_control_plane(layout: &Layout) -> Result<(), Error> {
    for name in [CA, ETCD_CA] {
        ensure_authority(layout, name)?;
    }
    let loopback = || SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut api_names = vec![loopback(), SanType::IpAddress(KUBERNETES_SERVICE.into())];
    for name in ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"] {
        api_names.push(SanType::DnsName(name.try_into()?));
    }
    api_names.push(SanType::DnsName("kubernetes.default.svc.cluster.local".try_into()?));
    let client = |user: &str, group| Purpose::Client { user: user.to_owned(), group };

    ensure(layout, ETCD_CA, ETCD, &Purpose::ServerAndClient(vec![loopback()]))?;
    ensure(layout, ETCD_CA, ETCD_CLIENT, &client("kube-apiserver", None))?;
    ensure(layout, CA, API_SERVER, &Purpose::Server(api_names))?;
    ensure(layout, CA, KUBELET_CLIENT, &client(KUBELET_CLIENT_USER, None))?;
    ensure(layout, CA, ADMIN, &client("orlop-admin", Some("system:masters")))?;
    for user in ["kube-controller-manager", "kube-scheduler"] {
        ensure(layout, CA, user, &client(&format!("system:{user}"), None))?;
    }
    ensure_service_account_keys(layout)
}

/// Makes what is missing of a node's certificates.
pub(super) fn ensure_node(layout: &Layout, node: NodeNumber, address: Ipv4Addr) -> Result<(), Error> {
    let names = vec![SanType::IpAddress(address.into()), SanType::DnsName(node.to_string().as_str().try_into()?)];
    ensure(layout, CA, &node_server(node), &Purpose::Server(names))?;
    // The Node authorizer lets a kubelet see what its own pods need, by this user and group.
    let user = format!("system:node:{node}");
    ensure(layout, CA, &node_client(node), &Purpose::Client { user, group: Some("system:nodes") })
}

/// Validity from a fixed day to a fixed day: longer than any bed lives, whatever the machine's clock says.
fn parameters(common_name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2060, 1, 1);
    parameters
}

fn ensure_authority(layout: &Layout, name: &str) -> Result<(), Error> {
    if there(layout, name) {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    let certificate = authority_parameters(layout, name).self_signed(&key)?;
    write(layout, name, &certificate.pem(), &key.serialize_pem())
}

/// What an authority's certificate says, which together with its key is all that signing needs: so the certificate is
/// never parsed.
fn authority_parameters(layout: &Layout, name: &str) -> CertificateParams {
    let mut parameters = parameters(&format!("orlop-{}-{name}", layout.name));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn ensure(layout: &Layout, authority: &str, name: &str, purpose: &Purpose) -> Result<(), Error> {
    if there(layout, name) {
        return Ok(());
    }
    let authority_key = layout.key(authority);
    let authority_key = KeyPair::from_pem(&fs::read_to_string(&authority_key).on("read", authority_key)?)?;
    let issuer = Issuer::new(authority_parameters(layout, authority), authority_key);
    let mut parameters = match purpose {
        Purpose::Client { user, .. } => parameters(user),
        Purpose::Server(_) | Purpose::ServerAndClient(_) => parameters(name),
    };
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match purpose {
        Purpose::Server(names) => {
            parameters.subject_alt_names.clone_from(names);
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        Purpose::ServerAndClient(names) => {
            parameters.subject_alt_names.clone_from(names);
            parameters.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }
        Purpose::Client { group, .. } => {
            if let Some(group) = *group {
                parameters.distinguished_name.push(DnType::OrganizationName, group);
            }
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
    }
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    write(layout, name, &certificate.pem(), &key.serialize_pem())
}

fn ensure_service_account_keys(layout: &Layout) -> Result<(), Error> {
    if there(layout, SERVICE_ACCOUNTS) {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    write(layout, SERVICE_ACCOUNTS, &key.public_key_pem(), &key.serialize_pem())
}

fn there(layout: &Layout, name: &str) -> bool {
    layout.certificate(name).exists() && layout.key(name).exists()
}

/// Writes the certificate last: a pair is there when it is whole.
fn write(layout: &Layout, name: &str, certificate: &str, key: &str) -> Result<(), Error> {
    files::write(&layout.key(name), key, Readers::Owner)?;
    files::write(&layout.certificate(name), certificate, Readers::Everyone)
}
