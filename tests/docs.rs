//! What the documents promise is there.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

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
