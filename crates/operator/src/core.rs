//! The operator's mind: takes in what is observed, has the claims concerned decided, and says what is to be carried out
//! and told.

mod asking;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod classes;
#[cfg(test)]
mod maintenance;
#[cfg(test)]
mod owners;
mod statuses;
mod templates;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use orlop_api::names::Reason;
use orlop_planner::{
    Action, Allowed, Changes, ClaimId, Decision, Governance, Ledger, Plan, Report, TemplateAction, Uid, Watch,
    invariants, is_current, plan_claims,
};
use tracing::{debug, error, info, warn};

use self::asking::asks;
pub use self::templates::TemplateActed;

use crate::{
    agenda::Agenda,
    asked::Unanswered,
    counting::{Counted, Counting},
    errand::{Acted, Errand},
    failure::Failure,
    measure::{History, Measurement},
    metrics::{ClaimRow, Metrics},
    moment::{Moment, WallClock},
    notice::{self, Notice},
    observe::{Dirty, Observation, Observer},
    pace::Pace,
    request::{Request, StatusId},
    setbacks::Setbacks,
    templates::Templates,
    vigil::Vigil,
};

/// After the first news how long to wait for more: what one cause changes in several objects is decided once.
const COALESCE: Duration = Duration::from_millis(10);

/// How many claims are decided in one pass at most: a change to all of a large cluster holds up nobody for long, and
/// what is decided does not pile up.
const CLAIMS_A_PASS: usize = 4096;

/// Just after the start nothing has been measured yet, and that is no news: agents reconnect within five seconds, and
/// the kubelets are asked within half a minute. Until then a missing measurement is not reported.
const SETTLE: Duration = Duration::from_secs(30);

/// The operator's mind. Nothing in it has to outlive a restart.
#[derive(Debug, Default)]
pub struct Core {
    observer: Observer,
    ledger: Ledger,
    agenda: Agenda,
    /// When a decision about a claim's class may change by itself.
    class_agenda: Agenda,
    vigil: Vigil,
    /// The claims that are being acted on. They are decided again when that has ended.
    busy: BTreeSet<ClaimId>,
    setbacks: Setbacks,
    unanswered: Unanswered,
    counting: Counting,
    templates: Templates,
    /// The claims that grow with another for which their owner was asked, by that one.
    together: BTreeMap<ClaimId, Vec<ClaimId>>,
    pace: Pace,
    /// When this operator began to lead.
    leads_since: Option<Instant>,
    clock: WallClock,
    /// The statuses that speak of claims which were not measured yet when the operator had just started.
    unsettled: BTreeSet<StatusId>,
    plan_at: Option<Instant>,
    effects: Effects,
    metrics: Metrics,
}

/// What is to be done. None of it may be waited for before [`Core`] is told other news.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be carried out, a bounded number at a time, and each brought back by [`Core::acted`].
    pub errands: Vec<Errand>,
    /// To be written, and each brought back by [`Core::written`].
    pub statuses: Vec<StatusWrite>,
    /// Steps to larger templates to be made, and each brought back by [`Core::template_acted`].
    pub templates: Vec<TemplateAction>,
    /// To be told, in their order.
    pub notices: Vec<Notice>,
    /// What the sources of measurements should report at once, by the PersistentVolume's name, of the claims that were
    /// decided about: mostly as it was before. None to ask for nothing.
    pub watches: Vec<(Arc<str>, Option<Watch>)>,
    /// What the drivers' counters should be asked of, by the PersistentVolume's name, of the claims that were decided about. None
    /// to ask no longer.
    pub counted: Vec<(Arc<str>, Option<Counted>)>,
    /// The claims that were decided about; what was decided is in the ledger.
    pub decided: Vec<ClaimId>,
    /// The claims of which it is wanted how they have filled, each once; brought by [`Core::remember`] where somebody knows.
    pub histories: Vec<ClaimId>,
}

/// A status to be written.
#[derive(Debug)]
pub struct StatusWrite {
    /// Whose status.
    pub of: StatusId,
    /// What is to be sent, if this operator still may act.
    pub request: Request,
}

impl Core {
    /// An operator that knows nothing yet. It counts into `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Says what may be done to workloads, before anything is observed.
    pub const fn allow(&mut self, allowed: Allowed) {
        self.observer.allow(allowed);
    }

    /// What is known of the cluster.
    pub const fn observer(&self) -> &Observer {
        &self.observer
    }

    /// What was decided last, and why.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// When the claim is decided again at the latest, though nothing about it is observed until then.
    pub(crate) fn next_look(&self, claim: &ClaimId) -> Option<Timestamp> {
        [self.agenda.due_at(claim), self.class_agenda.due_at(claim)].into_iter().flatten().min()
    }

    /// Is a request for the claim under way?
    pub(crate) fn is_acting_on(&self, claim: &ClaimId) -> bool {
        self.busy.contains(claim)
    }

    /// What failed for a claim a short while ago.
    pub(crate) const fn setbacks(&self) -> &Setbacks {
        &self.setbacks
    }

    /// Takes in news of the cluster.
    pub fn observe(&mut self, observation: Observation) {
        self.observer.observe(observation);
    }

    /// Takes in news of a volume's fill, dated by the clock as it is now.
    pub fn measure(&mut self, measurement: Measurement, now: Moment) {
        self.follow_the_clock(now);
        if let Measurement::Sampled { usage, .. } | Measurement::SampledClaim { usage, .. } = &measurement {
            self.metrics.sampled(usage.source, usage.at);
            if !is_current(usage, now.time) {
                self.observer.disturb(&measurement);
            }
        }
        let claim = self.observer.claim_of(&measurement).cloned();
        self.observer.measure(measurement);
        // What is measured of a claim at rest leads to no decision.
        if let Some(claim) = claim {
            self.show(&claim, now.time);
        }
    }

    /// Takes in how a claim has filled before it was measured here.
    pub fn remember(&mut self, history: History) {
        self.observer.remember(history);
    }

    /// Takes in what became of an errand. Done or not, the claim is decided again from what it is now.
    pub fn acted(&mut self, acted: Acted, now: Instant) {
        let Acted { claim, done, failed } = acted;
        self.busy.remove(&claim);
        for (action, observation) in done {
            self.setbacks.clear(&claim, &action);
            self.done(&action);
            // One that cannot be read will be by the watch.
            let is_seen = observation.is_some();
            if let Some(observation) = observation {
                self.observer.observe(observation);
            }
            if asks(&action) {
                self.answered(&claim, is_seen, now);
            }
        }
        if let Some((action, failure)) = failed {
            if asks(&action) {
                self.answered(&claim, !matches!(failure, Failure::Unanswered(_)), now);
            }
            self.metrics.action_failed(failure.label());
            warn!(%action, ?failure, "an action failed");
            self.setbacks.failed(&claim, &action, failure, now);
        }
        self.observer.mark(claim);
    }

    /// Takes in what became of writing a status: its object as it is since, or why it could not be written.
    pub fn written(&mut self, of: &StatusId, result: Result<Option<Observation>, Failure>, now: Instant) {
        self.pace.end(of, result.is_ok(), now);
        match result {
            Ok(observation) => observation.into_iter().for_each(|observation| self.observer.observe(observation)),
            Err(failure) => warn!(%of, ?failure, "a status could not be written"),
        }
    }

    /// When [`Core::turn`] has something to do though nothing is observed until then. Who may not act has nothing to do
    /// before that changes, however much is due.
    pub fn turn_at(&self, leads: bool, now: Moment) -> Option<Instant> {
        if !leads {
            return None;
        }
        let due =
            [self.agenda.next(), self.class_agenda.next(), self.vigil.next()].into_iter().flatten().min().map(|at| {
                let wait = at.duration_since(now.time);
                now.instant + Duration::try_from(wait).unwrap_or_default()
            });
        [self.plan_at, due, self.pace.next(), self.unanswered.next(), self.templates.next()].into_iter().flatten().min()
    }

    /// Decides what is to be decided now. `leads` is whether this operator may act.
    pub fn turn(&mut self, leads: bool, now: Moment) -> Effects {
        self.metrics.leads(leads);
        self.follow_the_clock(now);
        self.observer.date_growths(now.time);
        self.observer.trends_go_on(now.time);
        if self.observer.is_synced() {
            if leads {
                self.lead(now);
            } else if self.leads_since.is_none() {
                // A standby need not remember what it would decide: when it leads, it decides everything anew.
                self.observer.forget_dirty();
            }
        }
        self.effects.histories = self.observer.take_unasked();
        std::mem::take(&mut self.effects)
    }

    /// Where the wall clock was set, what was measured is dated anew, for its age is what counts; and everything is decided
    /// again, for what was to be looked at again was dated by it too.
    fn follow_the_clock(&mut self, now: Moment) {
        if let Some(set_by) = self.clock.set_by(now) {
            warn!(seconds = set_by.as_secs(), "the clock was set");
            self.observer.date_anew(set_by);
            self.vigil.clear();
            self.observer.mark_all();
        }
    }

    fn lead(&mut self, now: Moment) {
        if self.leads_since.is_none() {
            info!(claims = self.observer.view().claims.len(), "everything is listed: begins to decide");
            self.leads_since = Some(now.instant);
            self.observer.mark_all();
        }
        self.pass_when_due(now);
        let stopped = self.observer.view().scaled.values().map(BTreeSet::len).sum();
        self.metrics.workloads_stopped(stopped);
        self.write_due_statuses(now);
    }

    fn pass_when_due(&mut self, now: Moment) {
        let silent = self.vigil.take_due(now.time, |node| self.observer.silent_at(node));
        for claim in self.agenda.take_due(now.time).into_iter().chain(silent) {
            // A claim at rest that has been measured or confirmed since still is.
            match self.observer.rests_until(&claim).filter(|until| *until > now.time) {
                Some(until) => self.look_again(&claim, until, now),
                None => self.observer.mark(claim),
            }
        }
        for id in self.templates.take_due(now.instant) {
            self.observer.mark_set(id);
        }
        for claim in self.class_agenda.take_due(now.time) {
            self.observer.mark(claim);
        }
        for claim in self.unanswered.take_over(now.instant) {
            self.settled(&claim);
        }
        if self.observer.is_dirty() && self.plan_at.is_none() {
            self.plan_at = Some(now.instant + COALESCE);
        }
        if self.plan_at.is_some_and(|at| at <= now.instant) {
            self.mark_waiting();
            let dirty = self.observer.take_dirty(CLAIMS_A_PASS);
            self.plan_at = self.observer.is_dirty().then_some(now.instant);
            self.pass(dirty, now);
        }
    }

    /// Has a claim at rest looked at again when its measurement may be stale: together with all others that the same agent
    /// confirms, where one does.
    fn look_again(&mut self, claim: &ClaimId, stale_at: Timestamp, now: Moment) {
        match self.observer.kept_by(claim).filter(|(_, silent_at)| *silent_at > now.time) {
            Some((node, silent_at)) => self.vigil.keep(claim, node, silent_at),
            None => self.agenda.schedule(claim, stale_at),
        }
    }

    /// Takes note of when a decision may change by itself.
    fn note_decision(&mut self, claim: &ClaimId, decision: &Decision, watch: Option<Watch>, now: Moment) {
        let at_rest = self.observer.note_decision(claim, decision, watch);
        match decision.again_at {
            Some(at) if at_rest => self.look_again(claim, at, now),
            again_at => {
                self.vigil.leave(claim);
                if let Some(at) = again_at {
                    self.agenda.schedule(claim, at);
                }
            }
        }
    }

    /// Has the claims decided again that wait for a budget which allows something else since, or has more or less left.
    fn mark_waiting(&mut self) {
        let changed = self.observer.changed_accounts();
        let waiting: Vec<_> = changed.iter().flat_map(|budget| self.ledger.waiting(budget)).cloned().collect();
        for claim in waiting {
            self.observer.mark(claim);
        }
    }

    /// Decides about everything that has changed, and begins to carry it out.
    fn pass(&mut self, dirty: Dirty, now: Moment) {
        let statuses = dirty.policies.into_iter().map(StatusId::Policy);
        for id in statuses.chain(dirty.budgets.into_iter().map(StatusId::Budget)) {
            self.pace.mark(id, now.instant);
        }
        for volume in dirty.released {
            self.effects.counted.extend(self.counting.note(&volume, None));
            self.effects.watches.push((volume, None));
        }
        let sets = self.sets_of(&dirty.claims).into_iter().chain(dirty.sets).collect();
        self.look_at_templates(sets, now);
        // A claim that is being acted on is decided when the outcome is known; it is marked again then.
        let (gone, claims): (Vec<_>, Vec<_>) = dirty
            .claims
            .into_iter()
            .filter(|claim| !self.busy.contains(claim))
            .partition(|claim| !self.observer.view().claims.contains_key(claim));
        for claim in &gone {
            self.forget(claim, now);
        }
        let stopped_for: Vec<_> = gone.into_iter().filter(|it| self.observer.view().scaled.contains_key(it)).collect();
        if claims.is_empty() && stopped_for.is_empty() {
            return;
        }
        let all = claims.iter().chain(&stopped_for);
        let (plan, mut report) = plan_claims(self.observer.view(), all.clone(), now.time);

        let (mut plan, violations) = invariants::retain_sound(self.observer.view(), plan);
        for violation in violations {
            self.metrics.invariant_violated();
            error!(%violation, "an action breaks an invariant and is refused: this is a bug");
        }
        self.setbacks.hold_back(&mut plan, &mut report, now);
        self.settle(&mut report, now);
        for claim in &claims {
            let watch = self.update_watch(claim, now.time);
            if let Some(at) = report.performance.get(claim).and_then(|decision| decision.again_at) {
                self.class_agenda.schedule(claim, at);
            }
            if let Some(decision) = report.decisions.get(claim) {
                self.note_decision(claim, decision, watch, now);
            }
        }
        for claim in claims.iter().chain(&stopped_for) {
            self.look_at_stopped(claim, now);
        }
        self.begin(plan);
        self.ask_for_kinds(&report, now);
        self.record(report, now);
        self.effects.decided.extend(claims);
    }

    /// Has the claim decided again when the workloads that were stopped for it are to be scaled back at the latest, and when that
    /// is tried again.
    fn look_at_stopped(&mut self, claim: &ClaimId, now: Moment) {
        let tried_again = self.setbacks.tried_again(claim, now);
        for (.., scaled) in self.observer.view().scaled_for(claim) {
            let until = Some(scaled.until).filter(|until| *until > now.time);
            if let Some(at) = until.into_iter().chain(tried_again).min() {
                self.agenda.schedule(claim, at);
            }
        }
    }

    /// Leaves out of the report what is only not known yet.
    fn settle(&mut self, report: &mut Report, now: Moment) {
        let settles_in = self.leads_since.map(|since| (since + SETTLE).saturating_duration_since(now.instant));
        let Some(settles_in) = settles_in.filter(|wait| !wait.is_zero()) else {
            for id in std::mem::take(&mut self.unsettled) {
                self.pace.mark(id, now.instant);
            }
            return;
        };
        let settled_at = now.time.checked_add(settles_in).unwrap_or(Timestamp::MAX);
        report.decisions.retain(|claim, decision| {
            let unknown = decision.reason == Reason::NoMeasurement;
            if unknown {
                self.agenda.schedule(claim, settled_at);
                if let Governance::By(policy) = &decision.governance {
                    self.unsettled.insert(StatusId::Policy(policy.clone()));
                }
                let budgets = self.observer.view().budgets.covering(claim);
                self.unsettled.extend(budgets.iter().cloned().map(StatusId::Budget));
            }
            !unknown
        });
    }

    fn begin(&mut self, plan: Plan) {
        for action in &plan.actions {
            info!("{action}");
        }
        let errands = Errand::of_plan(plan, &self.observer);
        for errand in &errands {
            if let Some(to) = errand.requests() {
                self.ask(errand.claim(), to);
            }
            if let Some(change) = errand.action().sets_class() {
                self.unanswered.forget(errand.claim());
                self.observer.ask_class(errand.claim(), change.to.as_deref());
            }
        }
        self.busy.extend(errands.iter().map(|errand| errand.claim().clone()));
        self.effects.errands.extend(errands);
    }

    /// Takes the decisions into the ledger, and tells of what is new.
    fn record(&mut self, report: Report, now: Moment) {
        let reason = |ledger: &Ledger, claim: &ClaimId| ledger.decision(claim).map(|decision| decision.reason);
        let before: Vec<_> =
            report.decisions.keys().map(|claim| (claim.clone(), reason(&self.ledger, claim))).collect();
        let changes = self.ledger.record(report, now.time);
        for (claim, reason_before) in before {
            self.metrics.claim_moved(reason_before, reason(&self.ledger, &claim));
            self.show(&claim, now.time);
            // What is decided for the first time since the start may not have been told before.
            if changes.claims.contains(&claim) || reason_before.is_none() {
                self.tell(&claim, now.time);
            }
            if changes.classes.contains(&claim) || reason_before.is_none() {
                self.tell_of_class(&claim, now.time);
            }
        }
        self.mark_statuses(changes, now);
    }

    fn mark_statuses(&mut self, changes: Changes, now: Moment) {
        let policies = changes.policies.into_iter().map(StatusId::Policy);
        for id in policies.chain(changes.budgets.into_iter().map(StatusId::Budget)) {
            self.pace.mark(id, now.instant);
        }
    }

    /// Brings up to date what the metrics say of the claim.
    fn show(&self, id: &ClaimId, now: Timestamp) {
        if !self.metrics.tells_of_claims() {
            return;
        }
        let view = self.observer.view();
        match view.claims.get(id).zip(self.ledger.decision(id)) {
            Some((claim, decision)) => {
                let of_class = self.ledger.performance(id).map(|(decision, _)| decision);
                self.metrics.claim_is(id, ClaimRow::new(view, claim, (decision, of_class), now));
            }
            None => self.metrics.claim_gone(id),
        }
    }

    fn tell(&mut self, id: &ClaimId, now: Timestamp) {
        let Some((claim, decision)) = self.observer.view().claims.get(id).zip(self.ledger.decision(id)) else { return };
        if decision.is_problem() {
            info!("claim {id} ({}): {}", decision.reason, decision.message);
        } else {
            debug!("claim {id} ({}): {}", decision.reason, decision.message);
        }
        self.effects.notices.extend(notice::of_decision(id, claim, decision, now));
    }

    fn tell_of_class(&mut self, id: &ClaimId, now: Timestamp) {
        let Some((claim, (decision, _))) = self.observer.view().claims.get(id).zip(self.ledger.performance(id)) else {
            return;
        };
        if decision.is_problem() {
            info!("class of claim {id} ({}): {}", decision.reason, decision.message);
        } else {
            debug!("class of claim {id} ({}): {}", decision.reason, decision.message);
        }
        self.effects.notices.extend(notice::of_class_decision(id, claim, decision, now));
    }

    fn forget(&mut self, claim: &ClaimId, now: Moment) {
        let reason = self.ledger.decision(claim).map(|decision| decision.reason);
        self.metrics.claim_moved(reason, None);
        self.metrics.claim_gone(claim);
        self.agenda.forget(claim);
        self.class_agenda.forget(claim);
        self.vigil.leave(claim);
        // What was stopped for it is to be started all the same, and not asked for again at once where that is refused.
        if !self.observer.view().scaled.contains_key(claim) {
            self.setbacks.forget(claim);
        }
        self.unanswered.forget(claim);
        self.settled(claim);
        let changes = self.ledger.remove(claim);
        self.mark_statuses(changes, now);
    }

    /// Tells the sources of measurements what of the claim's volume should be reported at once, and returns that.
    fn update_watch(&mut self, id: &ClaimId, now: Timestamp) -> Option<Watch> {
        let view = self.observer.view();
        let (claim, volume) = view.claims.get(id).zip(self.observer.volume_of(id))?;
        let wanted = orlop_planner::watch(view, id, claim);
        self.effects.watches.push((volume.clone(), wanted.clone()));
        let by = orlop_planner::counted_by(view, id, claim).zip(claim.driver.as_deref());
        let counted = by.zip(self.observer.handle_of(volume)).map(|((by, driver), handle)| (handle.into(), driver, by));
        self.effects.counted.extend(self.counting.note(volume, counted));
        self.observer.note_load_watch(id, wanted.as_ref().and_then(|watch| watch.load.as_ref()), now);
        wanted
    }

    fn done(&mut self, action: &Action) {
        match action {
            Action::Grow { claim, uid, record, .. } => {
                self.count_growth(claim);
                let notice = notice::growing(claim, uid, record, self.ledger.decision(claim));
                self.effects.notices.push(notice);
            }
            Action::TakeBack { claim, uid, record, .. } => {
                let notice = notice::growing(claim, uid, record, self.ledger.decision(claim));
                self.effects.notices.push(notice);
            }
            Action::WriteOwner { claim, uid, .. } => self.asked_of_owner(claim, uid),
            Action::SetClass { claim, uid, record, .. } => {
                let decision = self.ledger.performance(claim).map(|(decision, _)| decision);
                let notice = notice::class_changing(claim, uid, record, decision);
                self.effects.notices.push(notice);
            }
            Action::RecordUsable { record, .. } => self.metrics.growth_usable(record),
            Action::RecordGrowth { .. } | Action::SyncPod { .. } => {}
            Action::ScaleToZero { claim, .. } | Action::ScaleBack { claim, .. } => {
                let uid = self.observer.view().claims.get(claim).map(|it| it.uid.clone());
                self.effects.notices.extend(uid.and_then(|uid| notice::scaled(claim, &uid, action)));
            }
        }
    }

    /// The owner of a claim was asked for the size that is on record of the claim.
    fn asked_of_owner(&mut self, claim: &ClaimId, uid: &Uid) {
        self.count_growth(claim);
        let record = self.observer.view().claims.get(claim).and_then(|claim| claim.growth.as_ref());
        let notice = record.map(|record| notice::growing(claim, uid, record, self.ledger.decision(claim)));
        self.effects.notices.extend(notice);
    }

    /// Counts a growth that was asked for. What is counted for a policy that is gone would never be forgotten.
    fn count_growth(&self, claim: &ClaimId) {
        if let Some(Governance::By(policy)) = self.ledger.decision(claim).map(|decision| &decision.governance)
            && self.observer.known_policy(policy).is_some()
        {
            self.metrics.growth_requested(policy);
        }
    }
}
