"""remote: a stream over HTTP that must be the object's bytes or an error, whatever a real server on the loopback does."""

import email.utils
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from stages.formats.remote import Patience, RemoteError, open_remote, remote_size
from stages.formats.warc import open_raw
from tests.stages.rough_server import Answer, RoughServer

ROOT = Path(__file__).resolve().parents[3]
SIZE = 3_000_000
CONTENT = random.Random(7).randbytes(SIZE)
QUICK = Patience(connect_seconds=5, stall_seconds=1, attempts=5, first_wait_seconds=0.01, longest_wait_seconds=2, requests_per_second=1000)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the turns are kept, in this process and in others
    monkeypatch.setattr(tempfile, "tempdir", None)
    with RoughServer() as server:
        server.files["/o"] = CONTENT
        yield server


def read(server, *script, expected=SIZE, patience=QUICK, path="/o"):
    server.script[path] = list(script)
    with open_remote(server.url + path, expected, patience) as file:
        return file.read()


@pytest.mark.parametrize("wait", ["\u00b2", "soon", "-1", ""])
def test_a_retry_after_that_says_nothing_is_passed_over(server, wait):
    assert read(server, Answer(503, {"Retry-After": wait})) == CONTENT


def test_a_good_server_is_asked_once_and_told_who_asks(server):
    assert read(server) == CONTENT == read(server, expected=None)
    assert server.ranges("/o") == ["", ""]
    assert all("winnow" in asked.user_agent for asked in server.asked)
    assert remote_size(server.url + "/o", QUICK) == len(CONTENT)


def test_the_stream_is_read_in_any_pieces_and_never_ahead_of_its_end(server):
    server.script["/o"] = [Answer(send_bytes=1_000_001)]
    sizes, pieces, random_ = [1, 7, 4096, 1 << 20, 3 << 20], [], random.Random(3)
    with open_remote(server.url + "/o", len(CONTENT), QUICK) as file:
        assert not file.seekable() and file.readable()
        while piece := file.read(random_.choice(sizes)):
            pieces.append(piece)
        assert file.read(1) == b""
    assert b"".join(pieces) == CONTENT


@pytest.mark.parametrize("then", ["close", "stall"])
def test_a_broken_transfer_goes_on_at_the_byte_where_it_broke(server, then):
    started = time.monotonic()
    assert read(server, Answer(send_bytes=1_234_567, then=then), Answer(send_bytes=500_000, then=then)) == CONTENT
    assert server.ranges("/o") == ["", "bytes=1234567-", "bytes=1734567-"]
    assert time.monotonic() - started < 20  # a stall is seen after 1 s


def test_a_break_before_the_first_byte_and_one_before_the_last(server):
    assert read(server, Answer(send_bytes=0), Answer(send_bytes=len(CONTENT) - 1)) == CONTENT
    assert server.ranges("/o") == ["", "", f"bytes={len(CONTENT) - 1}-"]


@pytest.mark.parametrize("date", [False, True], ids=["seconds", "date"])
def test_503_is_asked_again_no_sooner_than_the_server_says(server, date):
    wait = email.utils.formatdate(time.time() + 2, usegmt=True) if date else "1"
    busy = Answer(503, {"Retry-After": wait})
    assert read(server, *[busy] * (1 if date else 2)) == CONTENT
    times = [asked.time for asked in server.asked]
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert all(gap >= 0.9 for gap in gaps) and len(gaps) == (1 if date else 2)  # a date has whole seconds: 2 s ahead is at least 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_refusals_without_a_word_back_off_ever_longer(server, status):
    patience = Patience(stall_seconds=1, attempts=5, first_wait_seconds=0.05, requests_per_second=1000)
    assert read(server, *[Answer(status)] * 3, patience=patience) == CONTENT
    times = [asked.time for asked in server.asked]
    assert [times[n + 1] - times[n] >= 0.05 * 2**n for n in range(3)] == [True] * 3
    assert times[3] - times[0] < 10


def test_a_server_that_ignores_ranges_is_skipped_through(server):
    script = [Answer(send_bytes=2_000_000), Answer(ignore_range=True, send_bytes=1_500_000), Answer(ignore_range=True)]
    assert read(server, *script) == CONTENT
    assert server.ranges("/o") == ["", "bytes=2000000-", "bytes=2000000-"]


@pytest.mark.parametrize("ignore_range", [False, True])
@pytest.mark.parametrize("other", [CONTENT[::-1], CONTENT + b"x", CONTENT[:100]], ids=["tag", "longer", "shorter"])
def test_an_object_that_changes_midway_is_an_error_and_not_a_mixture(server, other, ignore_range):
    with pytest.raises(RemoteError, match=r"1000 of 3000000 bytes read.*changed while it was read"):
        read(server, Answer(send_bytes=1000), Answer(content=other, ignore_range=ignore_range))
    assert len(server.asked) == 2


def test_weak_tags_are_compared_and_a_range_is_checked(server):
    weak = {"ETag": 'W/"a"'}
    assert read(server, Answer(headers=weak, send_bytes=1000), Answer(headers=weak)) == CONTENT
    elsewhere = Answer(headers={"Content-Range": f"bytes 999-2999999/{len(CONTENT)}"})
    server.files["/p"] = CONTENT
    assert read(server, Answer(send_bytes=1000), elsewhere, path="/p") == CONTENT
    assert server.ranges("/p") == ["", "bytes=1000-", "bytes=1000-"]


def test_a_length_that_lies_is_never_taken_for_the_end(server):
    assert read(server, Answer(send_bytes=600)) == CONTENT  # says all, sends less
    with pytest.raises(RemoteError, match=r"it has 600 bytes and is listed with 3000000.*listed as it is now"):
        read(server, Answer(declared=600))
    with pytest.raises(RemoteError, match=r"it has 3000000 bytes and is listed with 2999999"):
        read(server, expected=len(CONTENT) - 1)


def test_a_part_that_is_shorter_than_was_asked_for_is_not_the_end(server):
    part = Answer(headers={"Content-Range": f"bytes 1000-1999/{SIZE}"}, declared=1000, send_bytes=1000)
    assert read(server, Answer(send_bytes=1000), part) == CONTENT
    assert server.ranges("/o") == ["", "bytes=1000-", "bytes=2000-"]


def test_more_is_claimed_than_there_is(server):
    claim = Answer(declared=len(CONTENT) + 5, then="close")
    with pytest.raises(RemoteError, match=r"3000000 of 3000005 bytes read.*it is shorter than it was"):
        read(server, claim, expected=None)


@pytest.mark.parametrize(
    ("status", "says"),
    [(404, "no such object"), (403, "WINNOW_REMOTE_REQUESTS_PER_SECOND"), (401, "credentials"), (400, "check the address")],
)
def test_what_no_attempt_would_better_ends_at_once_and_says_what_to_do(server, status, says):
    with pytest.raises(RemoteError, match=rf"{server.url}/o: status {status}.*\(7 of 3000000 bytes read\); .*{says}") as raised:
        read(server, Answer(send_bytes=7), Answer(status))
    assert raised.value.status == status and isinstance(raised.value, OSError)
    assert len(server.asked) == 2
    with pytest.raises(RemoteError, match="status 404"):
        remote_size(server.url + "/absent", QUICK)


def test_patience_ends(server):
    with pytest.raises(RemoteError, match=r"status 503.*given up after 5 failures in a row \(0 of 3000000 bytes read\); run again later"):
        read(server, *[Answer(503)] * 9)
    assert len(server.asked) == 5
    with pytest.raises(RemoteError, match=r"asks to wait 86400 s"):
        read(server, Answer(503, {"Retry-After": "86400"}))
    assert len(server.asked) == 6
    drops = [Answer(send_bytes=1)] * 9  # a byte at a time is no progress
    with pytest.raises(RemoteError, match=r"IncompleteRead.*given up after 5 failures in a row \(5 of"):
        read(server, *drops)


def test_progress_renews_patience(server):
    server.files["/long"] = CONTENT * 3
    script = [Answer(send_bytes=1_100_000)] * 7  # more failures than attempts, with a megabyte between them
    assert read(server, *script, path="/long", expected=9_000_000) == CONTENT * 3


def test_a_host_that_can_not_be_reached_is_told_soon():
    with RoughServer() as gone:
        url = gone.url
    patience = Patience(first_wait_seconds=0.01, requests_per_second=1000)
    with pytest.raises(RemoteError, match=r"refused.*4 failures in a row.*127\.0\.0\.1:\d+ can not be reached.*HTTPS_PROXY"):
        open_remote(f"{url}/o", patience=patience).read()


def test_an_object_without_a_length_is_refused(server):
    unsized = Answer(headers={"Content-Length": "unknown"})
    with pytest.raises(RemoteError, match="does not tell its length"):
        read(server, unsized)


def test_whoever_watches_hears_of_every_attempt_and_piece(server):
    heard = []
    server.script["/o"] = [Answer(503), Answer(send_bytes=1000)]
    with open_remote(server.url + "/o", len(CONTENT), QUICK, alive=lambda: heard.append(len(server.asked))) as file:
        file.read()
    assert {0, 1, 2, 3} <= set(heard)


ASK = """
import sys, time
from stages.formats.remote import Patience, remote_size
for _ in range(6):
    remote_size(sys.argv[1], Patience(requests_per_second=10))
"""


def test_two_processes_share_one_limit(server):
    command = [sys.executable, "-c", ASK, server.url + "/o"]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    times = sorted(asked.time for asked in server.asked)
    assert len(times) == 12
    # 11 turns of 0.1 s, less what the first request may have been late; each process for itself would take 0.5 s.
    assert times[-1] - times[0] >= 0.9


def test_a_wait_that_the_server_asks_for_holds_for_every_process(server):
    server.script["/o"] = [Answer(503, {"Retry-After": "1"})]
    with pytest.raises(RemoteError, match="1 failures in a row"):
        open_remote(server.url + "/o", patience=Patience(attempts=1)).read()
    once = ASK.replace("range(6)", "range(1)")
    subprocess.run([sys.executable, "-c", once, server.url + "/o"], cwd=ROOT, timeout=60, check=True)
    refused, other = server.asked
    assert other.time - refused.time >= 0.95


def test_patience_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("WINNOW_REMOTE_ATTEMPTS", "3")
    monkeypatch.setenv("WINNOW_REMOTE_REQUESTS_PER_SECOND", "0.5")
    assert Patience.from_environment(stall_seconds=2) == Patience(attempts=3, requests_per_second=0.5, stall_seconds=2)
    monkeypatch.setenv("WINNOW_REMOTE_ATTEMPTS", "3.5")
    with pytest.raises(ValueError, match="WINNOW_REMOTE_ATTEMPTS is '3.5'; give a whole number"):
        Patience.from_environment()
    monkeypatch.setenv("WINNOW_REMOTE_ATTEMPTS", "0")
    with pytest.raises(ValueError, match="must be above 0"):
        Patience.from_environment()


def test_open_raw_reads_through_it(server, monkeypatch):
    monkeypatch.setenv("WINNOW_REMOTE_FIRST_WAIT_SECONDS", "0.01")
    server.script["/o"] = [Answer(send_bytes=1_000_000)]
    with open_raw(server.url + "/o", len(CONTENT)) as raw:
        assert raw[:] == CONTENT
    server.files["/empty"] = b""
    with open_raw(server.url + "/empty", 0) as raw:
        assert raw == b""
    with pytest.raises(RemoteError, match="listed with 5"), open_raw(server.url + "/o", 5):
        pass


# ---- S3 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(server, monkeypatch):
    from stages.formats import remote

    account = {"ACCESS_KEY_ID": "who", "SECRET_ACCESS_KEY": "secret", "EC2_METADATA_DISABLED": "true"}
    for name, value in {"ENDPOINT_URL_S3": server.url, **account}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    remote._s3_client.cache_clear()
    server.files["/crawls/a/o.gz"] = CONTENT
    yield server
    remote._s3_client.cache_clear()


def test_s3_is_read_by_signed_requests_that_resume(bucket):
    bucket.script["/crawls/a/o.gz"] = [Answer(503), Answer(send_bytes=1000)]
    with open_remote("s3://crawls/a/o.gz", remote_size("s3://crawls/a/o.gz", QUICK), QUICK) as file:
        assert file.read() == CONTENT
    assert bucket.ranges("/crawls/a/o.gz") == ["", "", "bytes=1000-"]
    assert all(asked.query["X-Amz-Credential"][0].startswith("who/") and asked.query["X-Amz-Signature"] for asked in bucket.asked)


def test_s3_follows_a_bucket_to_its_region_once(bucket):
    bucket.script["/crawls/a/o.gz"] = [Answer(301, {"x-amz-bucket-region": "eu-west-1"})]
    assert open_remote("s3://crawls/a/o.gz", patience=QUICK).read() == CONTENT
    assert [asked.query["X-Amz-Credential"][0].split("/")[2] for asked in bucket.asked] == ["us-east-1", "eu-west-1"]


def test_s3_errors_name_the_object_and_no_signature(bucket, monkeypatch):
    with pytest.raises(RemoteError, match=r"s3://crawls/absent: status 404") as raised:
        open_remote("s3://crawls/absent", patience=QUICK).read()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    from stages.formats import remote

    remote._s3_client.cache_clear()
    with pytest.raises(RemoteError, match="refused") as unreachable:
        open_remote("s3://crawls/a", patience=Patience(attempts=1)).read()
    assert "X-Amz" not in f"{raised.value}{unreachable.value}" and "secret" not in f"{raised.value}{unreachable.value}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    remote._s3_client.cache_clear()
    with pytest.raises(RemoteError, match=r"can not be signed.*AWS_PROFILE.*https://data\.commoncrawl\.org/"):
        open_remote("s3://crawls/a", patience=QUICK).read()
