//! `journal steps`: every attempt of every step, with what came of it.

use clap::Args;

use super::attempts::{Attempt, attempts};
use super::output::{duration_text, escape};
use super::select::Names;
use super::{CacheName, Error, Format, Output, Point, Source, operation_matches};

/// Options of `steps`.
#[derive(Clone, Debug, Args)]
pub struct Steps {
    /// Only the steps of this cache, by name or by UID.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    cache: Option<CacheName>,

    /// Only the steps of this operation; the beginning of its id is enough.
    #[arg(long, value_name = "ID")]
    operation: Option<String>,

    /// Only steps of this kind, such as `join_member`. May be given several times.
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,

    /// Only steps about this member (by its name or its number), claim or grid.
    #[arg(long, value_name = "NAME|NUMBER")]
    about: Option<String>,

    /// Only steps whose request went to the API of this member, by its name or its number.
    #[arg(long, value_name = "NAME|NUMBER")]
    sent_to: Option<String>,

    /// Only steps that took more than one attempt, and those that were settled by a probe or by a
    /// later term of leadership.
    #[arg(long)]
    repeated: bool,

    /// Only steps that were intended from this record or time (UTC) on.
    #[arg(long, value_name = "SEQ|TIME")]
    since: Option<Point>,

    /// Only steps that were intended up to this record or time (UTC), it included.
    #[arg(long, value_name = "SEQ|TIME")]
    until: Option<Point>,
}

impl Steps {
    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let entries = source.entries(output)?;
        let mut names = source.names();
        entries.iter().for_each(|entry| names.learn(&entry.record));
        let meant: Vec<Attempt> = attempts(&entries, &names)
            .into_iter()
            .filter(|attempt| self.is_meant(attempt, &names))
            .collect();
        if output.format() == Format::Table {
            let heading =
                ["SEQ", "TIME", "CACHE", "STEP", "ATTEMPT", "SENT TO", "RESULT", "TOOK", "HOW"];
            return output.table(&heading, meant.iter().map(row).collect());
        }
        meant.iter().try_for_each(|attempt| output.object(attempt))
    }

    fn is_meant(&self, attempt: &Attempt, names: &Names) -> bool {
        let named = |wanted: &Option<String>, found: &Option<String>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| found.as_ref().is_some_and(|found| is_named(found, wanted)))
        };
        let after = |since: Point| since.is_reached(attempt.seq, attempt.time_us);
        let before = |until: Point| !until.is_passed(attempt.seq, attempt.time_us);
        self.cache.as_ref().is_none_or(|cache| names.is(attempt.stream, cache))
            && self
                .operation
                .as_ref()
                .is_none_or(|prefix| operation_matches(attempt.operation, prefix))
            && (self.kind.is_empty() || self.kind.iter().any(|kind| kind == attempt.step))
            && named(&self.about, &attempt.about)
            && named(&self.sent_to, &attempt.sent_to)
            && (!self.repeated || attempt.is_repeated_or_probed())
            && self.since.is_none_or(after)
            && self.until.is_none_or(before)
    }
}

/// A member is named by its whole name, or by the number at the end of it.
pub(super) fn is_named(name: &str, wanted: &str) -> bool {
    let number = name.rsplit_once('-').map_or("", |(_, number)| number);
    name == wanted || (!number.is_empty() && number == wanted)
}

fn row(attempt: &Attempt) -> Vec<String> {
    let mut how = Vec::new();
    if let Some(task) = attempt.task {
        how.push(format!("task {task}"));
    }
    if let Some(outcome) = &attempt.outcome {
        if outcome.found_by_probe {
            how.push("found by probe".to_owned());
        }
        if outcome.epoch != attempt.epoch {
            how.push(format!("begun in epoch {}, settled in {}", attempt.epoch, outcome.epoch));
        }
        how.extend(outcome.flagged.iter().map(|flag| format!("flagged: {flag}")));
        how.extend(outcome.reason.clone());
    }
    vec![
        attempt.seq.to_string(),
        attempt.time.clone(),
        escape(&attempt.cache),
        escape(&attempt.description),
        attempt.attempt.to_string(),
        escape(attempt.sent_to.as_deref().unwrap_or("-")),
        attempt.result().to_owned(),
        attempt.duration_us.map_or_else(|| "-".to_owned(), duration_text),
        escape(&how.join("; ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_named_in_whole_or_by_its_number() {
        assert!(is_named("demo-2", "demo-2") && is_named("demo-2", "2"));
        assert!(!is_named("demo-12", "2") && !is_named("demo-2", "demo") && !is_named("2x", ""));
    }
}
