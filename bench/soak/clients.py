"""Requests over connections that are kept, and what became of each."""

from __future__ import annotations

import asyncio
from typing import Self

import grpc

ANSWER_LIMIT = 30.0  # seconds until a request counts as not answered


STATUSES = {
    grpc.StatusCode.OK: "200",
    grpc.StatusCode.UNAUTHENTICATED: "401",
    grpc.StatusCode.PERMISSION_DENIED: "403",
    grpc.StatusCode.INTERNAL: "500",
}


class HttpClient:
    """One HTTP/1.1 connection, opened anew after a failure."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def ask(self, fields: dict[str, str]) -> str:
        """The status of the answer; or why there is none."""
        sent = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{sent}\r\n".encode()
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                head = await self._head(request)
                at = head.index(b"content-length:") + 15
                await self._reader.readexactly(int(head[at:].split(b"\r\n", 1)[0]))
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            await self.__aexit__()
            return type(error).__name__
        if b"connection: close" in head:
            await self.__aexit__()
        return head[9:12].decode()

    async def _head(self, request: bytes) -> bytes:
        """The head of the answer. A kept connection that ended before its first octet is no answer: once more, on a new
        one, as every client does (RFC 9112 section 9.3.1)."""
        is_kept = self._writer is not None
        while True:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                self._writer.write(request)
                return (await self._reader.readuntil(b"\r\n\r\n")).lower()
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                if not is_kept or getattr(error, "partial", b""):
                    raise
                is_kept = False
                await self.__aexit__()


class GrpcClient:
    """One channel. A status is the HTTP one that means the same."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.unary_unary("/soak.Api/Call")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def ask(self, fields: dict[str, str]) -> str:
        """The status of the answer; or why there is none."""
        try:
            await self._call(b"", metadata=tuple(fields.items()), timeout=ANSWER_LIMIT, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            trailing = dict(error.trailing_metadata() or ())
            if error.code() is grpc.StatusCode.UNAVAILABLE and "grpc-retry-pushback-ms" in trailing:
                return "503"  # without it, the connection failed
            return STATUSES.get(error.code(), error.code().name)
        return "200"
