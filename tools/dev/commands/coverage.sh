# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev coverage [CTEST OPTION...]
#
# Builds with counters, runs the fast tests and the simulations, and writes which share of the lines of each
# folder they ran: docs/report/coverage.md. Line by line: build/coverage/report/index.html.

build_preset coverage
find "$build_dir/coverage" -name '*.gcda' -delete
run_tests coverage -L '^(fast|sim)$' "$@" || die "tests failed: build/junit-coverage.xml"
say "counting"
mkdir -p "$build_dir/coverage/report"
run python3 "$MASQUE_VPN_CHECKOUT/tools/dev/coverage_report.py" "$build_dir/coverage" docs/report/coverage.md || die "no report"
