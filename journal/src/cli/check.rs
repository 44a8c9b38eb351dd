//! `journal check`: whether anything was lost or altered.

use clap::Args;
use serde::Serialize;

use super::output::{Mood, escape};
use super::{Error, Format, Output, Source};
use crate::chain;
use crate::check::{Anchor, Finding, Report, Severity, check_dir, check_segments};

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// A sequence and the hash that is known from elsewhere to belong there.
    #[arg(long, value_name = "SEQ:HASH", value_parser = parse_anchor)]
    anchor: Option<Anchor>,
}

#[derive(Serialize)]
struct Shown<'a> {
    whole: bool,
    journal: Option<String>,
    records: u64,
    seq: u64,
    hash: Option<String>,
    epoch: u64,
    anchored: bool,
    checkpoints: usize,
    #[serde(skip_serializing_if = "is_zero")]
    retired: u64,
    findings: &'a [Finding],
}

/// The form of this signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(seq: &u64) -> bool {
    *seq == 0
}

impl Check {
    /// Compares with this anchor, if none was given on the command line; whether it does.
    pub fn compare_with(&mut self, anchor: Anchor) -> bool {
        let is_free = self.anchor.is_none();
        self.anchor.get_or_insert(anchor);
        is_free
    }

    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        // An export says itself what its last record is.
        let promised = source.promised();
        let anchor = self.anchor.or(promised);
        if self.anchor.is_none() {
            output
                .tell("no anchor was given: whether the last records are missing is not known")?;
        }
        let report = match source.dir() {
            Some(dir) => check_dir(dir, anchor),
            None => check_segments(source.base.as_ref(), source.segments(), anchor),
        };
        let report = report.map_err(|error| source.failed(error))?;
        output.exit_with(report.exit_code());
        if output.format() == Format::Table {
            return self.table(&report, output);
        }
        output.object(&Shown {
            whole: report.worst().is_none(),
            journal: report.journal_id.map(|id| id.to_string()),
            records: report.records,
            seq: report.head.map_or(0, |(seq, _)| seq),
            hash: report.head.map(|(_, hash)| chain::to_hex(&hash)),
            epoch: report.epoch.0,
            anchored: self.anchor.is_some(),
            checkpoints: report.checkpoints,
            retired: report.retired,
            findings: &report.findings,
        })
    }

    fn table(&self, report: &Report, output: &mut Output<'_>) -> Result<(), Error> {
        if !report.findings.is_empty() {
            let rows = report.findings.iter().map(row).collect();
            output.table(&["SEVERITY", "SEQ", "KIND", "PLACE", "FINDING"], rows)?;
            output.line("")?;
        }
        let journal =
            report.journal_id.map_or_else(|| "without records".to_owned(), |id| id.to_string());
        let head = report.head.map_or_else(String::new, |(seq, hash)| {
            format!(", the last one {seq} with hash {}", chain::to_hex(&hash))
        });
        let (mood, verdict) = match report.worst() {
            None => (Mood::Good, "whole"),
            Some(Severity::Note | Severity::Warning) => (Mood::Doubt, "not whole"),
            Some(Severity::Error) => (Mood::Bad, "NOT WHOLE"),
        };
        let verdict = output.paint(mood, verdict);
        output.line(&format!("{verdict}: journal {journal}, {} records{head}", report.records))
    }
}

fn row(finding: &Finding) -> Vec<String> {
    vec![
        word(&finding.severity),
        finding.seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string()),
        word(&finding.kind),
        escape(finding.place.as_deref().unwrap_or("-")),
        escape(&finding.message),
    ]
}

/// The stable name of a severity or kind.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "unknown".to_owned(),
    }
}

fn parse_anchor(text: &str) -> Result<Anchor, String> {
    let parts = text.split_once(':').and_then(|(seq, hash)| {
        Some(Anchor { seq: seq.parse().ok()?, hash: chain::from_hex(hash)? })
    });
    parts.ok_or_else(|| "an anchor is SEQ:HASH, a number and 64 hex digits".to_owned())
}
