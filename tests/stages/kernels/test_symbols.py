import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.segments import split_lines
from stages.kernels.symbols import count_symbols, marked_lines
from stages.kernels.text_view import text_view

TEXTS = st.lists(st.none() | st.text(st.sampled_from("....    \n\n#…●•*-:aé\u2013🐎"), max_size=60), max_size=5)


@settings(deadline=None)  # the first call compiles
@given(TEXTS, st.integers(0, 2))
def test_against_str_count(texts, skip):
    column = pa.array(texts, pa.string()).slice(skip)
    text = text_view(column)
    marked = marked_lines(text, split_lines(text)).tolist()
    for value, symbols, marks in zip(column.to_pylist(), count_symbols(text).tolist(), marked, strict=True):
        value = value or ""
        assert symbols == sum(value.count(symbol) for symbol in ("#", "...", ". . .", "…"))
        lines = [line.strip() for line in value.split("\n") if line.strip()]
        assert marks[0] == sum(line.startswith(tuple("●•*-")) for line in lines)
        assert marks[1] == sum(line.endswith(("...", ". . .", "…")) for line in lines)
