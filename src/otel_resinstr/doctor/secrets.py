# SPDX-License-Identifier: Apache-2.0
"""What stands in the environment and must not be shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HIDDEN = "(hidden)"

_NAMES = re.compile(
    "HEADERS|CONNECTION_?STRING|PASSWORD|PASSWD|SECRET|TOKEN|(?<!CLIENT)_KEY$|_URI$|_URL$", re.IGNORECASE
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SHORTEST = 4  # a shorter one would be found everywhere, and is no secret


class Secrets:
    """The secrets of an environment, to be hidden wherever they turn up: an exporter's message may quote them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        found = {part.strip() for name, value in environ.items() for part in _secrets(name, value)}
        longest_first = sorted(found, key=len, reverse=True)
        self._secrets = [secret for secret in longest_first if len(secret) >= _SHORTEST]

    def hide(self, text: str) -> str:
        """*text* without them."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def _secrets(name: str, value: str) -> Iterator[str]:
    """The whole value, and what is a secret by itself: a header's value, the key of a connection string."""
    if _NAMES.search(name):
        yield value
        for part in re.split("[,;]", value):
            key, equals, rest = part.partition("=")
            secret = rest if equals else key  # of a header that is malformed, or of one with a comma in it
            # The end point of a connection string is no secret, and a finding names it.
            if not secret.strip().startswith(("http://", "https://")):
                yield secret
                yield unquote(secret)
                yield unquote(secret).strip().rpartition(" ")[2]  # without "Bearer"
    if "://" in value:
        _, user, query = _parts(value)
        password = user.partition(":")[2]
        yield from (user, password, query, value.partition("?")[2].partition("#")[0])
        yield from re.split("[/?#]", password)  # as parsers take it apart that end the host there


def shown(url: str) -> str:
    """*url* without user, password and query."""
    return _parts(url)[0]


def _parts(url: str) -> tuple[str, str, str]:
    """What may be shown of *url*, who logs in there, and the query. By hand: `urlsplit` refuses some.

    The last @ ends the user, wherever it is: a password may have what ends a host.
    """
    scheme = _SCHEME.match(url)
    start = scheme[0] if scheme else ""
    user, _, rest = url.removeprefix(start).rpartition("@")
    rest, _, query = rest.partition("#")[0].partition("?")
    return start + rest, user, query
