"""The fixture that writes a crawl file for the tests of extract and of warc."""

import pytest

pytest.register_assert_rewrite("tests.stages.archives")  # so that the assertions of `read` tell what they saw


@pytest.fixture
def write(tmp_path):
    """Write pieces of bytes as one file."""

    def write(*pieces: bytes):
        (tmp_path / "file").write_bytes(b"".join(pieces))
        return tmp_path / "file"

    return write
