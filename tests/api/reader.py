"""A reader of an event stream that speaks ASGI, so that it can leave, or take nothing more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from litestar.types import ASGIApp


class Event(NamedTuple):
    id: str
    name: str
    data: str


class Reader:
    """`takes`: cleared, a send waits for ever."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.text = ""
        self.done = False
        self.takes = asyncio.Event()
        self.takes.set()
        self.gone = asyncio.Event()
        self._news = asyncio.Event()

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.text += message["body"].decode()
            self.done = not message["more_body"]
        self._news.set()

    @property
    def events(self) -> list[Event]:
        """Those that have come whole."""
        blocks = self.text.split("\n\n")[:-1]
        fields = [
            dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            for block in blocks
        ]
        return [
            Event(one.get("id", ""), one.get("event", ""), one["data"])
            for one in fields
            if "data" in one
        ]

    async def until(self, text: str) -> None:
        """Wait until `text` has come."""
        async with asyncio.timeout(20):
            while text not in self.text:
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def reading(
    app: ASGIApp, path: str = "/", query: str = "", **headers: str
) -> AsyncGenerator[tuple[Reader, asyncio.Task[None]]]:
    """A GET, and the task that answers it; the reader leaves at the end of the block."""
    reader = Reader()
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
        "server": ("bank", 80),
        "client": ("reader", 1),
    }
    answering = asyncio.create_task(app(scope, reader.receive, reader.send))  # type: ignore[arg-type]
    try:
        yield reader, answering
    finally:
        reader.gone.set()
        await asyncio.wait_for(answering, 20)
