# SPDX-License-Identifier: Apache-2.0
"""Who is at an end point: looked at layer by layer, so that what is wrong has a name of its own."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

WITHIN = 2.0
"""Seconds for one layer."""

# https://www.rfc-editor.org/rfc/rfc9113#section-3.4: what a client of HTTP/2 begins with, and an empty SETTINGS.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_FRAME_HEAD = 9
_SETTINGS = 4


class State(Enum):
    """How far one gets."""

    UNRESOLVED = "the name has no address"
    REFUSED = "nothing listens"
    UNREACHABLE = "no connection"
    NOT_TLS = "it does not answer to TLS"
    UNTRUSTED = "its certificate is not trusted"
    TLS = "it wants TLS"
    HTTP1 = "it speaks HTTP/1"
    HTTP2 = "it speaks HTTP/2"
    SILENT = "it takes connections, and says nothing that is HTTP"


class Seen(NamedTuple):
    """What was seen, and in whose words."""

    state: State
    said: str = ""


def look(
    host: str,
    port: int,
    trust: ssl.SSLContext | None,
    *,
    first: State = State.HTTP1,
    within: float = WITHIN,
) -> Seen:
    """Who listens at *port* of *host*; with *trust*, whether that can be trusted by it.

    HTTP/1 and HTTP/2 are tried, *first* first: there are servers of both.
    """
    obstacle = _obstacle(host, port, trust, within)
    if obstacle is not None:
        return obstacle
    for state in sorted((State.HTTP1, State.HTTP2), key=lambda each: each is not first):
        words = _first_words(host, port, trust, within, state)
        if words is None:
            return Seen(State.SILENT)
        if _is_of(state, words):
            return Seen(state)
    return Seen(State.TLS if trust is None and wants_tls(host, port, within) else State.SILENT)


def _obstacle(host: str, port: int, trust: ssl.SSLContext | None, within: float) -> Seen | None:
    """What keeps one from saying anything: the name, the connection, TLS."""
    state = State.UNRESOLVED
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        state = State.UNREACHABLE
        socket.create_connection((host, port), within).close()
        if trust is not None:
            state = State.NOT_TLS
            _tls(host, port, trust, within).close()
    except ssl.SSLCertVerificationError as error:
        return Seen(State.UNTRUSTED, error.verify_message)
    except ConnectionRefusedError as error:
        return Seen(State.REFUSED, str(error))
    except (OSError, UnicodeError) as error:
        return Seen(state, str(error))
    return None


def wants_tls(host: str, port: int, within: float = WITHIN) -> bool:
    """Whether a server answers to TLS. One that wants it may answer without, to say so."""
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE  # nothing is sent: the question is whether it is TLS
    try:
        _tls(host, port, anybody, within).close()
    except OSError:
        return False
    return True


def _tls(
    host: str, port: int, trust: ssl.SSLContext, within: float, protocol: str = "http/1.1"
) -> ssl.SSLSocket:
    trust.set_alpn_protocols([protocol])
    connection = socket.create_connection((host, port), within)
    try:
        return trust.wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def _first_words(
    host: str, port: int, trust: ssl.SSLContext | None, within: float, state: State
) -> bytes | None:
    """How a server begins its answer to a greeting; None if it takes its time, nothing if it hangs up."""
    protocol, greeting = "h2", _PREFACE
    if state is State.HTTP1:
        protocol = "http/1.1"
        greeting = f"HEAD / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
    words = b""
    try:
        connection = (
            socket.create_connection((host, port), within)
            if trust is None
            else _tls(host, port, trust, within, protocol)
        )
        with connection:
            connection.settimeout(within)
            connection.sendall(greeting)
            while len(words) < _FRAME_HEAD and (more := connection.recv(_FRAME_HEAD - len(words))):
                words += more
    except TimeoutError:
        return words or None
    except OSError:
        pass
    return words


def _is_of(state: State, words: bytes) -> bool:
    if state is State.HTTP1:
        return words.startswith(b"HTTP/1.")
    return len(words) == _FRAME_HEAD and words[3] == _SETTINGS


def proxy(scheme: str, host: str, environ: Mapping[str, str], *, grpc: bool) -> str | None:
    """The variable that puts a proxy between us and *host*, if one does.

    As the libraries read them: gRPC only in lower case, requests also in upper case.
    """
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    exceptions = ["no_proxy", "NO_PROXY"]
    if grpc:
        names = ["grpc_proxy", "https_proxy", "http_proxy"]
        exceptions = ["no_grpc_proxy", "no_proxy"]
    if any(_excepted(host, environ.get(name, "")) for name in exceptions):
        return None
    return next((name for name in names if environ.get(name)), None)


def _excepted(host: str, exceptions: str) -> bool:
    ends = [each.strip().lstrip(".").lower() for each in exceptions.split(",") if each.strip()]
    return any(
        end == "*" or host.lower() == end or host.lower().endswith(f".{end}") or _within(host, end)
        for end in ends
    )


def _within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:  # a name
        return False


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by its name or number."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
