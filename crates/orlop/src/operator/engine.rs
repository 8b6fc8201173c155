//! The event loop: takes in what is observed, has the claims concerned decided, and hands what was decided to whoever
//! carries it out or tells of it. It alone holds the observer and the ledger; everything that waits for the API server
//! runs beside it and reports back.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use orlop_api::names::Reason;
use orlop_planner::{Action, ClaimId, Governance, Ledger, Plan, PolicyId, Report, View, invariants, plan_claims};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{debug, error, info, warn};

use super::{
    act::{Acted, Executor, Failure},
    agenda::Agenda,
    events::{self, Notices},
    http::Health,
    lease::Leadership,
    measure::{Measurement, Watches},
    metrics::Metrics,
    observe::{Dirty, Observation, Observer},
    pace::Pace,
    setbacks::Setbacks,
    status::{self, Statuses, Written},
};

/// After the first news how long to wait for more: what one cause changes in several objects is decided once.
const COALESCE: Duration = Duration::from_millis(10);

/// The loop turns at least this often, so that it is seen to be alive.
const TURN_AT_LEAST: Duration = Duration::from_secs(5);

/// How much news is taken in at most before the loop looks at anything else.
const BATCH_MAX: usize = 512;

/// How many claims are decided in one pass at most: a change to all of a large cluster holds up nobody for long, and
/// what is decided does not pile up.
const CLAIMS_A_PASS: usize = 4096;

/// Just after the start nothing has been measured yet, and that is no news: agents reconnect within five seconds, and
/// the kubelets are asked within half a minute. Until then a missing measurement is not reported.
const SETTLE: SignedDuration = SignedDuration::from_secs(30);

/// Where news comes from.
pub(super) struct Inputs {
    pub(super) observations: mpsc::Receiver<Observation>,
    pub(super) measurements: mpsc::Receiver<Vec<Measurement>>,
}

/// Whom the engine tells.
pub(super) struct Outputs {
    pub(super) executor: Executor,
    pub(super) statuses: Statuses,
    pub(super) notices: Notices,
    pub(super) watches: Watches,
    pub(super) nodes: watch::Sender<BTreeSet<String>>,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
}

/// The event loop's state. Nothing in it has to outlive a restart.
pub(super) struct Engine {
    observer: Observer,
    ledger: Ledger,
    agenda: Agenda,
    leadership: Leadership,
    to: Outputs,
    /// The claims that are being acted on. They are decided again when that has ended.
    busy: BTreeSet<ClaimId>,
    setbacks: Setbacks,
    pace: Pace,
    /// When this operator began to lead.
    leads_since: Option<Timestamp>,
    /// Policies of claims that were not measured yet when the operator had just started.
    unsettled: BTreeSet<PolicyId>,
    plan_at: Option<Instant>,
}

impl Engine {
    pub(super) fn new(leadership: Leadership, to: Outputs) -> Self {
        Self {
            observer: Observer::default(),
            ledger: Ledger::default(),
            agenda: Agenda::default(),
            leadership,
            to,
            busy: BTreeSet::new(),
            setbacks: Setbacks::default(),
            pace: Pace::default(),
            leads_since: None,
            unsettled: BTreeSet::new(),
            plan_at: None,
        }
    }

    /// Runs until the sources of observations are gone.
    pub(super) async fn run(mut self, mut from: Inputs) {
        let (mut observed, mut measured) = (Vec::new(), Vec::new());
        loop {
            let turn_at = self.turn_at();
            tokio::select! {
                count = from.observations.recv_many(&mut observed, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    observed.drain(..).for_each(|observation| self.observer.observe(observation));
                }
                count = from.measurements.recv_many(&mut measured, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    measured.drain(..).flatten().for_each(|measurement| self.measure(measurement));
                }
                acted = self.to.executor.acted() => self.acted(acted),
                written = self.to.statuses.written() => self.written(written),
                () = self.leadership.changed() => {}
                () = sleep_until(turn_at) => {}
            }
            self.turn();
        }
    }

    fn measure(&mut self, measurement: Measurement) {
        if let Measurement::Sampled { usage, .. } | Measurement::SampledClaim { usage, .. } = &measurement {
            self.to.metrics.sampled(usage.source, usage.at);
        }
        self.observer.measure(measurement);
    }

    /// When the loop has something to do though nothing is observed.
    fn turn_at(&self) -> Instant {
        let now = Instant::now();
        let due = self.agenda.next().map(|at| {
            let wait = at.duration_since(Timestamp::now());
            now + Duration::try_from(wait).unwrap_or_default()
        });
        [self.plan_at, due, self.pace.next()].into_iter().flatten().fold(now + TURN_AT_LEAST, Instant::min)
    }

    fn turn(&mut self) {
        let synced = self.observer.is_synced();
        self.to.health.turned(synced);
        self.to.nodes.send_if_modified(|nodes| {
            let differs = nodes != self.observer.nodes();
            if differs {
                nodes.clone_from(self.observer.nodes());
            }
            differs
        });
        let leads = self.leadership.is_held();
        self.to.metrics.leads(leads);
        if !synced {
            return;
        }
        if !leads {
            // A standby need not remember what it would decide: when it leads, it decides everything anew.
            if self.leads_since.is_none() {
                self.observer.forget_dirty();
            }
            return;
        }
        if self.leads_since.is_none() {
            info!(claims = self.observer.view().claims.len(), "everything is listed: begins to decide");
            self.leads_since = Some(Timestamp::now());
            self.observer.mark_all();
        }
        self.pass_when_due();
        self.write_due_statuses();
    }

    fn pass_when_due(&mut self) {
        let (now, time) = (Instant::now(), Timestamp::now());
        for claim in self.agenda.take_due(time) {
            self.observer.mark(claim);
        }
        if self.observer.is_dirty() && self.plan_at.is_none() {
            self.plan_at = Some(now + COALESCE);
        }
        if self.plan_at.is_some_and(|at| at <= now) {
            let dirty = self.observer.take_dirty(CLAIMS_A_PASS);
            self.plan_at = self.observer.is_dirty().then_some(now);
            self.pass(dirty, time);
        }
    }

    /// Decides about everything that has changed, and begins to carry it out.
    fn pass(&mut self, dirty: Dirty, now: Timestamp) {
        let started = std::time::Instant::now();
        for policy in dirty.policies {
            self.pace.mark(policy, Instant::now());
        }
        self.unwatch(&dirty.released);
        // A claim that is being acted on is decided when the outcome is known; it is marked again then.
        let (gone, claims): (Vec<_>, Vec<_>) = dirty
            .claims
            .into_iter()
            .filter(|claim| !self.busy.contains(claim))
            .partition(|claim| !self.observer.view().claims.contains_key(claim));
        for claim in &gone {
            self.forget(claim);
        }
        if claims.is_empty() {
            return;
        }
        let (plan, mut report) = plan_claims(self.observer.view(), &claims, now);
        let (mut plan, violations) = invariants::retain_sound(self.observer.view(), plan);
        for violation in violations {
            self.to.metrics.invariant_violated();
            error!(%violation, "an action breaks an invariant and is refused: this is a bug");
        }
        self.setbacks.hold_back(&mut plan, &mut report, now);
        self.settle(&mut report, now);
        for (id, decision) in &report.decisions {
            if let Some(at) = decision.again_at {
                self.agenda.schedule(id, at);
            }
        }
        self.to.metrics.planned(claims.len(), started.elapsed());
        self.begin(plan);
        self.record(report, now);
        self.update_watches(&claims);
    }

    /// Leaves out of the report what is only not known yet.
    fn settle(&mut self, report: &mut Report, now: Timestamp) {
        let Some(settled_at) = self.leads_since.and_then(|since| since.checked_add(SETTLE).ok()) else { return };
        if now >= settled_at {
            for policy in std::mem::take(&mut self.unsettled) {
                self.pace.mark(policy, Instant::now());
            }
            return;
        }
        report.decisions.retain(|claim, decision| {
            let unknown = decision.reason == Reason::NoMeasurement;
            if unknown {
                self.agenda.schedule(claim, settled_at);
                if let Governance::By(policy) = &decision.governance {
                    self.unsettled.insert(policy.clone());
                }
            }
            !unknown
        });
    }

    fn begin(&mut self, plan: Plan) {
        for action in &plan.actions {
            info!("{action}");
        }
        let claims = self.to.executor.begin(plan, &self.observer);
        self.busy.extend(claims);
    }

    /// Takes the decisions into the ledger, and tells of what is new.
    fn record(&mut self, report: Report, now: Timestamp) {
        let reason = |ledger: &Ledger, claim: &ClaimId| ledger.decision(claim).map(|decision| decision.reason);
        let before: Vec<_> =
            report.decisions.keys().map(|claim| (claim.clone(), reason(&self.ledger, claim))).collect();
        let changes = self.ledger.record(report, now);
        for (claim, reason_before) in before {
            self.to.metrics.claim_moved(reason_before, reason(&self.ledger, &claim));
            // What is decided for the first time since the start may not have been told before.
            if changes.claims.contains(&claim) || reason_before.is_none() {
                self.tell(&claim, now);
            }
        }
        for policy in changes.policies {
            self.pace.mark(policy, Instant::now());
        }
    }

    fn tell(&self, id: &ClaimId, now: Timestamp) {
        let Some((claim, decision)) = self.observer.view().claims.get(id).zip(self.ledger.decision(id)) else { return };
        if decision.is_problem() {
            info!("claim {id} ({}): {}", decision.reason, decision.message);
        } else {
            debug!("claim {id} ({}): {}", decision.reason, decision.message);
        }
        for notice in events::of_decision(id, claim, decision, now) {
            self.to.notices.send(notice);
        }
    }

    fn forget(&mut self, claim: &ClaimId) {
        let reason = self.ledger.decision(claim).map(|decision| decision.reason);
        self.to.metrics.claim_moved(reason, None);
        self.agenda.forget(claim);
        self.setbacks.forget(claim);
        for policy in self.ledger.remove(claim).policies {
            self.pace.mark(policy, Instant::now());
        }
    }

    fn unwatch(&self, volumes: &BTreeSet<String>) {
        self.to.watches.send_if_modified(|watches| {
            let known = watches.len();
            for volume in volumes {
                watches.remove(volume);
            }
            watches.len() != known
        });
    }

    /// Tells the sources of measurements what of these claims' volumes should be reported at once.
    fn update_watches(&self, claims: &[ClaimId]) {
        let view: &View = self.observer.view();
        self.to.watches.send_if_modified(|watches| {
            let mut modified = false;
            for id in claims {
                let Some((claim, volume)) = view.claims.get(id).zip(self.observer.volume_of(id)) else { continue };
                let wanted = orlop_planner::watch(view, id, claim);
                if watches.get(volume) == wanted.as_ref() {
                    continue;
                }
                modified = true;
                match wanted {
                    Some(wanted) => watches.insert(volume.to_owned(), wanted),
                    None => watches.remove(volume),
                };
            }
            modified
        });
    }

    /// Takes in what became of actions. Done or not, the claim is decided again from what it is now.
    fn acted(&mut self, acted: Acted) {
        let Acted { claim, done, failed } = acted;
        self.busy.remove(&claim);
        for (action, observation) in done {
            self.setbacks.clear(&claim, &action);
            self.done(&action);
            if let Some(observation) = observation {
                self.observer.observe(observation);
            }
        }
        if let Some((action, failure)) = failed {
            self.failed(&claim, &action, failure);
        }
        self.observer.mark(claim);
    }

    fn done(&self, action: &Action) {
        match action {
            Action::Grow { claim, uid, record, .. } => {
                self.to.metrics.growth_requested();
                self.to.notices.send(events::growing(claim, uid, record, self.ledger.decision(claim)));
            }
            Action::RecordUsable { record, .. } => self.to.metrics.growth_usable(record),
            Action::SyncPod { .. } => {}
        }
    }

    fn failed(&mut self, claim: &ClaimId, action: &Action, failure: Failure) {
        self.to.metrics.action_failed(failure.label());
        warn!(%action, ?failure, "an action failed");
        self.setbacks.failed(claim, action, failure, Timestamp::now());
    }

    fn write_due_statuses(&mut self) {
        let now = Timestamp::now();
        for policy in self.pace.take_due(Instant::now()) {
            let Some(known) = self.observer.known_policy(&policy) else {
                self.pace.forget(&policy);
                continue;
            };
            if self.unsettled.contains(&policy) {
                continue;
            }
            let status = match &known.invalid {
                Some(why) => status::of_invalid(known, why, now),
                None => self.ledger.status(&policy, known.generation, known.status.as_ref(), now),
            };
            if !status::is_news(known.status.as_ref(), &status) {
                continue;
            }
            if let Some(condition) = status::newly_not_ready(known.status.as_ref(), &status) {
                let (reason, message) = (&condition.reason, &condition.message);
                self.to.notices.send(events::not_ready(&policy, &known.uid, known.generation, reason, message));
            }
            self.pace.begin(policy.clone());
            self.to.statuses.write(policy, &known.uid, &status);
        }
    }

    fn written(&mut self, written: Written) {
        self.pace.end(&written.policy, written.result.is_ok(), Instant::now());
        match written.result {
            Ok(observation) => self.observer.observe(observation),
            Err(failure) => warn!(policy = %written.policy, ?failure, "a status could not be written"),
        }
    }
}
