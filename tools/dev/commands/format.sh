# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev format [--check | FILE...]
#
# Formats the C++ sources in place: all, or the files named. --check only says what is not right.

case ${1-} in
  --check) check_format ;;
  '') format_sources ;;
  *) run_on_platform clang-format-19 --style=file -i -- "$@" ;;
esac
