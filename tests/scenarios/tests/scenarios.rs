//! `cargo test -p xsld-scenarios --test scenarios -- FILTER`

fn main() -> std::process::ExitCode {
    xsld_scenarios::runner::main(xsld_scenarios::scenarios::all())
}
