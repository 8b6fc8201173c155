//! A node's networks. Its own is an address on the machine's loopback device. Its pods' is a pair of virtual interfaces
//! for each pod, routed on the host: no bridge, which would stay behind, and no packet-filter rules, which would have to
//! be found again.

use std::{fs, net::Ipv4Addr, path::Path};

use serde_json::{Value, json};

use super::{
    Error,
    error::OnPath as _,
    files::{self, Readers},
    layout::NodeLayout,
    process,
};

/// Where the distribution puts the network plugins.
pub(super) const PLUGINS: &str = "/usr/lib/cni";

/// Where libcni keeps what the plugins answered, whatever containerd's configuration says.
const RESULTS: &str = "/var/lib/cni/results";

/// The program that sets addresses.
pub(super) const IP: &str = "/usr/bin/ip";

/// Gives the machine's loopback device an address. One that it has is fine.
pub(super) async fn add_address(address: Ipv4Addr) -> Result<(), Error> {
    process::run(Path::new(IP), &["address", "replace", &format!("{address}/32"), "dev", "lo"]).await?;
    Ok(())
}

/// Takes an address from the machine's loopback device. One that it has not is fine.
pub(super) async fn remove_address(address: Ipv4Addr) -> Result<(), Error> {
    let of_lo = process::run(Path::new(IP), &["-brief", "address", "show", "dev", "lo"]).await?;
    let prefix = format!("{address}/32");
    if of_lo.split_whitespace().any(|word| word == prefix) {
        process::run(Path::new(IP), &["address", "del", &prefix, "dev", "lo"]).await?;
    }
    Ok(())
}

/// Writes the network's configuration to where the node's containerd reads it.
pub(super) fn configure(node: &NodeLayout, subnet: &str) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(&render(node, subnet)).on("write", node.cni_dir())?;
    files::write(&node.cni_dir().join("10-orlop.conflist"), &text, Readers::Everyone)
}

fn render(node: &NodeLayout, subnet: &str) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": node.network,
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": node.ipam_dir(),
                "ranges": [[{"subnet": subnet}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

/// Removes what libcni keeps of networks whose name begins with `prefix`, and of the loopback devices of `sandboxes`,
/// which are the ids of pods' sandboxes.
pub(super) fn forget(prefix: &str, sandboxes: &[String]) -> Result<(), Error> {
    let Ok(results) = fs::read_dir(RESULTS) else { return Ok(()) };
    for result in results.filter_map(Result::ok) {
        let name = result.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) || sandboxes.iter().any(|id| name.contains(id.as_str())) {
            fs::remove_file(result.path()).on("remove", result.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::layout::*, *};

    #[test]
    fn addresses_are_kept_below_the_node_and_nothing_filters_packets() {
        let node = Layout::new(&BedName::default()).node(NodeNumber(2));
        insta::assert_yaml_snapshot!(render(&node, "10.200.2.0/24"));
    }
}
