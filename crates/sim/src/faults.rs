//! Which troubles are on, and what becomes of each message under them.

use std::time::Duration;

use fastrand::Rng;

use crate::scenario::{MeasurementFate, RequestFate, Trouble, WatchFate};

/// The troubles that are on, in the order in which they began.
#[derive(Debug, Default)]
pub struct Faults {
    on: Vec<(usize, Trouble)>,
    /// When the latest began or ended; none before the first.
    pub(crate) changed: Option<Duration>,
    /// How often each fate was dealt, by its name.
    pub(crate) dealt: std::collections::BTreeMap<&'static str, u64>,
}

impl Faults {
    pub(crate) fn begin(&mut self, id: usize, trouble: Trouble, now: Duration) {
        *self.dealt.entry(kind(&trouble)).or_default() += 1;
        self.on.push((id, trouble));
        self.changed = Some(now);
    }

    pub(crate) fn end(&mut self, id: usize, now: Duration) {
        self.on.retain(|(known, _)| *known != id);
        self.changed = Some(now);
    }

    /// Is any trouble on?
    pub fn any(&self) -> bool {
        !self.on.is_empty()
    }

    pub(crate) fn is_on(&self, wanted: impl Fn(&Trouble) -> bool) -> bool {
        self.on.iter().any(|(_, trouble)| wanted(trouble))
    }

    /// The number that the troubles set, or 0: a clock's lead, a driver's slowness.
    pub(crate) fn sum(&self, of: impl Fn(&Trouble) -> Option<i64>) -> i64 {
        self.on.iter().filter_map(|(_, trouble)| of(trouble)).sum()
    }

    pub(crate) fn server_is_down(&self) -> bool {
        self.is_on(|trouble| matches!(trouble, Trouble::ServerDown {}))
    }

    pub(crate) fn of_request(&mut self, rng: &mut Rng) -> Option<RequestFate> {
        let fate = self.draw(rng, |trouble| match trouble {
            Trouble::Requests { fate, share } => Some((*fate, *share)),
            _ => None,
        });
        self.count(fate.map(|fate| match fate {
            RequestFate::Lost => "request lost",
            RequestFate::AnswerLost => "answer lost",
            RequestFate::Late => "request late",
            RequestFate::Twice => "request twice",
            RequestFate::Answered(_) => "request answered with an error",
        }));
        fate
    }

    pub(crate) fn of_event(&mut self, rng: &mut Rng) -> Option<WatchFate> {
        let fate = self.draw(rng, |trouble| match trouble {
            Trouble::Watches { fate, share } => Some((*fate, *share)),
            _ => None,
        });
        self.count(fate.map(|fate| match fate {
            WatchFate::Broken => "watch broken",
            WatchFate::BrokenAndStale => "watch broken, stale list",
            WatchFate::Delayed => "watch event delayed",
            WatchFate::Twice => "watch event twice",
        }));
        fate
    }

    pub(crate) fn of_measurement(&mut self, rng: &mut Rng) -> Option<MeasurementFate> {
        let fate = self.draw(rng, |trouble| match trouble {
            Trouble::Measurements { fate, share } => Some((*fate, *share)),
            _ => None,
        });
        self.count(fate.map(|fate| match fate {
            MeasurementFate::Lost => "measurement lost",
            MeasurementFate::Late => "measurement late",
            MeasurementFate::Twice => "measurement twice",
            MeasurementFate::Nonsense => "measurement nonsense",
        }));
        fate
    }

    fn draw<F: Copy>(&self, rng: &mut Rng, of: impl Fn(&Trouble) -> Option<(F, u8)>) -> Option<F> {
        self.on.iter().filter_map(|(_, trouble)| of(trouble)).find(|(_, share)| rng.u8(0..100) < *share).map(|it| it.0)
    }

    fn count(&mut self, dealt: Option<&'static str>) {
        if let Some(dealt) = dealt {
            *self.dealt.entry(dealt).or_default() += 1;
        }
    }
}

/// A trouble's kind, for counting.
pub(crate) const fn kind(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Kill { .. } => "operator killed",
        Trouble::KillAtRequest { .. } => "operator killed at a request",
        Trouble::Pause { .. } => "operator paused",
        Trouble::OperatorClock { .. } => "operator's clock set",
        Trouble::NodeClock { .. } => "node's clock set",
        Trouble::ServerDown {} => "API server down",
        Trouble::Requests { .. } => "spell of bad requests",
        Trouble::Watches { .. } => "spell of bad watches",
        Trouble::AgentDown { .. } => "agent down",
        Trouble::AgentsDown {} => "all agents down",
        Trouble::Measurements { .. } => "spell of bad measurements",
        Trouble::ResizerDown {} => "resizer down",
        Trouble::DriverFails {} => "driver fails",
        Trouble::DriverRefuses { .. } => "driver refuses",
        Trouble::DriverSlow { .. } => "driver slow",
        Trouble::ModificationFails {} => "class change fails",
        Trouble::ModificationRefused { .. } => "class refused",
        Trouble::ControllersDown {} => "controllers down",
        Trouble::SetsRefused {} => "StatefulSets refused",
        Trouble::KubeletDown { .. } => "kubelet down",
        Trouble::CrashLoop { .. } => "pod crashes",
    }
}
