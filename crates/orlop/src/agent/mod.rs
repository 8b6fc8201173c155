//! The node agent: measures the volumes below the kubelet's directory and streams what the operator asked for.
