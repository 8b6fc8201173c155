//! The picture of one claim: what was used, below the size that was recorded and the one under the policy.

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, html};
use orlop_api::Bytes;

use crate::{
    line::part,
    outline::Outline,
    report::{ClaimReport, Report},
    text::span,
};

/// The width of a picture; the page scales it.
const WIDTH: f64 = 1000.0;
/// Where the time begins and ends in it: left of that are the sizes, right of it the names of the lines.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 825.0;
/// The height of a picture, and where its sizes end.
const HEIGHT: f64 = 200.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 176.0;

const DAY_MS: i64 = 86_400_000;

pub(super) fn legend() -> Markup {
    let sample = |class: &str, shape: &str| html! { svg.key viewBox="0 0 24 14" { path.(class) d=(shape) {} } };
    let (line, block) = ("M1 7H23", "M1 2H23V12H1Z");
    html! {
        p.legend {
            span { (sample("used", block)) "used" }
            span { (sample("recorded", line)) "filesystem, as recorded" }
            span { (sample("policy", line)) "filesystem, under the policy" }
            span { (sample("growth", "M12 2L17 12H7Z")) "a growth" }
            span { (sample("was-full", block)) "full in the record" }
            span { (sample("full", block)) "full under the policy" }
        }
    }
}

pub(super) fn draw(claim: &ClaimReport, outline: &Outline, report: &Report) -> Markup {
    let used: Vec<_> = outline.points.iter().map(|point| (point.at_ms, point.used)).collect();
    let recorded: Vec<_> = outline.points.iter().map(|point| (point.at_ms, point.recorded)).collect();
    let policy = policy_sizes(claim);
    let most = recorded.iter().chain(&policy).chain(&used).map(|(_, size)| size.0).max().unwrap_or(1).max(1);
    let scale = Scale {
        from_ms: report.from.as_millisecond(),
        lasts_ms: report.to.as_millisecond().saturating_sub(report.from.as_millisecond()).max(1),
        end_ms: claim.to.as_millisecond(),
        most: Bytes(most + most / 12),
    };
    let last = |text: &str, line: &[(i64, Bytes)]| {
        let size = line.last().map_or(Bytes(0), |(_, size)| *size);
        (size, scale.y(size), format!("{text} {}", size.human()))
    };
    let labels = apart([
        ("recorded", last("recorded", &recorded)),
        ("policy", last("policy", &policy)),
        ("used", last("used", &used)),
    ]);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("the use and the size of {}, over time", claim.id())) {
            @for band in &outline.recorded_full { (scale.band(*band, "was-full", "full in the record")) }
            @for band in &outline.policy_full { (scale.band(*band, "full", "full under the policy")) }
            (scale.axes())
            path.used d=(scale.area(&used)) {}
            path.recorded d=(scale.steps(&recorded)) {}
            path.policy d=(scale.steps(&policy)) {}
            @for growth in &claim.growths {
                @let x = scale.x(growth.at.as_millisecond());
                path.growth d=(format!("M{x:.1} {:.1}l5 9h-10z", BOTTOM - 11.0)) {
                    title { (growth.at) ": " (growth.message) }
                }
            }
            @for (class, y, label) in labels { text.label.(class) x=(RIGHT + 8.0) y=(round(y + 4.0)) { (label) } }
        }
    }
}

/// The filesystem under the policy, at each change. A growth's landing is too near to its beginning to be seen apart.
fn policy_sizes(claim: &ClaimReport) -> Vec<(i64, Bytes)> {
    let (filesystem, size) = claim.filesystem_per_size;
    let of = |claimed: Bytes| Bytes(part(filesystem.0, claimed.0, size.0));
    let first = (claim.from.as_millisecond(), of(claim.first_size));
    let grown = claim.growths.iter().map(|growth| (growth.at.as_millisecond(), of(growth.to)));
    std::iter::once(first).chain(grown).collect()
}

/// Labels with the largest value at the top, moved apart so that they can be read.
fn apart<const N: usize>(mut labels: [(&str, (Bytes, f64, String)); N]) -> Vec<(&str, f64, String)> {
    const APART: f64 = 13.0;
    labels.sort_by_key(|(_, (size, ..))| std::cmp::Reverse(*size));
    let mut lowest = f64::MIN;
    let placed = labels.into_iter().map(|(class, (_, y, label))| {
        lowest = y.max(lowest + APART);
        (class, lowest, label)
    });
    placed.collect()
}

/// Where times and sizes are.
struct Scale {
    from_ms: i64,
    lasts_ms: i64,
    /// Where the claim's own history ends.
    end_ms: i64,
    most: Bytes,
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    fn x(&self, at_ms: i64) -> f64 {
        LEFT + (RIGHT - LEFT) * (at_ms - self.from_ms) as f64 / self.lasts_ms as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    fn y(&self, size: Bytes) -> f64 {
        BOTTOM - (BOTTOM - TOP) * size.0 as f64 / self.most.0 as f64
    }

    fn axes(&self) -> Markup {
        html! {
            @for size in self.sizes() {
                @let y = self.y(size);
                path.grid d=(format!("M{LEFT} {y:.1}H{RIGHT}")) {}
                text.tick text-anchor="end" x=(LEFT - 6.0) y=(round(y + 4.0)) { (size) }
            }
            @for at_ms in self.days() {
                text.tick text-anchor="middle" x=(round(self.x(at_ms))) y=(BOTTOM + 16.0) { (day(at_ms)) }
            }
        }
    }

    /// Round sizes, three to six of them.
    fn sizes(&self) -> Vec<Bytes> {
        let mut step = 1 << 20;
        while self.most.0 / step > 5 {
            step *= 2;
        }
        (0..=self.most.0 / step).map(|times| Bytes(times * step)).collect()
    }

    /// The beginnings of days, at most ten of them.
    fn days(&self) -> Vec<i64> {
        let days = self.lasts_ms / DAY_MS;
        let step = [1, 2, 5, 7, 14, 30, 60, 120].into_iter().find(|step| days / step < 10).unwrap_or(days / 10);
        let first = (self.from_ms + DAY_MS - 1).div_euclid(DAY_MS);
        let last = (self.from_ms + self.lasts_ms).div_euclid(DAY_MS);
        (first..=last).step_by(usize::try_from(step).unwrap_or(1).max(1)).map(|day| day * DAY_MS).collect()
    }

    fn area(&self, points: &[(i64, Bytes)]) -> String {
        let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return String::new() };
        let mut path = format!("M{:.1} {BOTTOM}", self.x(*first));
        for (at_ms, size) in points {
            let _ = write!(path, "L{:.1} {:.1}", self.x(*at_ms), self.y(*size));
        }
        let _ = write!(path, "L{:.1} {BOTTOM}Z", self.x(*last));
        path
    }

    /// A size that stays until the next.
    fn steps(&self, sizes: &[(i64, Bytes)]) -> String {
        let mut path = String::new();
        let mut before = None;
        for (at_ms, size) in sizes.iter().filter(|(_, size)| before.replace(*size) != Some(*size)) {
            let (x, y) = (self.x(*at_ms), self.y(*size));
            let _ = if path.is_empty() { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
        }
        let _ = write!(path, "H{:.1}", self.x(self.end_ms));
        path
    }

    /// A span of time, at least wide enough to be seen.
    fn band(&self, (from_ms, to_ms): (i64, i64), class: &str, what: &str) -> Markup {
        let x = self.x(from_ms);
        let width = (self.x(to_ms) - x).max(1.5);
        let lasts = span(to_ms.abs_diff(from_ms) / 1000);
        html! {
            rect.(class) x=(round(x)) y=(TOP) width=(round(width)) height=(BOTTOM - TOP) {
                title { (what) " from " (Timestamp::from_millisecond(from_ms).unwrap_or_default()) " for " (lasts) }
            }
        }
    }
}

fn day(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().strftime("%b %-d").to_string()
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
