//! The numbers that keep beds apart: each bed has an index on its machine, and the index gives it a block of ports and
//! the subnets of its pods.

use std::net::{Ipv4Addr, TcpListener};

use serde::{Deserialize, Serialize};

use super::{Error, NodeNumber};

/// How many beds a machine can have: as many as there are blocks of ports below the ephemeral ones.
pub(super) const BEDS_MAX: u8 = 50;

/// The first port of the first bed. Below 30000, where Kubernetes' node ports begin, and below the kernel's ephemeral
/// ports, so that no outgoing connection takes a bed's port while the bed is being repaired.
const FIRST_PORT: u16 = 21_000;

/// How many ports a bed may choose from: enough that those taken by others can be skipped.
const BLOCK_PORTS: u16 = 100;

/// The largest number of nodes: each takes a port from the block.
pub(super) const NODES_MAX: u8 = 32;

/// The ports of a bed's control plane, and one kubelet port for each node that it may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) api_server: u16,
    pub(super) operator: u16,
    kubelets: Vec<u16>,
}

impl Ports {
    /// Chooses from the block of the bed `index`, skipping ports that `free` denies.
    pub(super) fn choose(index: u8, free: impl Fn(u16) -> bool) -> Result<Self, Error> {
        let first = FIRST_PORT + u16::from(index) * BLOCK_PORTS;
        let mut ports = (first..first + BLOCK_PORTS).filter(|port| free(*port));
        let mut next = || ports.next().ok_or(Error::Exhausted("block of ports"));
        Ok(Self {
            etcd: next()?,
            etcd_peer: next()?,
            api_server: next()?,
            operator: next()?,
            kubelets: (0..NODES_MAX).map(|_| next()).collect::<Result<_, _>>()?,
        })
    }

    /// The port of a node's kubelet.
    pub(super) fn kubelet(&self, node: NodeNumber) -> u16 {
        self.kubelets[usize::from(node.0 - 1)]
    }
}

/// Whether nobody listens on a port, on any address: the nodes' addresses may not be there yet.
pub(super) fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// The smallest index that no other bed has.
pub(super) fn free_index(taken: &[u8]) -> Result<u8, Error> {
    (0..BEDS_MAX).find(|index| !taken.contains(index)).ok_or(Error::Exhausted("number"))
}

/// The address of a node: one of the machine's own, on its loopback device. Not 127.0.0.1, which a kubelet refuses to
/// call its own and the API server refuses to pass requests on to.
pub(super) fn address(index: u8, node: NodeNumber) -> Ipv4Addr {
    Ipv4Addr::new(10, 200 + index, 0, node.0)
}

/// The subnet that a node's pods get their addresses from.
pub(super) fn subnet(index: u8, node: NodeNumber) -> String {
    format!("10.{}.{}.0/24", 200 + index, node.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_different_beds_never_meet() {
        let first = Ports::choose(0, |_| true).expect("ports");
        let second = Ports::choose(1, |_| true).expect("ports");
        let last_of_first = *first.kubelets.last().expect("kubelets");
        assert!(last_of_first < second.etcd, "{last_of_first} and {}", second.etcd);
        let last = Ports::choose(BEDS_MAX - 1, |_| true).expect("ports");
        assert!(*last.kubelets.last().expect("kubelets") < 30_000);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_skipped() {
        let taken = FIRST_PORT;
        let ports = Ports::choose(0, |port| port != taken).expect("ports");
        assert_eq!(ports.etcd, taken + 1);
    }

    #[test]
    fn a_block_without_enough_free_ports_is_an_error() {
        assert!(matches!(Ports::choose(0, |port| port % 10 == 0), Err(Error::Exhausted(_))));
    }

    #[test]
    fn the_index_of_a_removed_bed_is_used_again() {
        assert_eq!(free_index(&[0, 2]).expect("an index"), 1);
        let all: Vec<u8> = (0..BEDS_MAX).collect();
        assert!(free_index(&all).is_err());
    }

    #[test]
    fn every_bed_has_addresses_and_subnets_of_its_own() {
        assert_eq!(address(1, NodeNumber(2)), Ipv4Addr::new(10, 201, 0, 2));
        assert_eq!(subnet(0, NodeNumber(1)), "10.200.1.0/24");
        assert_eq!(subnet(BEDS_MAX - 1, NodeNumber(3)), "10.249.3.0/24");
    }
}
