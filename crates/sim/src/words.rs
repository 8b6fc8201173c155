//! Troubles and deeds in the words of the story.

use std::fmt;

use crate::{
    fact::name,
    scenario::{Budget, Deed, MeasurementFate, Policy, RequestFate, Trouble, WatchFate},
};

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { operator } => write!(f, "operator {} is killed", name(*operator)),
            Self::KillAtRequest { operator, after } => {
                let when = if *after { "after" } else { "before" };
                write!(f, "operator {} is to be killed just {when} its next request", name(*operator))
            }
            Self::Pause { operator } => write!(f, "operator {} stands still", name(*operator)),
            Self::OperatorClock { operator, ahead } => {
                write!(f, "the clock of operator {} is {}", name(*operator), lead(*ahead))
            }
            Self::NodeClock { node, ahead } => write!(f, "the clock of node-{node} is {}", lead(*ahead)),
            Self::ServerDown {} => f.write_str("the API server answers nobody"),
            Self::Requests { fate, share } => write!(f, "{share}% of the requests {fate}"),
            Self::Watches { fate, share } => write!(f, "{share}% of the watch events {fate}"),
            Self::AgentDown { node } => write!(f, "the agent of node-{node} does not run"),
            Self::AgentsDown {} => f.write_str("no agent runs, on no node"),
            Self::Measurements { fate, share } => write!(f, "{share}% of the measurements {fate}"),
            Self::ResizerDown {} => f.write_str("no driver's controller runs"),
            Self::DriverFails {} => f.write_str("the drivers fail to expand volumes"),
            Self::DriverRefuses { above: None } => f.write_str("the drivers refuse to expand volumes"),
            Self::DriverRefuses { above: Some(size) } => {
                write!(f, "the drivers refuse to expand volumes beyond {size}")
            }
            Self::DriverSlow { times } => write!(f, "the drivers take {times} times as long"),
            Self::ModificationFails {} => f.write_str("the drivers fail to change the classes of volumes"),
            Self::ModificationRefused { class: None } => f.write_str("the drivers refuse all VolumeAttributesClasses"),
            Self::ModificationRefused { class: Some(class) } => {
                write!(f, "the drivers refuse VolumeAttributesClass {class}")
            }
            Self::ControllersDown {} => f.write_str("the controllers of the cluster do not run"),
            Self::SetsRefused {} => f.write_str("the API server refuses to create StatefulSets"),
            Self::KubeletDown { node } => write!(f, "the kubelet of node-{node} syncs no pod"),
            Self::CrashLoop { claim } => write!(f, "the pod of {claim} crashes again and again"),
        }
    }
}

fn lead(seconds: i64) -> String {
    format!("{} s {}", seconds.unsigned_abs(), if seconds < 0 { "behind" } else { "ahead" })
}

impl fmt::Display for RequestFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("do not arrive"),
            Self::AnswerLost => f.write_str("are carried out and not answered"),
            Self::Late => f.write_str("arrive half a minute late"),
            Self::Twice => f.write_str("arrive twice"),
            Self::Answered(code) => write!(f, "are answered with {code} and not carried out"),
        }
    }
}

impl fmt::Display for WatchFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "end their watch",
            Self::BrokenAndStale => "end their watch, and the list after it is a minute old",
            Self::Delayed => "come half a minute late",
            Self::Twice => "come twice",
        })
    }
}

impl fmt::Display for MeasurementFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "do not arrive",
            Self::Late => "arrive twenty seconds late, after newer ones",
            Self::Twice => "arrive twice",
            Self::Nonsense => "say that there are no bytes at all",
        })
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { claim, size } => write!(f, "a user requests {size} for {claim}"),
            Self::Recreate { claim } => write!(f, "a user deletes {claim}, and makes another of this name"),
            Self::Stop { claim } => write!(f, "a user stops the pod of {claim}"),
            Self::Start { claim, node } => write!(f, "a user starts the pod of {claim} on node-{node}"),
            Self::Pause { claim, why } => write!(f, "a user pauses {claim}: {why}"),
            Self::Resume { claim } => write!(f, "a user pauses {claim} no longer"),
            Self::Policy { name, spec } => write!(f, "a user changes policy {name}: {spec}"),
            Self::Budget { name, spec } => write!(f, "a user changes budget {name}: {spec}"),
            Self::Scale { set, replicas } => write!(f, "a user scales StatefulSet {set} to {replicas}"),
            Self::Demand { claim, demand } => write!(f, "the pod of {claim} would do {demand} from now on"),
            Self::Quiet { claim } => write!(f, "nothing is written to {claim} any more"),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, labels, capacity, performance } = self;
        write!(
            f,
            "{mode:?}, minFree {}, timeToFull {}, increase {}, maximum {}",
            capacity.min_free, capacity.time_to_full, capacity.increase, capacity.maximum
        )?;
        if let Some(target) = capacity.target_utilization {
            write!(f, ", targetUtilization {target}")?;
        }
        if let Some(horizon) = capacity.horizon {
            write!(f, ", horizon {horizon}")?;
        }
        if let Some(key) = &capacity.group_by {
            write!(f, ", groupBy {key}")?;
        }
        if let Some(performance) = performance {
            write!(
                f,
                ", attributesClasses {}, raiseAbove {} after {}, lowerBelow {} after {}",
                performance.attributes_classes.join(" "),
                performance.raise_above,
                performance.raise_after,
                performance.lower_below,
                performance.lower_after
            )?;
        }
        labels.iter().try_for_each(|(key, value)| write!(f, ", for {key}={value}"))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { labels, limits, emergency_reserve } = self;
        let bytes = limits.bytes.map(|bytes| bytes.to_string());
        let iops = limits.iops.map(|iops| format!("{iops} IOPS"));
        let cost = limits.monthly_cost.map(|cost| format!("{cost} USD a month"));
        let reserve = emergency_reserve.map(|reserve| format!("an emergency reserve of {reserve}"));
        let labels = labels.iter().map(|(key, value)| format!("for {key}={value}"));
        let parts: Vec<_> = [bytes, iops, cost, reserve].into_iter().flatten().chain(labels).collect();
        f.write_str(&parts.join(", "))
    }
}
