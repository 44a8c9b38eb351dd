#!/bin/bash
exec perf record -F 999 -g -o /tmp/cloneA/perf.data /tmp/cloneA/bench-prof --quick --dir /tmp/cloneA/target
