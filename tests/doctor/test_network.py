# SPDX-License-Identifier: Apache-2.0
"""Who is at an end point; the servers are real, and on loopback. Others are asked for in test_mistakes."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_resinstr.doctor.network import State, is_loopback, look, proxy, wants_tls

CERTIFICATE = Path(__file__).with_name("self-signed.pem")


@contextmanager
def saying(words, received=1):
    """A port where whoever connects is told *words* after the first bytes, and nothing more."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(received) and words:
                        connection.sendall(words)
                    if words is None:
                        connection.settimeout(10)
                        while connection.recv(4096):  # until the other end gives up
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join()


def test_a_server_that_takes_its_time():
    """It is called silent after one greeting: others would take as long."""
    with saying(None) as port:
        assert (State.SILENT, "") == look("127.0.0.1", port, None, within=0.05)


@pytest.mark.parametrize("words", [b"", b"+OK", b"-ERR unknown command 'HEAD'"])
def test_what_is_neither_http_nor_tls(words):
    """It hangs up, or says something else."""
    with saying(words) as port:
        assert State.SILENT is look("127.0.0.1", port, None, within=2).state


def test_http2_is_known_by_its_first_frame():
    """A server of gRPC begins with its settings, whatever it was told."""
    with saying(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05") as port:
        for first in (State.HTTP1, State.HTTP2):
            assert State.HTTP2 is look("127.0.0.1", port, None, first=first, within=2).state


def test_an_answer_in_pieces():
    """What comes first may be less than what is waited for."""
    with saying(b"HTTP/1") as port:
        assert State.SILENT is look("127.0.0.1", port, None, within=2).state


def test_a_server_of_tls(places):
    """With trust in its certificate it is one of HTTP; without, it is not trusted; in clear, it wants TLS."""
    host, _, port = places["terse"].partition(":")
    trust = ssl.create_default_context(cafile=CERTIFICATE)

    assert State.HTTP1 is look(host, int(port), trust).state
    assert State.UNTRUSTED is look(host, int(port), ssl.create_default_context()).state
    assert State.TLS is look(host, int(port), None).state
    assert wants_tls(host, int(port))


def test_a_name_that_no_resolver_takes():
    """It is no address, as one that is unknown."""
    assert State.UNRESOLVED is look("a" * 64 + ".example", 4318, None).state


@pytest.mark.parametrize(
    ("grpc", "environ", "variable"),
    [
        (False, {"http_proxy": "p"}, "http_proxy"),
        (False, {"HTTP_PROXY": "p"}, "HTTP_PROXY"),
        (False, {"ALL_PROXY": "p"}, "ALL_PROXY"),
        (False, {"https_proxy": "p"}, None),
        (True, {"https_proxy": "p"}, "https_proxy"),
        (True, {"grpc_proxy": "p", "https_proxy": "q"}, "grpc_proxy"),
        (True, {"HTTPS_PROXY": "p"}, None),
        (True, {"http_proxy": "p", "no_grpc_proxy": "collector.shop"}, None),
        (False, {"http_proxy": "p", "NO_PROXY": "other, .shop"}, None),
        (True, {"http_proxy": "p", "NO_PROXY": ".shop"}, "http_proxy"),
        (False, {"http_proxy": "p", "no_proxy": "*"}, None),
        (False, {"http_proxy": "p", "no_proxy": "shop.example,ector.shop"}, "http_proxy"),
        (False, {}, None),
    ],
)
def test_whether_a_proxy_is_in_between(grpc, environ, variable):
    """gRPC reads the names in lower case only, requests also those in upper case."""
    assert variable == proxy("http", "collector.shop", environ, grpc=grpc)


def test_networks_may_be_excepted_from_a_proxy():
    """As requests has it."""
    environ = {"http_proxy": "p", "no_proxy": "10.0.0.0/8"}

    assert proxy("http", "10.1.2.3", environ, grpc=False) is None
    assert proxy("http", "11.1.2.3", environ, grpc=False) == "http_proxy"


def test_what_is_this_machine():
    """By name, and by the numbers that are set aside for it."""
    assert [True, True, True, True, False, False] == [
        is_loopback(host) for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1", "10.0.0.1", "collector")
    ]
