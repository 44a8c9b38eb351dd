//! A small history in which all is well, to be bent by the tests of the rules.

use serde_json::{Value, json};

use super::judge;
use crate::act::{Act, Kind};
use crate::evidence::{Call, Change, Check, End, Entry, Evidence, Life, Played, Seen, Step};
use crate::world::Done;

/// The time of a second of the history.
pub(super) fn seconds(at: i64) -> i64 {
    at * 1_000_000
}

/// The rules that find something, each once, in the order of the findings.
pub(super) fn rules(evidence: &Evidence) -> Vec<&'static str> {
    let mut rules: Vec<&'static str> =
        judge(evidence).into_iter().map(|finding| finding.rule).collect();
    rules.dedup();
    rules
}

fn change(at_us: i64, kind: Kind, name: &str, uid: &str, object: Value) -> Change {
    let (name, uid) = (name.to_owned(), uid.to_owned());
    Change { at_us, kind, name, uid, object, gone: false }
}

/// The cache, told Ready or not.
pub(super) fn cache(at_us: i64, size: u32, is_ready: bool) -> Change {
    let status = if is_ready { "True" } else { "False" };
    let object = json!({
        "metadata": {"name": "c", "generation": size},
        "spec": {"size": size},
        "status": {"observedGeneration": size, "conditions": [
            {"type": "Ready", "status": status, "reason": "Told", "message": "told"}
        ]},
    });
    change(at_us, Kind::Cache, "c", "cache-uid", object)
}

/// A member's pod, running and ready.
pub(super) fn pod(at_us: i64, name: &str) -> Change {
    let object = json!({
        "metadata": {"name": name},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "xsld", "containerID": name, "state": {"running": {"startedAt": "now"}}
            }],
        },
    });
    change(at_us, Kind::Pod, name, name, object)
}

/// A claim, on its way out or not.
pub(super) fn claim(at_us: i64, name: &str, uid: &str, is_going: bool) -> Change {
    let mut object = json!({"metadata": {"name": name}});
    if is_going {
        object["metadata"]["deletionTimestamp"] = "now".into();
    }
    change(at_us, Kind::Claim, name, uid, object)
}

/// The same object, gone.
pub(super) fn gone(change: Change) -> Change {
    Change { gone: true, ..change }
}

/// An effect of the call log.
pub(super) fn effect_of(member: &str, effect: &str, second: i64) -> Call {
    let (cache, member, effect) = ("c".to_owned(), member.to_owned(), effect.to_owned());
    Call { at_us: seconds(second), cache, member, effect, ..Call::default() }
}

/// A step of the journal that succeeded.
pub(super) fn step(second: i64, kind: &str, claim: Option<&str>, receipt: Option<&str>) -> Step {
    Step {
        at_us: seconds(second),
        kind: kind.to_owned(),
        claim: claim.map(str::to_owned),
        receipt: receipt.map(str::to_owned),
        outcome: Some("step_succeeded".to_owned()),
        ..Step::default()
    }
}

/// An act that was done.
pub(super) fn played(second: i64, act: Act) -> Played {
    let at_us = seconds(second);
    Played { number: 1, at_us, until_us: at_us, act, done: Done::Yes }
}

/// Two members and an entry; healed after 100 s, at rest from 120 to 125 s.
pub(super) fn sound() -> Evidence {
    let entry = Entry {
        cache: "c".to_owned(),
        grid: "g".to_owned(),
        uid: "grid-uid".to_owned(),
        key: "k".to_owned(),
        seen_us: seconds(30),
        members: 2,
        copies: 2,
        held: Some(true),
    };
    let changes = vec![
        claim(0, "vol-c-0", "claim-0", false),
        claim(0, "vol-c-1", "claim-1", false),
        pod(seconds(1), "c-0"),
        pod(seconds(1), "c-1"),
        cache(seconds(20), 2, true),
    ];
    Evidence {
        seen: Seen {
            changes,
            calls: vec![effect_of("c-1", "joined", 10)],
            entries: vec![entry],
            lives: vec![Life { from_us: 0, to_us: None, ended: None }],
            check: Check::default(),
            ..Seen::default()
        },
        end: End {
            healed_us: seconds(100),
            reached_us: Some(seconds(110)),
            quiet_us: Some((seconds(120), seconds(125))),
            ..End::default()
        },
        ..Evidence::default()
    }
}
