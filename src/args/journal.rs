//! How much of the journal is kept.

use clap::Args;
use xsld_journal::retention::Limits;

/// How much of the journal is kept.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Journal")]
pub struct JournalArgs {
    /// Records older than so many days are retired: what they came to is kept, they themselves are
    /// deleted. 0 keeps them for ever. An operation that is open is never retired.
    #[arg(
        long = "journal-keep-days",
        value_name = "DAYS",
        env = "XSLD_OPERATOR_JOURNAL_KEEP_DAYS",
        default_value_t = 400
    )]
    pub keep_days: u32,

    /// The oldest records are retired while the audit file takes more than this on the disk: bytes,
    /// or with Ki, Mi or Gi. 0 is no limit.
    #[arg(
        long = "journal-keep-size",
        value_name = "SIZE",
        env = "XSLD_OPERATOR_JOURNAL_KEEP_SIZE",
        default_value = "1Gi",
        value_parser = size
    )]
    pub keep_size: u64,

    /// From this size on, a segment of the audit file is sealed and packed: at least 16Ki. Records
    /// are retired by whole segments.
    #[arg(
        long = "journal-segment-size",
        value_name = "SIZE",
        env = "XSLD_OPERATOR_JOURNAL_SEGMENT_SIZE",
        default_value = "16Mi",
        value_parser = segment_size
    )]
    pub segment_size: u64,
}

impl JournalArgs {
    /// The limits that these flags give.
    pub fn limits(&self) -> Limits {
        const DAY_US: i64 = 86_400_000_000;
        Limits {
            age_us: (self.keep_days > 0).then(|| i64::from(self.keep_days) * DAY_US),
            bytes: (self.keep_size > 0).then_some(self.keep_size),
        }
    }
}

/// Reads `0`, `1048576`, `64Ki`, `512Mi` or `1Gi`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("`{text}` is not a size; write a whole number of bytes, or one with Ki, Mi or Gi")
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

fn segment_size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 16 << 10;
    let size = size(text)?;
    if size < LEAST {
        return Err(format!("`{text}` is too small for a segment: 16Ki is the least"));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use xsld_journal::store::sled::SEGMENT_MAX;

    use super::*;

    #[derive(Debug, Parser)]
    struct Mounted {
        #[command(flatten)]
        journal: JournalArgs,
    }

    fn parsed(words: &[&str]) -> Result<JournalArgs, String> {
        let words = ["run"].iter().chain(words);
        Mounted::try_parse_from(words).map(|it| it.journal).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_the_documented_limits() {
        let limits = parsed(&[]).unwrap().limits();
        assert_eq!(limits.age_us, Some(400 * 86_400_000_000));
        assert_eq!(limits.bytes, Some(1 << 30));
        assert_eq!(parsed(&[]).unwrap().segment_size, SEGMENT_MAX);
    }

    #[test]
    fn zero_is_no_limit() {
        let words = ["--journal-keep-days", "0", "--journal-keep-size", "0"];
        assert_eq!(parsed(&words).unwrap().limits(), Limits::default());
    }

    #[test]
    fn sizes_are_read_with_their_units_and_anything_else_is_refused() {
        assert_eq!((size("7"), size("64Ki"), size("2Mi")), (Ok(7), Ok(65_536), Ok(2 << 20)));
        for text in
            ["", "Gi", "1G", "1.5Gi", "-1", "1 Gi", "1gi", "99999999999999999999", "99999999999Gi"]
        {
            assert!(size(text).is_err(), "{text}");
        }
        let refused = parsed(&["--journal-segment-size", "15Ki"]).unwrap_err();
        assert!(refused.contains("16Ki is the least"), "{refused}");
        assert_eq!(parsed(&["--journal-segment-size", "16Ki"]).unwrap().segment_size, 16 << 10);
    }
}
