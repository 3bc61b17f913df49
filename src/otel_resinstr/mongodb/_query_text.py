# SPDX-License-Identifier: Apache-2.0
"""The shape of a command as text: its keys, without any value of the application's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_VALUE = '"?"'
_DEPTH = 20
_ELEMENTS = 100  # of a list are looked at

# What the driver adds to a command (https://github.com/mongodb/specifications/blob/master/source/open-telemetry/).
_OF_THE_DRIVER = frozenset({"lsid", "$db", "$clusterTime", "signature"})


def query_text(command: Mapping[str, Any], collection_at: str | None, limit: int) -> str:
    """*command* as JSON in which `?` stands for each value, at most *limit* characters of it.

    The name of the collection, found at the key *collection_at*, stays. Keys are shown: an application that uses
    what it knows of people as keys should leave this off. The cost depends on *limit*, not on the command's size.
    """
    text, complete = _first(_top(command, collection_at), limit)
    return text if complete else text[: limit - 1] + "…"


def _first(pieces: Iterator[str], limit: int) -> tuple[str, bool]:
    taken, length = [], 0
    for piece in pieces:
        taken.append(piece)
        length += len(piece)
        if length > limit:
            return "".join(taken), False
    return "".join(taken), True


def _top(command: Mapping[str, Any], collection_at: str | None) -> Iterator[str]:
    def value(key: str) -> Iterable[str]:
        named = command[key]
        return (_quoted(named),) if key == collection_at and isinstance(named, str) else _shape(named, 1)

    return _document((key for key in command if key not in _OF_THE_DRIVER), value)


def _shape(value: Any, depth: int) -> Iterator[str]:
    if depth >= _DEPTH:
        yield _VALUE
    elif isinstance(value, Mapping):
        yield from _document(value, lambda key: _shape(value[key], depth + 1))
    elif isinstance(value, (list, tuple)):
        yield from _list(value, depth + 1)
    else:
        yield _VALUE


def _document(keys: Iterable[str], value: Any) -> Iterator[str]:
    opening = "{"
    for key in keys:
        yield f"{opening}{_quoted(key)}: "
        yield from value(key)
        opening = ", "
    yield "{}" if opening == "{" else "}"


def _list(elements: list[Any] | tuple[Any, ...], depth: int) -> Iterator[str]:
    opening, plain = "[", False
    for element in islice(elements, _ELEMENTS):
        if isinstance(element, (Mapping, list, tuple)):
            yield opening
            yield from _shape(element, depth)
            plain = False
        elif not plain:  # one stands for all that follow each other
            yield f"{opening}{_VALUE}"
            plain = True
        opening = ", "
    if len(elements) > _ELEMENTS:
        yield ", …"
    yield "[]" if opening == "[" else "]"


def _quoted(text: Any) -> str:
    return json.dumps(str(text), ensure_ascii=False)
