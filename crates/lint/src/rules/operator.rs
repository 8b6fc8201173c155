//! What policies ask for that the operator among the files may not do, or does not know.

use orlop_api::{CapacitySpec, Mode, TemplateSync};

use crate::{
    Findings,
    document::Content,
    rule::{Rule, Severity},
    world::{Object, World},
};

pub(crate) static TEMPLATE_SYNC_NOT_ALLOWED: Rule = Rule {
    id: "template-sync-not-allowed",
    severity: Severity::Error,
    finds: "a policy with `templateSync: Recreate`, and an operator among the files that may not make StatefulSets anew",
    why: "No StatefulSet is made anew: the policy reports each template that is too small, and that the operator may not.",
    remedy: "Set `operator.templateSync` in the chart's values, or leave `templateSync` at `Report`.",
    source: "[having it made anew](owners.md#having-it-made-anew)",
};

pub(crate) static MAINTENANCE_NOT_ALLOWED: Rule = Rule {
    id: "maintenance-not-allowed",
    severity: Severity::Error,
    finds: "a policy with `maintenance`, and an operator among the files that may not scale workloads",
    why: "No pods are stopped in any window: claims that need one report `OfflineOnly`, and fill up.",
    remedy: "Set `operator.maintenance` in the chart's values.",
    source: "[drivers that expand offline](growth.md#drivers-that-expand-offline)",
};

pub(crate) static HORIZON_WITHOUT_HISTORY: Rule = Rule {
    id: "horizon-without-history",
    severity: Severity::Info,
    finds: "a policy with `horizon`, and an operator among the files that asks no Prometheus server",
    why: "How claims have filled is then in the operator's memory alone. Each time another one takes over there is no forecast \
          for three days, and `horizon` asks for nothing.",
    remedy: "Name a server in `operator.prometheus.servers` of the chart's values.",
    source: "[the days ahead](growth.md#the-days-ahead)",
};

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    let Some(operator) = Operator::of(world) else { return };
    for (_, policy, object) in world.policies() {
        if let Some(capacity) = policy.capacity.as_ref().filter(|_| policy.mode != Mode::Off) {
            operator.check(policy.mode, capacity, object, found);
        }
    }
}

/// The operator's Deployment, as the chart makes it.
struct Operator<'a> {
    called: String,
    arguments: Vec<&'a str>,
}

impl<'a> Operator<'a> {
    fn of(world: &'a World<'a>) -> Option<Self> {
        let is_it = |object: &&Object<'_>| {
            let labels = object.labels("metadata.labels");
            let has = |key: &str, value: &str| labels.get(key).is_some_and(|it| it == value);
            object.is("apps", "Deployment")
                && has("app.kubernetes.io/name", "orlop")
                && has("app.kubernetes.io/component", "operator")
        };
        let object = world.objects.iter().find(is_it)?;
        let containers = object.node.items("spec.template.spec.containers");
        let arguments =
            containers.iter().flat_map(|container| container.items("args")).filter_map(|it| match &it.content {
                Content::Text(text) => Some(text.as_str()),
                _ => None,
            });
        Some(Self { called: object.called(), arguments: arguments.collect() })
    }

    fn has(&self, name: &str) -> bool {
        self.arguments
            .iter()
            .any(|it| it.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
    }

    fn check(&self, mode: Mode, capacity: &CapacitySpec, object: &Object<'_>, found: &mut Findings) {
        let called = &self.called;
        if capacity.template_sync == TemplateSync::Recreate && mode == Mode::Auto && !self.has("--template-sync") {
            let message = format!(
                "{called} has no --template-sync, so no StatefulSet is made anew: set operator.templateSync in the chart's \
                 values"
            );
            found.add(&TEMPLATE_SYNC_NOT_ALLOWED, object.place("spec.capacity.templateSync"), message);
        }
        if capacity.maintenance.is_some() && mode == Mode::Auto && !self.has("--maintenance") {
            let message = format!(
                "{called} has no --maintenance, so no pods are stopped in a window: set operator.maintenance in the chart's \
                 values"
            );
            found.add(&MAINTENANCE_NOT_ALLOWED, object.place("spec.capacity.maintenance"), message);
        }
        if let Some(horizon) = capacity.horizon.filter(|_| !self.has("--prometheus")) {
            let message = format!(
                "{called} asks no Prometheus server, so that each time another operator takes over there is no forecast for \
                 horizon {horizon} before three days have been measured: name one in operator.prometheus.servers of the \
                 chart's values"
            );
            found.add(&HORIZON_WITHOUT_HISTORY, object.place("spec.capacity.horizon"), message);
        }
    }
}
