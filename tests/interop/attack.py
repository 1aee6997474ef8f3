# SPDX-License-Identifier: Apache-2.0
"""What both adversaries share: a case, what may come of it, and how that is judged.

A case does one thing that no honest peer does and then looks: did the other side end the request
stream, close the connection, answer with a status, or go on as if nothing had been? The rules are
named by RFC section and by the rows of the protocol catalogue (docs/conformance.md)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import raw_http3 as raw

# Code points by name, for reports.
CODE_NAMES = {value: name for name, value in vars(raw).items()
              if name.startswith(("H3_", "QPACK_D")) and isinstance(value, int)}


@dataclass
class Outcome:
    """What the attacked side did."""
    status: int | None = None  # of the answer to the request
    stream: str = "open"  # open, fin, reset or stop
    stream_code: int | None = None
    close_code: int | None = None  # of the connection, None while it is open
    close_reason: str = ""
    tunnel_works: bool = False  # an echo through the attacked request is answered
    connection_works: bool = False  # it answers a QUIC ping
    next_request_works: bool | None = None  # an honest request on the same connection gets 200
    notes: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        parts = [f"status {self.status}", f"stream {self.stream}"]
        if self.stream_code is not None:
            parts[-1] += f" {CODE_NAMES.get(self.stream_code, hex(self.stream_code))}"
        if self.close_code is not None:
            parts.append(f"closed {CODE_NAMES.get(self.close_code, hex(self.close_code))} "
                         f"{self.close_reason!r}")
        parts.append("tunnel works" if self.tunnel_works else "no tunnel")
        if self.next_request_works is not None:
            parts.append("next request works" if self.next_request_works else "NEXT REQUEST FAILS")
        return ", ".join(parts) + (f" {self.notes}" if self.notes else "")


@dataclass(frozen=True)
class Expectation:
    """A judgement with its name. Several joined by | : any will do."""
    text: str
    holds: Callable[[Outcome], bool]

    def __or__(self, other: "Expectation") -> "Expectation":
        return Expectation(f"{self.text} or {other.text}",
                           lambda outcome: self.holds(outcome) or other.holds(outcome))


def names(codes: tuple[int, ...]) -> str:
    return "/".join(CODE_NAMES.get(code, hex(code)) for code in codes)


# Nothing happened: the same request still carries packets.
IGNORED = Expectation("ignored, the tunnel works", lambda outcome: outcome.tunnel_works)


def stream_error(*codes: int) -> Expectation:
    """The request is aborted with one of the codes; the connection serves on."""
    return Expectation(f"stream error {names(codes)}", lambda outcome: (
        outcome.stream in ("reset", "stop") and outcome.stream_code in codes and
        outcome.connection_works and outcome.next_request_works is not False))


def connection_error(*codes: int) -> Expectation:
    return Expectation(f"connection error {names(codes)}",
                       lambda outcome: outcome.close_code in codes)


def answered(*statuses: int) -> Expectation:
    """With one of the statuses; none given: with any refusal, 4xx or 5xx."""
    text = "/".join(map(str, statuses)) or "4xx/5xx"
    return Expectation(f"answered {text}", lambda outcome: outcome.connection_works and (
        outcome.status in statuses if statuses else (outcome.status or 0) >= 400))


# RFC 9114 4.1.2: a malformed request is a stream error; a 400 before it is allowed.
MALFORMED = stream_error(raw.H3_MESSAGE_ERROR) | answered(400)
# RFC 9484 says "abort the request stream" and names no code.
ABORTED = stream_error(raw.H3_MESSAGE_ERROR, raw.H3_REQUEST_CANCELLED,
                       raw.H3_GENERAL_PROTOCOL_ERROR)
# A limit of the other side: it may answer with any of these, or cope.
LIMITED = stream_error(raw.H3_EXCESSIVE_LOAD, raw.H3_MESSAGE_ERROR, raw.H3_REQUEST_CANCELLED,
                       raw.H3_REQUEST_REJECTED) | connection_error(raw.H3_EXCESSIVE_LOAD)
CLEAN_END = Expectation("a clean end of the stream", lambda outcome: (
    outcome.connection_works and (outcome.stream == "fin" or
                                  outcome.stream_code in (raw.H3_NO_ERROR,
                                                          raw.H3_REQUEST_CANCELLED))))


@dataclass(frozen=True)
class Case:
    name: str
    rule: str
    expectation: Expectation
    # The section of the table it stands in.
    group: str
    # Attacks; returns the request stream that is looked at, None: the honest one.
    attack: Callable[[Any], Awaitable[int | None]]


class Table:
    """The cases of one adversary, in order. Names are unique."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.group = ""  # of the cases that follow

    def add(self, name: str, rule: str, expectation: Expectation, attack: Any) -> None:
        assert name not in self.cases, name
        self.cases[name] = Case(name, rule, expectation, self.group, attack)

    def case(self, rule: str, expectation: Expectation) -> Callable[[Any], Any]:
        """Decorator: the function's name is the case's."""
        def register(attack: Any) -> Any:
            self.add(attack.__name__, rule, expectation, attack)
            return attack

        return register


def ending(stream: raw.Stream) -> tuple[str, int | None]:
    if stream.reset_code is not None:
        return "reset", stream.reset_code
    if stream.stop_code is not None:
        return "stop", stream.stop_code
    return ("fin", None) if stream.finished else ("open", None)
