"""Identity: one text for one meaning, the same in every process, and a refusal of what has none."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.config import config, location
from stages.core.fingerprint import canonical_json, changed_fields, digest, library_versions, source_hash

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@config
class Thing:
    size: int = 3
    place: str = location(default="here")


@given(JSON)
def test_key_order_and_sequence_type_do_not_matter(value):
    def turned(v):
        if isinstance(v, dict):
            return {k: turned(v[k]) for k in reversed(list(v))}
        return tuple(turned(x) for x in v) if isinstance(v, list) else v

    assert digest(value) == digest(turned(value))


@given(JSON, JSON)
def test_different_values_have_different_texts(a, b):
    if canonical_json(a) == canonical_json(b):
        assert changed_fields(a, b) == [] or a == b


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: "a"}, object(), {1, 2}, b"x", lambda: 0])
def test_what_has_no_single_form_is_refused(value):
    with pytest.raises(TypeError, match="fingerprint"):
        digest(value)


def test_places_never_enter():
    assert digest(Thing(place="a")) == digest(Thing(place="b")) != digest(Thing(size=4))


def test_same_in_another_process():
    value = {"b": [1, 2.5, None, "ü"], "a": {"x": True}}
    code = f"from stages.core.fingerprint import digest; print(digest({value!r}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "77", "PATH": ""})
    assert out.stdout.strip() == digest(value)


def test_changed_fields_name_the_leaf():
    assert changed_fields({"config": {"a": 1, "b": 2}}, {"config": {"a": 1, "b": 3}}) == ["config.b: 2 -> 3"]


def test_missing_library_is_named():
    with pytest.raises(ValueError, match="no-such-package.*make setup"):
        library_versions(("no-such-package",))


def test_source_hash_follows_kernels():
    from stages.core import engine

    assert len(source_hash(engine.run_plan)) == 64
