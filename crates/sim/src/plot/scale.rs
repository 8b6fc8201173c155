//! Where times and values are in a picture, with its axes and lines.

use std::{fmt::Write as _, time::Duration};

use maud::{Markup, html};

/// The width of a picture; the page scales it.
pub(super) const WIDTH: f64 = 1000.0;
/// Where the time begins and ends in it: left of that are the values, right of it the names of the lines.
pub(super) const LEFT: f64 = 64.0;
pub(super) const RIGHT: f64 = 825.0;
/// Where the values end, above.
pub(super) const TOP: f64 = 14.0;
/// What the times need below.
const FOOT: f64 = 24.0;

/// The scale of a picture.
pub(super) struct Scale {
    pub(super) lasts: Duration,
    /// The largest value that is to be seen.
    pub(super) most: u64,
    /// Where the value 0 is.
    pub(super) bottom: f64,
}

impl Scale {
    /// A little more than the largest value, above `bottom`.
    pub(super) fn new(lasts: Duration, most: u64, bottom: f64) -> Self {
        let most = most.max(1);
        Self { lasts, most: most.saturating_add(most / 12), bottom }
    }

    /// The height of the whole picture.
    pub(super) fn height(&self) -> f64 {
        self.bottom + FOOT
    }

    pub(super) fn x(&self, at: Duration) -> f64 {
        LEFT + (RIGHT - LEFT) * at.as_secs_f64() / self.lasts.as_secs_f64().max(1.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    pub(super) fn y(&self, value: u64) -> f64 {
        self.bottom - (self.bottom - TOP) * value as f64 / self.most.max(1) as f64
    }

    /// The axes, with a line at each multiple of `step` and its value in words.
    pub(super) fn axes(&self, step: u64, words: impl Fn(u64) -> String) -> Markup {
        html! {
            @for value in (0..=self.most / step.max(1)).map(|times| times * step) {
                @let y = self.y(value);
                path.grid d=(format!("M{LEFT} {y:.1}H{RIGHT}")) {}
                text.tick text-anchor="end" x=(LEFT - 6.0) y=(round(y + 4.0)) { (words(value)) }
            }
            @for at in self.times() {
                text.tick text-anchor="middle" x=(round(self.x(at))) y=(self.bottom + 16.0) { (time(at)) }
            }
        }
    }

    /// Round times, six to twelve of them.
    fn times(&self) -> Vec<Duration> {
        const STEPS_S: [u64; 13] =
            [60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 604_800];
        let lasts = self.lasts.as_secs();
        let step = STEPS_S.into_iter().find(|step| lasts / step <= 12).unwrap_or(lasts / 10);
        (0..=lasts / step.max(1)).map(|times| Duration::from_secs(times * step)).collect()
    }

    /// The path of a line from point to point.
    pub(super) fn line(&self, points: &[(Duration, u64)]) -> String {
        let mut path = String::new();
        for (at, value) in points {
            let to = if path.is_empty() { 'M' } else { 'L' };
            // Writing to a String cannot fail.
            let _ = write!(path, "{to}{:.1} {:.1}", self.x(*at), self.y(*value));
        }
        path
    }

    /// The path of what is below a line.
    pub(super) fn area(&self, points: &[(Duration, u64)]) -> String {
        let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return String::new() };
        let line = self.line(points);
        format!("{line}L{:.1} {:.1}H{:.1}Z", self.x(*last), self.bottom, self.x(*first))
    }

    /// The path of a line that goes up and down in steps, to the end of the time.
    pub(super) fn steps(&self, changes: &[(Duration, u64)]) -> String {
        let mut path = String::new();
        for (at, value) in changes {
            let (x, y) = (self.x(*at), self.y(*value));
            let _ = if path.is_empty() { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
        }
        if !path.is_empty() {
            let _ = write!(path, "H{RIGHT}");
        }
        path
    }
}

fn time(at: Duration) -> String {
    match at.as_secs() {
        0 => "0".to_owned(),
        seconds if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        seconds => format!("{}:{:02}", seconds / 3600, seconds / 60 % 60),
    }
}

pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
