# SPDX-License-Identifier: Apache-2.0
"""What stands in the environment and is secret is not shown."""

from __future__ import annotations

import pytest

from otel_resinstr.doctor.secrets import Secrets, shown


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2,tenant=shop", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abcd,hunter2", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer hunter2,x=y1234", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=hunter2", "hunter2"),
        (
            "APPLICATIONINSIGHTS_CONNECTION_STRING",
            "InstrumentationKey=hunter2;IngestionEndpoint=https://x/",
            "hunter2",
        ),
        ("MONGODB_URI", "mongodb://user:hunter2@db/?tls=true", "mongodb://user:hunter2@db/?tls=true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:hunter2@collector:4318", "user:hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:hunter2@collector:4318", "hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector/v1/traces?key=hunter2", "key=hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:ab/hunter2@127.0.0.1:9", "hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2#cd@127.0.0.1:9", "hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2?cd@127.0.0.1:9", "user:hunter2?cd"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector/v1/traces?key=hunter2@x", "key=hunter2@x"),
        ("https_proxy", "http://user:hunter2@proxy:3128", "hunter2"),
        ("DB_PASSWORD", "hunter2", "hunter2"),
        ("ACCESS_TOKEN", "hunter2", "hunter2"),
    ],
)
def test_a_secret_is_hidden_wherever_it_turns_up(name, value, secret):
    """An exporter's message, or a server's, may quote it."""
    assert "401: (hidden) is unknown" == Secrets({name: value}).hide(f"401: {secret} is unknown")


def test_what_is_no_secret_stays():
    """The address that a finding is about, the path of a file, and what is too short to be one."""
    secrets = Secrets(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/etc/key.pem",
            "OTEL_EXPORTER_OTLP_HEADERS": "x=1",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": "IngestionEndpoint=https://westeurope.example/",
            "MONGODB_URI": "",
        }
    )
    text = "http://collector:4318 /etc/key.pem 1 https://westeurope.example/"

    assert text == secrets.hide(text)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://user:pw@host:1/path?key=1#x", "https://host:1/path"),
        ("http://user:p/w@host:9", "http://host:9"),
        ("http://user:p?w@host:9/path", "http://host:9/path"),
        ("http://user:p#w@x://y@host:9", "http://host:9"),
        ("user:pw@host:4318", "host:4318"),
        ("host:4318", "host:4318"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_an_address_is_shown_without_them(url, seen):
    """Also one that makes no sense."""
    assert seen == shown(url)
