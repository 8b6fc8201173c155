//! Claims, and templates of claims, that ask for what they will not get.

use orlop_api::{Bytes, driver::profile_name};

use crate::{
    Findings,
    rule::{Rule, Severity},
    world::{Claim, Class, ClassName, World},
};

const SIZE: &str = "spec.resources.requests.storage";

/// Volumes below this are no volumes that anybody means: no filesystem fits.
const TINY: Bytes = Bytes::MIB;

/// How alike two names must be for one to be taken for a slip of the pen.
const ALIKE: f64 = 0.85;

pub(crate) static INVALID_SIZE: Rule = Rule {
    id: "invalid-size",
    severity: Severity::Error,
    finds: "a claim whose size is missing, or is no Kubernetes quantity",
    why: "The API server refuses the claim. A StatefulSet whose template has no size, or a size of zero, is accepted, and \
          then has no pods.",
    remedy: "Write a quantity above zero, such as `100Gi`.",
    source: "Kubernetes, apimachinery, resource.Quantity; `ValidatePersistentVolumeClaimSpec`",
};

pub(crate) static TINY_SIZE: Rule = Rule {
    id: "tiny-size",
    severity: Severity::Warning,
    finds: "a claim for less than a MiB",
    why: "It is most likely a slip: `m` is a thousandth, so that `500m` is half a byte, and a number without a unit is \
          bytes.",
    remedy: "Write `Mi` or `Gi`.",
    source: "Kubernetes, Resource Management, Memory resource units",
};

pub(crate) static DECIMAL_SIZE: Rule = Rule {
    id: "decimal-size",
    severity: Severity::Info,
    finds: "a claim whose size is in powers of ten: `M`, `G`, `T`",
    why: "`100G` is 93.1 GiB. Most drivers make whole GiB, so the volume is neither what was asked for nor what was meant.",
    remedy: "Write `Mi`, `Gi` or `Ti`.",
    source: "Kubernetes, Resource Management, Memory resource units",
};

pub(crate) static SIZE_ABOVE_MAXIMUM: Rule = Rule {
    id: "size-above-maximum",
    severity: Severity::Error,
    finds: "a claim for more than the driver makes of this kind of volume",
    why: "The driver refuses, and the claim stays Pending.",
    remedy: "Ask for less, or use a class with another kind of volume.",
    source: "`maximumSize` in the driver's [profile](driver-profiles.md), each with its source",
};

pub(crate) static SIZE_BELOW_MINIMUM: Rule = Rule {
    id: "size-below-minimum",
    severity: Severity::Warning,
    finds: "a claim for less than the driver makes of this kind of volume",
    why: "Some drivers refuse, and the claim stays Pending; others make the smallest volume that there is, which is paid \
          for in full.",
    remedy: "Ask for the minimum, or use a class with another kind of volume.",
    source: "`minimumSize` in the driver's [profile](driver-profiles.md), each with its source",
};

pub(crate) static SIZE_ROUNDED_UP: Rule = Rule {
    id: "size-rounded-up",
    severity: Severity::Info,
    finds: "a claim whose size is no multiple of the driver's steps, where these are larger than 1Gi",
    why: "The volume is larger than the claim says, and is paid for as it is.",
    remedy: "Ask for the size that you get.",
    source: "`sizeIncrement` in the driver's [profile](driver-profiles.md), each with its source",
};

pub(crate) static NO_CLASS: Rule = Rule {
    id: "no-class",
    severity: Severity::Info,
    finds: "a claim that names no StorageClass",
    why: "It gets the default class of whichever cluster it is applied to, which may not expand or keep its volumes; where \
          there is no default class it stays Pending.",
    remedy: "Name the class in `storageClassName`.",
    source: "Kubernetes, Persistent Volumes, Class; Retroactive default StorageClass assignment",
};

pub(crate) static UNKNOWN_CLASS: Rule = Rule {
    id: "unknown-class",
    severity: Severity::Info,
    finds: "a claim of a StorageClass that is not among the files, though others are",
    why: "Where the cluster does not have it either, the claim stays Pending. What the class would mean for the claim is \
          not checked here.",
    remedy: "Correct the name, or give the file with the class too.",
    source: "Kubernetes, Persistent Volumes, Class",
};

pub(crate) static ACCESS_MODE_UNSUPPORTED: Rule = Rule {
    id: "access-mode-unsupported",
    severity: Severity::Error,
    finds: "a claim that is to be written from several nodes (`ReadWriteMany`), with a filesystem, of a driver of disks",
    why: "The driver refuses, and the claim stays Pending: a disk's filesystem does not bear two nodes that write.",
    remedy: "Use `ReadWriteOnce` or `ReadWriteOncePod`, or a driver of shared filesystems.",
    source: "the drivers' checks of a request, named at `NOT_SHARED` in crates/lint/src/rules/claims.rs",
};

pub(crate) static ATTRIBUTES_CLASS_OF_ANOTHER_DRIVER: Rule = Rule {
    id: "attributes-class-of-another-driver",
    severity: Severity::Error,
    finds: "a claim whose VolumeAttributesClass is for another driver than its StorageClass",
    why: "The volume cannot be made or modified, and the claim stays Pending.",
    remedy: "Name a VolumeAttributesClass of the same driver.",
    source: "Kubernetes, Volume Attributes Classes, Resizer and provisioner",
};

/// Drivers that refuse `MULTI_NODE_MULTI_WRITER` for a volume with a filesystem, by their own code: aws-ebs-csi-driver
/// (pkg/driver/controller.go, `ValidateVolumeCapabilities`), azuredisk-csi-driver (pkg/azureutils,
/// `IsValidVolumeCapabilities`), gcp-compute-persistent-disk-csi-driver (pkg/gce-pd-csi-driver/utils.go,
/// `validateVolumeCapability`), ceph-csi (internal/rbd/controllerserver.go, `validateVolumeReq`), topolvm
/// (internal/driver/controller.go, `CreateVolume`) and our own.
const NOT_SHARED: [&str; 6] = [
    "disk.csi.azure.com",
    "ebs.csi.aws.com",
    "local.orlop.dev",
    "pd.csi.storage.gke.io",
    "rbd.csi.ceph.com",
    "topolvm.io",
];

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    for claim in &world.claims {
        name_of_class(world, claim, found);
        size(world, claim, found);
        if let Some(class) = world.class_of(claim) {
            access_modes(claim, class, found);
            attributes_class(world, claim, class, found);
        }
    }
}

fn name_of_class(world: &World<'_>, claim: &Claim<'_>, found: &mut Findings) {
    match claim.class() {
        ClassName::Default => {
            let message = format!(
                "{} names no StorageClass and gets the cluster's default one, whatever that is: name it in storageClassName",
                claim.called()
            );
            found.add(&NO_CLASS, claim.place("spec.storageClassName"), message);
        }
        ClassName::Named(name) if !world.classes.is_empty() && !world.classes.contains_key(name) => {
            let alike = |known: &&str| strsim::jaro_winkler(known, name);
            let nearest = world.classes.keys().copied().max_by(|one, other| alike(one).total_cmp(&alike(other)));
            let hint = nearest
                .filter(|known| alike(known) > ALIKE)
                .map_or("where the cluster has it, all is well".to_owned(), |known| format!("did you mean {known}?"));
            let message = format!("{}: StorageClass {name} is not among the files: {hint}", claim.called());
            found.add(&UNKNOWN_CLASS, claim.place("spec.storageClassName"), message);
        }
        ClassName::Named(_) | ClassName::None => {}
    }
}

fn size(world: &World<'_>, claim: &Claim<'_>, found: &mut Findings) {
    let called = claim.called();
    let at = claim.place(SIZE);
    let Some(text) = claim.node.get(SIZE).and_then(crate::document::Node::scalar) else {
        found.add(&INVALID_SIZE, at, format!("{called} has no size: write resources.requests.storage, such as 100Gi"));
        return;
    };
    let size: Bytes = match text.parse() {
        Ok(size) if size > Bytes(0) => size,
        _ => {
            let message =
                format!("{called}: `{text}` is not a size: write a quantity above zero, such as 512Mi or 100Gi");
            found.add(&INVALID_SIZE, at, message);
            return;
        }
    };
    if size < TINY {
        let message = format!("{called} asks for `{text}`, which is {}: most likely Mi or Gi is meant", size.human());
        found.add(&TINY_SIZE, at, message);
        return;
    }
    if text.ends_with(['M', 'G', 'T', 'P', 'E']) {
        let message = format!("{called} asks for {text}, which is {}: write {text}i for powers of two", size.human());
        found.add(&DECIMAL_SIZE, at, message);
    }
    if let Some(class) = world.class_of(claim) {
        within_driver(world, claim, class, size, found);
    }
}

fn within_driver(world: &World<'_>, claim: &Claim<'_>, class: &Class<'_>, size: Bytes, found: &mut Findings) {
    let Some(abilities) = world.abilities(class) else { return };
    let (called, at, driver) = (claim.called(), claim.place(SIZE), class.provisioner);
    let volume = abilities.volume_type.map_or("volume".to_owned(), |kind| format!("volume of type {kind}"));
    if let Some(maximum) = abilities.maximum_size.filter(|maximum| size > *maximum) {
        let message =
            format!("{called} asks for {size}, and {driver} makes no {volume} larger than {maximum}: ask for less");
        found.add(&SIZE_ABOVE_MAXIMUM, at, message);
    } else if let Some(minimum) = abilities.minimum_size.filter(|minimum| size < *minimum) {
        let message = format!(
            "{called} asks for {size}, and {driver} makes no {volume} smaller than {minimum}: it refuses, or makes that; \
             ask for {minimum}"
        );
        found.add(&SIZE_BELOW_MINIMUM, at, message);
    } else {
        let (step, made) = (abilities.size_increment, size.round_up(abilities.size_increment));
        if step > Bytes::GIB && made != size {
            let message = format!("{called} asks for {size}, and {driver} makes multiples of {step}: it makes {made}");
            found.add(&SIZE_ROUNDED_UP, at, message);
        }
    }
}

fn access_modes(claim: &Claim<'_>, class: &Class<'_>, found: &mut Findings) {
    let name = profile_name(class.provisioner);
    // A driver may have a name of its own before that of its kind.
    let is_disk =
        NOT_SHARED.iter().any(|disk| name.strip_suffix(disk).is_some_and(|own| own.is_empty() || own.ends_with('.')));
    let shared = claim.access_modes().find(|(mode, _)| *mode == "ReadWriteMany");
    if let Some((_, node)) = shared.filter(|_| is_disk && !claim.is_block()) {
        let message = format!(
            "{} is to be written from several nodes, and {} makes disks, whose filesystem one node uses at a time: use \
             ReadWriteOnce, or a driver of shared filesystems",
            claim.called(),
            class.provisioner
        );
        found.add(&ACCESS_MODE_UNSUPPORTED, claim.object.at(node.span), message);
    }
}

fn attributes_class(world: &World<'_>, claim: &Claim<'_>, class: &Class<'_>, found: &mut Findings) {
    const FIELD: &str = "spec.volumeAttributesClassName";
    let Some(name) = claim.node.text(FIELD) else { return };
    let mut classes = world.objects.iter().filter(|object| object.is("storage.k8s.io", "VolumeAttributesClass"));
    let Some(attributes) = classes.find(|object| object.name == name) else { return };
    if let Some(driver) = attributes.node.text("driverName").filter(|driver| *driver != class.provisioner) {
        let message = format!(
            "{}: VolumeAttributesClass {name} is for {driver}, and StorageClass {} for {}: name one of the same driver",
            claim.called(),
            class.object.name,
            class.provisioner
        );
        found.add(&ATTRIBUTES_CLASS_OF_ANOTHER_DRIVER, claim.place(FIELD), message);
    }
}
