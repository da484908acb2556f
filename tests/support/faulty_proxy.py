"""A link between edge and cloud that can be cut, slowed, stretched or turned into a black hole."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

_CHUNK = 4096  # bytes passed on at a time


class Link:
    """A TCP proxy on a free port of the loopback, `port`, to `target` there; a context manager.

    `delay` is in seconds each way, `rate` in bytes per second each way (0: unlimited). While `hole` is set nothing
    passes and nobody is told. All three may be changed at any time.
    """

    def __init__(self, target: int, delay: float = 0, rate: float = 0) -> None:
        self.target, self.delay, self.rate, self.hole = target, delay, rate, False
        self.port = 0
        self._up, self._ends = True, set[asyncio.StreamWriter]()
        self._tear, self._torn = -1, threading.Event()  # bytes until the cut; negative: none is due
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection, also in the middle of a packet, and every new one, until `heal`."""
        self._up = False
        self._run(self._reset())

    def tear(self, count: int) -> threading.Event:
        """Cut after `count` more bytes, in the middle of whatever they are part of; the event says when it is done."""
        self._torn.clear()
        self._tear = count
        return self._torn

    def heal(self) -> None:
        """Let everything pass again."""
        self._up, self.hole = True, False

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _reset(self) -> None:
        for end in list(self._ends):
            end.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=2)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            if not self._up:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._ends.add(far_writer)
            try:
                ways = ((reader, far_writer), (far_reader, writer))
                passing = [asyncio.create_task(self._pass(*way)) for way in ways]
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
                for task in passing:
                    task.cancel()
            finally:
                self._ends.discard(far_writer)
                far_writer.close()
        except OSError:
            pass
        finally:
            self._ends.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on in one direction; what is in the pipe for `delay` does not hold up what comes after it."""
        pipe: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)

        async def deliver() -> None:
            while True:
                due, data = await pipe.get()
                await asyncio.sleep(max(due - self._loop.time(), 0))
                while self.hole:
                    await asyncio.sleep(0.05)
                with suppress(OSError):
                    if 0 <= self._tear < len(data):
                        writer.write(data[: self._tear])
                        await writer.drain()
                        self._up, self._tear = False, -1
                        self._torn.set()
                        await self._reset()
                    else:
                        self._tear -= len(data) if self._tear >= 0 else 0
                        writer.write(data)
                        await writer.drain()
                pipe.task_done()

        delivery = asyncio.create_task(deliver())
        try:
            while data := await reader.read(_CHUNK):
                if self.rate:
                    await asyncio.sleep(len(data) / self.rate)
                await pipe.put((self._loop.time() + self.delay, data))
            await pipe.join()  # an end that closes has said what it had to say
        except OSError:
            pass  # the far end is gone; so is this way
        finally:
            delivery.cancel()
