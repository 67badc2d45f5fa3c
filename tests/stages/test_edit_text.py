import pyarrow as pa
import pytest

from stages.core.stage import Inputs, Resources
from stages.edit_text import EditText, edit_text, resolve_domains


def judge(texts, kind=None, **fields):
    batch = pa.record_batch({"text": pa.array(texts, kind or pa.string())})
    verdict = edit_text(EditText(**fields), Inputs(), Resources())(batch)
    return verdict.columns.get("text", batch.column("text")).to_pylist(), verdict


@pytest.mark.parametrize(
    "text, left, compat",
    [
        ("Hello, see www.example.com/a?b=(c) or not", "Hello, see or not", "Hello, see www.example.com/a?b=(c) or not"),
        ("Visit https://example.org now", "Visit now", "Visit now"),  # vi is a top-level domain
        ("Hello Example.COM", "Hello Example.COM", "Hello Example.COM"),
        ("Hello there.It is", "Hello there.It is", "Hello there.It is"),
        ("Hello x.community y", "Hello y", "Hello x.community y"),
        ("Visit x.communityx", "Visit x.communityx", "Visit x.communityx"),
        ("Visit שלום a.קום!", "Visit שלום!", "Visit שלום a.קום!"),
        ("Hello http://10.0.0.1:80/x and 1.2.3.4, 1.2.3", "Hello and, 1.2.3", "Hello and, 1.2.3"),
        ("Hello\n\n\n\nworld", "Hello\n\nworld", "Hello\n\nworld"),
        ("Hello\n\n\nhttp://a.com\n\n\nworld", "Hello\n\nworld", "Hello\n\nhttp://a.com\n\nworld"),
        ("mail me@host.net", "mail", "mail"),  # ma
    ],
)
def test_semantics(text, left, compat):
    assert judge([text])[0] == [left]
    assert judge([text], dclm_compat=True)[0] == [compat]


def test_counters_and_switches():
    text = "é  a.com b\n\n\n\n1.2.3.4 é.com.é x"
    left, verdict = judge([text, "plain"])
    assert left == ["é b é.com.é x", "plain"] and verdict.columns["text"].type == pa.string()
    assert verdict.counters == {"urls_removed": 1, "addresses_removed": 1, "newlines_removed": 0, "characters_removed": 18}
    assert judge([text], urls=False, addresses=False)[0] == ["é  a.com b\n\n1.2.3.4 é.com.é x"]
    assert judge([text], addresses=False, max_newlines=None)[0] == ["é b\n\n\n\n1.2.3.4 é.com.é x"]
    assert judge([text], urls=False, addresses=False, max_newlines=1)[1].counters["newlines_removed"] == 3


def test_what_is_empty_is_dropped_and_what_is_whole_keeps_its_buffers():
    left, verdict = judge(["http://a.com", "b", "", None])
    assert verdict.keep.to_pylist() == [False, True, False, False] and verdict.reason.to_pylist() == ["no_text"] * 4
    _, verdict = judge(["nothing to do", "here. At all."])
    assert verdict.columns == {} and verdict.keep.to_pylist() == [True, True]
    assert judge([])[1].keep.to_pylist() == []
    assert judge(["x a.com"], pa.large_string())[1].columns["text"].type == pa.large_string()


def test_domains_from_a_file(tmp_path):
    path = tmp_path / "tlds.txt"
    path.write_text("zz\nfoo\n\nzz\n")
    config = EditText(top_level_domains=str(path))
    assert resolve_domains(config) == ["foo", "zz"] and judge(["x a.zz a.com"], top_level_domains=str(path))[0] == ["x a.com"]
    before = edit_text.identity(config)
    path.write_text("foo\nzz")
    assert edit_text.identity(config) == before
    path.write_text("foo")
    assert edit_text.identity(config) != before and edit_text.identity(EditText()) == {}
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no top-level domain"):
        resolve_domains(config)


def test_batches_make_no_difference():
    texts = [f"Visit {i}\n\n\n1.2.3.{i} and a.com {'b.org' * (i % 2)}" for i in range(50)]
    assert judge(texts)[0] == [left for i in range(0, 50, 7) for left in judge(texts[i : i + 7])[0]]


def test_newlines_are_counted():
    with pytest.raises(ValueError, match="max_newlines is 0"):
        EditText(max_newlines=0)
