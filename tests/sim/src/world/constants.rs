//! The operator's time constants for a world whose time runs faster. Pure.

use std::time::Duration;

/// The operator's environment variable, its default, and the shortest value
/// that makes sense however fast the world runs: the machine, the network and
/// a Lease are no faster in scaled time.
const CONSTANTS: [(&str, Duration, Duration); 13] = [
    ("XSLD_OPERATOR_POLL_ACTIVE", Duration::from_secs(5), Duration::from_millis(200)),
    ("XSLD_OPERATOR_POLL_IDLE", Duration::from_secs(30), Duration::from_secs(1)),
    ("XSLD_OPERATOR_CONNECT_TIMEOUT", Duration::from_secs(3), Duration::from_secs(1)),
    ("XSLD_OPERATOR_REQUEST_TIMEOUT", Duration::from_secs(10), Duration::from_secs(2)),
    ("XSLD_OPERATOR_SETTLE", Duration::from_secs(20), Duration::from_secs(3)),
    ("XSLD_OPERATOR_ORPHAN", Duration::from_secs(330), Duration::from_secs(6)),
    ("XSLD_OPERATOR_LEASE", Duration::from_secs(30), Duration::from_secs(6)),
    ("XSLD_OPERATOR_LEASE_RENEW", Duration::from_secs(5), Duration::from_secs(1)),
    ("XSLD_OPERATOR_REBUILD_QUIET", Duration::from_secs(60), Duration::from_secs(4)),
    ("XSLD_OPERATOR_TASK_STALL", Duration::from_secs(600), Duration::from_secs(8)),
    ("XSLD_OPERATOR_ANCHOR_INTERVAL", Duration::from_secs(30), Duration::from_secs(1)),
    ("XSLD_OPERATOR_PASSWORD_WINDOW", Duration::from_secs(60), Duration::from_secs(6)),
    // A repair waits for looks that cannot be scaled: three of them take longer than this scaled.
    ("XSLD_OPERATOR_CONVERGE", Duration::from_secs(3600), Duration::from_secs(600)),
];

/// Each variable with its value, for a world that runs `scale` times as fast.
pub(super) fn constants(scale: f64) -> Vec<(&'static str, Duration)> {
    let scaled = |default: Duration, floor: Duration| {
        // Whole milliseconds, rounded up: what must be longer stays longer.
        let millis = (default.as_secs_f64() * 1000.0 / scale).ceil();
        // A default is never exceeded, but for a world that runs slower than real time.
        Duration::from_millis(millis as u64).max(floor)
    };
    CONSTANTS.iter().map(|(name, default, floor)| (*name, scaled(*default, *floor))).collect()
}

/// The text of `operator.env`: `NAME=VALUE` lines.
pub(super) fn operator_env(scale: f64) -> String {
    let line = |(name, value): (&str, Duration)| format!("{name}={}\n", text(value));
    constants(scale).into_iter().map(line).collect()
}

fn text(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

/// Reads `NAME=VALUE` lines; empty lines and `#` comments are skipped.
pub(super) fn parse_env(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(scale: f64) -> BTreeMap<&'static str, Duration> {
        constants(scale)
            .into_iter()
            .map(|(name, value)| (name.trim_start_matches("XSLD_OPERATOR_"), value))
            .collect()
    }

    #[test]
    fn at_scale_60_the_figures_are_those_of_the_design() {
        let env = operator_env(60.0);
        for line in [
            "POLL_ACTIVE=200ms",
            "POLL_IDLE=1s",
            "REQUEST_TIMEOUT=2s",
            "SETTLE=3s",
            "ORPHAN=6s",
            "LEASE=6s",
            "REBUILD_QUIET=4s",
            "TASK_STALL=10s",
        ] {
            assert!(env.contains(&format!("XSLD_OPERATOR_{line}\n")), "{line} in\n{env}");
        }
    }

    #[test]
    fn at_scale_1_they_are_the_operators_defaults() {
        for (name, default, _) in CONSTANTS {
            assert!(constants(1.0).contains(&(name, default)), "{name}");
        }
    }

    #[test]
    fn at_any_scale_they_go_together() {
        for scale in [0.5, 1.0, 2.0, 5.0, 6.7, 10.0, 30.0, 54.9, 60.0, 100.0, 2000.0] {
            let all = at(scale);
            assert!(all["REQUEST_TIMEOUT"] * 3 <= all["LEASE"], "scale {scale}");
            assert!(all["SETTLE"] > all["REQUEST_TIMEOUT"], "scale {scale}");
            assert!(all["ORPHAN"] > all["SETTLE"], "scale {scale}");
            assert!(all["LEASE_RENEW"] * 2 <= all["LEASE"], "scale {scale}");
            // Longer than the longest task of the cache, a disjoin.
            assert!(all["ORPHAN"].as_secs_f64() >= 300.0 / scale, "scale {scale}");
        }
    }

    #[test]
    fn the_file_reads_back_as_it_was_written() {
        let read = parse_env(&format!("# comment\n\n{}", operator_env(60.0)));
        assert_eq!(read.len(), CONSTANTS.len());
        assert!(read.contains(&("XSLD_OPERATOR_LEASE".to_owned(), "6s".to_owned())));
    }
}
