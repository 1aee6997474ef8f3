# SPDX-License-Identifier: Apache-2.0
"""A web page of 40 objects over HTTP/1.1, as a browser loads it: first the page, then the rest over
six connections that stay open, TCP with CUBIC at both ends.

    page.py serve ADDRESS PORT            until SIGTERM; `listening` on standard error
    page.py load ADDRESS PORT SECONDS     loads again and again; a JSON list of milliseconds each"""

import asyncio
import json
import random
import socket
import sys
import time

CONNECTIONS = 6
LOAD_LIMIT_S = 60.0
# The page, then scripts, styles and pictures: the same in every run, 1.2 MB or so in all.
_draw = random.Random(40)
OBJECTS = [30_000] + [round(_draw.lognormvariate(9.7, 1.0)) for _ in range(39)]


def use_cubic(connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    use_cubic(writer.get_extra_info("socket"))
    try:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            body = bytes(OBJECTS[int(line.split()[1][1:])])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(address: str, port: int) -> None:
    server = await asyncio.start_server(answer, address, port)
    print("listening", file=sys.stderr, flush=True)
    await server.serve_forever()


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(b"GET /%d HTTP/1.1\r\nHost: page.example\r\nAccept: */*\r\n"
                 b"User-Agent: bench/1\r\n\r\n" % number)
    length = 0
    while line := (await reader.readline()).strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.split()[1])
    await reader.readexactly(length)


async def load(address: str, port: int) -> float:
    """Milliseconds from the first SYN to the last byte."""
    started = time.monotonic()
    left = list(range(len(OBJECTS) - 1, 0, -1))
    writers = []

    async def work(first: int | None) -> None:
        reader, writer = await asyncio.open_connection(address, port)
        writers.append(writer)
        use_cubic(writer.get_extra_info("socket"))
        if first is not None:
            await get(reader, writer, first)
            others = [asyncio.create_task(work(None)) for _ in range(CONNECTIONS - 1)]
        else:
            others = []
        while left:
            await get(reader, writer, left.pop())
        for other in others:
            await other

    try:
        await asyncio.wait_for(work(0), LOAD_LIMIT_S)
    finally:
        for writer in writers:
            writer.close()
    return (time.monotonic() - started) * 1000


async def load_again(address: str, port: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    times: list[float] = []
    while not times or time.monotonic() < deadline:
        times.append(round(await load(address, port), 1))
    print(json.dumps(times), flush=True)


def main() -> None:
    mode, address, port, *rest = sys.argv[1:]
    if mode == "serve":
        asyncio.run(serve(address, int(port)))
    else:
        asyncio.run(load_again(address, int(port), float(rest[0])))


if __name__ == "__main__":
    main()
