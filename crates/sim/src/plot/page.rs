//! The page: what is drawn where.

use std::{collections::BTreeMap, time::Duration};

use maud::{DOCTYPE, Markup, PreEscaped, html};
use orlop_api::Bytes;

use super::{
    Band, Mark, Plot, Track,
    scale::{LEFT, RIGHT, Scale, TOP, WIDTH, round},
};
use crate::{
    faults::kind,
    run::Outcome,
    story::{clock, span},
};

/// Where a claim's sizes end, below.
const BOTTOM: f64 = 176.0;
/// The height of a row of troubles.
const ROW: f64 = 16.0;

const STYLE: &str = include_str!("style.css");

impl Plot {
    pub(super) fn page(&self, outcome: &Outcome) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    title { "A run of orlop sim" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    p.story { (self.story) }
                    (self.figures(outcome))
                    (self.legend())
                    @if !self.troubles.is_empty() { (self.troubles()) }
                    @for (name, track) in &self.claims { (self.claim(name, track, outcome)) }
                    (self.costs())
                }
            }
        }
    }

    fn figures(&self, outcome: &Outcome) -> Markup {
        let full: Duration = self.claims.values().flat_map(|track| &track.full).map(|band| self.length(band)).sum();
        let figures = [
            ("lasted", span(outcome.lasted), false),
            ("claims", self.claims.len().to_string(), false),
            ("growths", outcome.growths.to_string(), false),
            ("troubles", self.troubles.len().to_string(), false),
            ("time full", if outcome.full == 0 { "never".to_owned() } else { span(full) }, outcome.full > 0),
            ("broken promises", outcome.violations.len().to_string(), !outcome.violations.is_empty()),
        ];
        html! {
            dl.figures {
                @for (what, figure, is_bad) in figures {
                    div { dt { (what) } dd.bad[is_bad] { (figure) } }
                }
            }
            @for violation in &outcome.violations {
                p.bad { "At " (clock(violation.at)) ", " (violation.checker) ": " (violation.what) }
            }
        }
    }

    fn legend(&self) -> Markup {
        let sample = |class: &str, shape: &str| html! { svg.key viewBox="0 0 24 14" { path.(class) d=(shape) {} } };
        let line = "M1 7H23";
        let block = "M1 2H23V12H1Z";
        html! {
            p.legend {
                span { (sample("used", block)) "written" }
                @if self.claims.values().any(|track| !track.inodes.is_empty()) {
                    span { (sample("inodes", line)) "inodes in use, of all that the filesystem has" }
                }
                span { (sample("filesystem", line)) "size of the filesystem" }
                span { (sample("requested", line)) "size requested for the claim" }
                span { (sample("growth", "M12 2L17 12H7Z")) "Orlop requests more" }
                span { (sample("change", "M12 1V13")) "a user does something" }
                span { (sample("shade", block)) "something is wrong" }
                span { (sample("full", block)) "the volume is full" }
            }
        }
    }

    fn troubles(&self) -> Markup {
        let mut rows: BTreeMap<&str, Vec<&Band>> = BTreeMap::new();
        for (trouble, band) in &self.troubles {
            rows.entry(kind(trouble)).or_default().push(band);
        }
        #[expect(clippy::cast_precision_loss, reason = "a few rows")]
        let height = rows.len() as f64 * ROW;
        html! {
            h2 { "What went wrong" }
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="what went wrong, over time" {
                @for (row, (kind, bands)) in (0_u32..).zip(rows) {
                    @let y = f64::from(row) * ROW;
                    rect.lane x=(LEFT) y=(y) width=(RIGHT - LEFT) height=(ROW - 4.0) {}
                    @for band in bands { (self.band(band, "trouble", y, ROW - 4.0)) }
                    text x=(RIGHT + 8.0) y=(y + 10.0) { (kind) }
                }
            }
        }
    }

    fn claim(&self, name: &str, track: &Track, outcome: &Outcome) -> Markup {
        let most = track.filesystem.iter().chain(&track.requested).map(|(_, size)| size.0).max().unwrap_or(1);
        let scale = Scale::new(self.lasts, most, BOTTOM);
        let sizes = [&track.filesystem, &track.requested].map(|line| line.last().map_or(Bytes(0), |(_, size)| *size));
        let used = track.used.last().map_or(Bytes(0), |(_, used)| *used);
        let last = |text: &str, size: Bytes| (scale.y(size.0), format!("{text} {}", size.human()));
        let labels = apart([last("requested", sizes[1]), last("filesystem", sizes[0]), last("written", used)]);
        html! {
            h2 { (name) " " small { (summary(track)) } }
            svg viewBox=(format!("0 0 {WIDTH} {}", scale.height())) role="img" aria-label=(format!("the fill and the size of {name}, over time")) {
                @for (_, band) in &self.troubles { (self.band(band, "shade", TOP, BOTTOM - TOP)) }
                (scale.axes(step(scale.most), |size| Bytes(size).to_string()))
                path.used d=(scale.area(&bytes(&track.used))) {}
                @if !track.inodes.is_empty() { path.inodes d=(scale.line(&bytes(&track.inodes))) {} }
                path.filesystem d=(scale.steps(&bytes(&track.filesystem))) {}
                path.requested d=(scale.steps(&bytes(&track.requested))) {}
                @for band in &track.full { (self.band(band, "full", TOP, BOTTOM - TOP)) }
                @for change in &self.changes { (line_at(&scale, change, "change")) }
                @for violation in &outcome.violations {
                    (line_at(&scale, &Mark { at: violation.at, what: violation.what.clone() }, "violation"))
                }
                @for growth in &track.growths { (triangle(&scale, growth)) }
                @for ((y, label), class) in labels.into_iter().zip(["requested", "filesystem", "used"]) {
                    text.label.(class) x=(RIGHT + 8.0) y=(y + 4.0) { (label) }
                }
            }
        }
    }

    fn length(&self, band: &Band) -> Duration {
        band.to.unwrap_or(self.lasts).saturating_sub(band.from)
    }

    /// A span of time, at least wide enough to be seen.
    pub(super) fn band(&self, band: &Band, class: &str, y: f64, height: f64) -> Markup {
        let scale = Scale::new(self.lasts, 1, BOTTOM);
        let x = scale.x(band.from);
        let width = (scale.x(band.to.unwrap_or(self.lasts)) - x).max(1.5);
        let title = format!("{}, from {} for {}", band.what, clock(band.from), span(self.length(band)));
        html! { rect.(class) x=(round(x)) y=(y) width=(round(width)) height=(height) { title { (title) } } }
    }
}

fn summary(track: &Track) -> String {
    let (first, last) = (track.requested.first(), track.requested.last());
    let sizes = match (first, last) {
        (Some((_, first)), Some((_, last))) if first == last => format!("{} all the time", first.human()),
        (Some((_, first)), Some((_, last))) => format!("from {} to {}", first.human(), last.human()),
        _ => String::new(),
    };
    let growths = match track.growths.len() {
        0 => String::new(),
        1 => ", 1 growth".to_owned(),
        growths => format!(", {growths} growths"),
    };
    let full = match track.full.len() {
        0 => String::new(),
        1 => ", full once".to_owned(),
        times => format!(", full {times} times"),
    };
    let cost = match (&track.price, first, last) {
        (Some(price), Some((_, first)), Some((_, last))) => {
            format!(", from {} to {} a month", price.monthly(*first), price.monthly(*last))
        }
        _ => String::new(),
    };
    format!("{sizes}{growths}{full}{cost}")
}

/// A round step of sizes, of which three to six are in the picture.
fn step(most: u64) -> u64 {
    let mut steps = std::iter::successors(Some(1 << 20), |step: &u64| step.checked_mul(2));
    steps.find(|step| most / step <= 5).unwrap_or(u64::MAX)
}

fn bytes(points: &[(Duration, Bytes)]) -> Vec<(Duration, u64)> {
    points.iter().map(|(at, size)| (*at, size.0)).collect()
}

pub(super) fn triangle(scale: &Scale, growth: &Mark) -> Markup {
    let x = scale.x(growth.at);
    html! {
        path.growth d=(format!("M{x:.1} {:.1}l5 9h-10z", scale.bottom - 11.0)) {
            title { (clock(growth.at)) ": " (growth.what) }
        }
    }
}

pub(super) fn line_at(scale: &Scale, mark: &Mark, class: &str) -> Markup {
    html! {
        path.(class) d=(format!("M{:.1} {TOP}V{}", scale.x(mark.at), scale.bottom)) {
            title { (clock(mark.at)) ": " (mark.what) }
        }
    }
}

/// Labels from the top down, moved apart so that they can be read.
fn apart<const N: usize>(mut labels: [(f64, String); N]) -> [(f64, String); N] {
    const APART: f64 = 13.0;
    for index in 1..N {
        labels[index].0 = labels[index].0.max(labels[index - 1].0 + APART);
    }
    labels
}
