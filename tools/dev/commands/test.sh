# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev test [PATTERN] [CTEST OPTION...]
#
# Builds and runs all tests; with PATTERN, a regular expression, those whose name matches. Without
# one the fast tests, the simulations and the fuzzers' corpora run a second time under sanitizers, and
# there every mutant of tests/mutants must be noticed.
# Reports in JUnit's format: build/junit-PRESET.xml.

if [[ ${1--} != -* ]]; then
  build_preset release
  run_tests release --no-tests=error -R "$@"
else
  build_preset release
  build_preset dev
  sanitized=0
  run_tests dev -L '^(fast|sim|fuzz|mutants)$' "$@" || sanitized=$?
  run_tests release "$@" || {
    status=$?
    ((sanitized == 0)) || say "tests failed under sanitizers too: build/junit-dev.xml"
    exit $status
  }
  ((sanitized == 0)) || die "tests failed under sanitizers, above: build/junit-dev.xml"
fi
