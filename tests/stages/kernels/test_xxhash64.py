import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.text_view import text_view
from stages.kernels.xxhash64 import hash_documents

xxhash = pytest.importorskip("xxhash")


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(max_size=100), max_size=4), st.integers(0, 2**64 - 1))
def test_against_the_reference_library(texts, seed):
    texts = [*texts, "".join(texts)]
    found = hash_documents(text_view(pa.array(texts)), seed)
    assert found.tolist() == [xxhash.xxh64_intdigest(text.encode(), seed) for text in texts]
