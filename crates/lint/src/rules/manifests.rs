//! What keeps a manifest from being understood at all. These are found by what reads it.

use crate::rule::{Rule, Severity};

pub(crate) static BROKEN_YAML: Rule = Rule {
    id: "broken-yaml",
    severity: Severity::Error,
    finds: "a file that cannot be read as YAML or JSON",
    why: "Nothing can be applied from it. Also a key that is written twice counts: `kubectl` refuses it.",
    remedy: "Correct it at the place that is named.",
    source: "YAML 1.2, section 3.2.1.1; Kubernetes, API concepts, Field validation",
};

pub(crate) static HELM_TEMPLATE: Rule = Rule {
    id: "helm-template",
    severity: Severity::Error,
    finds: "a template, as of a Helm chart",
    why: "What it will say is known only when it is rendered.",
    remedy: "Look at what the chart renders: `helm template CHART --values VALUES | orlop lint -`.",
    source: "Helm, helm template",
};

pub(crate) static INVALID_RESOURCE: Rule = Rule {
    id: "invalid-resource",
    severity: Severity::Error,
    finds: "a custom resource of Orlop that the API server refuses",
    why: "A field that does not exist, is missing, has another type or a value that the schema's rules refuse. The schemas \
          and their rules are the same that are installed in a cluster.",
    remedy: "Write what the sentence says.",
    source: "the schemas that `orlop crd` prints; the fields of [policies](growth.md#the-policy) and of [driver \
             profiles](driver-profiles.md#your-own)",
};

pub(crate) static UNKNOWN_RULE: Rule = Rule {
    id: "unknown-rule",
    severity: Severity::Warning,
    finds: "a comment `orlop-lint:` that names no rule",
    why: "It silences nothing, though its author meant it to.",
    remedy: "Write `# orlop-lint: allow RULE` with one of the rules on this page.",
    source: "this page",
};
