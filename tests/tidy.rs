//! The rules of the house, held against every file of the repository.
//!
//! Each rule is a test of its own, and beside it a test that the rule can fail: a small sample
//! that breaks it is caught on the right line, and one that is almost the same is not.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::path::Path;
use std::sync::OnceLock;

use rules::Rule;
use source::{Finding, Tree};

/// The repository, read once.
fn repository() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(|| Tree::read(Path::new(env!("CARGO_MANIFEST_DIR"))))
}

/// The rule holds everywhere.
#[track_caller]
fn holds(rule: Rule) {
    let found = rule(repository());
    let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(found.is_empty(), "{} broken:\n{}\n", found.len(), lines.join("\n"));
}

/// What the rule finds in a repository of these files, as `path:line`.
fn found(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    let found = rule(&Tree::new(owned));
    found.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

/// The sample breaks the rule on the given lines of one file, and nowhere else.
#[track_caller]
fn caught(rule: Rule, path: &str, text: &str, lines: &[usize]) {
    let expected: Vec<String> = lines.iter().map(|line| format!("{path}:{line}")).collect();
    assert_eq!(found(rule, &[(path, text)]), expected);
}

#[test]
fn the_repository_is_read() {
    let paths: Vec<&str> = repository().0.iter().map(|source| source.path.as_str()).collect();
    for path in ["Cargo.toml", "src/lib.rs", "journal/src/lib.rs", "tests/tidy/rules.rs"] {
        assert!(paths.contains(&path), "{path} is missing");
    }
    assert!(!paths.iter().any(|path| path.starts_with("target/") || path.starts_with(".git/")));
}

#[test]
fn the_journal_stands_alone() {
    holds(rules::journal_stands_alone);
}

#[test]
fn a_journal_that_waits_or_talks_is_caught() {
    let rule = rules::journal_stands_alone;
    caught(rule, "journal/src/a.rs", "//! No tokio here.\nuse tokio::fs;\n", &[2]);
    caught(rule, "journal/src/a.rs", "const KIND: &str = \"kube\";\nasync fn f() {}\n", &[2]);
    caught(rule, "src/a.rs", "async fn f() {}\n", &[]);
    let manifest = "[dependencies]\nserde = \"1\"\nk8s-openapi.workspace = true\n[dev-dependencies]\nhttp = \"1\"\n";
    caught(rule, "journal/Cargo.toml", manifest, &[3]);
}

#[test]
fn pure_modules_see_values_only() {
    holds(rules::pure_modules_see_values_only);
}

#[test]
fn a_pure_module_that_reaches_out_is_caught() {
    let rule = rules::pure_modules_see_values_only;
    caught(rule, "src/decide/a.rs", "use crate::clock::{Clock, Moment};\n", &[1]);
    caught(rule, "src/validate.rs", "\nfn f() { std::env::var(\"X\"); }\n", &[2]);
    caught(rule, "src/manifests/a.rs", "/// No Client.\npub async fn f() {}\n", &[2]);
    caught(rule, "src/status/cache.rs", "use xsld_journal::store::{StreamHead, Store};", &[1]);
    caught(rule, "src/status/publish.rs", "use kube::Client;", &[]);
    caught(rule, "src/decide.rs", "#[cfg(test)]\nmod tests { use kube::Client; }", &[]);
}

#[test]
fn only_the_clock_reads_time() {
    holds(rules::only_clock_reads_time);
}

#[test]
fn time_that_is_read_elsewhere_is_caught() {
    let rule = rules::only_clock_reads_time;
    caught(rule, "src/lease.rs", "fn f() {\n    let t = std::time::Instant::now();\n}\n", &[2]);
    caught(rule, "journal/src/a.rs", "fn f() { jiff::Timestamp :: now(); }", &[1]);
    caught(rule, "src/clock.rs", "fn f() { Instant::now(); }", &[]);
    caught(rule, "src/a.rs", "fn f(at: Instant) { at.elapsed(); } // Instant::now", &[]);
}

#[test]
fn only_ids_makes_ids() {
    holds(rules::only_ids_makes_ids);
}

#[test]
fn an_id_that_is_made_elsewhere_is_caught() {
    let rule = rules::only_ids_makes_ids;
    caught(rule, "src/run.rs", "fn f() -> Uuid { Uuid::now_v7() }", &[1]);
    caught(rule, "src/ids.rs", "fn f() -> Uuid { Uuid::now_v7() }", &[]);
    caught(rule, "src/run.rs", "#[test]\nfn f() { Uuid::new_v4(); }", &[]);
}

#[test]
fn only_clock_and_ids_allow_disallowed_methods() {
    holds(rules::only_clock_and_ids_allow_disallowed_methods);
}

#[test]
fn an_exception_to_the_disallowed_methods_is_caught() {
    let rule = rules::only_clock_and_ids_allow_disallowed_methods;
    let text = "fn f() {}\n#[allow(clippy::disallowed_methods)]\nfn g() {}\n";
    caught(rule, "src/lease.rs", text, &[2]);
    caught(rule, "src/clock.rs", text, &[]);
    caught(rule, "src/ids.rs", text, &[]);
}

#[test]
fn only_execute_has_effects() {
    holds(rules::only_execute_has_effects);
}

#[test]
fn an_effect_outside_execute_is_caught() {
    let rule = rules::only_execute_has_effects;
    caught(rule, "src/controller/a.rs", "fn f() {\n    client.delete_grid(name);\n}\n", &[2]);
    caught(rule, "src/run.rs", "use kube::api::DeleteParams;\n", &[1]);
    caught(rule, "src/execute.rs", "fn f() { client.delete_grid(name); }", &[]);
    caught(rule, "src/a.rs", "fn f() { profile.commands.cancel_task.len(); }", &[]);
}

#[test]
fn the_product_knows_no_simulators() {
    holds(rules::product_knows_no_simulators);
}

#[test]
fn a_product_that_knows_its_simulator_is_caught() {
    let rule = rules::product_knows_no_simulators;
    caught(rule, "src/a.rs", "// A simulated world.\nuse xsld_sim::World;\n", &[2]);
    caught(rule, "journal/src/a.rs", "const WORLD: &str = \"Sandbox\";\n", &[1]);
    caught(rule, "src/a.rs", "fn f(a: IpAddr) -> bool { a.is_loopback() }\n", &[1]);
    caught(rule, "tests/sim/src/a.rs", "struct Simulated;\n", &[]);
    let manifest = "[workspace.dependencies]\nxsld-sim = { path = \"a\" }\n[dependencies]\nxsld-sim.workspace = true\n";
    caught(rule, "Cargo.toml", manifest, &[4]);
}

#[test]
fn files_are_short() {
    holds(rules::files_are_short);
}

#[test]
fn a_long_file_is_caught() {
    let rule = rules::files_are_short;
    caught(rule, "src/a.rs", &"\n".repeat(601), &[601]);
    caught(rule, "src/a.rs", &"\n".repeat(600), &[]);
}

#[test]
fn functions_are_short() {
    holds(rules::functions_are_short);
}

#[test]
fn a_long_function_is_caught() {
    let rule = rules::functions_are_short;
    let function =
        |lines: usize| format!("/// Doc.\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    caught(rule, "src/a.rs", &function(71), &[2]);
    caught(rule, "src/a.rs", &function(70), &[]);
    let method = format!("impl A {{\n{}}}\n", function(71));
    caught(rule, "tests/sim/src/a.rs", &method, &[3]);
    caught(rule, "src/a.rs", "fn f( {", &[1]);
}

#[test]
fn modules_are_named_after_their_subject() {
    holds(rules::modules_are_named_after_their_subject);
}

#[test]
fn a_module_without_a_subject_is_caught() {
    let rule = rules::modules_are_named_after_their_subject;
    caught(rule, "src/utils.rs", "", &[1]);
    caught(rule, "tests/sim/src/common/a.rs", "", &[1]);
    caught(rule, "src/a/mod.rs", "", &[1]);
    caught(rule, "src/a.rs", "\nmod helpers {}\n", &[2]);
    caught(rule, "src/a.rs", "mod retry;\n", &[]);
}

#[test]
fn open_questions_have_a_kind() {
    holds(rules::open_questions_have_a_kind);
}

#[test]
fn an_open_question_without_its_kind_is_caught() {
    let rule = rules::open_questions_have_a_kind;
    let marker = concat!("TO", "DO");
    caught(rule, "src/a.rs", &format!("\n// {marker}: later\n"), &[2]);
    caught(rule, "src/a.rs", &format!("// {}(me)\n", concat!("FIX", "ME")), &[1]);
    caught(rule, "src/a.rs", &format!("// {marker}-design: one or two?\n"), &[]);
}

#[test]
fn only_tests_unwrap() {
    holds(rules::only_tests_unwrap);
}

#[test]
fn an_unwrap_outside_tests_is_caught() {
    let rule = rules::only_tests_unwrap;
    caught(rule, "src/a.rs", "fn f() {\n    x\n        .unwrap();\n}\n", &[3]);
    caught(rule, "tests/sim/src/a.rs", "fn f() { x.unwrap(); }\n", &[1]);
    caught(rule, "src/a.rs", "/// `x.unwrap()`\nfn f() { x.unwrap_or(1); }\n", &[]);
    caught(rule, "tests/sim/tests/a.rs", "fn f() { x.unwrap(); }\n", &[]);
    let files = [
        ("src/a.rs", "#[cfg(test)]\nmod testing;\nmod real;\n"),
        ("src/a/testing.rs", "fn f() { x.unwrap(); }\n"),
        ("src/a/testing/deep.rs", "fn f() { x.unwrap(); }\n"),
        ("src/a/real.rs", "fn f() { x.unwrap(); }\n"),
    ];
    assert_eq!(found(rule, &files), ["src/a/real.rs:1"]);
}

#[test]
fn the_repository_is_about_itself() {
    holds(rules::repository_is_about_itself);
}

#[test]
fn a_path_of_a_machine_an_issue_or_a_tool_is_caught() {
    let rule = rules::repository_is_about_itself;
    let folder = concat!("/wo", "rk/");
    caught(rule, "README.md", &format!("\nsee {folder}main\n"), &[2]);
    caught(rule, "README.md", &format!("in target{folder}main and {folder}\n"), &[]);
    caught(rule, "src/a.rs", concat!("// see #", "12\n"), &[1]);
    caught(rule, "docs/a.md", concat!("as issue ", "12 says\n"), &[1]);
    caught(rule, "docs/a.md", "the colour #12ab34, r#\"x\"#, issue of 12\n", &[]);
    caught(rule, "deploy/a.yaml", concat!("# made by Xyzzy", "Tool\n"), &[1]);
}

#[test]
fn every_event_is_named() {
    holds(rules::every_event_is_named);
}

#[test]
fn a_match_that_swallows_events_is_caught() {
    let rule = rules::every_event_is_named;
    let swallows =
        "fn f() {\n    match event {\n        Event::A => 1,\n        _ => 2,\n    };\n}\n";
    caught(rule, "journal/src/state.rs", swallows, &[4]);
    let pair =
        "fn f() { match (event, a) { (journal::Event::A { .. }, 1) => 1,\n (other, _) => 2 }; }";
    caught(rule, "src/decide/a.rs", pair, &[2]);
    let named =
        "fn f() { match event { Event::A => 1, Event::B(_) => 2 }; match n { 1 => 1, _ => 2 }; }";
    caught(rule, "journal/src/state.rs", named, &[]);
    caught(rule, "src/run.rs", swallows, &[]);
}

#[test]
fn secrets_are_not_serialised() {
    holds(rules::secrets_are_not_serialised);
}

#[test]
fn a_secret_that_can_be_written_out_is_caught() {
    let rule = rules::secrets_are_not_serialised;
    let body = "\nstruct Login {\n    password: Option<SecretString>,\n}\n";
    caught(rule, "src/a.rs", &format!("#[derive(Clone, Serialize)]{body}"), &[2]);
    caught(rule, "src/a.rs", &format!("#[derive(Clone, Deserialize)]{body}"), &[]);
    let choice = "#[derive(serde::Serialize)]\nenum Login { Plain(secrecy::SecretString), None }\n";
    caught(rule, "src/a.rs", choice, &[2]);
}
