//! What is told of each governed claim. A family of metrics that holds an entry for each claim and metric would cost the
//! operator more memory than the claims themselves: here each claim has one row of numbers, from which the text is made
//! when somebody asks for it.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use orlop_api::{
    Bytes, Dimension,
    names::{PerformanceReason, Reason},
};
use orlop_planner::{Claim, ClaimId, Decision, PerformanceDecision, View, stale_at};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType, registry::Unit};

/// Whoever reads the rows shares them with the event loop, which copies what it changes meanwhile: one of so many parts at
/// a time, and not all of them.
const PARTS: usize = 256;

/// The rows are boxed, because a tree that is filled in the order of its keys is little more than half full.
type Part = BTreeMap<ClaimId, Box<Row>>;

/// The rows of the claims that are told of.
#[derive(Debug)]
pub(super) struct Claims {
    parts: Vec<Mutex<Arc<Part>>>,
    /// Of how many claims there are rows at most.
    max: usize,
    count: AtomicUsize,
    /// How many claims are governed.
    governed: AtomicUsize,
}

/// What is told of a claim.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    requested: Bytes,
    capacity: Bytes,
    /// None while it is not known.
    fill: Option<Fill>,
    target: Option<Bytes>,
    problem: Option<Reason>,
    cost: Option<Cost>,
    /// None where no policy says anything about the claim's class.
    performance: Option<Box<Performance>>,
    /// In how many seconds it is full as it rises from day to day: at the earliest, most likely, at the latest.
    full: Option<Box<[Option<u64>; 3]>>,
}

/// What a volume does, and what is wrong with its class.
#[derive(Debug, Clone, PartialEq)]
struct Performance {
    /// Operations and bytes a second, while they are known.
    rates: Option<(u64, u64)>,
    /// How much that is of what the class gives, in millionths.
    utilization: Option<u64>,
    /// For which share of the time its pod waits for I/O, in percent, while it is known.
    stalled: Option<u8>,
    /// For which share of the time the limit was exceeded that was for most of it, in percent, while it is known.
    exceeded: Option<u8>,
    class: Option<String>,
    problem: Option<PerformanceReason>,
}

#[derive(Debug, Clone, PartialEq)]
struct Fill {
    total: Bytes,
    available: Bytes,
    inodes: Option<(u64, u64)>,
    bytes_per_second: u64,
}

/// What a volume costs a month.
#[derive(Debug, Clone, PartialEq)]
struct Cost {
    amount: f64,
    /// The code of three letters.
    currency: [u8; 3],
}

impl Row {
    /// What is to be told of a claim after a decision about it.
    pub(crate) fn new(
        view: &View,
        claim: &Claim,
        (decision, of_class): (&Decision, Option<&PerformanceDecision>),
        now: Timestamp,
    ) -> Self {
        let believed = decision.reason != Reason::ContradictoryMeasurement;
        let usage = claim.usage.as_ref().filter(|usage| believed && now < stale_at(usage));
        Self {
            requested: claim.requested,
            capacity: claim.capacity,
            fill: usage.map(|usage| Fill {
                total: usage.total,
                available: usage.available,
                inodes: usage.counted_inodes().map(|inodes| (inodes.total.0, inodes.free.0)),
                bytes_per_second: usage.fill_bytes_per_second,
            }),
            target: decision.target(),
            problem: decision.is_problem().then_some(decision.reason),
            cost: Cost::of(view, claim),
            performance: of_class.map(|decision| Box::new(Performance::new(view, claim, decision, now))),
            full: full(claim),
        }
    }
}

impl Performance {
    fn new(view: &View, claim: &Claim, decision: &PerformanceDecision, now: Timestamp) -> Self {
        let known = decision.reason != PerformanceReason::NoLoad;
        let sample = claim.load.as_ref().and_then(|load| load.sample.as_ref()).filter(|_| known);
        let rates = sample.map(|it| (it.rates.get(Dimension::Iops), it.rates.get(Dimension::Throughput)));
        let utilization = sample.and_then(|it| view.utilization(claim, &it.rates));
        let stalled = sample.and_then(|it| it.pressure).map(|pressure| pressure.full);
        let exceeded =
            claim.load.as_ref().and_then(|load| load.excess.as_ref()).filter(|excess| excess.is_current(now));
        let exceeded = exceeded.and_then(|excess| excess.shares.iter().map(|(_, percent)| percent).max());
        let problem = decision.is_problem().then_some(decision.reason);
        Self { rates, utilization, stalled, exceeded, class: decision.class.clone(), problem }
    }
}

/// By the claim's forecast, where there is one.
fn full(claim: &Claim) -> Option<Box<[Option<u64>; 3]>> {
    let forecast = claim.outlook.as_ref()?.forecast()?;
    let full = forecast.time_to_full(claim.usage.as_ref()?.total);
    let seconds = |span: Option<jiff::SignedDuration>| u64::try_from(span?.as_secs()).ok();
    Some(Box::new([full.earliest, full.median, full.latest].map(seconds)))
}

impl Cost {
    /// By the price in the driver's profile, where there is one.
    fn of(view: &View, claim: &Claim) -> Option<Self> {
        let price = view.abilities(claim)?.price?;
        let millionths = price.monthly_millionths(claim.capacity.max(claim.volume_capacity));
        #[expect(clippy::cast_precision_loss, reason = "a number of millionths that is not exact is too much money")]
        let amount = millionths as f64 / 1e6;
        Some(Self { amount, currency: price.currency.as_bytes().try_into().ok()? })
    }

    fn currency(&self) -> &str {
        // What is no text was no currency, and could not have been written as one.
        str::from_utf8(&self.currency).unwrap_or_default()
    }
}

impl Claims {
    pub(super) fn new(max: usize) -> Self {
        let parts = if max == 0 { 0 } else { PARTS };
        let parts = (0..parts).map(|_| Mutex::default()).collect();
        Self { parts, max, count: AtomicUsize::new(0), governed: AtomicUsize::new(0) }
    }

    /// Is any claim told of at all?
    pub(super) const fn is_wanted(&self) -> bool {
        self.max > 0
    }

    /// Was a claim governed, and is it now?
    pub(super) fn governed(&self, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.governed.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.governed.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
    }

    /// Of how many claims there are rows.
    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A claim is as said now. One that comes when there are as many as there may be is not told of, until another is
    /// gone and it is decided about again.
    pub(super) fn set(&self, id: &ClaimId, row: Row) {
        let Some(mut part) = self.part(id) else { return };
        let known = part.get(id);
        if known.is_some_and(|known| **known == row) || (known.is_none() && self.count() >= self.max) {
            return;
        }
        if Arc::make_mut(&mut part).insert(id.clone(), Box::new(row)).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A claim is governed no longer, or gone.
    pub(super) fn remove(&self, id: &ClaimId) {
        let Some(mut part) = self.part(id).filter(|part| part.contains_key(id)) else { return };
        Arc::make_mut(&mut part).remove(id);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    fn part(&self, id: &ClaimId) -> Option<MutexGuard<'_, Arc<Part>>> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let index = hasher.finish() % PARTS as u64;
        Some(lock(self.parts.get(usize::try_from(index).ok()?)?))
    }
}

/// A part is whole between any two calls, so whoever panicked with it has not broken it.
fn lock(part: &Mutex<Arc<Part>>) -> MutexGuard<'_, Arc<Part>> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A metric of each claim: its name, what it is, its unit, and its value where there is one.
type PerClaim = (&'static str, &'static str, Option<Unit>, fn(&Row) -> Option<u64>);

const PER_CLAIM: [PerClaim; 14] = [
    ("claim_requested", "The size that is requested for the claim", Some(Unit::Bytes), |row| Some(row.requested.0)),
    ("claim_capacity", "The size that the claim has", Some(Unit::Bytes), |row| Some(row.capacity.0)),
    ("claim_target", "The larger size that is called for or under way", Some(Unit::Bytes), |row| Some(row.target?.0)),
    ("claim_filesystem_size", "All bytes of the claim's filesystem", Some(Unit::Bytes), |row| {
        Some(row.fill.as_ref()?.total.0)
    }),
    ("claim_available", "What may still be written to the claim's filesystem", Some(Unit::Bytes), |row| {
        Some(row.fill.as_ref()?.available.0)
    }),
    ("claim_inodes", "All inodes of the claim's filesystem", None, |row| Some(row.fill.as_ref()?.inodes?.0)),
    ("claim_inodes_free", "The free inodes of the claim's filesystem", None, |row| Some(row.fill.as_ref()?.inodes?.1)),
    ("claim_fill_bytes_per_second", "How fast the claim's filesystem fills", None, |row| {
        Some(row.fill.as_ref()?.bytes_per_second)
    }),
    (
        "claim_time_to_full",
        "When the claim's filesystem is full at the present rate; absent while it does not fill",
        Some(Unit::Seconds),
        |row| row.fill.as_ref().and_then(|fill| fill.available.0.checked_div(fill.bytes_per_second)),
    ),
    (
        "claim_io_operations_per_second",
        "I/O operations a second of the claim's volume, where its policy has a performance section",
        None,
        |row| Some(row.performance.as_ref()?.rates?.0),
    ),
    (
        "claim_io_bytes_per_second",
        "Bytes a second that are read from and written to the claim's volume, where its policy has a performance section",
        None,
        |row| Some(row.performance.as_ref()?.rates?.1),
    ),
    (
        "claim_forecast_full_earliest",
        "When the claim's filesystem is full if it rises each day as on the one day in ten on which it rises most; absent \
         without a forecast, and where it never is",
        Some(Unit::Seconds),
        |row| row.full.as_ref()?[0],
    ),
    (
        "claim_forecast_full",
        "When the claim's filesystem is full if it rises each day as it usually does; absent without a forecast, and where it \
         never is",
        Some(Unit::Seconds),
        |row| row.full.as_ref()?[1],
    ),
    (
        "claim_forecast_full_latest",
        "When the claim's filesystem is full if it rises each day as on the one day in ten on which it rises least; absent \
         without a forecast, and where it never is",
        Some(Unit::Seconds),
        |row| row.full.as_ref()?[2],
    ),
];

/// A metric of each claim that is a share of time: its name, what it is, and its value in percent where there is one.
type Share = (&'static str, &'static str, fn(&Performance) -> Option<u8>);

const SHARES: [Share; 2] = [
    (
        "claim_io_stalled_ratio",
        "For which share of time all of a pod of the claim waits for I/O, of any of its disks, where the claim's policy has a \
         performance section",
        |it| it.stalled,
    ),
    (
        "claim_io_exceeded_ratio",
        "For which share of time more is asked of the claim's volume than a limit allows, where its policy has a performance \
         section and its driver counts it",
        |it| it.exceeded,
    ),
];

impl Collector for Claims {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if !self.is_wanted() {
            return Ok(());
        }
        let untold = self.governed.load(Ordering::Relaxed).saturating_sub(self.count());
        let help = "Governed claims that have no metrics of their own, because there are too many";
        encoder.encode_descriptor("claims_untold", help, None, MetricType::Gauge)?.encode_gauge(&untold)?;
        let parts: Vec<Arc<Part>> = self.parts.iter().map(|part| lock(part).clone()).collect();
        let rows = || parts.iter().flat_map(|part| part.iter());
        for (name, help, unit, value) in &PER_CLAIM {
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (id, row) in rows() {
                if let Some(value) = value(row) {
                    family.encode_family(&labels(id))?.encode_gauge(&value)?;
                }
            }
        }
        for (name, help, percent) in &SHARES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, row) in rows() {
                if let Some(percent) = row.performance.as_deref().and_then(percent) {
                    family.encode_family(&labels(id))?.encode_gauge(&(f64::from(percent) / 100.0))?;
                }
            }
        }
        let help = "What the claim's volume costs a month, where the profile of its driver has a price";
        let mut family = encoder.encode_descriptor("claim_monthly_cost", help, None, MetricType::Gauge)?;
        for (id, row) in rows() {
            if let Some(cost) = &row.cost {
                let labels = (labels(id), [("currency", cost.currency())]);
                family.encode_family(&labels)?.encode_gauge(&cost.amount)?;
            }
        }
        let help = "The part that the claim's volume does of what its VolumeAttributesClass gives, where that is most";
        let mut family = encoder.encode_descriptor("claim_io_utilization_ratio", help, None, MetricType::Gauge)?;
        for (id, row) in rows() {
            if let Some(millionths) = row.performance.as_ref().and_then(|it| it.utilization) {
                #[expect(clippy::cast_precision_loss, reason = "a part that is not exact is so busy as to be no part")]
                let part = millionths as f64 / 1e6;
                family.encode_family(&labels(id))?.encode_gauge(&part)?;
            }
        }
        let help = "Somebody must look at the claim, for the reason said";
        let mut family = encoder.encode_descriptor("claim_problem", help, None, MetricType::Gauge)?;
        for (id, row) in rows() {
            if let Some(reason) = row.problem {
                let labels = (labels(id), [("reason", reason.to_string())]);
                family.encode_family(&labels)?.encode_gauge(&1_u64)?;
            }
        }
        let help = "Somebody must look at the claim's VolumeAttributesClass, for the reason said";
        let mut family = encoder.encode_descriptor("claim_class_problem", help, None, MetricType::Gauge)?;
        for (id, row) in rows() {
            if let Some(reason) = row.performance.as_ref().and_then(|it| it.problem) {
                let labels = (labels(id), [("reason", reason.to_string())]);
                family.encode_family(&labels)?.encode_gauge(&1_u64)?;
            }
        }
        let help =
            "The VolumeAttributesClass that is requested for the claim, where its policy has a performance section";
        let mut family = encoder.encode_descriptor("claim_attributes_class", help, None, MetricType::Gauge)?;
        for (id, row) in rows() {
            if let Some(class) = row.performance.as_ref().and_then(|it| it.class.as_deref()) {
                let labels = (labels(id), [("volumeattributesclass", class)]);
                family.encode_family(&labels)?.encode_gauge(&1_u64)?;
            }
        }
        Ok(())
    }
}

/// The names of the labels are those of the kubelet's metrics of volumes, so that the two can be joined.
fn labels(id: &ClaimId) -> [(&'static str, &str); 2] {
    [("namespace", &id.namespace.0), ("persistentvolumeclaim", &id.name)]
}
