# SPDX-License-Identifier: Apache-2.0
"""What a client sees on the wire while a gateway ends: `watch_shutdown.py` with the options of
attack_gateway.py. It opens a tunnel, prints {"ready": true}, and goes on asking for tunnels whatever
GOAWAY says. When the connection is closed it prints
{"goaways", "tunnel", "requests", "pings_after_goaway", "close_code", "seconds"}: tunnel and requests
are [stream id, how it ended, error code], seconds are from the first GOAWAY to the end."""

import argparse
import asyncio
import json
import time

import raw_http3 as raw
from attack import ending
from attack_gateway import Attack, add_options
from connect_ip import decode_varint

WATCH_LIMIT_S = 30.0


def goaways(attack: Attack) -> list[int]:
    control = attack.conn.control()
    found = [decode_varint(payload) for kind, payload in (control.frames if control else [])
             if kind == raw.GOAWAY]
    return [value[0] for value in found if value]


async def watch(attack: Attack) -> dict[str, object]:
    await attack.connect()
    tunnel = await attack.tunnel()
    print(json.dumps({"ready": True}), flush=True)
    conn = attack.conn
    await conn.until(lambda: goaways(attack), WATCH_LIMIT_S)
    started = time.monotonic()
    asked = [attack.send_request()]
    pings = await attack.echo(tries=1)
    await conn.until(lambda: len(goaways(attack)) > 1, WATCH_LIMIT_S)
    if not conn.closed:
        asked.append(attack.send_request())
    await conn.until(lambda: conn.closed, WATCH_LIMIT_S)
    return {"goaways": goaways(attack),
            "tunnel": [tunnel, *ending(conn.stream(tunnel))],
            "requests": [[one, *ending(conn.stream(one))] for one in asked],
            "pings_after_goaway": pings, "close_code": conn.close_code,
            "seconds": time.monotonic() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description="Watches a gateway end, for tests.")
    add_options(parser)
    attack = Attack(parser.parse_args())

    async def run() -> None:
        print(json.dumps(await watch(attack)), flush=True)
        attack.close()

    asyncio.run(run())


if __name__ == "__main__":
    main()
