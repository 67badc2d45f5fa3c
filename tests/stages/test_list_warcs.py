"""list_warcs: what is listed, in which order, and what identifies it."""

import hashlib

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.config import ConfigError
from stages.core.stage import Inputs, Resources
from stages.list_warcs import ListWarcs, list_warcs


def listed(**fields):
    return list_warcs(ListWarcs(**fields), Inputs(), Resources())


@pytest.fixture
def crawl(tmp_path):
    root = tmp_path / "crawl"
    for name in ("b.warc", "a.warc.gz", "sub/c.warc.lz4", "sub/deep/d.arc", "e.ARC.gz", "f.warc.wet.gz", "g.wet"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    for name in ("notes.txt", "a.warc.gz.open", "x.warc.zst", "h.warc.wat.gz", ".hidden.warc", "_tmp.warc"):
        (root / name).write_bytes(b"no")
    return root


def test_lists_every_crawl_file_by_name(crawl):
    shards = listed(root=str(crawl), source="mine")
    assert [s.name for s in shards] == sorted(
        f"mine-{n}"
        for n in ("b.warc", "a.warc.gz", "sub-c.warc.lz4", "sub-deep-d.arc", "e.ARC.gz", "f.warc.wet.gz", "g.wet")
    )
    for shard in shards:
        content = shard.path.encode()
        assert (crawl / shard.path).read_bytes() == content
        assert shard.identity == hashlib.sha256(content).hexdigest() and shard.size_bytes == len(content)
        assert shard.url == str(crawl / shard.path)


def test_the_place_of_the_files_is_no_part_of_the_listing(crawl, tmp_path):
    before = [(s.name, s.path, s.size_bytes, s.identity) for s in listed(root=str(crawl), source="mine")]
    moved = crawl.rename(tmp_path / "elsewhere")
    assert [(s.name, s.path, s.size_bytes, s.identity) for s in listed(root=f"{moved}/", source="mine")] == before
    assert [(s.name, s.path, s.size_bytes, s.identity) for s in listed(root=f"file://{moved}", source="mine")] == before


def test_a_single_file_is_a_listing_of_one(crawl):
    (shard,) = listed(root=str(crawl / "sub" / "c.warc.lz4"), source="one")
    assert (shard.name, shard.path, shard.url) == ("one-c.warc.lz4", "", str(crawl / "sub" / "c.warc.lz4"))


def test_limit_and_sample_shorten_the_listing(crawl):
    every = listed(root=str(crawl), source="mine")
    assert listed(root=str(crawl), source="mine", limit_shards=3) == every[:3]
    assert listed(root=str(crawl), source="mine", limit_shards=99) == every
    (only,) = listed(root=str(crawl), source="mine", pattern=r"^b\.warc$")
    assert only.name == "mine-b.warc"


@settings(max_examples=15, deadline=None)
@given(st.floats(0.2, 1), st.floats(0.2, 1))
def test_a_larger_sample_contains_every_smaller_one(tmp_path_factory, one, other):
    root = tmp_path_factory.getbasetemp() / "many"
    root.mkdir(exist_ok=True)
    for n in range(60):
        (root / f"{n}.warc").write_bytes(b"")
    small, large = ({s.name for s in listed(root=str(root), source="m", sample=x)} for x in sorted((one, other)))
    assert small <= large
    assert abs(len(large) - 60 * max(one, other)) < 20


def test_two_paths_of_one_name_are_an_error_that_names_both(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.warc").touch()
    (tmp_path / "a-b.warc").touch()
    with pytest.raises(ValueError, match=r"a-b\.warc.*a/b\.warc|a/b\.warc.*a-b\.warc"):
        listed(root=str(tmp_path), source="x")


def test_nothing_found_says_what_was_looked_for(tmp_path):
    with pytest.raises(ValueError, match="the path is there"):
        listed(root=str(tmp_path), source="x")
    with pytest.raises(ValueError, match="there is no such path"):
        listed(root=str(tmp_path / "nowhere"), source="x")


def test_reads_any_filesystem_that_fsspec_knows():
    with fsspec.open("memory://listed/sub/a.warc", "wb") as file:
        file.write(b"abc")
    (shard,) = listed(root="memory://listed", source="m")
    assert (shard.name, shard.size_bytes, shard.path) == ("m-sub-a.warc", 3, "sub/a.warc")
    with fsspec.open(shard.url) as file:
        assert file.read() == b"abc"


@pytest.mark.parametrize(
    "fields", [{"source": "a/b"}, {"sample": 0}, {"sample": 1.5}, {"limit_shards": 0}, {"pattern": "("}]
)
def test_config_refuses(fields):
    with pytest.raises(ConfigError):
        ListWarcs(**{"root": ".", "source": "x", **fields})
