//! `orlop backtest` as a process: what it reads, what it prints, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use axum::{
    Router,
    extract::RawQuery,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/backtest");

/// How the history in the example was made.
const MADE_BY: [&str; 6] = ["--generate", "7", "--since", "30d", "--step", "1h"];

fn backtest(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    command.arg("backtest").args(arguments).output().expect("the program that was built can be run")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("no text")
}

fn succeed(arguments: &[&str]) -> String {
    let output = backtest(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn report(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[arguments, &["--output", "json"]].concat())).expect("it prints JSON")
}

/// What is said on the error output where it fails.
fn fail(arguments: &[&str]) -> String {
    let output = backtest(arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr).to_owned()
}

fn write(folder: &TempDir, name: &str, content: &str) -> String {
    let path: PathBuf = folder.path().join(name);
    fs::write(&path, content).expect("the file can be written");
    path.to_str().expect("the file can be written").to_owned()
}

fn example(name: &str) -> String {
    format!("{EXAMPLE}/{name}")
}

#[test]
fn the_history_in_the_example_is_the_one_that_its_seed_makes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("usage.csv");
    succeed(&[&MADE_BY[..], &["--save", path.to_str().unwrap()]].concat());
    let kept = fs::read_to_string(example("usage.csv")).unwrap();
    assert!(fs::read_to_string(path).unwrap() == kept, "make it again: orlop backtest {} --save", MADE_BY.join(" "));
    assert!(kept.len() < 300_000, "it is small");
}

#[test]
fn the_example_is_told_as_it_was() {
    let (usage, policy) = (example("usage.csv"), example("policy.yaml"));
    let told = succeed(&["--from", &usage, "--policy", &policy, "--driver", "ebs.csi.aws.com"]);
    insta::assert_snapshot!("example", told);
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_has_a_picture_of_each_claim() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("backtest.html");
    succeed(&["--from", &example("usage.csv"), "--html", path.to_str().unwrap()]);
    let page = fs::read_to_string(path).unwrap();
    assert_eq!(page.matches("role=\"img\"").count(), 6);
    for foreign in ["<script", "<link", "src=", "href=", "http"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

/// The example in the format of `promtool tsdb dump-openmetrics`, and as the answers of Prometheus to a query for each metric.
fn other_formats() -> (String, String) {
    let usage = fs::read_to_string(example("usage.csv")).expect("the example can be read");
    let metrics = ["capacity_bytes", "used_bytes", "available_bytes", "inodes", "inodes_free"];
    let (mut exposition, mut answers) = (String::new(), String::new());
    for (column, metric) in (3..).zip(metrics) {
        let mut series: BTreeMap<(&str, &str), Vec<(&str, &str)>> = BTreeMap::new();
        for line in usage.lines().skip(1) {
            let fields: Vec<_> = line.split(',').collect();
            if !fields[column].is_empty() {
                series.entry((fields[1], fields[2])).or_default().push((fields[0], fields[column]));
            }
        }
        let name = format!("kubelet_volume_stats_{metric}");
        let mut result = Vec::new();
        for ((namespace, claim), points) in series {
            for (time, value) in &points {
                let labels = format!(r#"instance="a",namespace="{namespace}",persistentvolumeclaim="{claim}""#);
                let _ = writeln!(exposition, "{name}{{{labels}}} {value} {time}.000");
            }
            let labels = json!({ "__name__": name, "namespace": namespace, "persistentvolumeclaim": claim });
            let values: Vec<_> =
                points.iter().map(|(time, value)| json!([time.parse::<i64>().expect("a time"), value])).collect();
            result.push(json!({ "metric": labels, "values": values }));
        }
        let data = json!({ "resultType": "matrix", "result": result });
        let _ = writeln!(answers, "{}", json!({ "status": "success", "data": data }));
    }
    exposition.push_str("# EOF\n");
    (exposition, answers)
}

#[test]
fn every_format_leads_to_the_same_report() {
    let folder = TempDir::new().unwrap();
    let (exposition, answers) = other_formats();
    let expected = report(&["--from", &example("usage.csv")]);
    assert_eq!(expected["claims"].as_array().unwrap().len(), 6);
    assert_eq!(report(&["--from", &write(&folder, "dump.om", &exposition)]), expected);
    assert_eq!(report(&["--from", &write(&folder, "answers.json", &answers)]), expected);
}

#[test]
fn what_is_wrong_with_a_history_is_said_with_its_file_and_line() {
    let folder = TempDir::new().unwrap();
    let head = "time,namespace,claim,capacity_bytes,used_bytes\n";
    let row = "2026-06-01T00:00:00Z,shop,data,1000,500\n";
    for (content, line, words) in [
        ("time,namespace,claim,used_bytes\n".to_owned(), 1, "there is no column `capacity_bytes`"),
        (format!("{head}{row}yesterday,shop,data,1000,500\n"), 3, "`yesterday` is not a time"),
        (format!("{head}1780272000000,shop,data,1000,500\n"), 2, "seems to be in milliseconds"),
        (format!("{head}{row}1780272000,shop\n"), 3, "2 fields"),
        (format!("{head}{row}1780272060,shop,data,1000,-5\n"), 3, "used_bytes: `-5` is not a number"),
        (format!("{head}{row}1780272060,shop,,1000,5\n"), 3, "names no claim"),
        (format!("{head}{row}1780272060,shop,data,1000,1001\n"), 3, "more bytes are used than there are"),
        (format!("{head}1780272060,shop,data,1000,5\n{row}"), 3, "sort the history by time"),
    ] {
        let said = fail(&["--from", &write(&folder, "usage.csv", &content)]);
        assert!(said.contains(&format!("usage.csv, line {line}: ")) && said.contains(words), "{said}");
        assert!(said.contains("to do: "), "{said}");
    }
    let series = r#"kubelet_volume_stats_used_bytes{namespace="a",persistentvolumeclaim="b"} 5"#;
    let said = fail(&["--from", &write(&folder, "dump.om", &format!("# TYPE x gauge\n{series}\n"))]);
    assert!(said.contains("dump.om, line 2: has no time behind its value"), "{said}");
    let empty = format!("{head}2026-06-01T00:00:00Z,shop,data,,\n");
    let said = fail(&["--from", &write(&folder, "empty.csv", &empty)]);
    assert!(said.contains("there is no sample in the history"), "{said}");
    let said = fail(&["--from", &example("usage.csv"), "--policy", &example("usage.csv")]);
    assert!(said.contains("usage.csv"), "{said}");
}

/// A server that answers range queries from the example, only with this token, and only for times from then on.
fn server(token: &'static str, knows_from: i64) -> Router {
    let (_, answers) = other_formats();
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("the question and the answers are whole"))
        .collect();
    let answer = move |answers: &[Value], question: Option<String>, headers: &HeaderMap| {
        if headers.get("authorization").is_none_or(|given| *given != format!("Bearer {token}")) {
            return (StatusCode::UNAUTHORIZED, String::new());
        }
        let question = question.unwrap_or_default();
        let question: BTreeMap<_, _> = form_urlencoded::parse(question.as_bytes()).collect();
        let time = |name: &str| question[name].parse::<i64>().expect("the question and the answers are whole");
        if time("start") < knows_from {
            let error = json!({ "status": "error", "errorType": "execution", "error": "the store is gone" });
            return (StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
        }
        (StatusCode::OK, matrix(answers, &question["query"], time("start"), time("end")).to_string())
    };
    let answers = std::sync::Arc::new(answers);
    let answer = move |RawQuery(question): RawQuery, headers: HeaderMap| {
        let answer = answer(&answers, question, &headers);
        async move { answer }
    };
    Router::new().route("/prefix/api/v1/query_range", get(answer))
}

/// The series of the metric that the query names, without the metric's name, as an aggregation has them.
fn matrix(answers: &[Value], query: &str, from: i64, until: i64) -> Value {
    let [from, until] = [from, until].map(|second| f64::from(u32::try_from(second).unwrap()));
    let mut result = Vec::new();
    for series in answers.iter().flat_map(|answer| answer["data"]["result"].as_array().unwrap()) {
        let mut labels = series["metric"].as_object().unwrap().clone();
        let name = labels.remove("__name__").unwrap();
        if query.contains(&format!("({}{{", name.as_str().unwrap())) {
            let is_asked_for = |point: &&Value| (from..=until).contains(&point[0].as_f64().unwrap());
            let values: Vec<_> = series["values"].as_array().unwrap().iter().filter(is_asked_for).collect();
            result.push(json!({ "metric": labels, "values": values }));
        }
    }
    json!({ "status": "success", "data": { "resultType": "matrix", "result": result } })
}

/// Where a server listens.
async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("a port is free");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/prefix/")
}

#[tokio::test(flavor = "multi_thread")]
async fn history_from_prometheus_is_that_from_the_file_also_in_pieces_and_with_a_server_that_lacks_some() {
    let folder = TempDir::new().unwrap();
    let token = write(&folder, "token", "secret\n");
    let (whole, half) = (listen(server("secret", 0)).await, listen(server("secret", 1_781_000_000)).await);
    let of_file = report(&["--from", &example("usage.csv")]);
    let asking = ["--until", "2026-07-01T00:00:00Z", "--since", "30d", "--step", "1h", "--bearer-token-file", &token];
    let asked = |servers: Vec<String>| {
        let servers: Vec<_> = servers.iter().flat_map(|url| ["--prometheus".to_owned(), url.clone()]).collect();
        let arguments: Vec<_> = servers.iter().map(String::as_str).chain(asking).collect();
        tokio::task::block_in_place(|| report(&arguments))
    };
    assert_eq!(asked(vec![whole.clone()]), of_file);
    let with_half = asked(vec![half.clone(), whole]);
    assert_eq!(with_half["claims"], of_file["claims"]);
    let mut notes = with_half["notes"].as_array().unwrap().iter().filter_map(Value::as_str);
    let is_told = |note: &str| note.contains("were not answered") && note.contains("the store is gone");
    assert!(notes.any(is_told), "{}", with_half["notes"]);
    let half_only = asked(vec![half]);
    assert!(half_only["samples"].as_u64() < of_file["samples"].as_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_gives_no_answer_at_all_is_a_failure_with_its_words() {
    let folder = TempDir::new().unwrap();
    let token = write(&folder, "token", "wrong");
    let url = listen(server("secret", 0)).await;
    let said = tokio::task::block_in_place(|| {
        fail(&["--prometheus", &url, "--until", "2026-07-01T00:00:00Z", "--since", "1h", "--bearer-token-file", &token])
    });
    assert!(said.contains("refuses the question with 401 Unauthorized"), "{said}");
    assert!(said.contains("check the URL, the credentials"), "{said}");
}

#[test]
fn a_saved_history_is_the_history() {
    let folder = TempDir::new().unwrap();
    let saved = folder.path().join("saved.csv");
    let arguments = ["--from", &example("usage.csv"), "--save", saved.to_str().unwrap()];
    succeed(&arguments);
    assert!(fs::read(&saved).unwrap() == fs::read(Path::new(&example("usage.csv"))).unwrap());
}
