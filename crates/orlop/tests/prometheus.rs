//! The operator's questions to a real Prometheus on loopback, which reads a kubelet that is played. Needs the program
//! `prometheus`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
    routing::get,
};
use jiff::{SignedDuration, Timestamp};
use libtest_mimic::{Arguments, Trial};
use orlop::operator::prometheus::{
    self, Prometheus,
    exceeded::{self, CountedVolumes, Counters},
    history::{self, Wanted},
};
use orlop_api::{Bytes, Count, Dimension, driver::built_in};
use orlop_operator::{Counted, History, Measurement, Metrics};
use orlop_planner::{Capacity, ClaimId, NamespaceName, Source, Usage};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Nothing here takes more than some seconds; beyond this it is not going to happen.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often the servers are asked, and how often they read the kubelet.
const INTERVAL: Duration = Duration::from_millis(300);

/// A test's name, and the test.
type Test = (&'static str, fn());

fn main() {
    let arguments = Arguments::from_args();
    let tests: [Test; 8] = [
        ("what_prometheus_has_read_is_measured_with_the_time_at_which_it_was_read", measured),
        ("how_a_claim_has_filled_is_put_together_from_what_the_servers_have_read", remembered),
        ("a_volume_is_known_by_its_handle_to_have_been_asked_for_more_than_its_limits_allow", limits_exceeded),
        ("a_claim_without_a_number_is_passed_over_and_the_others_are_not", partial),
        ("claims_of_another_cluster_or_without_their_namespace_are_not_taken_for_ours", others),
        ("a_server_that_refuses_the_password_is_asked_again_with_the_one_that_is_there_by_then", password),
        ("a_server_that_refuses_the_token_is_counted_and_holds_up_no_other", token),
        ("a_server_that_is_killed_holds_up_no_other_and_is_asked_again_when_it_is_back", killed),
    ];
    let is_there = Command::new("prometheus").arg("--version").output().is_ok();
    let trial = |(name, test): Test| {
        let test = move || {
            test();
            Ok(())
        };
        Trial::test(name, test).with_ignored_flag(!is_there)
    };
    libtest_mimic::run(&arguments, tests.map(trial).into()).exit();
}

/// A kubelet: what its `/metrics` say.
#[derive(Clone, Default)]
struct Kubelet(Arc<Mutex<String>>);

impl Kubelet {
    /// Of the claim so much is free, of 1000 bytes and 10 inodes, as was measured then.
    fn says(&self, claim: &str, free: u64, at: Timestamp) {
        let numbers = [("available_bytes", free), ("capacity_bytes", 1000), ("inodes", 10), ("inodes_free", 7)];
        for (name, value) in numbers {
            self.says_one(name, claim, value, at);
        }
    }

    fn says_one(&self, name: &str, claim: &str, value: u64, at: Timestamp) {
        let labels = format!(r#"namespace="shop",persistentvolumeclaim="{claim}""#);
        let line = format!("kubelet_volume_stats_{name}{{{labels}}} {value} {}\n", at.as_millisecond());
        self.0.lock().unwrap().push_str(&line);
    }

    /// The EBS driver on a node says for how long the limits of a volume have been exceeded.
    fn counts(&self, handle: &str, (iops, throughput): (f64, f64), at: Timestamp) {
        for (name, seconds) in [("iops", iops), ("tp", throughput), ("ec2_tp", 99.0)] {
            let name = format!("aws_ebs_csi_exceeded_{name}_seconds_total").replace("exceeded_ec2", "ec2_exceeded");
            let labels = format!(r#"instance_id="i-1",volume_id="{handle}""#);
            let line = format!("{name}{{{labels}}} {seconds} {}\n", at.as_millisecond());
            self.0.lock().unwrap().push_str(&line);
        }
    }

    fn is_silent(&self) {
        self.0.lock().unwrap().clear();
    }

    /// Serves it, and returns where.
    async fn serve(&self) -> String {
        let metrics = async |State(kubelet): State<Self>| kubelet.0.lock().unwrap().clone();
        serve(Router::new().route("/metrics", get(metrics)).with_state(self.clone())).await.to_string()
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The password of the user `orlop` is `right`.
const USERS: &str = "basic_auth_users: {orlop: PASSWORD}";
const PASSWORD: &str = "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC";

/// A Prometheus server, ended when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
    scheme: &'static str,
}

impl Server {
    /// One that reads these targets, each with more labels.
    fn start(targets: &[(String, Value)]) -> Self {
        Self::start_with("", "http", targets)
    }

    /// One with HTTPS and a password.
    fn start_guarded(targets: &[(String, Value)]) -> Self {
        let web = "{tls_server_config: {cert_file: tls.crt, key_file: tls.key}, USERS}";
        Self::start_with(&web.replace("USERS", USERS).replace("PASSWORD", PASSWORD), "https", targets)
    }

    fn start_with(web: &str, scheme: &'static str, targets: &[(String, Value)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let targets: Vec<_> =
            targets.iter().map(|(target, labels)| json!({ "targets": [target], "labels": labels })).collect();
        let interval = format!("{}ms", INTERVAL.as_millis());
        let config = json!({
            "global": { "scrape_interval": interval, "scrape_timeout": interval },
            // What was measured an hour ago is taken in, too.
            "storage": { "tsdb": { "out_of_order_time_window": "2h" } },
            "scrape_configs": [{ "job_name": "kubelet", "static_configs": targets }],
        });
        // What is JSON is YAML too.
        fs::write(dir.path().join("prometheus.yml"), config.to_string()).unwrap();
        fs::write(dir.path().join("web.yml"), web).unwrap();
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(dir.path().join("tls.crt"), certificate.cert.pem()).unwrap();
        fs::write(dir.path().join("tls.key"), certificate.signing_key.serialize_pem()).unwrap();
        // Free at this moment; Prometheus does not say which it took of itself.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = Self { child: spawn(dir.path(), address), address, dir, scheme };
        server.wait();
        server
    }

    /// Waits until it listens.
    fn wait(&self) {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(start.elapsed() < PATIENCE, "prometheus does not listen:\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(self.dir.path(), self.address);
        self.wait();
    }

    fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, address: SocketAddr) -> Child {
    let log = File::create(dir.join("log")).unwrap();
    let mut command = Command::new("prometheus");
    command
        .current_dir(dir)
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.config.file=web.yml"])
        .arg(format!("--web.listen-address={address}"))
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command.spawn().unwrap()
}

/// The operator's side.
struct Operator {
    running: JoinHandle<()>,
    measured: mpsc::Receiver<Vec<Measurement>>,
    metrics: Metrics,
    _unconnected: watch::Sender<usize>,
}

impl Operator {
    fn asks(servers: &[Value]) -> Self {
        let (measurements, measured) = mpsc::channel(1);
        let (unconnected, of_unconnected) = watch::channel(1);
        let metrics = Metrics::default();
        let prometheus = Prometheus {
            servers: servers.iter().map(|server| server.to_string().parse().unwrap()).collect(),
            unconnected: of_unconnected,
            measurements,
            interval: INTERVAL,
            metrics: metrics.clone(),
        };
        let running = tokio::spawn(prometheus::run(prometheus));
        Self { running, measured, metrics, _unconnected: unconnected }
    }

    /// The next measurement, with the claim's name.
    async fn next(&mut self) -> (String, Usage) {
        let batch = tokio::time::timeout(PATIENCE, self.measured.recv()).await.expect("a measurement").unwrap();
        let [Measurement::SampledClaim { claim, usage, .. }] = &batch[..] else { panic!("{batch:?}") };
        assert_eq!((&*claim.namespace.0, usage.source), ("shop", Source::Prometheus));
        (claim.name.to_string(), usage.clone())
    }

    /// Waits until the server has had that outcome so often.
    async fn wait_for(&self, server: &str, outcome: &str, count: u64) {
        let start = Instant::now();
        while self.count(server, outcome) < count {
            assert!(start.elapsed() < PATIENCE, "not {count} times {outcome}");
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// How often the server has had that outcome.
    fn count(&self, server: &str, outcome: &str) -> u64 {
        let mut text = String::new();
        self.metrics.encode_into(&mut text).unwrap();
        let name = format!(r#"orlop_prometheus_queries_total{{server="{server}",outcome="{outcome}"}} "#);
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |it| it.parse().unwrap())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

/// So many seconds ago, to the thousandth, as Prometheus keeps it.
fn ago(seconds: i64) -> Timestamp {
    let at = Timestamp::now() - SignedDuration::from_secs(seconds);
    Timestamp::from_millisecond(at.as_millisecond()).unwrap()
}

fn measured() {
    run(async {
        let kubelet = Kubelet::default();
        let (first, second) = (ago(60), ago(40));
        kubelet.says("db", 500, first);
        let server = Server::start(&[(kubelet.serve().await, json!({}))]);
        let mut operator = Operator::asks(&[json!({ "url": server.url() })]);
        let (claim, usage) = operator.next().await;
        let expected = Usage {
            at: first,
            source: Source::Prometheus,
            total: Bytes(1000),
            available: Bytes(500),
            inodes: Some(Capacity { total: Count(10), free: Count(7) }),
            fill_bytes_per_second: 0,
            crossed: None,
        };
        assert_eq!((&*claim, &usage), ("db", &expected));

        kubelet.is_silent();
        kubelet.says("db", 300, second);
        let (_, usage) = operator.next().await;
        let rate = 200 * 1_000_000_000 / second.duration_since(first).as_nanos();
        let rate = u64::try_from(rate).unwrap();
        assert_eq!(
            usage,
            Usage { at: second, available: Bytes(300), fill_bytes_per_second: rate, ..expected },
            "what it says again is no news"
        );
    });
}

fn partial() {
    run(async {
        let kubelet = Kubelet::default();
        kubelet.says("db", 500, ago(10));
        kubelet.says_one("available_bytes", "torso", 0, ago(10));
        let server = Server::start(&[(kubelet.serve().await, json!({}))]);
        let mut operator = Operator::asks(&[json!({ "url": server.url() })]);
        assert_eq!(operator.next().await.0, "db");
        operator.wait_for(&server.url(), "partial", 2).await;
        assert_eq!(operator.count(&server.url(), "failed"), 0);
        assert!(operator.measured.try_recv().is_err(), "nothing more is known");
    });
}

fn others() {
    run(async {
        let (ours, theirs, displaced) = (Kubelet::default(), Kubelet::default(), Kubelet::default());
        ours.says("db", 500, ago(20));
        theirs.says("db", 1, ago(10));
        displaced.says("other", 1, ago(10));
        let targets = [
            (ours.serve().await, json!({ "cluster": "ours" })),
            (theirs.serve().await, json!({ "cluster": "theirs" })),
            // So the labels of the target displace those of the kubelet.
            (displaced.serve().await, json!({ "cluster": "ours", "namespace": "shop" })),
        ];
        let server = Server::start(&targets);
        let mut operator = Operator::asks(&[json!({ "url": server.url(), "matchLabels": { "cluster": "ours" } })]);
        let (claim, usage) = operator.next().await;
        assert_eq!((&*claim, usage.available), ("db", Bytes(500)));
        let asked = operator.count(&server.url(), "complete");
        operator.wait_for(&server.url(), "complete", asked + 5).await;
        assert!(operator.measured.try_recv().is_err(), "the others are not ours");
    });
}

fn password() {
    run(async {
        let kubelet = Kubelet::default();
        kubelet.says("db", 500, ago(10));
        let server = Server::start_guarded(&[(kubelet.serve().await, json!({}))]);
        let file = server.file("password");
        fs::write(&file, "orlop:wrong\n").unwrap();
        let mut operator =
            Operator::asks(&[json!({ "url": server.url(), "basicAuthFile": file, "caFile": server.file("tls.crt") })]);
        operator.wait_for(&server.url(), "failed", 2).await;
        fs::write(&file, "orlop:right\n").unwrap();
        assert_eq!(operator.next().await.0, "db");
    });
}

/// Lets pass who has the token.
async fn gate(State(behind): State<kube::Client>, request: Request) -> Response {
    if request.headers().get(AUTHORIZATION).is_none_or(|value| value != "Bearer right") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let question = axum::http::Request::get(request.uri().path_and_query().unwrap().as_str());
    let answer = behind.send(question.body(kube::client::Body::empty()).unwrap()).await.unwrap();
    answer.map(Body::new)
}

fn token() {
    run(async {
        let kubelet = Kubelet::default();
        kubelet.says("db", 500, ago(10));
        let server = Server::start(&[(kubelet.serve().await, json!({}))]);
        let behind = kube::Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap();
        let gate = serve(Router::new().fallback(gate).with_state(behind)).await;
        let (right, wrong) = (server.file("right"), server.file("wrong"));
        fs::write(&right, "right\n").unwrap();
        fs::write(&wrong, "wrong\n").unwrap();
        let refused = format!("http://localhost:{}", gate.port());
        let mut operator = Operator::asks(&[
            json!({ "url": refused, "bearerTokenFile": wrong }),
            json!({ "url": format!("http://{gate}"), "bearerTokenFile": right }),
        ]);
        assert_eq!(operator.next().await.0, "db");
        operator.wait_for(&refused, "failed", 1).await;
        assert_eq!(operator.count(&refused, "complete"), 0);
    });
}

fn killed() {
    run(async {
        let (kubelet, other) = (Kubelet::default(), Kubelet::default());
        kubelet.says("db", 500, ago(10));
        let mut server = Server::start(&[(kubelet.serve().await, json!({}))]);
        let remaining = Server::start(&[(other.serve().await, json!({}))]);
        let mut operator = Operator::asks(&[json!({ "url": server.url() }), json!({ "url": remaining.url() })]);
        assert_eq!(operator.next().await.0, "db");
        server.kill();
        operator.wait_for(&server.url(), "failed", 1).await;
        other.says("cache", 400, ago(5));
        assert_eq!(operator.next().await.0, "cache");
        server.restart();
        kubelet.is_silent();
        kubelet.says("db", 300, ago(0));
        let (claim, usage) = operator.next().await;
        assert_eq!((&*claim, usage.available), ("db", Bytes(300)));
    });
}

fn remembered() {
    run(async {
        let (one, other) = (Kubelet::default(), Kubelet::default());
        // The hour that has just ended, and the one before: Prometheus takes in what is an hour or so old.
        let hour = Timestamp::now().as_second() / 3600 * 3600;
        let at = |second: i64| Timestamp::from_second(hour + second).unwrap();
        one.says("db", 500, at(-30));
        other.says("db", 400, at(-30));
        other.says("cache", 900, at(-30));
        let servers =
            [Server::start(&[(one.serve().await, json!({}))]), Server::start(&[(other.serve().await, json!({}))])];
        let gone =
            format!("http://127.0.0.1:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let urls = servers.iter().map(Server::url).chain([gone.clone()]);
        let (histories, mut remembered) = mpsc::channel(1);
        let (wanted, metrics) = (Wanted::default(), Metrics::default());
        let asked = urls.map(|url| url.parse().unwrap()).collect();
        let asking = tokio::spawn(history::run(asked, wanted.clone(), histories, metrics.clone()));
        let claim = |name: &str| ClaimId { namespace: NamespaceName("shop".into()), name: name.into() };
        // What was not read yet is not there to be told.
        let known = tokio::time::timeout(PATIENCE, async {
            loop {
                wanted.add([claim("db"), claim("new")]);
                let told = tokio::time::timeout(INTERVAL, remembered.recv()).await;
                if let Ok(Some(told)) = told
                    && told.iter().any(|it| it.hours.iter().any(|(_, used)| *used == Bytes(600)))
                {
                    return told;
                }
            }
        });
        let known = known.await.expect("a history");
        assert_eq!(
            known,
            [History { claim: claim("db"), hours: vec![(at(-1), Bytes(600))] }],
            "the most of what was said"
        );
        asking.abort();
        let mut text = String::new();
        metrics.encode_into(&mut text).unwrap();
        let failed = format!(r#"orlop_prometheus_queries_total{{server="{gone}",outcome="failed"}} "#);
        assert!(text.contains(&failed), "one that is gone is counted, and holds up no other");
    });
}

fn limits_exceeded() {
    run(async {
        let (ours, theirs) = (Kubelet::default(), Kubelet::default());
        let (first, second) = (ago(60), ago(30));
        ours.counts("vol-1", (100.0, 7.0), first);
        ours.counts("vol-2", (100.0, 7.0), first);
        theirs.counts("vol-1", (900.0, 900.0), first);
        let targets = [
            (ours.serve().await, json!({ "cluster": "ours" })),
            (theirs.serve().await, json!({ "cluster": "theirs" })),
        ];
        let server = Server::start(&targets);
        let servers = [json!({ "url": server.url(), "matchLabels": { "cluster": "ours" } })];
        let (measurements, mut measured) = mpsc::channel(1);
        let (volumes, of_volumes) = watch::channel(CountedVolumes::new());
        let metrics = Metrics::default();
        let asking = tokio::spawn(exceeded::run(Counters {
            servers: servers.iter().map(|server| server.to_string().parse().unwrap()).collect(),
            volumes: of_volumes,
            measurements,
            interval: INTERVAL,
            metrics: metrics.clone(),
        }));
        let count = || {
            let mut text = String::new();
            metrics.encode_into(&mut text).unwrap();
            let name = format!(r#"orlop_prometheus_queries_total{{server="{}",outcome="complete"}} "#, server.url());
            text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |it| it.parse::<u64>().unwrap())
        };
        assert_eq!(count(), 0, "there is no volume to ask of");
        let by = built_in::of("ebs.csi.aws.com").saturation.clone().unwrap();
        let counted = Counted { handle: "vol-1".into(), by: Arc::new(by) };
        volumes.send_replace(CountedVolumes::from([("pv-a".into(), counted)]));
        let start = Instant::now();
        // The first reading must be taken in by both before there is another.
        let asked = loop {
            let client = kube::Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap();
            let question =
                http::Request::get("/api/v1/query?query=aws_ebs_csi_exceeded_tp_seconds_total").body(Vec::new());
            let answer = client.request_text(question.unwrap()).await.unwrap();
            if answer.contains(r#""cluster":"ours""#) && answer.contains(r#""cluster":"theirs""#) {
                break count();
            }
            assert!(start.elapsed() < PATIENCE, "the server does not read its targets");
            tokio::time::sleep(INTERVAL).await;
        };
        while count() < asked + 2 {
            assert!(start.elapsed() < PATIENCE, "nothing is asked");
            tokio::time::sleep(INTERVAL).await;
        }
        ours.is_silent();
        ours.counts("vol-1", (112.0, 7.0), second);
        ours.counts("vol-2", (130.0, 7.0), second);
        let batch = tokio::time::timeout(PATIENCE, measured.recv()).await.expect("a measurement").unwrap();
        let [Measurement::Exceeded { volume, at, shares }] = &batch[..] else { panic!("{batch:?}") };
        assert_eq!((&**volume, *at), ("pv-a", second));
        let shares: Vec<_> = shares.iter().collect();
        let percent = 1_200_000_000_000 / second.duration_since(first).as_nanos();
        assert_eq!(shares, [(Dimension::Iops, u8::try_from(percent).unwrap()), (Dimension::Throughput, 0)]);
        asking.abort();
    });
}
