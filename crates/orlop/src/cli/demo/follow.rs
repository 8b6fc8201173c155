//! Follows the quickstart: the writer's log, the claim and its growths, until the writer has verified its data.

use std::{collections::BTreeMap, io::IsTerminal as _, pin::pin, time::Duration};

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::LogParams,
    runtime::{WatchStreamExt as _, watcher},
};
use orlop_api::{Bytes, names};
use orlop_planner::GrowthRecord;
use serde::Deserialize;
use tokio::{sync::mpsc, time::Instant};

use super::{Failure, Outcome, Quickstart};
use crate::ui::fill;

/// How often a plain line is printed where there is no terminal to draw a bar on.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(3);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// The growths that became usable, by the size that they led to.
    pub growths: BTreeMap<Bytes, GrowthRecord>,
    /// The writer's last account of itself.
    pub wrote: Option<Wrote>,
    /// What the writer found when it had read everything back.
    pub verified: Option<Verified>,
}

/// A line of the writer's log.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Wrote(Wrote),
    Verified(Verified),
}

/// How far the writer is: sizes in bytes.
#[derive(Debug, Deserialize)]
pub(super) struct Wrote {
    pub written: u64,
    pub enospc: u64,
    pub free: u64,
    pub total: u64,
}

/// What the writer found.
#[derive(Debug, Deserialize)]
pub(super) struct Verified {
    #[serde(rename = "verified")]
    pub intact: bool,
    pub files: u64,
    pub bytes: u64,
}

impl Story {
    /// Did the main job do what it promises?
    pub(super) fn verdict(&self) -> Outcome {
        let Some(wrote) = &self.wrote else { return Err(Failure::new("the writer said nothing")) };
        if wrote.enospc > 0 {
            return Err(Failure::new(format!("the writer ran out of space {} times", wrote.enospc)));
        }
        if !self.verified.as_ref().is_some_and(|found| found.intact) {
            return Err(Failure::new("the data that was written does not read back as it was written"));
        }
        if self.growths.is_empty() {
            return Err(Failure::new("the volume did not grow"));
        }
        Ok(())
    }
}

enum News {
    Line(Line),
    Claim(Box<PersistentVolumeClaim>),
    Failed(Failure),
}

pub(super) async fn until_verified(client: &Client, timeout: Duration) -> Outcome<Story> {
    let (sender, mut news) = mpsc::channel(256);
    let log = tokio::spawn(follow_log(client.clone(), sender.clone()));
    let claim = tokio::spawn(follow_claim(client.clone(), sender));
    let mut screen = Screen::new();
    let mut story = Story::default();
    let result = tokio::time::timeout(timeout, async {
        while let Some(item) = news.recv().await {
            match item {
                News::Line(Line::Wrote(wrote)) => {
                    screen.wrote(&wrote);
                    story.wrote = Some(wrote);
                }
                News::Line(Line::Verified(verified)) => {
                    screen.verified(&verified);
                    story.verified = Some(verified);
                }
                News::Claim(claim) => screen.claim(&claim, &mut story),
                News::Failed(failure) => return Err(failure),
            }
            // The last growth may become usable only after the writer is done.
            if story.verified.is_some() && screen.pending.is_none() {
                return Ok(());
            }
        }
        Err(Failure::new("nothing is left to follow"))
    })
    .await;
    log.abort();
    claim.abort();
    screen.finish();
    match result {
        Ok(Ok(())) => Ok(story),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(format!("the writer was not done after {} s", timeout.as_secs()))
            .remedy(format!("look at `kubectl -n {} get pods,pvc,events`", Quickstart::NAMESPACE))),
    }
}

/// Reads the writer's log, from the start and again from where it was when the connection or the container ends.
async fn follow_log(client: Client, news: mpsc::Sender<News>) {
    let pods: Api<Pod> = Api::namespaced(client, Quickstart::NAMESPACE);
    let mut read = 0;
    loop {
        let parameters = LogParams { follow: true, ..LogParams::default() };
        if let Ok(stream) = pods.log_stream(Quickstart::POD, &parameters).await {
            let mut lines = stream.lines().skip(read);
            while let Ok(Some(text)) = lines.try_next().await {
                read += 1;
                let Ok(line) = serde_json::from_str(&text) else { continue };
                if news.send(News::Line(line)).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn follow_claim(client: Client, news: mpsc::Sender<News>) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, Quickstart::NAMESPACE);
    let selection = watcher::Config::default().fields(&format!("metadata.name={}", Quickstart::CLAIM));
    let mut changes = pin!(watcher(claims, selection).default_backoff().applied_objects());
    while let Some(change) = changes.next().await {
        let item = match change {
            Ok(claim) => News::Claim(Box::new(claim)),
            // The watcher tries again by itself; what it cannot overcome shows as the timeout.
            Err(error) => {
                tracing::debug!(%error, "the claim's watch was interrupted");
                continue;
            }
        };
        if news.send(item).await.is_err() {
            return;
        }
    }
    let _ = news.send(News::Failed(Failure::new("the claim's watch has ended"))).await;
}

/// The live view: a bar that is redrawn on a terminal, a line now and then elsewhere.
struct Screen {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Option<Instant>,
    requested: Bytes,
    /// The size of a growth that is under way.
    pending: Option<Bytes>,
}

impl Screen {
    fn new() -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.enable_steady_tick(Duration::from_millis(120));
            bar.set_message("waiting for the pod to start");
            bar
        });
        if bar.is_none() {
            println!("waiting for the pod to start");
        }
        Self { bar, started: Instant::now(), last_line: None, requested: Bytes(0), pending: None }
    }

    fn say(&self, text: &str) {
        let line = format!("{:>5.1} s  {text}", self.started.elapsed().as_secs_f32());
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    fn wrote(&mut self, line: &Wrote) {
        let (used, total) = (Bytes(line.total.saturating_sub(line.free)), Bytes(line.total));
        let text = format!(
            "{}  {:>3}% of {:>8} used, {:>8} written, {} out-of-space errors",
            fill::bar(used, total, 32),
            fill::percent(used, total),
            total.human(),
            Bytes(line.written).human(),
            line.enospc
        );
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        } else if self.last_line.is_none_or(|at| at.elapsed() >= PLAIN_LINE_EVERY) {
            self.say(&text);
            self.last_line = Some(Instant::now());
        }
    }

    fn verified(&self, found: &Verified) {
        let how = if found.intact { "it is as it was written" } else { "it is NOT as it was written" };
        self.say(&format!("the writer has read all {} files back: {how}", found.files));
    }

    fn claim(&mut self, claim: &PersistentVolumeClaim, story: &mut Story) {
        let requested = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage")?.0.parse().ok())
            .unwrap_or_default();
        if self.requested == Bytes(0) {
            self.say(&format!("claim {} asks for {requested}", claim.name_any()));
        }
        self.requested = requested;
        let Some(record) = record(claim) else { return };
        match record.usable {
            None if self.pending != Some(record.to) => {
                self.pending = Some(record.to);
                self.say(&format!("▲ {} → {}  {}", record.from, record.to, record.reason));
            }
            Some(usable) if !story.growths.contains_key(&record.to) => {
                self.pending = None;
                let took = usable.duration_since(record.crossed).as_secs_f32();
                self.say(&format!("✔ {} usable {took:.1} s after the threshold was crossed", record.to));
                story.growths.insert(record.to, record);
            }
            _ => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn record(claim: &PersistentVolumeClaim) -> Option<GrowthRecord> {
    serde_json::from_str(claim.annotations().get(names::GROWTH_ANNOTATION)?).ok()
}
