"""JSON lines into documents: nothing is lost, and every drop says where and why."""

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node
from stages.core.schema import DOCUMENT, schema_of
from stages.core.stage import Guard, Inputs, Resources, SourceShard
from stages.core.store import Store
from stages.list_warcs import list_warcs
from stages.read_texts import BATCH_ROWS, ReadTexts, read_texts


def read(path, guard=None, **fields):
    extract = read_texts(ReadTexts(**fields), Inputs(), Resources())
    documents, drops, counters = [], [], {}
    for out in extract(SourceShard("val", path.name, 0, "", str(path)), guard or Guard()):
        if out.documents is not None:
            assert out.documents.schema == schema_of(DOCUMENT)
            documents += out.documents.to_pylist()
        if out.dropped is not None:
            drops += out.dropped.to_pylist()
        for name, count in out.counters.items():
            counters[name] = counters.get(name, 0) + count
    assert counters["records"] == len(documents) + len(drops)
    return documents, drops, counters


BROKEN = {
    b"{": "bad_json",
    b"[1, 2]": "bad_json",
    b'"text"': "bad_json",
    b'{"text": "\xff"}': "bad_json",
    b'{"text": "\\ud800"}': "bad_json",
    b'{"id": "\\udc00", "text": "x"}': "bad_json",
    b"[" * 100_000: "bad_json",
    b"{}": "no_text",
    b'{"id": "q", "text": null}': "no_text",
    b'{"text": 5, "\\ud800": 1}': "bad_json",
    b'{"text": 5}': "no_text",
    b'{"text": " \\n "}': "no_text",
}


def test_every_broken_line_is_a_drop_with_its_byte_offset(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in BROKEN) + b'{"id": 7, "text": "fine", "url": "http://x/"}')
    documents, drops, counters = read(path)
    end = sum(len(line) + 1 for line in BROKEN)
    assert documents == [{"id": "7", "url": "http://x/", "origin": f"val@{end}", "text": "fine"}]
    assert [drop["drop_reason"] for drop in drops] == list(BROKEN.values())
    offsets = [sum(len(line) + 1 for line in list(BROKEN)[:i]) for i in range(len(BROKEN))]
    assert [drop["origin"] for drop in drops] == [f"val@{offset}" for offset in offsets]
    assert all(drop["detail"]["note"] for drop in drops[:-1])
    assert counters == {"records": len(BROKEN) + 1, "blank_lines": 0}


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"id": st.integers(0, 9) | st.text(max_size=3), "text": st.text(max_size=9)}), max_size=20
    ),
    st.booleans(),
)
def test_rows_come_back(tmp_path_factory, rows, zipped):
    path = tmp_path_factory.mktemp("rows") / ("x.jsonl.gz" if zipped else "x.jsonl")
    data = "".join(json.dumps(row, ensure_ascii=False) + "\r\n\r\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    documents, drops, counters = read(path)
    expected, seen, offset = [], set(), 0
    for row in rows:
        name = str(row["id"]) or f"val@{offset}"
        offset += len(json.dumps(row, ensure_ascii=False).encode()) + 4
        if row["text"].strip() and name not in seen:
            seen.add(name)
            expected.append((name, row["text"]))
    assert [(d["id"], d["text"]) for d in documents] == expected
    assert counters["blank_lines"] == len(rows)
    for drop in drops:
        offset = int(drop["origin"].partition("@")[2])
        assert json.loads(data[offset:].splitlines()[0])["id"] is not None


def test_fields_have_names_and_a_second_id_is_dropped(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "a", "n": 1}\n{"question": "b", "n": 1}\n{"question": "c"}\n{"text": "d"}\n')
    documents, drops, _ = read(path, text_field="question", id_field="n")
    assert [d["id"] for d in documents] == ["1", "val@52"]
    assert [(d["drop_reason"], d["id"]) for d in drops] == [("duplicate_id", "1"), ("no_text", "val@70")]
    assert drops[1]["detail"]["note"] == "'question' is a NoneType (has: text)"


def test_a_quarantined_line_is_not_touched(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\n')
    documents, drops, _ = read(path, Guard({14: "quarantined_crash"}))
    assert [d["text"] for d in documents] == ["a"] and drops[0]["drop_reason"] == "quarantined_crash"


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(OSError):
        read(tmp_path / "none.jsonl")


def test_in_a_plan(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"id": f"a{i}", "text": "x"}) + "\n" for i in range(BATCH_ROWS + 5)) + "{\n"
    )
    (tmp_path / "b.jsonl").write_text("")
    plan = Plan("test_read", [read_texts.on(list_warcs.on(root=str(tmp_path), source="t", pattern="jsonl$"))])
    store = Store(tmp_path / "store")
    outcome = run_plan(plan, store, Resources(workers=0))["read_texts"]
    assert outcome.state == "ran"
    texts = open_node(store, plan, "read_texts")
    assert [(s.name, s.rows_in, s.rows_out, s.drops) for s in texts.shards] == [
        ("t-a.jsonl", BATCH_ROWS + 6, BATCH_ROWS + 5, {"bad_json": 1}),
        ("t-b.jsonl", 0, 0, {}),
    ]
    assert isinstance(texts.table("t-b.jsonl"), pa.Table)
