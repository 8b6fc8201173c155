//! What is told of a StatefulSet whose templates ask for too little.

use orlop_planner::{Drift, SetId, StatefulSet, TemplateAction, Uid};

use super::{About, Notice, Severity};

/// A template asks for less than its claims have, and somebody is to change it.
pub fn of_drift(id: &SetId, uid: &Uid, drift: &Drift) -> Notice {
    Notice {
        about: About::Set(id.clone()),
        uid: uid.clone(),
        severity: Severity::Warning,
        reason: "TemplateDrift".to_owned(),
        note: drift.sentence(),
        occasion: format!("{} from {} to {}", drift.template, drift.asks, drift.wants),
    }
}

/// A StatefulSet was made anew with larger templates.
pub fn made_anew(id: &SetId, set: &StatefulSet) -> Notice {
    let templates = set.templates.iter().filter_map(|it| Some(format!("{} asks for {}", it.name, it.size?)));
    let templates: Vec<_> = templates.collect();
    Notice {
        about: About::Set(id.clone()),
        uid: set.uid.clone(),
        severity: Severity::Normal,
        reason: "TemplateGrown".to_owned(),
        note: format!(
            "made anew with larger templates, its pods and claims left as they were: {}",
            templates.join(", ")
        ),
        occasion: templates.join(", "),
    }
}

/// The API server refuses a step, and so the StatefulSet stays as it is.
pub fn refused(action: &TemplateAction, uid: &Uid, why: &str) -> Notice {
    Notice {
        about: About::Set(action.set().clone()),
        uid: uid.clone(),
        severity: Severity::Warning,
        reason: "TemplateSyncFailed".to_owned(),
        note: format!("cannot {action}: {why}"),
        occasion: format!("{action}: {why}"),
    }
}
