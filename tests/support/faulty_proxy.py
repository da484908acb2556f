"""A link between edge and cloud that can be cut, slowed, stretched or turned into a black hole."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

CHUNK = 4096  # bytes passed on at a time
PIPE = 1024  # chunks on their way in one direction
PATIENCE_S = 10.0  # for what the proxy's own thread is asked to do


class FaultyProxy:
    """A TCP proxy on a free port of the loopback, `port`, to `target` there; a context manager.

    `delay_s` holds each way, `bytes_per_s` each way (0: unlimited). While `hole` is set nothing
    passes and nobody is told. All may be changed at any time.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay_s = 0.0
        self.bytes_per_s = 0.0
        self.hole = False
        self._up = True
        self._ends: set[asyncio.StreamWriter] = set()
        self._torn = threading.Event()
        self._bytes_until_cut: int | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection, also within a packet, and every new one, until `heal`."""
        self._up = False
        self._run(self._reset())

    def tear(self, count: int) -> threading.Event:
        """Cut after `count` more bytes, whatever they are part of; the event says when."""
        self._torn.clear()
        self._bytes_until_cut = count
        return self._torn

    def heal(self) -> None:
        """Let everything pass again."""
        self._up = True
        self.hole = False

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _reset(self) -> None:
        for end in list(self._ends):
            end.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=2)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            if self._up:
                await self._join(reader, writer)
        except OSError:
            pass  # the far end is not there, or gone
        finally:
            self._ends.discard(writer)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on both ways until one of the ends is gone."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._ends.add(far_writer)
        try:
            there = asyncio.create_task(self._pass(reader, far_writer))
            back = asyncio.create_task(self._pass(far_reader, writer))
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            back.cancel()
        finally:
            self._ends.discard(far_writer)
            far_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on in one direction; what is delayed does not hold up what comes after it."""
        pipe: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIPE)
        delivery = asyncio.create_task(self._deliver(pipe, writer))
        try:
            while data := await reader.read(CHUNK):
                if self.bytes_per_s:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                await pipe.put((self._loop.time() + self.delay_s, data))
            await pipe.join()  # an end that closes has said what it had to say
        except OSError:
            pass  # the far end is gone; so is this way
        finally:
            delivery.cancel()

    async def _deliver(
        self, pipe: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await pipe.get()
            await asyncio.sleep(max(due - self._loop.time(), 0))
            while self.hole:
                await asyncio.sleep(0.05)
            with suppress(OSError):
                await self._write(writer, data)
            pipe.task_done()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        left = self._bytes_until_cut
        if left is None or left >= len(data):
            if left is not None:
                self._bytes_until_cut = left - len(data)
            writer.write(data)
            await writer.drain()
            return
        writer.write(data[:left])
        await writer.drain()
        self._up = False
        self._bytes_until_cut = None
        self._torn.set()
        await self._reset()
