"""The line of a given speed, through which the benchmark reads from a store."""

from __future__ import annotations

import asyncio
import contextlib
import time

import numpy as np

from kseq_tools.bench import object_store, slow_line


def test_a_slow_line_carries_every_byte_and_no_more_a_second_than_it_may() -> None:
    sent = np.random.default_rng(0).bytes(300_000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(4) == b"send"
        writer.write(sent)
        writer.close()

    async def fetch(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"send")
        received = await reader.read(-1)
        writer.close()
        return received

    async def run() -> float:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        (port,), line = [socket.getsockname()[1] for socket in server.sockets], object_store._free_port()
        passing = asyncio.create_task(slow_line.pass_on(line, port, 1e6))
        while not passing.done():
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", line))[1].close()
                break
            await asyncio.sleep(0.01)
        began = time.monotonic()
        assert await asyncio.wait_for(asyncio.gather(fetch(line), fetch(line)), 60) == [sent, sent]
        seconds = time.monotonic() - began
        passing.cancel()
        server.close()
        return seconds

    assert asyncio.run(run()) > 0.5
