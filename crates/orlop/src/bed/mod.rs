//! A real Kubernetes on this machine: what `orlop up` starts and `orlop down` removes.
