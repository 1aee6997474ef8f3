# SPDX-License-Identifier: Apache-2.0
"""Shell scripts are found whatever they are called, and what is wrong in them fails."""

import subprocess
from pathlib import Path

SHELL = Path(__file__).resolve().parent / "shell.py"
WRONG = "\nrm $1\n"


def said(tmp_path, **files) -> subprocess.CompletedProcess:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    return subprocess.run([SHELL, tmp_path], capture_output=True, text=True, check=False)


def test_scripts_are_found_by_name_and_by_first_line(tmp_path):
    done = said(tmp_path, part_sh="# shellcheck shell=bash" + WRONG, program="#!/bin/bash" + WRONG, plain="#!/bin/sh" + WRONG,
                environment="#!/usr/bin/env bash" + WRONG, python="#!/usr/bin/env python3" + WRONG, text_md="rm $1\n")
    assert done.returncode != 0
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == {"part.sh", "program", "plain", "environment"}


def test_a_right_script_passes(tmp_path):
    done = said(tmp_path, part_sh='#!/bin/sh\nrm "$1"\n')
    assert (done.returncode, done.stdout) == (0, "")
