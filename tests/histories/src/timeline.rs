//! A history as a person reads it: acts, records of the journal and calls of the members, in one
//! order of time.

use std::fmt::Write as _;

use crate::evidence::Evidence;
use crate::oracle::Finding;
use crate::world::Done;

/// What is told of a history: findings first, then what happened.
pub fn told(evidence: &Evidence, findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{}: {}", finding.rule, finding.told);
    }
    let _ = writeln!(text);
    let mut lines = lines(evidence);
    lines.sort_by_key(|(at_us, _)| *at_us);
    let begun = lines.first().map_or(0, |(at_us, _)| *at_us);
    for (at_us, line) in lines {
        let _ = writeln!(text, "{:>9.3} s  {line}", (at_us - begun) as f64 / 1_000_000.0);
    }
    text
}

fn lines(evidence: &Evidence) -> Vec<(i64, String)> {
    let mut lines = Vec::new();
    for played in &evidence.played {
        let told = match &played.done {
            Done::Yes => String::new(),
            Done::Refused(why) => format!(" (refused: {why})"),
            Done::Skipped(why) => format!(" (nothing to do: {why})"),
        };
        lines.push((played.at_us, format!("act {}: {}{told}", played.number, played.act.told())));
    }
    for record in &evidence.seen.records {
        lines.push((record.at_us, format!("journal {}: {}", record.seq, record.told)));
    }
    for call in &evidence.seen.calls {
        let asked = match call.method.is_empty() {
            true => String::new(),
            false => format!(" {} {} {} -> {}", call.method, call.path, call.command, call.status),
        };
        lines.push((call.at_us, format!("member {}:{asked} {}", call.member, call.effect)));
    }
    for life in &evidence.seen.lives {
        lines.push((life.from_us, "the operator is ready".to_owned()));
        if let Some(at_us) = life.to_us {
            let how = life.ended.as_deref().unwrap_or("as the history wants it");
            lines.push((at_us, format!("the operator ended: {how}")));
        }
    }
    let end = &evidence.end;
    if end.healed_us > 0 {
        lines.push((end.healed_us, "everything is healed".to_owned()));
    }
    if let Some(at_us) = end.reached_us {
        lines.push((at_us, "the goal is reached".to_owned()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::Act;
    use crate::evidence::{Call, Played, Record};

    #[test]
    fn everything_stands_in_one_order_of_time() {
        let mut evidence = Evidence::default();
        let played = |at_us| Played {
            number: 1,
            at_us,
            until_us: at_us,
            act: Act::LoseAnchor,
            done: Done::Skipped("it is not there".to_owned()),
        };
        evidence.played.push(played(3_000_000));
        evidence.seen.records.push(Record { at_us: 1_000_000, seq: 7, told: "begun".to_owned() });
        let effect = "joined".to_owned();
        evidence.seen.calls.push(Call { at_us: 2_500_000, effect, ..Call::default() });
        let text = told(&evidence, &[]);
        let told: Vec<&str> = text.lines().filter(|line| line.contains(" s  ")).collect();
        assert!(told[0].contains("0.000 s  journal 7: begun"), "{text}");
        assert!(told[1].contains("1.500 s  member"), "{text}");
        assert!(told[2].contains("2.000 s  act 1:") && told[2].contains("it is not there"));
    }
}
