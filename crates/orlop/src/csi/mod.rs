//! The local CSI driver, `local.orlop.dev`: CSI in front of `orlop-volume`.
