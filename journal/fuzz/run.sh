#!/bin/sh
# Fuzzes one target: run.sh decode|audit|import [seconds]. Needs a C++ compiler, no nightly Rust.
# New inputs go to found/, which is not kept; `run.sh TARGET merge` adds what reaches new code to
# the kept corpus.
set -eu
cd "$(dirname "$0")"
target=$1
limit=${2:-600}
host=$(rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz` passes, short of the sanitizer, which only a nightly compiler has. With
# --target, programs that run while building are not instrumented.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
 -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
cargo build --quiet --release --target "$host" --bin "$target"
program=${CARGO_TARGET_DIR:-target}/$host/release/$target
mkdir -p "found/$target" "corpus/$target"
if [ "$limit" = merge ]; then
    exec "$program" -merge=1 -max_len=65536 "corpus/$target" "found/$target"
fi
exec "$program" -max_total_time="$limit" -max_len=65536 -timeout=20 -rss_limit_mb=4096 \
    -artifact_prefix="found/crash-$target-" -print_final_stats=1 "found/$target" "corpus/$target"
