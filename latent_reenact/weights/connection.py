"""Connections that can be trusted to come from whom they claim: https alone, followed wherever it leads by https."""

from __future__ import annotations

import ipaddress
import urllib.request
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from latent_reenact.errors import DownloadError


def check_url(url: str, before: str | None = None) -> None:
    """Allow https, and http of this very machine; from https never back to http.

    Args:
        before: the URL that led here.

    Raises:
        DownloadError.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DownloadError(f"{one_line(url)} is no URL ({error}); expected https://...") from None
    if parts.scheme == "https" and parts.hostname:
        return
    was_secure = before is not None and urlsplit(before).scheme == "https"
    if parts.scheme != "http" or was_secure or not _is_loopback(parts.hostname or ""):
        what = one_line(f"{before} leads to {url}" if before else url)
        raise DownloadError(f"{what}, which is not https: refused, since anyone on the way could change the file")


def opener(url: str) -> urllib.request.OpenerDirector:
    """What opens `url`: follows redirects that `check_url` allows; proxies serve all but this machine."""
    proxies: dict[str, str] | None = {} if _is_loopback(urlsplit(url).hostname or "") else None
    return urllib.request.build_opener(_Redirects, urllib.request.ProxyHandler(proxies))


def version_of(headers: Message) -> str | None:
    """What `If-Range` can ask for: a strong entity tag, or else the time of the last change."""
    tag = headers.get("ETag")
    version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    return version if version is not None and is_sendable(version) else None


def is_sendable(version: str) -> bool:
    """Whether a header can hold it: printable ASCII."""
    return version.isascii() and version.isprintable()


def one_line(words: object) -> str:
    """A server's words, safe in a message: one line, no control characters, not long."""
    return "".join(c if c.isprintable() else " " for c in str(words)).strip()[:200]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_url(newurl, req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
