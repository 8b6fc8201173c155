//! Pods that cannot have their volumes, or cannot write to them.

use crate::{
    Findings, Place,
    document::{Content, Node},
    rule::{Rule, Severity},
    world::{Claim, Workload, World},
};

pub(crate) static SHARED_CLAIM: Rule = Rule {
    id: "shared-claim",
    severity: Severity::Error,
    finds: "several replicas that use one claim that only one node can use: `ReadWriteOnce` or `ReadWriteOncePod`",
    why: "A replica on another node waits for the volume for ever (`Multi-Attach error`). On the same node, two processes \
          write to one filesystem and may destroy each other's data.",
    remedy: "Run one replica, or use a StatefulSet with `volumeClaimTemplates`, which gives each replica a claim of its own; \
             or a claim with `ReadWriteMany` where the driver shares its filesystem.",
    source: "Kubernetes, Persistent Volumes, Access Modes; Run a Single-Instance Stateful Application",
};

pub(crate) static ROLLING_UPDATE_WAITS: Rule = Rule {
    id: "rolling-update-waits",
    severity: Severity::Warning,
    finds: "a Deployment with a claim that only one node can use, and the strategy `RollingUpdate`, which is the default",
    why: "An update starts the new pod before it stops the old one. On another node the new pod waits for the volume that \
          the old one has, and the old one is kept until the new one is ready: the update hangs. On the same node, both \
          write at once.",
    remedy: "Set `strategy.type: Recreate`, or use a StatefulSet.",
    source: "Kubernetes, Run a Single-Instance Stateful Application; Deployments, Strategy",
};

pub(crate) static NO_FS_GROUP: Rule = Rule {
    id: "no-fs-group",
    severity: Severity::Warning,
    finds: "a container that does not run as root and mounts a claim that only one node can use, in a pod without `fsGroup`",
    why: "The root directory of a new filesystem belongs to root. The container starts, and its first write fails with \
          `permission denied`.",
    remedy: "Set `securityContext.fsGroup` of the pod to the group of the user.",
    source: "Kubernetes, Configure a Security Context for a Pod or Container, Delegating volume permission",
};

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    for workload in &world.workloads {
        for (volume, claim) in mounted(world, workload) {
            if claim.is_of_one_node() && !claim.is_template {
                shared(world, workload, volume, claim, found);
                rolling(workload, claim, found);
            }
        }
        owner(world, workload, found);
    }
}

/// The volumes of a pod that are claims among the files, each with its name in the pod.
fn mounted<'w, 'a>(world: &'w World<'a>, workload: &Workload<'a>) -> Vec<(&'a Node, &'w Claim<'a>)> {
    let object = workload.object;
    let named = workload.pod.items("volumes").iter().filter_map(|volume| {
        let name = volume.text("persistentVolumeClaim.claimName")?;
        Some((volume, world.claim(object.namespace, name)?))
    });
    let templates =
        world.claims.iter().filter(|claim| claim.is_template && std::ptr::eq(claim.object.node, object.node));
    named.chain(templates.map(|claim| (claim.node.get("metadata").unwrap_or(claim.node), claim))).collect()
}

fn shared(world: &World<'_>, workload: &Workload<'_>, volume: &Node, claim: &Claim<'_>, found: &mut Findings) {
    let object = workload.object;
    let (place, how_many) = match object.kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
            match object.node.whole("spec.replicas") {
                Some(replicas) if replicas > 1 => (object.place("spec.replicas"), format!("runs {replicas} replicas")),
                _ => match autoscaled(world, workload) {
                    Some((place, most)) => (place, format!("may be scaled to {most} replicas")),
                    None => return,
                },
            }
        }
        "DaemonSet" => (object.at(volume.place("persistentVolumeClaim.claimName")), "runs on every node".to_owned()),
        _ => return,
    };
    let message = format!(
        "{} {how_many}, each with {}, which only one node can use at a time: the others wait for the volume for ever; run \
         one, or give each a claim of its own by a StatefulSet with volumeClaimTemplates",
        object.called(),
        claim.called()
    );
    found.add(&SHARED_CLAIM, place, message);
}

/// To how many replicas an autoscaler may scale the workload, where more than one, and where it says so.
fn autoscaled(world: &World<'_>, workload: &Workload<'_>) -> Option<(Place, i64)> {
    let object = workload.object;
    world.objects.iter().find_map(|scaler| {
        let scales = scaler.is("autoscaling", "HorizontalPodAutoscaler")
            && scaler.namespace == object.namespace
            && scaler.node.text("spec.scaleTargetRef.kind") == Some(object.kind)
            && scaler.node.text("spec.scaleTargetRef.name") == Some(object.name);
        let most = scaler.node.whole("spec.maxReplicas").filter(|&most| scales && most > 1)?;
        Some((scaler.place("spec.maxReplicas"), most))
    })
}

fn rolling(workload: &Workload<'_>, claim: &Claim<'_>, found: &mut Findings) {
    let object = workload.object;
    let replicas = object.node.whole("spec.replicas").unwrap_or(1);
    let is_rolling = object.node.text("spec.strategy.type").is_none_or(|strategy| strategy == "RollingUpdate");
    // Without a surge the old pod goes first.
    let surge = object.node.get("spec.strategy.rollingUpdate.maxSurge").and_then(Node::scalar);
    let has_surge = surge.is_none_or(|surge| surge.trim_end_matches('%') != "0");
    if object.is("apps", "Deployment") && replicas == 1 && is_rolling && has_surge {
        let message = format!(
            "an update of {} starts the new pod while the old one still has {}: on another node it waits for the volume \
             and the update hangs; set strategy.type: Recreate",
            object.called(),
            claim.called()
        );
        found.add(&ROLLING_UPDATE_WAITS, object.place("spec.strategy.type"), message);
    }
}

/// A filesystem of one node's disk belongs to root until somebody says otherwise. Those of other drivers are left out: what
/// they make of owners is their own.
fn owner(world: &World<'_>, workload: &Workload<'_>, found: &mut Findings) {
    let pod = workload.pod;
    if pod.get("securityContext.fsGroup").is_some() {
        return;
    }
    for (volume, claim) in mounted(world, workload) {
        let is_read_only = volume.flag("persistentVolumeClaim.readOnly") == Some(true);
        if !claim.is_of_one_node() || claim.is_block() || is_read_only {
            continue;
        }
        let mount = |container: &Node| {
            let mounts = container.items("volumeMounts").iter();
            let name = volume.text("name");
            mounts.filter(|mount| mount.text("name") == name && mount.flag("readOnly") != Some(true)).count() > 0
        };
        // One that may be root may have been made to give the directory away.
        let mut before = pod.items("initContainers").iter();
        if before.any(|container| mount(container) && unprivileged(pod, container).is_none()) {
            continue;
        }
        let mut containers = pod.items("containers").iter().filter(|container| mount(container));
        let first = containers.find_map(|container| Some((container, unprivileged(pod, container)?)));
        let Some((container, field)) = first else { continue };
        let message = format!(
            "container {} does not run as root and mounts {}, whose directory belongs to root: its first write fails; set \
             securityContext.fsGroup of the pod",
            container.text("name").unwrap_or_default(),
            claim.called()
        );
        found.add(&NO_FS_GROUP, workload.object.at(field.span), message);
    }
}

/// The field that says that a container does not run as root, where there is one.
fn unprivileged<'a>(pod: &'a Node, container: &'a Node) -> Option<&'a Node> {
    let field = |name| container.get(name).or_else(|| pod.get(name));
    match field("securityContext.runAsUser") {
        Some(user) => (user.scalar()? != "0").then_some(user),
        None => field("securityContext.runAsNonRoot").filter(|flag| matches!(flag.content, Content::Bool(true))),
    }
}
