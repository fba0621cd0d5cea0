"""A line of a given speed to a server on this machine: `python -m kseq_tools.bench.slow_line PORT TARGET BYTES_PER_S`.

It passes on what comes, and holds back what the server answers, so that all connections together get so many bytes a second.
"""

from __future__ import annotations

import asyncio
import sys

__all__ = ["pass_on"]

# Bytes that are passed on at a time, and seconds that the line may catch up after it had nothing to do.
_PIECE, _CATCH_UP = 1 << 16, 0.01


class _Pace:
    """How fast bytes may go."""

    def __init__(self, bytes_per_second: float) -> None:
        self._seconds_per_byte = 1 / bytes_per_second
        self._next = 0.0

    async def wait(self, count: int) -> None:
        """Return when so many bytes may go."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - _CATCH_UP) + count * self._seconds_per_byte
        if self._next > now:
            await asyncio.sleep(self._next - now)


async def pass_on(port: int, target: int, bytes_per_second: float) -> None:
    """Listen on a port of this machine, and pass what comes on to another, at that speed, until the task is cancelled."""
    pace = _Pace(bytes_per_second)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: _Pace | None) -> None:
        try:
            while piece := await reader.read(_PIECE):
                if pace is not None:
                    await pace.wait(len(piece))
                writer.write(piece)
                await writer.drain()
        except OSError:
            # One of both ends has gone: so does the other.
            pass
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(copy(reader, server_writer, None), copy(server_reader, writer, pace))

    server = await asyncio.start_server(connect, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(pass_on(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
