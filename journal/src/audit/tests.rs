use std::io::Write as _;
use std::path::Path;

use super::*;
use crate::fixtures::{entries_of, id, story, write_audit};
use crate::store::Head;
use crate::store::ledger::Entry;

fn lines_of(entries: &[Entry]) -> Vec<u8> {
    entries.iter().flat_map(|entry| render(entry).unwrap()).collect()
}

/// Writes the entries into two segments, the second one from this sequence on.
fn write_two(dir: &Path, entries: &[Entry], second: u64) {
    let at = usize::try_from(second - 1).unwrap();
    std::fs::write(dir.join(segment_name(1)), lines_of(&entries[..at])).unwrap();
    std::fs::write(dir.join(segment_name(second)), lines_of(&entries[at..])).unwrap();
}

fn damage_in(dir: &Path) -> (String, u64, u64, String) {
    match load(dir, id(9)) {
        Err(LoadError::Damaged { segment, line, seq, reason }) => (segment, line, seq, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_holds_its_record_and_tells_it_in_readable_form() {
    for entry in entries_of(&story()) {
        let line = render(&entry).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let stored = StoredLine::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(stored.decode().unwrap(), entry);
        assert_eq!(stored.altered_fields(&entry), [""; 0]);
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json["seq"], entry.record.seq());
        assert_eq!(json["type"], entry.record.event.name());
        assert_eq!(json["prev"], crate::chain::to_hex(&entry.record.envelope.previous));
    }
}

#[test]
fn every_altered_field_is_told() {
    let entry = &entries_of(&story())[4];
    let line: serde_json::Value = serde_json::from_slice(&render(entry).unwrap()).unwrap();
    let fields = ["time", "epoch", "stream", "stream_seq", "rest", "operation", "type", "event"];
    for field in fields.into_iter().chain(["journal"]) {
        let mut altered = line.clone();
        altered[field] = match &line[field] {
            serde_json::Value::Number(_) => 77.into(),
            serde_json::Value::String(_) => "77".into(),
            _ => serde_json::json!({ "other": 1 }),
        };
        let stored = StoredLine::parse(altered.to_string().as_bytes()).unwrap();
        assert_eq!(stored.altered_fields(entry), [field]);
    }
    let mut moved = line.clone();
    moved["seq"] = 77.into();
    let stored = StoredLine::parse(moved.to_string().as_bytes()).unwrap();
    assert_eq!(stored.decode(), Err(LineError::Disagrees("seq")));
}

#[test]
fn a_line_that_is_not_what_was_written_is_refused_with_the_reason() {
    let entry = &entries_of(&story())[4];
    let line: serde_json::Value = serde_json::from_slice(&render(entry).unwrap()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut changed = line.clone();
        changed[field] = value;
        StoredLine::parse(changed.to_string().as_bytes()).unwrap_err()
    };
    assert_eq!(with("crc", 1.into()), LineError::Checksum);
    let other = crate::chain::to_hex(&[7; 32]);
    assert_eq!(with("prev", other.clone().into()), LineError::Hash);
    assert_eq!(with("hash", other.into()), LineError::Checksum);
    let not_hex = LineError::Field { field: "hash", expected: "64 hex digits" };
    assert_eq!(with("hash", "7".into()), not_hex);
    assert!(matches!(with("bytes", "?".into()), LineError::Field { field: "bytes", .. }));
    let blobs = serde_json::json!({ "ab": "text" });
    assert_eq!(with("blobs", blobs), LineError::Text("ab".into()));
    assert!(matches!(StoredLine::parse(b"{}"), Err(LineError::Json(_))));
}

#[test]
fn segments_are_read_in_the_order_of_their_records() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_two(dir.path(), &entries, 10);
    std::fs::write(dir.path().join("audit-1.jsonl"), "not a segment").unwrap();
    let loaded = load(dir.path(), id(9)).unwrap();
    assert_eq!(loaded.ledger.head().seq, entries.len() as u64);
    assert_eq!(loaded.ledger.head().journal_id, id(1));
    let names: Vec<_> = loaded.segments.iter().map(|segment| segment.first_seq).collect();
    assert_eq!(names, [1, 10]);
    let (items, unfinished) = survey(dir.path()).unwrap();
    assert_eq!((items.len(), unfinished), (entries.len(), None));
}

#[test]
fn an_empty_directory_is_a_journal_without_records() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = load(dir.path(), id(9)).unwrap();
    assert_eq!((loaded.ledger.head().seq, loaded.ledger.head().journal_id), (0, id(9)));
    std::fs::write(dir.path().join(segment_name(1)), "").unwrap();
    assert_eq!(load(dir.path(), id(9)).unwrap().ledger.head().seq, 0);
}

#[test]
fn a_missing_or_misnamed_segment_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_two(dir.path(), &entries, 10);
    std::fs::rename(dir.path().join(segment_name(10)), dir.path().join(segment_name(11))).unwrap();
    let (segment, line, seq, reason) = damage_in(dir.path());
    assert_eq!((segment, line, seq), (segment_name(11), 1, 10));
    assert!(reason.contains("begins with 11"), "{reason}");
    std::fs::remove_file(dir.path().join(segment_name(1))).unwrap();
    assert_eq!(damage_in(dir.path()).2, 1);
}

#[test]
fn only_the_last_segment_can_have_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_two(dir.path(), &entries, 10);
    let first = dir.path().join(segment_name(1));
    let whole = std::fs::read(&first).unwrap();
    std::fs::write(&first, &whole[..whole.len() - 10]).unwrap();
    let (segment, line, seq, _) = damage_in(dir.path());
    assert_eq!((segment, line, seq), (segment_name(1), 9, 9));
    // The append of records 11 and 12 may not be there in part either.
    std::fs::remove_file(dir.path().join(segment_name(10))).unwrap();
    write_two(dir.path(), &entries, 12);
    std::fs::remove_file(dir.path().join(segment_name(12))).unwrap();
    let torn = load(dir.path(), id(9)).unwrap().torn.unwrap();
    assert_eq!(torn.segment, segment_name(1));
    std::fs::write(dir.path().join(segment_name(12)), lines_of(&entries[12..])).unwrap();
    assert_eq!(damage_in(dir.path()).2, 12);
}

#[test]
fn torn_bytes_never_take_the_place_of_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..=3 {
        std::fs::write(dir.path().join(segment_name(1)), format!("torn {number}")).unwrap();
        let torn = load(dir.path(), id(1)).unwrap().torn.unwrap();
        let kept = cut_torn_tail(dir.path(), &torn).unwrap();
        assert_eq!(std::fs::read_to_string(kept).unwrap(), format!("torn {number}"));
    }
    let names = broken_files(dir.path()).unwrap();
    let expected: Vec<_> =
        (1..=3).map(|number| format!("{}.broken-{number}", segment_name(1))).collect();
    assert_eq!(names, expected);
    assert_eq!(std::fs::read(dir.path().join(segment_name(1))).unwrap(), b"");
}

#[test]
fn a_follower_goes_on_into_the_next_segment() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    let mut follower = Follower::new(dir.path());
    assert!(follower.read_new().unwrap().is_empty());
    write_audit(dir.path(), &entries[..9]);
    assert_eq!(follower.read_new().unwrap().len(), 9);
    assert!(follower.read_new().unwrap().is_empty());
    let next = dir.path().join(segment_name(10));
    let lines = lines_of(&entries[9..]);
    std::fs::write(&next, &lines[..lines.len() - 1]).unwrap();
    let read = follower.read_new().unwrap();
    assert_eq!(read.len(), entries.len() - 10);
    assert_eq!(read[0].promised_seq, Some(10));
    std::fs::write(&next, lines).unwrap();
    let last = follower.read_new().unwrap();
    assert_eq!(last[0].position.line, entries.len() as u64 - 9);
    assert_eq!(StoredLine::parse(&last[0].text).unwrap().seq, entries.len() as u64);
}

/// What `stream_export` writes of a directory, as an export's file.
fn streamed(dir: &Path, after: u64, entries: &[Entry], last: u64) -> tempfile::NamedTempFile {
    let record = &entries[usize::try_from(last).unwrap() - 1].record;
    let head =
        Head { journal_id: id(1), epoch: record.envelope.epoch, seq: last, hash: record.hash };
    let mut bytes = Vec::new();
    let header = stream_export(dir, after, &head, &mut bytes).unwrap();
    assert_eq!((header.first_seq, header.last_seq), (after + 1, last));
    assert_eq!(header.records, last - after);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn an_export_is_streamed_from_any_record_to_any_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_audit(dir.path(), &entries[..9]);
    std::fs::write(dir.path().join(segment_name(10)), lines_of(&entries[9..])).unwrap();
    let count = entries.len() as u64;
    for (after, last) in [(0, count), (0, 9), (8, 10), (9, count), (count, count), (3, 4)] {
        let file = streamed(dir.path(), after, &entries, last);
        let (found, _) = export_segments(file.path()).unwrap();
        let lines: Vec<_> = Lines::new(found).map(|line| line.unwrap().text).collect();
        let (from, to) = (usize::try_from(after).unwrap(), usize::try_from(last).unwrap());
        let wanted: Vec<_> = entries[from..to]
            .iter()
            .map(|entry| render(entry).unwrap().trim_ascii_end().to_vec())
            .collect();
        assert_eq!(lines, wanted, "after {after} up to {last}");
    }
}

#[test]
fn an_export_of_records_that_are_not_there_breaks_off() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_audit(dir.path(), &entries[..9]);
    let last = &entries[9].record;
    let head =
        Head { journal_id: id(1), epoch: last.envelope.epoch, seq: last.seq(), hash: last.hash };
    let mut bytes = Vec::new();
    let error = stream_export(dir.path(), 0, &head, &mut bytes).unwrap_err();
    assert_eq!(error.to_string(), "record 10 is not there");
    // Its first line promised more than follows.
    assert_eq!(bytes.split(|byte| *byte == b'\n').count(), 1 + 9 + 1);
}

#[test]
fn a_follower_goes_on_in_an_export_that_grows() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_audit(dir.path(), &entries);
    let file = streamed(dir.path(), 0, &entries, 5);
    let mut follower = Follower::new(file.path());
    let read = follower.read_new().unwrap();
    assert_eq!((read.len(), read[0].position.line), (5, 2));
    let line = render(&entries[5]).unwrap();
    let mut growing = std::fs::File::options().append(true).open(file.path()).unwrap();
    let (one, two) = line.split_at(line.len() / 2);
    growing.write_all(one).unwrap();
    assert!(follower.read_new().unwrap().is_empty());
    growing.write_all(two).unwrap();
    let read = follower.read_new().unwrap();
    assert_eq!(StoredLine::parse(&read[0].text).unwrap().seq, 6);
    assert_eq!((read.len(), read[0].position.line), (1, 7));
}

#[test]
fn a_time_is_shown_in_utc_with_microseconds() {
    assert_eq!(time_text(1_767_225_600_000_001), "2026-01-01T00:00:00.000001Z");
    assert_eq!(time_text(0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(time_text(i64::MAX), format!("{} us", i64::MAX));
}
