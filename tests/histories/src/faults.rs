//! Faults of members, in the words of the interface that every world with members has.

use serde_json::{Value, json};

use crate::act::{MEMBERS_MAX, member_name};
use crate::dice::Dice;

/// Names of all faults. `rotate_password` is an act of its own.
pub const NAMES: &[&str] = &[
    "crash",
    "hang",
    "refuse",
    "reset",
    "drop_reply",
    "late",
    "slow",
    "status",
    "garbage",
    "huge",
    "duplicate",
    "deny_auth",
    "fail_task",
    "lose_task",
    "stuck_task",
    "false_success",
    "ghost_after_failed_join",
    "reappear",
    "hide_descriptions",
    "show_used",
    "split_view",
    "forget",
    "change_certificate",
    "break_grid",
    "behave",
];

/// A fault of this name, of a member of a cache.
pub fn fault(name: &str, dice: &mut Dice, cache: &str, grids: &[String]) -> Value {
    let mut fault = json!({"fault": name});
    let other = member_name(cache, dice.roll(u64::from(MEMBERS_MAX)) as u32);
    match name {
        "crash" => crash(&mut fault, dice),
        "late" | "slow" => {
            fault["ms"] = json!(dice.between(200, 4000));
            requests(&mut fault, dice);
        }
        "status" => {
            fault["code"] = json!(dice.pick(&[302, 401, 403, 404, 409, 429, 500, 503]));
            requests(&mut fault, dice);
        }
        "garbage" => {
            fault["kind"] = json!(dice.pick(&["html", "cut_json", "wrong_json"]));
            requests(&mut fault, dice);
        }
        "reset" | "drop_reply" | "huge" | "duplicate" | "deny_auth" => requests(&mut fault, dice),
        "hang" if dice.chance(40) => requests(&mut fault, dice),
        "fail_task" | "lose_task" | "stuck_task" | "false_success" => tasks(&mut fault, dice),
        "ghost_after_failed_join" | "reappear" => fault["count"] = json!(dice.between(1, 2)),
        "show_used" => {
            fault["member"] = json!(other);
            fault["megabytes"] = json!(dice.between(1, 500));
        }
        "split_view" => fault["omit"] = json!(other),
        "forget" => fault["what"] = json!(dice.pick(&["tasks", "tasks", "data", "group"])),
        "break_grid" => {
            let grid = dice.pick(grids).cloned().unwrap_or_else(|| "g".to_owned());
            fault["grid"] = json!(grid);
            fault["count"] = json!(dice.between(1, 3));
        }
        "behave" => behave(&mut fault, dice),
        _ => {}
    }
    fault
}

fn crash(fault: &mut Value, dice: &mut Dice) {
    fault["count"] = json!(dice.between(1, 2));
    match dice.roll(4) {
        0 => {
            let effects = [
                "member_listed",
                "joined",
                "disjoined",
                "promoted",
                "grid_created",
                "join_started",
            ];
            fault["effect"] = json!(dice.pick(&effects));
        }
        1 => {
            fault["when"] = json!(dice.pick(&["before", "after"]));
            fault["method"] = json!("POST");
        }
        _ => {}
    }
}

/// Which requests, and how many.
fn requests(fault: &mut Value, dice: &mut Dice) {
    match dice.roll(4) {
        0 => fault["method"] = json!("POST"),
        1 => fault["method"] = json!("GET"),
        2 => fault["path"] = json!(dice.pick(&["/task", "/grid", "/cacheMemberGroup"])),
        _ => {}
    }
    if dice.chance(70) {
        fault["count"] = json!(dice.between(1, 6));
    }
}

fn tasks(fault: &mut Value, dice: &mut Dice) {
    fault["count"] = json!(dice.between(1, 2));
    let commands = ["Join", "Disjoin", "ConfigureDerbyReplication", "DerbyFailover"];
    if dice.chance(60) {
        fault["command"] = json!(dice.pick(&commands));
    }
    if fault["fault"] == "fail_task" {
        fault["percent"] = json!(dice.pick(&[10, 20, 50, 90]));
    }
}

fn behave(fault: &mut Value, dice: &mut Dice) {
    match dice.roll(6) {
        0 => fault["task_descriptions"] = json!(false),
        1 => fault["tasks_survive_restart"] = json!(true),
        2 => fault["refuse_duplicate_member"] = json!(false),
        3 => fault["parallel_tasks"] = json!("queue"),
        4 => fault["error_content_type"] = json!("text/html"),
        _ => fault["failed_join_view"] = json!("alone"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_documented_fault_can_be_generated() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sandbox-faults.md");
        let page = std::fs::read_to_string(page).unwrap();
        let table = page.split("\n## Faults\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<&str> = rows.collect();
        assert!(documented.len() > 20, "{documented:?}");
        let mut known: BTreeSet<&str> = NAMES.iter().copied().collect();
        known.insert("rotate_password");
        assert_eq!(known, documented);
    }

    #[test]
    fn a_fault_is_an_object_with_its_name() {
        let mut dice = Dice::new(1);
        for name in NAMES.iter().cycle().take(200) {
            let fault = fault(name, &mut dice, "c", &[]);
            assert_eq!(fault["fault"], *name);
            let nothing = |value: &Value| value.is_null();
            assert!(!fault.as_object().unwrap().values().any(nothing), "{fault}");
        }
    }
}
