# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from otel_resinstr.mongodb._query_text import query_text

SECRET = "a value that nobody may see"

values = st.recursive(
    st.just(SECRET) | st.integers() | st.none() | st.binary() | st.booleans(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("command", "collection_at", "text"),
    [
        ({"ping": 1}, None, '{"ping": "?"}'),
        ({"find": "things", "filter": {}}, "find", '{"find": "things", "filter": {}}'),
        ({"dropUser": "alice"}, None, '{"dropUser": "?"}'),
        ({"getMore": 7, "collection": "things"}, "collection", '{"getMore": "?", "collection": "things"}'),
        ({"aggregate": 1, "pipeline": []}, "aggregate", '{"aggregate": "?", "pipeline": []}'),
        (
            {"find": "things", "filter": {"a": {"$in": [1, 2]}, "b": [1, {"c": 1}, 2, 3, [4]]}},
            "find",
            '{"find": "things", "filter": {"a": {"$in": ["?"]}, "b": ["?", {"c": "?"}, "?", ["?"]]}}',
        ),
        (
            {"find": "things", "lsid": {"id": 1}, "$db": "shop", "$clusterTime": 1, "signature": 1},
            "find",
            '{"find": "things"}',
        ),
        ({'a "quoted" kéy': 1}, None, r'{"a \"quoted\" kéy": "?"}'),
    ],
)
def test_values_are_replaced_and_keys_stay(command, collection_at, text):
    """But for the collection's name, and what the driver adds."""
    assert text == query_text(command, collection_at, 1000)


@given(st.dictionaries(st.text(max_size=10), values, max_size=5), st.integers(1, 300))
def test_no_value_is_in_it_and_it_is_as_long_as_it_may_be(command, limit):
    """Whatever the command is; and it can be parsed where it is whole."""
    text = query_text(command, None, limit)

    assert len(text) <= limit
    assert SECRET not in text
    if not text.endswith("…"):
        assert set(command) - {"lsid", "$db", "$clusterTime", "signature"} == set(json.loads(text))


def test_a_long_list_is_cut():
    """A hundred elements are looked at."""
    text = query_text({"documents": [{"a": 1}] * 101}, None, 10_000)

    assert (100, True) == (text.count("{") - 1, text.endswith('{"a": "?"}, …]}'))


def test_depth_is_bounded():
    """A document that is nested deeper than any server takes does not end in a RecursionError."""
    nested = {}
    for _ in range(5000):
        nested = {"a": nested}

    assert 20 == query_text(nested, None, 100_000).count("{")


def test_raw_documents_are_documents():
    """An application may hand over what is encoded already."""
    raw = RawBSONDocument(bson.encode({"a": SECRET, "b": [1, 2]}))

    assert '{"insert": "things", "documents": [{"a": "?", "b": ["?"]}]}' == query_text(
        {"insert": "things", "documents": [raw]}, "insert", 1000
    )
