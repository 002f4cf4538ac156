"""Lets `urllib.request` work: `import pointsman.urllib`, and `urlopen` sends its
requests by `pointsman.http`. Leave this file as it is.
"""

import io
import urllib.request
import urllib.response
from email.message import Message
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

from . import http


class _Handler(urllib.request.HTTPHandler):
    """In place of the handler that opens sockets, of which a handler has none."""

    def http_open(self, req: urllib.request.Request) -> Any:
        headers = {**req.unredirected_hdrs, **req.headers}
        dropped = ("host", "connection", "content-length", "transfer-encoding")
        headers = {name: value for name, value in headers.items() if name.lower() not in dropped}
        data: Any = req.data
        if data is not None and not isinstance(data, (bytes, bytearray)):
            data = data.read() if hasattr(data, "read") else b"".join(data)
        timeout = req.timeout if isinstance(req.timeout, (int, float)) else None
        asked = http._prepared(req.get_method(), req.full_url, headers=headers, data=data, timeout=timeout)
        try:
            # Redirects are for `urllib` to follow, by its own rules.
            answer = http._blocking(http._exchange(asked))
        except (http.RequestFailed, http.RequestDenied, http.ResponseTooLarge) as error:
            raise URLError(error) from error
        message = Message()
        for name, value in answer.headers.pairs:
            message[name] = value
        response: Any = urllib.response.addinfourl(io.BytesIO(answer.content), message, answer.url, answer.status)
        response.msg = ""
        return response

    https_open = http_open
    https_request = urllib.request.HTTPHandler.http_request


class _Redirects(urllib.request.HTTPRedirectHandler):
    """As that of `urllib`, which would send credentials to any other origin."""

    def redirect_request(self, req: urllib.request.Request, *args: Any) -> urllib.request.Request | None:
        following = super().redirect_request(req, *args)
        if following and urlsplit(following.full_url)[:2] != urlsplit(req.full_url)[:2]:
            for name in http._CREDENTIALS:
                following.remove_header(name.capitalize())
        return following


urllib.request.install_opener(urllib.request.build_opener(_Handler, _Redirects))
