//! `orlop backtest`: what a policy would have done, by usage history from files or from Prometheus.

use std::{collections::BTreeMap, fs, path::PathBuf};

use http::Uri;
use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, Period};
use orlop_backtest::{
    Replay, Report, Terms, World,
    generate::{self, Recipe},
    page, text,
};

use super::{Failure, Outcome};
use crate::{
    backtest::{
        Feed, InputError, ManifestError, Manifests,
        prometheus::{self, ANSWER_WITHIN, PrometheusError, Question},
        read,
    },
    prometheus::QueryError,
};

/// When a made-up history begins: on 1 June 2026 in UTC.
const MADE_UP_FROM_S: i64 = 1_780_272_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    history: History,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    world: WorldArgs,
    /// With --prometheus and --generate: how much history, such as 30d or 36h
    #[arg(long, default_value = "30d", value_parser = span)]
    since: Period,
    /// With --prometheus: until when [default: now]
    #[arg(long, value_name = "TIME", requires = "prometheus")]
    until: Option<Timestamp>,
    /// With --prometheus and --generate: how far apart samples are
    #[arg(long, default_value = "5m", value_parser = span)]
    step: Period,
    /// With --generate: of how many claims; every sixth is of the same kind
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=1_000_000), requires = "generate")]
    count: u64,
    /// How long after it was asked for a growth can be used
    #[arg(long, default_value_t = Terms::default().growth_takes, value_parser = span)]
    growth_takes: Period,
    /// Assume nothing between two samples that are further apart than this
    #[arg(long, default_value_t = Terms::default().gap, value_parser = span)]
    gap: Period,
    /// Begin with this size where a claim was larger, or as much more as its first sample needs, such as 20Gi
    #[arg(long, value_name = "SIZE")]
    start_size: Option<Bytes>,
    /// How to print what came of it
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Draw it into this file, a page for a browser
    #[arg(long, value_name = "FILE.html", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Write the history into this file, to read it --from there another time
    #[arg(long, value_name = "FILE.csv", value_hint = clap::ValueHint::FilePath)]
    save: Option<PathBuf>,
}

/// Where the history is from: one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct History {
    /// Files with history: CSV, the text format of Prometheus or OpenMetrics with times, or answers of the API of range queries
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = clap::ValueHint::FilePath)]
    from: Vec<PathBuf>,
    /// A server that speaks the query API of Prometheus, by its URL; may be given several times
    #[arg(long, value_name = "URL", value_parser = url)]
    prometheus: Vec<Uri>,
    /// Make up a history from this seed
    #[arg(long, value_name = "SEED")]
    generate: Option<u64>,
}

/// How to ask Prometheus.
#[derive(Debug, clap::Args)]
struct Server {
    /// With --prometheus: what series must have, in PromQL, such as 'cluster="a",namespace=~"shop|mail"'
    #[arg(long = "match", value_name = "MATCHERS", default_value = "", hide_default_value = true)]
    matchers: String,
    /// With --prometheus: a file with a bearer token
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "basic_auth_file")]
    bearer_token_file: Option<PathBuf>,
    /// With --prometheus: a file with user:password
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    basic_auth_file: Option<PathBuf>,
    /// With --prometheus: a file with the certificates (PEM) of the authorities to believe
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
}

impl Server {
    fn at(&self, url: &Uri) -> crate::prometheus::Server {
        crate::prometheus::Server {
            url: url.clone(),
            bearer_token_file: self.bearer_token_file.clone(),
            basic_auth_file: self.basic_auth_file.clone(),
            ca_file: self.ca_file.clone(),
            timeout: ANSWER_WITHIN,
            match_labels: BTreeMap::new(),
        }
    }
}

/// What governs the claims.
#[derive(Debug, clap::Args)]
struct WorldArgs {
    /// Files with StoragePolicies and ClusterStoragePolicies [default: all defaults, for every claim]
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = clap::ValueHint::FilePath)]
    policy: Vec<PathBuf>,
    /// Files with StorageClasses and DriverProfiles
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = clap::ValueHint::FilePath)]
    class: Vec<PathBuf>,
    /// Files with claims, and with volumes, classes and namespaces, as `kubectl get pvc,pv,sc,ns -A -o yaml` prints them
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = clap::ValueHint::FilePath)]
    claims: Vec<PathBuf>,
    /// The driver of claims whose class is not known, such as ebs.csi.aws.com
    #[arg(long)]
    driver: Option<String>,
    /// With --driver: a parameter that their class has, such as type=gp2
    #[arg(long, value_name = "NAME=VALUE", requires = "driver", value_parser = parameter)]
    parameter: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// A period, in days too.
fn span(text: &str) -> Result<Period, String> {
    if let Some(days) =
        text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()).filter(|days| (1..=365).contains(days))
    {
        return Ok(Period::from_secs(days * 86_400));
    }
    text.parse().map_err(|_| format!("`{text}` is not a period of up to a year: write one such as 30d, 12h or 5m"))
}

fn url(text: &str) -> Result<Uri, String> {
    let refuse = |why| Err(format!("`{text}` {why}: write one such as http://localhost:9090"));
    if text.contains('@') {
        return Err("the URL has a password in it: write it into a file, and give --basic-auth-file".to_owned());
    }
    match text.trim_end_matches('/').parse::<Uri>() {
        Ok(url) if url.query().is_some() => refuse("has a query"),
        Ok(url)
            if matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty()) =>
        {
            Ok(url)
        }
        _ => refuse("is not a URL of HTTP"),
    }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(args: Args) -> Outcome {
    let (world, mut notes) = world(&args.world)?;
    let terms = Terms { growth_takes: args.growth_takes, gap: args.gap, start_size: args.start_size };
    let mut replay = Replay::new(world, terms);
    if args.html.is_some() {
        replay = replay.with_outlines();
    }
    let mut feed = Feed::new(replay);
    if let Some(path) = &args.save {
        feed.save(path).map_err(unreadable)?;
    }
    notes.extend(history(&args, &mut feed).await?);
    let (replay, of_feed) = feed.finish().map_err(unreadable)?;
    notes.extend(of_feed);
    let mut report = replay.conclude();
    if report.claims.is_empty() {
        return Err(Failure::new("there is no sample in the history").remedy("give --from a file that has some"));
    }
    report.notes.splice(0..0, notes);
    tell(&args, &report)
}

fn tell(args: &Args, report: &Report) -> Outcome {
    match args.output {
        Format::Text => print!("{}", text::summary(report)),
        Format::Json => println!("{:#}", serde_json::json!(report)),
    }
    if let Some(path) = &args.html {
        fs::write(path, page::page(report)).map_err(|error| {
            Failure::because(format!("cannot write the page {}", path.display()), error)
                .remedy("give --html a file in a folder that is there and can be written to")
        })?;
    }
    Ok(())
}

/// A flag, what its files must have, the files, and how many of that have been read.
type Expected<'a> = (&'a str, &'a str, &'a [PathBuf], fn(&Manifests) -> usize);

/// The world, and what was assumed of it.
fn world(args: &WorldArgs) -> Outcome<(World, Vec<String>)> {
    let failed = |error: ManifestError| {
        Failure::because("the manifests cannot be taken", error)
            .remedy("correct them: docs/backtest.md has an example of each")
    };
    let mut manifests = Manifests::default();
    let has: [Expected<'_>; 3] = [
        ("--policy", "StoragePolicy or ClusterStoragePolicy", &args.policy, Manifests::policies),
        ("--class", "StorageClass or DriverProfile", &args.class, Manifests::classes),
        ("--claims", "PersistentVolumeClaim", &args.claims, Manifests::claims),
    ];
    for (flag, what, paths, count) in has {
        for path in paths {
            let before = count(&manifests);
            manifests.read(path).map_err(failed)?;
            if count(&manifests) == before {
                return Err(Failure::new(format!("{} has no {what}", path.display()))
                    .remedy(format!("give {flag} a file that has one")));
            }
        }
    }
    manifests.world(args.driver.as_deref(), args.parameter.iter().cloned().collect::<BTreeMap<_, _>>()).map_err(failed)
}

/// Feeds the history. Returns what is missing of it.
async fn history(args: &Args, feed: &mut Feed) -> Outcome<Vec<String>> {
    match &args.history {
        History { generate: Some(seed), .. } => {
            make_up(args, *seed, feed).map_err(unreadable)?;
            Ok(Vec::new())
        }
        History { prometheus, .. } if !prometheus.is_empty() => {
            let until = args.until.unwrap_or_else(Timestamp::now);
            let from = until.checked_sub(SignedDuration::from(args.since)).unwrap_or(Timestamp::MIN);
            let question = Question { from, until, step: args.step, matchers: args.server.matchers.clone() };
            let servers = prometheus.iter().map(|url| args.server.at(url)).collect();
            prometheus::fetch(servers, &question, feed).await.map_err(unanswered)
        }
        History { from, .. } => {
            from.iter().try_for_each(|path| read(path, feed)).map_err(unreadable)?;
            Ok(Vec::new())
        }
    }
}

fn make_up(args: &Args, seed: u64, feed: &mut Feed) -> Result<(), InputError> {
    let every_s = args.step.as_secs();
    let recipe = Recipe { seed, from_s: MADE_UP_FROM_S, samples: args.since.as_secs() / every_s + 1, every_s };
    for number in 0..args.count {
        let history = generate::history(recipe, number);
        let (namespace, name) = (history.namespace.clone(), history.name.clone());
        for sample in history {
            // A made-up history is in order and free of contradictions, as its tests have it.
            let _taken = feed.take(&namespace, &name, &sample)?;
        }
    }
    Ok(())
}

fn unreadable(error: InputError) -> Failure {
    let remedy = match &error {
        InputError::Read { .. } => "give --from a file that is there and can be read",
        InputError::Save { .. } => "give --save a file in a folder that is there and can be written to",
        InputError::Line { .. } | InputError::File { .. } => {
            "correct the file: docs/backtest.md says what each format has"
        }
    };
    Failure::because("the history cannot be replayed", error).remedy(remedy)
}

fn unanswered(error: PrometheusError) -> Failure {
    let remedy = match &error {
        PrometheusError::Connect { source: QueryError::File { .. } | QueryError::NoPassword(_), .. } => {
            "correct the file of credentials"
        }
        PrometheusError::Connect { .. } | PrometheusError::Silent(_) => {
            "check the URL, the credentials and --ca-file, and that the server can be reached from here"
        }
        PrometheusError::Empty { .. } => {
            "check --match, --since and --until, and that the server scrapes the kubelets, with `honor_labels: true`"
        }
        PrometheusError::Rejected(_) => "report it with the answer of the server",
        PrometheusError::Input(_) => "give --save a file in a folder that is there and can be written to",
    };
    Failure::because("the history cannot be had from Prometheus", error).remedy(remedy)
}
