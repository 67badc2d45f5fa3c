import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.fold import fold_text
from stages.kernels.text_view import Text, text_view

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


@settings(deadline=None)
@given(st.lists(st.binary(max_size=8) | st.sampled_from([b"\x80" * 40, b"\xc8\xba" * 20, b"\xff \xe2"]), max_size=4))
def test_bytes_that_are_not_utf8_have_room(texts):
    """Read as the characters of their numbers, they become two bytes each."""
    offsets = np.cumsum([0, *map(len, texts)])
    folded = fold_text(Text(np.frombuffer(b"".join(texts), np.uint8), offsets))
    assert len(folded.data) == folded.offsets[-1] <= 2 * offsets[-1]
    alone = [fold_text(Text(np.frombuffer(text, np.uint8), np.array([0, len(text)]))).data.tobytes() for text in texts]
    assert folded.data.tobytes() == b"".join(alone)


def test_bytes_that_are_not_utf8():
    folded = fold_text(Text(np.frombuffer(b"\x80 \xff", np.uint8), np.array([0, 3])))
    assert folded.data.tobytes().decode() == "\x80 \xff"
