#!/usr/bin/env python3
"""A TCP proxy that passes every byte on as it is and keeps the remoting frames it saw go by.

    proxy.py <frames file> <listen host:port>=<connect host:port>...

For each frame one line of JSON is appended to the frames file: connection, way ("up" towards the server, "down" from it),
host and port listened on, and the frame in hex. Frames over LIMIT bytes are passed on but not kept.
"""

import asyncio
import itertools
import json
import os
import signal
import sys

LIMIT = 128 * 1024
connections = itertools.count(1)


async def pump(reader, writer, keep):
    """Copies one direction and cuts what passes into frames."""
    seen = bytearray()
    try:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
            seen += chunk
            while len(seen) >= 4:
                end = 4 + int.from_bytes(seen[:4], "big")
                if len(seen) < end:
                    break
                if end <= LIMIT:
                    keep(bytes(seen[:end]))
                del seen[:end]
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        try:
            writer.close()
        except RuntimeError:
            pass


def split(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), port


async def serve(out, listen, target):
    host, port = split(listen)
    to_host, to_port = split(target)

    async def accept(reader, writer):
        number = f"{os.getpid()}-{next(connections)}"
        try:
            up_reader, up_writer = await asyncio.open_connection(to_host, int(to_port))
        except OSError:
            writer.close()
            return

        def keeper(way):
            def keep(frame):
                out.write(json.dumps({"conn": number, "way": way, "host": host, "port": int(port), "hex": frame.hex()}) + "\n")

            return keep

        await asyncio.gather(pump(reader, up_writer, keeper("up")), pump(up_reader, writer, keeper("down")))

    return await asyncio.start_server(accept, host, int(port), limit=1 << 20)


async def main():
    with open(sys.argv[1], "a", buffering=1 << 16) as out:
        for pair in sys.argv[2:]:
            await serve(out, *pair.split("="))
        print("ready", flush=True)
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        await stop.wait()
    # What connections are still open is of no interest any more.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
