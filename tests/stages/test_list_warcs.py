"""list_warcs: what is listed, in which order, and what identifies it."""

import gzip
import hashlib
import json
import tempfile

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.config import ConfigError
from stages.core.stage import Inputs, Resources
from stages.formats import remote
from stages.list_warcs import ListWarcs, list_warcs
from tests.stages.archives import page
from tests.stages.rough_server import Answer, RoughServer


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
    ("fields", "says"),
    [
        ({"source": "a/b"}, "it begins file names"),
        ({"sample": 0}, "above 0"),
        ({"sample": 1.5}, "at most 1"),
        ({"limit_shards": 0}, "at least 1"),
        ({"pattern": "("}, "no regular expression"),
        ({"root": None}, "neither root nor crawl"),
        ({"kind": "wet"}, "which only a crawl has"),
        ({"root": None, "crawl": "../secrets"}, "a name such as CC-MAIN-2024-10"),
        ({"root": None, "crawl": "CC-MAIN-2024-10", "server": "/mirror"}, "must begin with https://"),
    ],
)
def test_config_refuses(fields, says):
    with pytest.raises(ConfigError, match=says):
        ListWarcs(**{"root": ".", "source": "x", **fields})


def test_a_crawl_goes_before_a_directory():
    made = ListWarcs(root="mine", crawl="CC-NEWS/2024/02")
    assert made.place == "https://data.commoncrawl.org/" and made.prefix == "CC-NEWS-2024-02"
    assert ListWarcs(root="mine").place == "mine" and ListWarcs(root="mine").prefix == "local"


# ---- Common Crawl ----------------------------------------------------------------------------------------------------

CRAWL = "CC-MAIN-2024-10"
SHARDS = {
    f"crawl-data/{CRAWL}/segments/{segment}/warc/CC-MAIN-{dates}-{number:05d}.warc.gz": [gzip.compress(page(n)) for n in pages]
    for segment, dates, number, pages in (
        ("1707947473347.0", "20240220211055-20240221001055", 0, range(0, 40)),
        ("1707947473347.0", "20240220211055-20240221001055", 1, range(40, 60)),
        ("1707947473360.9", "20240221002544-20240221032544", 0, range(60, 99)),
    )
}
NAMES = [
    f"{CRAWL}-1707947473347.0-20240220211055-20240221001055-00000.warc.gz",
    f"{CRAWL}-1707947473347.0-20240220211055-20240221001055-00001.warc.gz",
    f"{CRAWL}-1707947473360.9-20240221002544-20240221032544-00000.warc.gz",
]


@pytest.fixture
def common_crawl(monkeypatch, tmp_path):
    """A server that has a crawl where Common Crawl has it, and a client without much patience."""
    fields = {"STALL_SECONDS": 1, "FIRST_WAIT_SECONDS": 0.01, "LONGEST_WAIT_SECONDS": 3, "REQUESTS_PER_SECOND": 500}
    for name, value in fields.items():
        monkeypatch.setenv(f"WINNOW_REMOTE_{name}", str(value))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the turns of requests are kept
    monkeypatch.setattr(tempfile, "tempdir", None)
    with RoughServer() as server:
        server.files = {f"/{path}": b"".join(pages) for path, pages in SHARDS.items()}
        server.files[f"/crawl-data/{CRAWL}/warc.paths.gz"] = gzip.compress("".join(f"{path}\n" for path in reversed(SHARDS)).encode())
        wet = f"crawl-data/{CRAWL}/segments/1707947473347.0/wet/CC-MAIN-20240220211055-20240221001055-00000.warc.wet.gz"
        server.files[f"/crawl-data/{CRAWL}/wet.paths.gz"] = gzip.compress(f"{wet}\n".encode())
        server.files[f"/{wet}"] = b"text"
        server.files["/collinfo.json"] = json.dumps([{"id": CRAWL, "name": "February/March 2024"}, {"id": "CC-MAIN-2024-18"}]).encode()
        yield server


def test_lists_a_crawl_by_path_and_length(common_crawl):
    shards = listed(crawl=CRAWL, server=common_crawl.url)
    assert [s.name for s in shards] == NAMES
    assert [(s.path, s.size_bytes, s.identity) for s in shards] == [(path, len(b"".join(pages)), path) for path, pages in SHARDS.items()]
    assert [s.url for s in shards] == [f"{common_crawl.url}/{path}" for path in SHARDS]
    assert shards == listed(crawl=CRAWL, server=common_crawl.url + "/")
    assert [s.name.partition("-1707")[0] for s in listed(crawl=CRAWL, server=common_crawl.url, source="cc")] == ["cc"] * 3


def test_lengths_are_asked_for_once(common_crawl):
    first = listed(crawl=CRAWL, server=common_crawl.url, limit_shards=2)
    common_crawl.asked.clear()
    every = listed(crawl=CRAWL, server=common_crawl.url)
    assert every[:2] == first and [asked.path for asked in common_crawl.asked if asked.method == "HEAD"] == [f"/{every[2].path}"]
    common_crawl.asked.clear()
    assert listed(crawl=CRAWL, server=common_crawl.url) == every
    assert [asked.method for asked in common_crawl.asked] == ["GET"]


def test_only_the_shards_that_are_listed_are_asked_for(common_crawl, tmp_path, monkeypatch):
    every = listed(crawl=CRAWL, server=common_crawl.url)
    for fields in ({"limit_shards": 1}, {"sample": 0.8}, {"pattern": r"-00001\.warc"}):
        common_crawl.asked.clear()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(fields)))
        shards = listed(crawl=CRAWL, server=common_crawl.url, **fields)
        assert 0 < len(shards) < 3 and set(shards) < set(every)
        assert sorted(asked.path for asked in common_crawl.asked if asked.method == "HEAD") == sorted(f"/{s.path}" for s in shards)
        assert [asked.path for asked in common_crawl.asked if asked.method == "GET"] == [f"/crawl-data/{CRAWL}/warc.paths.gz"]


def test_wet_and_news(common_crawl):
    (wet,) = listed(crawl=CRAWL, server=common_crawl.url, kind="wet")
    assert (wet.name, wet.size_bytes) == (f"{CRAWL}-1707947473347.0-20240220211055-20240221001055-00000.warc.wet.gz", 4)
    news = "crawl-data/CC-NEWS/2024/02/CC-NEWS-20240201004232-00001.warc.gz"
    common_crawl.files["/crawl-data/CC-NEWS/2024/02/warc.paths.gz"] = gzip.compress(news.encode())
    common_crawl.files[f"/{news}"] = b"12"
    (shard,) = listed(crawl="CC-NEWS/2024/02", server=common_crawl.url)
    assert (shard.name, shard.path, shard.size_bytes) == ("CC-NEWS-2024-02-CC-NEWS-20240201004232-00001.warc.gz", news, 2)


def test_the_list_itself_may_come_in_pieces(common_crawl):
    common_crawl.script[f"/crawl-data/{CRAWL}/warc.paths.gz"] = [Answer(503), Answer(send_bytes=50)]
    assert [s.name for s in listed(crawl=CRAWL, server=common_crawl.url)] == NAMES


def test_an_unknown_crawl_is_told_with_the_nearest_name(common_crawl):
    with pytest.raises(ValueError, match=r"status 404.*no crawl 'CC-MAIN-2024-010'; did you mean 'CC-MAIN-2024-10'\?.*collinfo\.json"):
        listed(crawl="CC-MAIN-2024-010", server=common_crawl.url)
    with pytest.raises(ValueError, match=r"'CC-MAIN-2024-18' exists, but its list of warc archives is not there"):
        listed(crawl="CC-MAIN-2024-18", server=common_crawl.url)
    del common_crawl.files["/collinfo.json"]
    with pytest.raises(ValueError, match=r"status 404.*names of all crawls are at http.*/collinfo\.json"):
        listed(crawl="CC-MAIN-2024-010", server=common_crawl.url)


def test_what_goes_wrong_on_the_way_is_told(common_crawl, monkeypatch):
    del common_crawl.files[f"/{next(iter(SHARDS))}"]
    with pytest.raises(ValueError, match=r"list_warcs: http.*00000\.warc\.gz: status 404.*list the crawl again"):
        listed(crawl=CRAWL, server=common_crawl.url)
    with pytest.raises(ValueError, match="no warc archive of .* matches 'nothing'"):
        listed(crawl=CRAWL, server=common_crawl.url, pattern="nothing")
    packed = common_crawl.files[f"/crawl-data/{CRAWL}/warc.paths.gz"]
    for other in (b"<html>log in first</html>", packed[:-20], packed[:20] + b"\xff" * 20 + packed[40:], gzip.compress(b"\xff")):
        common_crawl.files[f"/crawl-data/{CRAWL}/warc.paths.gz"] = other
        with pytest.raises(ValueError, match="no list of paths.*check server"):
            listed(crawl=CRAWL, server=common_crawl.url)
    with RoughServer() as gone:
        url = gone.url
    monkeypatch.setattr(remote, "_reached", set())  # an earlier server of this process may have had the same port
    with pytest.raises(ValueError, match="can not be reached: check the name, the network"):
        listed(crawl=CRAWL, server=url)


RECIPE = """
from stages.core.plan import Plan
from stages.extract import extract
from stages.list_warcs import list_warcs

def plan(**fields):
    return Plan("t", [extract.on(list_warcs.on(**fields))])
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_crawl_gives_the_documents_that_its_files_on_disk_give(common_crawl, tmp_path, workers):
    from stages.core.dataset import Dataset
    from stages.core.engine import run_plan
    from stages.core.plan import PlanRef, load_plan
    from stages.core.store import DatasetDir, Store

    (tmp_path / "recipe.py").write_text(RECIPE)
    for path, pages in SHARDS.items():
        (tmp_path / "disk" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk" / path).write_bytes(b"".join(pages))
    sizes = {path: len(b"".join(pages)) for path, pages in SHARDS.items()}
    one, two, three = SHARDS
    stall, busy = Answer(send_bytes=sizes[one] // 3, then="stall"), Answer(503, {"Retry-After": "1"})
    common_crawl.script[f"/{one}"] = [stall, busy, Answer(send_bytes=1000)]
    common_crawl.script[f"/{two}"] = [Answer(429), Answer(send_bytes=sizes[two] - 1), Answer(ignore_range=True)]
    common_crawl.script[f"/{three}"] = [Answer(send_bytes=0), Answer(500)]

    def documents(name, **fields):
        plan = load_plan(PlanRef(f"{tmp_path / 'recipe.py'}:plan", fields))
        outcome = run_plan(plan, Store(tmp_path / name), Resources(workers=workers))["extract"]
        made = Dataset(DatasetDir(tmp_path / name / outcome.dataset))
        return [made.table(shard.name).drop_columns("origin").to_pylist() for shard in made.shards]

    crawled = documents("crawled", crawl=CRAWL, server=common_crawl.url)
    assert [len(shard) for shard in crawled] == [40, 20, 39]
    assert crawled == documents("from_disk", root=str(tmp_path / "disk"), source="disk")
    assert not any(common_crawl.script.values())
    assert common_crawl.ranges(f"/{two}") == ["", "", f"bytes={sizes[two] - 1}-"]


def test_a_shard_that_is_not_as_long_as_listed_fails_alone(common_crawl, tmp_path):
    from stages.core.engine import RunFailed, run_plan
    from stages.core.plan import Plan
    from stages.core.store import Store
    from stages.extract import extract

    short = b"".join(SHARDS[list(SHARDS)[1]])[:-100]
    common_crawl.script[f"/{list(SHARDS)[1]}"] = [Answer(content=short)]
    plan = Plan("t", [extract.on(list_warcs.on(crawl=CRAWL, server=common_crawl.url))])
    with pytest.raises(RunFailed, match=rf"{NAMES[1]}.*it has {len(short)} bytes and is listed with {len(short) + 100}"):
        run_plan(plan, Store(tmp_path / "store"), Resources(workers=0))
    manifest = run_plan(plan, Store(tmp_path / "store"), Resources(workers=0))["extract"].manifest
    assert manifest.rows_out == 99
