# SPDX-License-Identifier: Apache-2.0
"""Marks in the payload of inner packets, by which a capture tells whose they are: those of a case,
which must be seen nowhere, and the one behind them that arrives (the positive control)."""

from pathlib import Path


def mark_of(case: str) -> bytes:
    return f"<{case}>".encode()


def control_of(case: str) -> bytes:
    return f"<control of {case}>".encode()


def control_seen(case: str, capture: Path) -> bool:
    return control_of(case) in capture.read_bytes()


def times_seen(case: str, capture: Path) -> int:
    return capture.read_bytes().count(mark_of(case))
