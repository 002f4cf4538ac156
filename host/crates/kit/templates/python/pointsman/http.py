"""HTTP requests over `wasi:http`. Leave this file as it is.

`request`, `get` and `post` wait for the response; `arequest`, `aget` and `apost`
are their `async` forms. A request that gets no response raises `RequestFailed`,
which makes the command unavailable where nobody catches it. Any status is a
response: see `Response.raise_for_status`. `[http] allow` of the handler's
settings says what may be requested.
"""

import json as _json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from componentize_py_types import Err
from wit_world.imports import outgoing_handler, streams
from wit_world.imports import wasi_http_types as wasi

from . import Rejected, Unavailable

if TYPE_CHECKING:
    from wit_world.imports import poll

__all__ = [
    "RequestDenied",
    "RequestFailed",
    "Response",
    "ResponseTooLarge",
    "TooManyRedirects",
    "aget",
    "apost",
    "arequest",
    "get",
    "post",
    "request",
]

_CHUNK_BYTES = 65_536
# A chain that is longer has no end as a rule. In every SDK the same.
_REDIRECTS_MAX = 10
_CREDENTIALS = ("authorization", "cookie")
_OF_BODY = ("content-encoding", "content-language", "content-length", "content-location", "content-type")


class RequestFailed(Unavailable):
    """No response came. Not caught, it makes the command unavailable: it is tried again."""


class RequestDenied(Rejected):
    """The request may not go out, or is not valid. Not caught, it rejects the command."""


class ResponseTooLarge(Rejected):
    """The response exceeds a limit that the operator set. Not caught, it rejects the command."""


class TooManyRedirects(Rejected):
    """The request was redirected more often than it may be. Not caught, it rejects the command."""


class Headers(Mapping[str, str]):
    """Headers by name, in any case. Those that came more than once are joined by a comma."""

    def __init__(self, pairs: Iterable[tuple[str, str]]):
        self.pairs = list(pairs)

    def __getitem__(self, name: str) -> str:
        values = [value for known, value in self.pairs if known.lower() == name.lower()]
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower(): None for name, _ in self.pairs})

    def __len__(self) -> int:
        return len(set(self))


@dataclass(frozen=True)
class Response:
    """What a server answered."""

    url: str
    """Where it came from, after redirects."""
    status: int
    headers: Headers
    content: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the status is from 200 to 299."""
        return 200 <= self.status <= 299

    @property
    def text(self) -> str:
        """The content as text: UTF-8, what is not being replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The content as JSON."""
        return _json.loads(self.content)

    def raise_for_status(self) -> "Response":
        """The response itself where `ok`. Raises `Unavailable` for 408, 429 and 5xx, and `Rejected` for others."""
        if self.ok:
            return self
        kind = Unavailable if self.status in (408, 429) or self.status >= 500 else Rejected
        raise kind(f"{self.url} answered with status {self.status}")


@dataclass
class _Request:
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    timeout: float | None
    redirects: int = _REDIRECTS_MAX


def _prepared(
    method: str,
    url: str,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    data: bytes | str | Mapping[str, Any] | None = None,
    timeout: float | None = None,
    redirects: int = _REDIRECTS_MAX,
) -> _Request:
    if json is not None and data is not None:
        raise TypeError("a request has `json` or `data`, not both")
    kind = None
    if json is not None:
        kind, data = "application/json", _json.dumps(json)
    elif isinstance(data, Mapping):
        kind, data = "application/x-www-form-urlencoded", urlencode(data, doseq=True)
    body = data.encode() if isinstance(data, str) else data
    if body is not None and not isinstance(body, (bytes, bytearray)):
        raise TypeError(f"`data` must be bytes, a str or a mapping, not a {type(body).__name__}")
    if params:
        url += ("&" if urlsplit(url).query else "?") + urlencode(params, doseq=True)
    sent = {name.lower(): str(value) for name, value in (headers or {}).items()}
    if kind:
        sent.setdefault("content-type", kind)
    whole = None if body is None else bytes(body)
    return _Request(method.upper(), url, sent, whole, timeout, min(redirects, _REDIRECTS_MAX))


# `_exchange` yields what it waits for: one text for the two ways to wait.


def _blocking(work: Any) -> Any:
    try:
        while True:
            pollable = next(work)
            pollable.block()
            pollable.__exit__(None, None, None)
    except StopIteration as done:
        return done.value


async def _awaiting(work: Any) -> Any:
    import asyncio

    loop: Any = asyncio.get_running_loop()
    try:
        while True:
            await loop.wait_for(next(work))
    except StopIteration as done:
        return done.value
    finally:
        work.close()


def request(method: str, url: str, **options: Any) -> Response:
    """Sends a request and waits for its response.

    Options: `params` for the query; `headers`; `json`, or `data` as bytes, text or a form; `timeout` in seconds
    for the connection, and for each wait for the response; `redirects`, which are followed up to 10 times unless less
    is said: with 0, they are responses. Each must be granted, and credentials do not go to another origin.
    """
    return _blocking(_followed(_prepared(method, url, **options)))


def get(url: str, **options: Any) -> Response:
    """Sends a GET request; see `request`."""
    return request("GET", url, **options)


def post(url: str, **options: Any) -> Response:
    """Sends a POST request; see `request`."""
    return request("POST", url, **options)


async def arequest(method: str, url: str, **options: Any) -> Response:
    """`request` for `async def`: others run while it waits."""
    return await _awaiting(_followed(_prepared(method, url, **options)))


async def aget(url: str, **options: Any) -> Response:
    """`get` for `async def`."""
    return await arequest("GET", url, **options)


async def apost(url: str, **options: Any) -> Response:
    """`post` for `async def`."""
    return await arequest("POST", url, **options)


def _followed(request: _Request) -> Iterator["poll.Pollable"]:
    for _ in range(request.redirects + 1):
        response = yield from _exchange(request)
        location = response.headers.get("location")
        if response.status not in (301, 302, 303, 307, 308) or location is None or request.redirects == 0:
            return response
        url = urljoin(request.url, location)
        headers = dict(request.headers)
        if urlsplit(url)[:2] != urlsplit(request.url)[:2]:
            for name in _CREDENTIALS:
                headers.pop(name, None)
        method, body = request.method, request.body
        if (response.status == 303 and method != "HEAD") or (response.status < 303 and method == "POST"):
            method, body = "GET", None
            for name in _OF_BODY:
                headers.pop(name, None)
        request = _Request(method, url, headers, body, request.timeout, request.redirects)
    raise TooManyRedirects(f"{request.url}: more than {request.redirects} redirects")


# What another try does not change. In every SDK the same.
_DENIED = (
    wasi.ErrorCode_HttpRequestDenied,
    wasi.ErrorCode_DestinationIpProhibited,
    wasi.ErrorCode_HttpRequestLengthRequired,
    wasi.ErrorCode_HttpRequestBodySize,
    wasi.ErrorCode_HttpRequestMethodInvalid,
    wasi.ErrorCode_HttpRequestUriInvalid,
    wasi.ErrorCode_HttpRequestUriTooLong,
    wasi.ErrorCode_HttpRequestHeaderSectionSize,
    wasi.ErrorCode_HttpRequestHeaderSize,
    wasi.ErrorCode_HttpRequestTrailerSectionSize,
    wasi.ErrorCode_HttpRequestTrailerSize,
)
_TOO_LARGE = (
    wasi.ErrorCode_HttpResponseHeaderSectionSize,
    wasi.ErrorCode_HttpResponseHeaderSize,
    wasi.ErrorCode_HttpResponseBodySize,
    wasi.ErrorCode_HttpResponseTrailerSectionSize,
    wasi.ErrorCode_HttpResponseTrailerSize,
)


def _failed(url: str, code: Any) -> Exception:
    kind = type(code).__name__.removeprefix("ErrorCode_")
    value = getattr(code, "value", None)
    error = RequestDenied if isinstance(code, _DENIED) else ResponseTooLarge if isinstance(code, _TOO_LARGE) else RequestFailed
    return error(f"{url}: {kind}: {value}" if value else f"{url}: {kind}")


def _exchange(request: _Request) -> Iterator["poll.Pollable"]:
    outgoing = _opened(request)
    body = outgoing.body() if request.body is not None else None
    try:
        future = outgoing_handler.handle(outgoing, _options(request.timeout))
    except Err as error:
        raise _failed(request.url, error.value) from None
    with future:
        if body is not None:
            yield from _upload(body, request.body or b"")
        while (answer := future.get()) is None:
            yield future.subscribe()
        # The outer result is for a second `get`, which does not happen.
        result = answer.value
        if isinstance(result, Err):
            raise _failed(request.url, result.value)
        return (yield from _received(request, result.value))


def _opened(request: _Request) -> wasi.OutgoingRequest:
    parts = urlsplit(request.url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"`{request.url}` is not a valid http or https URL")
    if "@" in parts.netloc:
        raise ValueError("a URL with a name or password is not sent: use the header `authorization`")
    headers = dict(request.headers)
    if request.body is not None:
        headers["content-length"] = str(len(request.body))
    try:
        fields = wasi.Fields.from_list([(name, value.encode()) for name, value in headers.items()])
    except Err as error:
        raise ValueError(f"a header of the request to {request.url} is not valid: {error.value}") from None
    outgoing = wasi.OutgoingRequest(fields)
    known = getattr(wasi, f"Method_{request.method.capitalize()}", None)
    try:
        outgoing.set_method(known() if known else wasi.Method_Other(request.method))
        outgoing.set_scheme(wasi.Scheme_Https() if parts.scheme == "https" else wasi.Scheme_Http())
        outgoing.set_authority(parts.netloc)
        outgoing.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    except Err:
        raise ValueError(f"the method {request.method} or the URL `{request.url}` is not valid") from None
    return outgoing


def _options(timeout: float | None) -> wasi.RequestOptions:
    options = wasi.RequestOptions()
    if timeout is not None:
        nanoseconds = int(timeout * 1e9)
        options.set_connect_timeout(nanoseconds)
        options.set_first_byte_timeout(nanoseconds)
        options.set_between_bytes_timeout(nanoseconds)
    return options


def _upload(body: wasi.OutgoingBody, data: bytes) -> Iterator["poll.Pollable"]:
    try:
        with body.write() as stream:
            at = 0
            while at < len(data):
                room = min(stream.check_write(), _CHUNK_BYTES)
                if room == 0:
                    yield stream.subscribe()
                else:
                    stream.write(data[at : at + room])
                    at += room
            stream.flush()
        wasi.OutgoingBody.finish(body, None)
    except Err:
        # The server stopped reading; it may have answered all the same.
        pass


def _received(request: _Request, incoming: wasi.IncomingResponse) -> Iterator["poll.Pollable"]:
    with incoming, incoming.headers() as fields:
        pairs = [(name, value.decode("utf-8", "replace")) for name, value in fields.entries()]
        parts = []
        with incoming.consume() as body, body.stream() as stream:
            try:
                while True:
                    if part := stream.read(_CHUNK_BYTES):
                        parts.append(part)
                    else:
                        yield stream.subscribe()
            except Err as error:
                if not isinstance(error.value, streams.StreamError_Closed):
                    if code := wasi.http_error_code(error.value.value):
                        raise _failed(request.url, code) from None
                    said = error.value.value.to_debug_string()
                    raise RequestFailed(f"{request.url}: the response broke off: {said}") from None
        return Response(request.url, incoming.status(), Headers(pairs), b"".join(parts))
