//! `orlop lint` as a process: what it reads, what it prints, and how it ends.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

const CLAIM: &str = "\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  storageClassName: fast
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: SIZE}}
";

fn claim(size: &str) -> String {
    CLAIM.replace("SIZE", size)
}

fn lint(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_orlop"))
        .arg("lint")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program that was built can be run");
    // One that does not read its input may be done before this is written.
    let _ = child.stdin.take().expect("the input is a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("no text")
}

/// The exit code, and what is on both outputs.
fn came(output: &Output) -> (Option<i32>, &str, &str) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_good_is_said_to_be_and_the_program_ends_well() {
    let folder = TempDir::new().unwrap();
    let output = lint(folder.path(), &["-"], &claim("1Gi"));
    assert_eq!(came(&output), (Some(0), "nothing found in 1 object of 1 file\n", ""));
}

#[test]
fn an_error_is_shown_with_its_line_and_fails() {
    let folder = TempDir::new().unwrap();
    let output = lint(folder.path(), &["-"], &claim("1GB"));
    let (code, out, error) = came(&output);
    assert_eq!(code, Some(1), "{error}");
    let expected = "<stdin>:7:35: error[invalid-size]: claim data: `1GB` is not a size: write a quantity above zero, such as \
                    512Mi or 100Gi\n  7 |   resources: {requests: {storage: 1GB}}\n    |                                   ^^^\n";
    assert_eq!(out, expected);
    assert!(error.starts_with("error: 1 error in 1 object of 1 file\n"), "{error}");
}

#[test]
fn a_warning_fails_only_where_it_is_denied_and_a_note_only_where_that_is() {
    let folder = TempDir::new().unwrap();
    for (size, arguments, code) in [
        ("500m", &["-"][..], 0),
        ("500m", &["-", "--deny", "warnings"], 1),
        ("500m", &["-", "--deny", "info"], 1),
        ("500m", &["-", "--deny", "warnings", "--allow", "tiny-size"], 0),
        ("100G", &["-", "--deny", "warnings"], 0),
        ("100G", &["-", "--deny", "info"], 1),
    ] {
        let output = lint(folder.path(), arguments, &claim(size));
        assert_eq!(output.status.code(), Some(code), "{size} {arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_folder_is_read_at_any_depth_for_what_is_called_like_a_manifest() {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::create_dir_all(folder.path().join("a/.git")).unwrap();
    for name in ["a/b/one.yml", "a/two.yaml", "a/three.json", "a/.git/four.yaml", "a/notes.txt"] {
        fs::write(folder.path().join(name), claim("500m")).unwrap();
    }
    let output = lint(folder.path(), &["a", "--output", "json"], "");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let files: Vec<_> = found["findings"].as_array().unwrap().iter().map(|it| it["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["a/b/one.yml", "a/three.json", "a/two.yaml"]);
    assert_eq!(found["objects"], 3);
    let output = lint(folder.path(), &["a/notes.txt"], "");
    assert!(text(&output.stdout).starts_with("a/notes.txt:7:35: warning[tiny-size]: "), "a file that is named is read");
}

#[test]
fn what_cannot_be_read_or_is_not_understood_ends_otherwise_than_what_is_found() {
    let folder = TempDir::new().unwrap();
    for (arguments, words) in [
        (&["nowhere.yaml"][..], "cannot read nowhere.yaml"),
        (&["."], "there is no manifest in ."),
        (&[], "required"),
        (&["-", "--allow", "no-such-rule"], "no-such-rule"),
    ] {
        let output = lint(folder.path(), arguments, "");
        let (code, _, error) = came(&output);
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn programs_get_what_they_read() {
    let folder = TempDir::new().unwrap();
    let output = lint(folder.path(), &["-", "--output", "github"], &claim("500m"));
    let annotation = "::warning file=<stdin>,line=7,col=35,endColumn=39,title=tiny-size::claim data asks for `500m`";
    assert!(text(&output.stdout).starts_with(annotation), "{}", text(&output.stdout));

    let output = lint(folder.path(), &["-", "--output", "sarif"], &claim("500m"));
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &log["runs"][0];
    assert_eq!(run["results"][0]["ruleId"], "tiny-size");
    assert_eq!(run["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"], 7);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["id"] == "tiny-size"));
}

#[test]
fn the_rules_are_listed_and_completed() {
    let folder = TempDir::new().unwrap();
    let output = lint(folder.path(), &["--rules"], "");
    assert!(text(&output.stdout).contains("tiny-size (warning): a claim for less than a MiB\n"));
    let bash = Command::new(env!("CARGO_BIN_EXE_orlop")).args(["completion", "bash"]).output().unwrap();
    let script = text(&bash.stdout);
    assert!(script.contains("orlop__lint") || script.contains("orlop__subcmd__lint"), "lint is completed");
    assert!(script.contains("tiny-size"), "and its rules are");
}

#[test]
fn a_template_is_said_to_be_one() {
    let folder = TempDir::new().unwrap();
    let output = lint(folder.path(), &["-"], "metadata:\n  name: {{ .Release.Name }}-data\n");
    let (code, out, _) = came(&output);
    assert_eq!(code, Some(1));
    assert!(
        out.starts_with("<stdin>:2:9: error[helm-template]: ") && out.contains("helm template CHART | orlop lint -"),
        "{out}"
    );
}
