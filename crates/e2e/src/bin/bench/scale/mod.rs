//! A large cluster: what the operator takes of memory, processor and API server for 100,000 claims on 1,000 nodes, and how
//! soon it acts on a sample that has changed. The API server and etcd are real, and so are the objects; what would take
//! a data centre, the kubelets and whoever looks after the objects, is stood in for or not there.

mod agents;
mod kubelets;
mod objects;

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use orlop::{
    bed::{Bed, BedOptions},
    ui::progress::Progress,
};
use orlop_api::names::Reason;
use orlop_e2e::{
    eventually, metrics,
    site::{SYSTEM, Site, repository},
};
use tokio::process::{Child, Command};

use self::{agents::Agents, kubelets::Kubelets, objects::Fleet};

const BED: &str = "bench";
/// How many claims there are, where the environment does not say otherwise.
const CLAIMS: usize = 100_000;
/// How often each kubelet is asked.
const KUBELET_INTERVAL: &str = "60s";
/// Over how long what happens at rest is counted.
const AT_REST: Duration = Duration::from_mins(3);
/// How many changed samples are followed to the patch.
const PROBES: usize = 20;
/// How often a claim is asked whether it was patched: the error of each figure.
const POLL: Duration = Duration::from_millis(20);

pub async fn run() -> anyhow::Result<()> {
    let claims = match std::env::var("ORLOP_BENCH_CLAIMS") {
        Ok(text) => text.parse().with_context(|| format!("ORLOP_BENCH_CLAIMS: `{text}` is not a number"))?,
        Err(_) => CLAIMS,
    };
    let site = start().await?;
    let fleet = Fleet { claims, address: kubelets::address(&site.client).await? };
    let begun = Instant::now();
    fleet.make(&site).await?;
    println!(
        "\n{} claims and as many volumes and pods on {} nodes made in {} s",
        fleet.claims,
        fleet.nodes(),
        begun.elapsed().as_secs()
    );
    let kubelets = Kubelets::serve(&site.bed, fleet).await?;
    let mut result = Ok(());
    for is_by_agents in [true, false] {
        result = result.and(measure(&site, fleet, &kubelets, is_by_agents).await);
    }
    Site::remove(BED).await?;
    result
}

/// A control plane with Orlop's custom resources, and nobody in it who would change the fleet.
async fn start() -> anyhow::Result<Site> {
    Site::remove(BED).await?;
    let options = BedOptions { name: BED.parse()?, nodes: Some(1), kubernetes_dir: None };
    let bed = Bed::up(&options, &Progress::shown()).await.context("cannot start a bed")?;
    let site = Site { client: bed.client().await?, bed };
    let resources = repository().join("charts/orlop/crds").display().to_string();
    site.kubectl(&["apply", "-f", &resources], "").await?;
    site.namespace(SYSTEM).await?;
    Ok(site)
}

/// Measures an operator that the agents of all nodes tell how full the volumes are, or one that has to ask the kubelets.
async fn measure(site: &Site, fleet: Fleet, kubelets: &Arc<Kubelets>, is_by_agents: bool) -> anyhow::Result<()> {
    let mut operator = Process::start(site.bed.kubeconfig_path().as_path())?;
    let begun = Instant::now();
    let source = if is_by_agents {
        Source::Agents(Agents::connect(site, fleet).await?)
    } else {
        Source::Kubelets(kubelets.clone())
    };
    let all = fleet.claims as u64;
    eventually("all claims to be decided about", Duration::from_mins(15), || async {
        // Those that another operator has had grow stay so: nobody grows their volumes.
        Ok((operator.claims_with(Reason::EnoughRoom)? + PROBES as u64 >= all).then_some(()))
    })
    .await?;
    let ready = begun.elapsed();
    // What is done once after the start, such as writing statuses, is over by then.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let (requests, used, since) = (Requests::of(&operator)?, operator.cpu()?, Instant::now());
    tokio::time::sleep(AT_REST).await;
    let minutes = since.elapsed().as_secs_f64() / 60.0;
    let busy = operator.cpu()?.saturating_sub(used).as_secs_f64() / since.elapsed().as_secs_f64();
    let requests = Requests::of(&operator)?.since(&requests);
    // All at once, for a kubelet is asked only once in a minute.
    let offset = usize::from(is_by_agents);
    let probes = (0..PROBES).map(|number| probe(site, &source, number * fleet.claims / PROBES + offset));
    let mut latencies = futures::future::try_join_all(probes).await?;
    latencies.sort();
    let (resident, most) = operator.memory()?;
    ensure!(operator.child.try_wait()?.is_none(), "the operator has ended");

    println!("\n| {} claims on {} nodes, {source} | |\n|---|---|", all, fleet.nodes());
    println!("| from its start until every claim is measured and decided | {} s |", ready.as_secs());
    println!("| memory of the operator (RSS), and at most | {resident} MiB, {most} MiB |");
    println!("| processor at rest | {:.1} % of a core |", busy * 100.0);
    let middle = latencies[latencies.len() / 2].as_secs_f64();
    let longest = latencies.last().map_or(0.0, Duration::as_secs_f64);
    println!(
        "| a volume is said to be full → the claim is patched, {PROBES} times | median {middle:.2} s, longest {longest:.2} s |"
    );
    println!("\n| requests of the operator at rest | a minute |\n|---|---|");
    for (what, count) in requests.0.iter().filter(|(_, count)| **count > 0.0) {
        println!("| {what} | {:.1} |", count / minutes);
    }
    Ok(())
}

/// Who says how full the volumes are.
enum Source {
    Agents(Agents),
    Kubelets(Arc<Kubelets>),
}

impl Source {
    async fn fill(&self, claim: usize) -> anyhow::Result<()> {
        match self {
            Self::Agents(agents) => agents.fill(claim).await?,
            Self::Kubelets(kubelets) => kubelets.fill(claim),
        }
        Ok(())
    }

    /// When it was first said that the claim's volume is all but full.
    fn said(&self, claim: usize) -> Option<Instant> {
        match self {
            Self::Agents(agents) => agents.said(claim),
            Self::Kubelets(kubelets) => kubelets.served(claim),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agents(_) => f.write_str("an agent on each"),
            Self::Kubelets(_) => write!(f, "kubelets asked every {KUBELET_INTERVAL}"),
        }
    }
}

/// Fills one volume, and returns how long it takes from that being said to the claim's larger request.
async fn probe(site: &Site, source: &Source, claim: usize) -> anyhow::Result<Duration> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(site.client.clone(), &Fleet::namespace(claim));
    let name = Fleet::name(claim);
    source.fill(claim).await?;
    let limit = Instant::now() + Duration::from_mins(3);
    loop {
        ensure!(Instant::now() < limit, "claim {name} was not grown within 3 minutes");
        let now = claims.get(&name).await?;
        let seen = Instant::now();
        let grown = now.metadata.annotations.is_some_and(|all| all.contains_key(orlop_api::names::GROWTH_ANNOTATION));
        if grown {
            let said = source.said(claim).with_context(|| format!("{name} grew before it was full"))?;
            return Ok(seen.saturating_duration_since(said));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The operator, ended when dropped.
struct Process {
    child: Child,
    pid: u32,
    http: std::net::SocketAddr,
}

impl Process {
    fn start(kubeconfig: &Path) -> anyhow::Result<Self> {
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new(std::env::current_exe()?.with_file_name("orlop"))
            .args(["operator", "--namespace", SYSTEM, "--identity", "bench", "--pod-ip", "127.0.0.1"])
            .args(["--agents-address", "127.0.0.1:0", "--kubelet-interval", KUBELET_INTERVAL])
            .arg(format!("--http-address={http}"))
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start an operator")?;
        let pid = child.id().context("an operator without a pid")?;
        Ok(Self { child, pid, http })
    }

    fn claims_with(&self, reason: Reason) -> anyhow::Result<u64> {
        let metric = metrics::read(self.http, &format!("orlop_claims{{reason=\"{reason}\"}}"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        Ok(metric.unwrap_or_default() as u64)
    }

    /// The processor time that it has used, of user and system.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The fields after the name, which is in parentheses and may hold anything: proc_pid_stat(5).
        let fields: Vec<&str> = stat.rsplit_once(')').context("/proc/PID/stat")?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        let used = ticks(11).zip(ticks(12)).context("/proc/PID/stat")?;
        Ok(Duration::from_millis((used.0 + used.1) * 1000 / rustix::param::clock_ticks_per_second()))
    }

    /// What it has of the machine's memory now, and what it had at most, MiB.
    fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let kib = |field: &str| -> Option<u64> {
            status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
        };
        let (resident, most) = kib("VmRSS:").zip(kib("VmHWM:")).context("/proc/PID/status")?;
        Ok((resident >> 10, most >> 10))
    }
}

/// How many requests the operator has sent, by verb and answer.
struct Requests(BTreeMap<String, f64>);

impl Requests {
    fn of(operator: &Process) -> anyhow::Result<Self> {
        let counts = metrics::all(operator.http, "orlop_api_requests_total")?;
        Ok(Self(counts.into_iter().collect()))
    }

    fn since(mut self, before: &Self) -> Self {
        for (what, count) in &mut self.0 {
            *count -= before.0.get(what).copied().unwrap_or_default();
        }
        self
    }
}
