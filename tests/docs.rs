//! What the documents promise is there.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

use std::collections::BTreeSet;
use std::path::Path;

use xsld_operator::crd::ConditionReason;

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

#[test]
fn every_reason_of_a_condition_is_explained() {
    let text = document("failures.md");
    let table = text.split("## Every reason").nth(1).unwrap();
    let explained: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(reason, _)| reason))
        .collect();
    let known: Vec<&str> = ConditionReason::ALL.iter().map(|reason| reason.as_str()).collect();
    for reason in &known {
        assert!(explained.contains(reason), "docs/failures.md does not explain {reason}");
    }
    for reason in &explained {
        assert!(known.contains(reason), "docs/failures.md explains {reason}, which is never told");
    }
}

/// Every source file of the workspace that may hold tests.
fn sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Names of the functions that are tests.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let plain = line.strip_prefix("async ").unwrap_or(line);
        if let Some(rest) = plain.strip_prefix("fn ") {
            if is_test {
                found.extend(rest.split('(').next());
            }
            is_test = false;
        }
    }
    found
}

/// The names that follow the word "test" or "tests", up to the end of the sentence or the cell.
fn named_tests(text: &str) -> Vec<&str> {
    let mut named = Vec::new();
    for start in ["test `", "tests `"] {
        for part in text.split(start).skip(1) {
            let list = part.split([';', '|', '.']).next().unwrap_or_default();
            named.extend(list.split('`').step_by(2).filter(|name| !name.is_empty()));
        }
    }
    named
}

#[test]
fn every_test_that_the_promises_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "journal/src", "tests"] {
        sources(&root.join(folder), &mut text);
    }
    let known = tests_of(&text);
    for page in ["promises.md", "waits.md"] {
        let text = document(page);
        let named = named_tests(&text);
        assert!(named.len() >= 15, "{page}: {}", named.len());
        for name in named {
            assert!(known.contains(name), "docs/{page} names the test {name}, which is not there");
        }
    }
}

/// Where decisions wait and wishes are put off, below `src/`.
const WAITING: [&str; 6] = [
    "decide",
    "decide.rs",
    "controller/step.rs",
    "controller/findings.rs",
    "status/cache.rs",
    "status/grid.rs",
];

/// What makes a wait. A reason that is not named there is one of those that its function names.
const WAITS: [&str; 3] = ["Decision::wait(", "Waiting::new(", " wait("];

fn program(path: &Path, root: &Path, found: &mut Vec<(String, String)>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            program(&entry.unwrap().path(), root, found);
        }
        return;
    }
    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let name = name.trim_start_matches("decide/").trim_start_matches("controller/").to_owned();
    let is_test = name.contains("tests") || name.ends_with("testing.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
    if !is_test {
        found.push((name, text));
    }
}

/// The functions of a file, each with its text.
fn functions(text: &str) -> Vec<(&str, &str)> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let plain = line.trim_start();
        let visible = plain.starts_with("pub").then(|| plain.find("fn ")).flatten();
        let plain = visible.map_or(plain, |at| &plain[at..]);
        let plain = plain.strip_prefix("async ").unwrap_or(plain);
        let name = plain.strip_prefix("fn ").and_then(|rest| rest.split(['(', '<']).next());
        starts.extend(name.map(|name| (at, name)));
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([text.len()]);
    starts.iter().zip(ends).map(|((from, name), to)| (*name, &text[*from..to])).collect()
}

fn reasons(text: &str, mark: &str) -> Vec<String> {
    let after = text.split(mark).skip(1).map(str::trim_start);
    let word = |rest: &str| rest.split(|it: char| !it.is_alphanumeric()).next().unwrap().to_owned();
    after.filter_map(|rest| rest.strip_prefix("Reason::")).map(word).collect()
}

/// Every wait in the program: reason, and file with function.
fn waits() -> BTreeSet<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for part in WAITING {
        program(&root.join(part), &root, &mut files);
    }
    let mut found = BTreeSet::new();
    for (file, text) in &files {
        for (function, body) in functions(text) {
            let mut told: Vec<String> = WAITS.iter().flat_map(|mark| reasons(body, mark)).collect();
            let made: usize = WAITS.iter().map(|mark| body.matches(mark).count()).sum();
            if made > told.len() {
                told.extend(body.split("Reason::").skip(1).map(|rest| {
                    rest.split(|it: char| !it.is_alphanumeric()).next().unwrap().to_owned()
                }));
            }
            if file.starts_with("status/") {
                told = match function {
                    "deferred" => reasons(body, "Verdict::yes("),
                    "volumes_wait" => reasons(body, "("),
                    _ => vec![],
                };
            }
            found.extend(told.into_iter().map(|reason| (reason, format!("{file}:{function}"))));
        }
    }
    found
}

#[test]
fn every_wait_has_its_row_and_every_row_its_wait() {
    let text = document("waits.md");
    let mut rows = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 6, "{line}");
        assert!(cells.iter().all(|cell| !cell.trim().is_empty()), "an empty cell: {line}");
        assert!(cells[5].contains('`'), "held by nothing: {line}");
        let words = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        for reason in words(cells[0]) {
            rows.extend(words(cells[1]).into_iter().map(|place| (reason.clone(), place)));
        }
    }
    let waits = waits();
    assert!(waits.len() > 80, "{}", waits.len());
    let missing: Vec<_> = waits.difference(&rows).collect();
    assert!(missing.is_empty(), "docs/waits.md has no row for {missing:#?}");
    let gone: Vec<_> = rows.difference(&waits).collect();
    assert!(gone.is_empty(), "docs/waits.md has rows for what nothing waits for: {gone:#?}");
}

#[test]
fn every_one_of_the_41_complaints_has_its_line() {
    let text = document("promises.md");
    let table = text.split("## What users of other operators").nth(1).unwrap();
    let mut told = BTreeSet::new();
    for line in table.lines().filter_map(|line| line.strip_prefix("| ")) {
        let mut last = None;
        let mut is_range = false;
        for word in line.split_whitespace().map(|word| word.trim_end_matches(',')) {
            match (word, word.parse::<u32>()) {
                (_, Ok(number)) => {
                    let first = last.filter(|_| is_range).unwrap_or(number);
                    told.extend(first..=number);
                    last = Some(number);
                    is_range = false;
                }
                ("to", Err(_)) if last.is_some() => is_range = true,
                (_, Err(_)) => break,
            }
        }
    }
    let missing: Vec<u32> = (1..=41).filter(|number| !told.contains(number)).collect();
    assert!(missing.is_empty(), "docs/promises.md has no line for the complaints {missing:?}");
}
