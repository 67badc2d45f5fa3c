"""run_datatrove_block against the blocks themselves, run the way datatrove runs them."""

import json
import sys
import types

import pyarrow as pa
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import C4ParagraphFilter, LambdaFilter, RegexFilter
from datatrove.pipeline.formatters import SymbolLinesFormatter

from stages.core.config import ConfigError
from stages.core.stage import Inputs, Resources
from stages.run_datatrove_block import RunDatatroveBlock, run_datatrove_block

LONG = "x" * 200
TEXTS = [
    "\n".join([LONG] * 3),
    "\n".join([LONG] * 2),
    "",
    "one\n****\n----\ntwo\n",
    "\n".join([LONG, "short", LONG, LONG]),
    "forbidden words\n" + "\n".join([LONG] * 4),
    "日本語\n!!!\n",
]


class OnlyEven(LambdaFilter):
    """A filter that gives no reason, as a user's own may be."""

    def __init__(self) -> None:
        super().__init__(lambda document: document.metadata["url"].endswith(("0", "2", "4", "6")))


class Doubling(SymbolLinesFormatter):
    def run(self, data, rank=0, world_size=1):
        for document in data:
            yield document
            yield document


def batch(texts: list[str]) -> pa.RecordBatch:
    ids = [f"d{n}" for n in range(len(texts))]
    return pa.RecordBatch.from_pydict(
        {
            "id": ids,
            "url": [f"http://h/{n}" for n in range(len(texts))],
            "origin": ids,
            "text": pa.array(texts, pa.string()),
        }
    )


def judged(block: str, **arguments):
    config = RunDatatroveBlock(block=block, arguments=json.dumps(arguments))
    return run_datatrove_block(config, Inputs(), Resources())(batch(TEXTS))


def documents() -> list[Document]:
    return [Document(text=t, id=f"d{n}", metadata={"url": f"http://h/{n}"}) for n, t in enumerate(TEXTS)]


@pytest.mark.parametrize(
    ("reference", "arguments", "block"),
    [
        ("datatrove.pipeline.filters:C4ParagraphFilter", {}, C4ParagraphFilter()),
        ("datatrove.pipeline.filters:RegexFilter", {"regex_exp": "forbidden"}, RegexFilter("forbidden")),
    ],
)
def test_decides_as_the_filter_does(reference, arguments, block):
    verdict = judged(reference, **arguments)
    expected = [result if isinstance(result, tuple) else (result, None) for result in map(block.filter, documents())]
    assert verdict.keep.to_pylist() == [keep for keep, _ in expected]
    assert 0 < sum(verdict.keep.to_pylist()) < len(TEXTS)
    for (keep, reason), noted in zip(expected, verdict.reason.to_pylist(), strict=True):
        assert noted == (None if keep else reason or type(block).__name__)
    assert verdict.columns["text"].to_pylist() == TEXTS


def test_edits_as_the_formatter_does():
    verdict = judged("datatrove.pipeline.formatters:SymbolLinesFormatter", replace_char="~")
    formatter = SymbolLinesFormatter(replace_char="~")
    assert all(verdict.keep.to_pylist())
    assert verdict.columns["text"].to_pylist() == [formatter.format(text) for text in TEXTS] != TEXTS


@pytest.fixture
def here(monkeypatch) -> str:
    """This module under a name that can be imported, whatever pytest calls it."""
    module = types.ModuleType("blocks_of_a_test")
    module.OnlyEven, module.Doubling, module.number = OnlyEven, Doubling, 3
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_a_filter_of_ones_own_sees_the_columns_and_its_name_is_the_reason(here):
    verdict = judged(f"{here}:OnlyEven")
    assert verdict.keep.to_pylist() == [n % 2 == 0 for n in range(len(TEXTS))]
    assert verdict.reason.to_pylist() == [None if n % 2 == 0 else "OnlyEven" for n in range(len(TEXTS))]


def test_batches_do_not_leak_into_each_other(here):
    judge = run_datatrove_block(
        RunDatatroveBlock(block="datatrove.pipeline.filters:C4ParagraphFilter"), Inputs(), Resources()
    )
    whole = judge(batch(TEXTS)).keep.to_pylist()
    single = [judge(batch(TEXTS).slice(n, 1)).keep.to_pylist()[0] for n in range(len(TEXTS))]
    assert whole == single
    assert len(judge(batch([])).keep) == 0


def test_a_block_that_multiplies_documents_is_refused(here):
    with pytest.raises(ValueError, match="'d0', twice"):
        judged(f"{here}:Doubling")


@pytest.mark.parametrize(
    ("block", "arguments", "message"),
    [
        ("datatrove.pipeline.filters:NoSuch", {}, "is no datatrove block"),
        ("no_such_module:Filter", {}, "can not be imported"),
        ("blocks_of_a_test:number", {}, "is no datatrove block"),
        ("datatrove.pipeline.filters:RegexFilter", {"regexp": "x"}, "does not take"),
    ],
)
def test_a_block_that_can_not_be_made_says_why(here, block, arguments, message):
    with pytest.raises(ValueError, match=message):
        judged(block, **arguments)


@pytest.mark.parametrize(("block", "arguments"), [("Filter", "{}"), ("a:B", "{"), ("a:B", "[1]")])
def test_config_refuses_what_it_can_not_read(block, arguments):
    with pytest.raises(ConfigError):
        RunDatatroveBlock(block=block, arguments=arguments)
