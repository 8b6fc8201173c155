//! What holds for all rules: order, comments, lists, several texts, and what is not for us.
#![expect(clippy::disallowed_methods, reason = "what the tests look at is in files")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use orlop_lint::{Report, Source, lint};
use proptest::prelude::*;

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn places(report: &Report) -> Vec<(usize, usize, &str)> {
    report.findings.iter().map(|finding| (finding.source, finding.span.line, finding.rule.id)).collect()
}

const CLAIM: &str = "\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  storageClassName: fast
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 500m}}
";

const CLASS: &str = "\
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: fast}
provisioner: ebs.csi.aws.com
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Retain
";

#[test]
fn what_is_in_several_texts_is_seen_together() {
    let report = lint(&[source("claim", CLAIM), source("class", CLASS)], "default");
    assert_eq!(places(&report), [(0, 7, "tiny-size"), (1, 3, "class-not-expandable")]);
    assert_eq!(report.objects, 2);
    assert_eq!(places(&lint(&[source("class", CLASS)], "default")), [], "without a claim nobody is hurt");
}

#[test]
fn a_claim_without_a_class_has_the_default_one_where_that_is_among_the_texts() {
    let claim = CLAIM.replace("  storageClassName: fast\n", "").replace("500m", "5Gi");
    let class = CLASS
        .replace("{name: fast}", "{name: fast, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}");
    let found = lint(&[source("claim", &claim), source("class", &class)], "default");
    assert_eq!(places(&found), [(0, 4, "no-class"), (1, 3, "class-not-expandable")]);
    let found = lint(&[source("claim", &claim), source("class", CLASS)], "default");
    assert_eq!(places(&found), [(0, 4, "no-class")]);
}

#[test]
fn the_objects_of_a_list_are_seen_each() {
    let indented: String = CLAIM.lines().map(|line| format!("    {line}\n")).collect();
    let items = indented.replacen("    apiVersion", "  - apiVersion", 1);
    for kind in ["List", "PersistentVolumeClaimList"] {
        let list = format!("apiVersion: v1\nkind: {kind}\nitems:\n{items}");
        assert_eq!(places(&lint(&[source("list", &list)], "default")), [(0, 10, "tiny-size")], "{kind}");
    }
}

#[test]
fn a_comment_silences_its_rule_and_no_other() {
    let text = CLAIM.replace("  resources", "  # orlop-lint: allow tiny-size -- for a test\n  resources");
    assert_eq!(places(&lint(&[source("claim", &text)], "default")), []);
    let text = CLAIM.replace("  resources", "  # orlop-lint: allow decimal-size\n  resources");
    assert_eq!(places(&lint(&[source("claim", &text)], "default")), [(0, 8, "tiny-size")]);
}

#[test]
fn what_is_not_for_us_is_passed_over() {
    for text in [
        "",
        "# nothing\n---\n---\n",
        "replicas: 3\nimage: {tag: v1}\n",
        "- 1\n- 2\n",
        "just a text\n",
        "apiVersion: example.com/v1\nkind: Database\nmetadata: {name: a}\nspec: {storage: 10}\n",
        "apiVersion: v2\nname: chart\nversion: 0.1.0\n",
    ] {
        assert_eq!(places(&lint(&[source("other", text)], "default")), [], "{text}");
    }
}

#[test]
fn a_text_that_cannot_be_read_keeps_no_other_from_being_looked_at() {
    let report = lint(&[source("broken", "a: [1\nb: 2\n"), source("claim", CLAIM)], "default");
    assert_eq!(places(&report), [(0, 2, "broken-yaml"), (1, 7, "tiny-size")]);
}

#[test]
fn an_object_without_a_namespace_is_in_the_one_that_is_given() {
    let policy = "apiVersion: orlop.dev/v1alpha1\nkind: StoragePolicy\nmetadata: {name: a, namespace: shop}\n\
                  spec: {selector: {matchLabels: {app: x}}, capacity: {maximum: 1Ti}}\n";
    let claim = CLAIM.replace("500m", "5Gi");
    let sources = [source("policy", policy), source("claim", &claim)];
    assert_eq!(places(&lint(&sources, "default")), [], "the policy is of another namespace");
    assert_eq!(places(&lint(&sources, "shop")), [(0, 4, "policy-selects-nothing")]);
}

fn examples() -> Vec<PathBuf> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            // Values of the chart are no manifests.
            if path.is_dir() && !path.ends_with("values") {
                collect(&path, into);
            } else if path.is_file() && path.extension().is_some_and(|extension| extension == "yaml") {
                into.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples"), &mut files);
    files.sort();
    files
}

#[test]
fn nothing_is_found_in_an_example() {
    let sources: Vec<_> = examples()
        .iter()
        .map(|path| source(&path.display().to_string(), &fs::read_to_string(path).expect("the file can be read")))
        .collect();
    assert!(!sources.is_empty(), "there are examples");
    for example in &sources {
        let report = lint(std::slice::from_ref(example), "default");
        assert!(report.objects > 0 && report.findings.is_empty(), "{}: {:#?}", example.name, report.findings);
    }
}

proptest! {
    /// Texts that are nearly manifests, to be read by rules that expect all of them to be otherwise.
    #[test]
    fn no_manifest_makes_it_panic(lines in proptest::collection::vec(
        "( {0,6})(- )?(apiVersion|kind|metadata|name|spec|capacity|maximum|selector|resources|requests|storage|items|volumes|template)?(:)?( )?(v1|orlop.dev/v1alpha1|StoragePolicy|PersistentVolumeClaim|StatefulSet|List|[0-9]{0,3}(Gi|m|%)?|\\{\\}|\\[\\]|null|Off|&a|\\*a|\\{\\{ a \\}\\}|# orlop-lint: allow no-class)?",
        0..24,
    )) {
        let text = lines.join("\n");
        let sources = [source("a", &text), source("b", CLAIM)];
        let report = lint(&sources, "default");
        prop_assert_eq!(&lint(&sources, "default"), &report);
        for finding in &report.findings {
            prop_assert!(finding.span.line >= 1 && finding.span.column >= 1 && finding.span.length >= 1);
        }
    }
}
