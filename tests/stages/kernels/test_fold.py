import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.fold import fold_text
from stages.kernels.text_view import text_view

TEXTS = st.lists(
    st.none()
    | st.text(st.sampled_from("aAÉȺΣ中\u0301𝔘🐎𐐀 \n\xa0\u3000\t") | st.characters(exclude_categories=["Cs", "Cn"])),
    max_size=5,
)


@settings(deadline=None)  # the first call compiles
@given(TEXTS, st.integers(0, 2))
def test_against_lower_and_split(texts, skip):
    column = pa.array(texts, pa.string()).slice(skip)
    folded = fold_text(text_view(column))
    want = [" ".join("".join(c.lower()[0] for c in value or "").split()) for value in column.to_pylist()]
    assert [
        folded.data[a:b].tobytes().decode() for a, b in zip(folded.offsets, folded.offsets[1:], strict=False)
    ] == want
