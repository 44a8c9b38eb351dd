use super::*;
use crate::audit::{Assembler, Lines, segment_name, segments};
use crate::event::{Event, Text};
use crate::fixtures::{
    append_to, begun, bootstrapped, cache, cache_opened, ended, entries_of, epoch_begun, genesis,
    id, intended, journal_append, operation, scale, story, write_audit,
};
use crate::store::ledger::Entry;

/// Chains entries anew, so that only what was done to them is wrong.
fn rechained(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut previous = chain::ZERO;
    for (index, entry) in entries.iter_mut().enumerate() {
        let record = &mut entry.record;
        record.envelope.previous = previous;
        record.envelope.seq = crate::record::Seq(index as u64 + 1);
        entry.bytes = crate::codec::encode(&record.envelope, &record.event).unwrap();
        record.hash = chain::hash(&previous, &entry.bytes);
        previous = record.hash;
    }
    entries
}

fn check(entries: &[Entry]) -> Report {
    let dir = tempfile::tempdir().unwrap();
    write_audit(dir.path(), entries);
    check_dir(dir.path(), None).unwrap()
}

/// The kinds above a note, with their sequences.
fn grave(report: &Report) -> Vec<(Kind, u64)> {
    let grave = report.findings.iter().filter(|finding| finding.severity > Severity::Note);
    grave.map(|finding| (finding.kind, finding.seq.unwrap())).collect()
}

#[test]
fn a_whole_journal_has_only_notes() {
    let entries = entries_of(&story());
    let report = check(&entries);
    assert_eq!((report.worst(), report.exit_code()), (None, 0), "{:?}", report.findings);
    assert_eq!(report.head, entries.last().map(|entry| (23, entry.record.hash)));
    assert_eq!((report.journal_id, report.epoch, report.records), (Some(id(1)), Epoch(2), 23));
    let [open] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!((open.kind, open.seq), (Kind::OpenOperation, Some(22)));
}

#[test]
fn an_anchor_decides_whether_the_end_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_audit(dir.path(), &entries);
    let code = |seq, hash| check_dir(dir.path(), Some(Anchor { seq, hash })).unwrap().exit_code();
    assert_eq!(code(12, entries[11].record.hash), 0);
    assert_eq!(code(12, entries[10].record.hash), 4);
    assert_eq!(code(24, entries[11].record.hash), 3);
    assert_eq!(code(0, chain::ZERO), 0);
}

#[test]
fn missing_records_are_told_with_their_sequences() {
    let mut entries = entries_of(&story());
    entries.drain(6..9);
    let report = check(&entries);
    assert_eq!(grave(&report), [(Kind::Missing, 10)]);
    assert!(report.findings[0].message.contains("7 to 9"), "{:?}", report.findings);
    assert_eq!(report.exit_code(), 3);
}

#[test]
fn swapped_doubled_and_replaced_records_break_the_chain() {
    let entries = entries_of(&story());
    let mut swapped = entries.clone();
    swapped.swap(8, 9);
    assert!(check(&swapped).findings.iter().any(|finding| finding.kind == Kind::Chain));
    let mut doubled = entries.clone();
    doubled.insert(9, entries[8].clone());
    assert_eq!(grave(&check(&doubled))[0], (Kind::Chain, 9));
    let mut forked = entries.clone();
    let mut other = entries[8].clone();
    other.record.envelope.time_us += 1;
    other.bytes = crate::codec::encode(&other.record.envelope, &other.record.event).unwrap();
    other.record.hash = chain::hash(&other.record.envelope.previous, &other.bytes);
    forked.insert(9, other.clone());
    let report = check(&forked);
    assert_eq!((grave(&report)[0], report.exit_code()), ((Kind::Fork, 9), 4));
    let mut replaced = entries;
    replaced[8] = other;
    assert_eq!(grave(&check(&replaced)), [(Kind::Chain, 10)]);
}

#[test]
fn another_journals_record_and_an_older_epoch_are_told() {
    let mut entries = entries_of(&story());
    entries[11].record.envelope.journal_id = id(2);
    assert_eq!(grave(&check(&rechained(entries))), [(Kind::Journal, 12)]);
    let mut entries = entries_of(&story());
    entries[20].record.envelope.epoch = Epoch(1);
    assert_eq!(grave(&check(&rechained(entries))), [(Kind::Epoch, 21)]);
}

#[test]
fn a_record_that_was_taken_out_and_chained_over_is_missed_by_its_stream() {
    let mut entries = entries_of(&story());
    entries.remove(6);
    assert_eq!(grave(&check(&rechained(entries))), [(Kind::StreamSequence, 7)]);
}

#[test]
fn a_part_of_an_append_is_told() {
    let mut entries = entries_of(&story());
    entries[8].record.envelope.rest = 1;
    let found = grave(&check(&rechained(entries)));
    assert_eq!(found, [(Kind::TornAppend, 10)]);
}

#[test]
fn an_illegal_record_is_told_once_and_with_its_reason() {
    let mut entries = entries_of(&story());
    entries[5].record.event = Event::OperationResumed { evidence: "{}".into() };
    entries[5].record.envelope.type_name = "operation_resumed".into();
    let report = check(&rechained(entries));
    assert_eq!(grave(&report)[0], (Kind::Illegal, 6));
    let illegal = report.findings.iter().filter(|finding| finding.kind == Kind::Illegal);
    assert_eq!(illegal.count(), 1);
    assert!(report.findings[0].message.contains("not parked"), "{:?}", report.findings);
}

#[test]
fn keys_that_do_not_pair_are_told() {
    let mut entries = entries_of(&story());
    let Event::StepAccepted { key, .. } = &mut entries[8].record.event else { panic!() };
    *key = crate::event::StepKey(id(5));
    let found = grave(&check(&rechained(entries)));
    assert_eq!(found[0], (Kind::Pairing, 9));
    // The same operation id a second time makes the same keys a second time.
    let (first, stream) = (operation(1), cache(1));
    let run = |expected| {
        let step = scale(0, 1);
        let done = crate::fixtures::succeeded(first, &step, 1);
        append_to(
            stream,
            expected,
            Some(first),
            vec![begun(1), intended(first, step, 1), done, ended()],
        )
    };
    let appends = [
        journal_append(0, vec![genesis(), epoch_begun()]),
        append_to(stream, 0, None, vec![cache_opened("demo")]),
        run(1),
        run(5),
    ];
    let mut ledger = crate::store::ledger::Ledger::new(id(1));
    let mut entries = Vec::new();
    for append in &appends {
        // A table that refuses the second run is welcome: then there is nothing to be found.
        let Ok(admitted) = ledger.admit(append) else { return };
        entries.extend(admitted.entries);
    }
    assert_eq!(grave(&check(&entries)), [(Kind::Pairing, 9)]);
}

#[test]
fn an_altered_readable_field_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write_audit(dir.path(), &entries_of(&story()));
    let path = dir.path().join(segment_name(1));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"to\":2", "\"to\":3", 1)).unwrap();
    let report = check_dir(dir.path(), None).unwrap();
    assert_eq!((grave(&report), report.exit_code()), (vec![(Kind::Altered, 5)], 1));
    assert!(report.findings[0].message.contains("event"), "{:?}", report.findings);
    std::fs::write(&path, text.replacen("\"epoch\":1,", "\"epoch\":1, ", 1)).unwrap();
    let report = check_dir(dir.path(), None).unwrap();
    assert!(report.findings[0].message.contains("form"), "{:?}", report.findings);
}

#[test]
fn a_recorded_gap_is_told_every_time() {
    let gap = Event::Gap {
        old_journal: id(2),
        found_seq: 3,
        anchor_seq: 9,
        anchor_hash: chain::to_hex(&chain::ZERO),
    };
    let appends = [journal_append(0, vec![genesis(), gap, epoch_begun()])];
    let report = check(&entries_of(&appends));
    assert_eq!((grave(&report), report.exit_code()), (vec![(Kind::Gap, 2)], 3));
    assert_eq!(report.worst(), Some(Severity::Warning));
}

#[test]
fn a_text_that_is_gone_is_told() {
    let long = "template ".repeat(500);
    let (template, blob) = crate::record::text_for_event(long);
    assert!(matches!(template, Text::External { .. }));
    let step = crate::event::Step::SetTemplate { digest: "d".into(), template };
    let events = vec![cache_opened("demo"), begun(1), intended(operation(1), step, 1)];
    let mut append = append_to(cache(1), 0, Some(operation(1)), events);
    append.blobs.extend(blob);
    let mut entries = entries_of(&[journal_append(0, vec![genesis(), epoch_begun()]), append]);
    assert_eq!(grave(&check(&entries)), []);
    entries[4].blobs.clear();
    assert_eq!(grave(&check(&entries)), [(Kind::MissingText, 5)]);
}

#[test]
fn an_unreadable_line_does_not_hide_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_audit(dir.path(), &entries);
    let path = dir.path().join(segment_name(1));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[6] = "rubbish".into();
    lines[14] = lines[14].replacen("\"time\":\"2026", "\"time\":\"2027", 1);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let report = check_dir(dir.path(), None).unwrap();
    assert_eq!(grave(&report), [(Kind::Damaged, 7), (Kind::Altered, 15)]);
    assert_eq!((report.records, report.exit_code()), (22, 1));
}

#[test]
fn torn_bytes_and_an_append_being_written_are_notes() {
    let dir = tempfile::tempdir().unwrap();
    write_audit(dir.path(), &entries_of(&story()));
    let path = dir.path().join(segment_name(1));
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"seq\":24,");
    std::fs::write(&path, text).unwrap();
    std::fs::write(dir.path().join(format!("{}.broken-1", segment_name(1))), "torn").unwrap();
    let report = check_dir(dir.path(), None).unwrap();
    assert_eq!(report.exit_code(), 0);
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::OpenOperation, Kind::Unfinished, Kind::Broken]);
    let mut assembler = Assembler::default();
    for line in Lines::new(segments(dir.path()).unwrap()) {
        assembler.push(line.unwrap());
    }
    assert_eq!(assembler.unfinished().unwrap().line, 24);
}

#[test]
fn a_journal_that_does_not_begin_with_its_genesis_is_illegal() {
    let mut entries = entries_of(&story());
    entries[0].record.event = bootstrapped();
    entries[0].record.envelope.type_name = "bootstrapped".into();
    let report = check(&rechained(entries));
    assert_eq!(grave(&report)[0], (Kind::Illegal, 1));
}

#[test]
fn a_segment_that_is_named_after_a_record_before_the_first_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write_audit(dir.path(), &entries_of(&story()));
    let named = |seq| dir.path().join(segment_name(seq));
    std::fs::rename(named(1), named(0)).unwrap();
    let report = check_dir(dir.path(), None).unwrap();
    assert_eq!(report.findings.iter().map(|it| it.kind).collect::<Vec<_>>()[..1], [Kind::Segment]);
}
