import re
from pathlib import Path

import pyarrow as pa
import pytest

from stages.core.stage import Inputs, Resources
from stages.filter_url import CURATED_SOURCES, SMALL_LISTS, FilterUrl, filter_url, resolve_lists

BANLISTS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "banlists"
WORDS = {
    "banned_domains": ("bad.com", "www.worse.org"),
    "strict_words": ("freexxx", "c.a-m"),
    "hard_words": ("porn", "c++"),
    "soft_words": ("sex", "nude", "bet"),
}


def judge(urls, **fields):
    batch = pa.record_batch({"url": pa.array(urls, pa.string())})
    verdict = filter_url(FilterUrl(**fields), Inputs(), Resources())(batch)
    assert verdict.keep.to_pylist() == [reason is None for reason in verdict.reason.to_pylist()]
    return verdict.reason.to_pylist(), verdict.detail.to_pylist()


@pytest.mark.parametrize(
    "url, reason",
    [
        ("http://bad.com/x", "banned_domain"),
        ("HTTPS://WWW.BAD.COM", "banned_domain"),
        ("https://worse.org?q=1", "banned_domain"),
        ("https://sub.bad.com/", None),
        ("https://me:pw@bad.com:8080/", "banned_domain"),
        ("https://wwwbad.com/", None),
        ("https://ok.com/bad.com", None),
        ("https://ok.com/my-Free.XXX-page", "strict_word"),
        ("https://ok.com/webcam", "strict_word"),
        ("https://ok.com/porn/1", "hard_word"),
        ("https://porn", "hard_word"),
        ("https://ok.com/porn_1", "hard_word"),
        ("https://ok.com/popcorn-porno", None),
        ("https://ok.com/épornography", None),
        ("https://ok.com/c++/", "hard_word"),
        ("https://ok.com/ccc/", None),
        ("https://ok.com/sex/sex/sex", None),
        ("https://ok.com/sex/nude", "soft_words"),
        ("https://ok.com/sex-bet", "soft_words"),
        ("https://ok.com/sexnude", None),
        ("", None),
        (None, None),
        ("not a url", None),
    ],
)
def test_semantics(url, reason):
    assert judge([url], **WORDS)[0] == [reason]


@pytest.mark.parametrize(
    "url, reason",
    [
        ("http://bad.com/x", "banned_domain"),
        ("HTTPS://WWW.BAD.COM", None),  # .bad.com
        ("https://wwwbad.com", "banned_domain"),
        ("https://worse.org?q=1", None),  # the list says www.worse.org
        ("https://bad.com:8080/", None),
        ("https://ok.com/my-Free.XXX-page", "strict_word"),
        ("https://ok.com/webcam", None),  # the list says c.a-m
        ("https://ok.com/porn/1", "hard_word"),
        ("https://ok.com/porn_1", None),
        ("https://ok.com/sex/nude", "soft_words"),
        ("https://ok.com/sex_nude", None),
    ],
)
def test_semantics_of_dclm(url, reason):
    assert judge([url], **WORDS, dclm_compat=True)[0] == [reason]


def test_curated_sources_have_a_reason_of_their_own():
    urls = ["https://www.github.com/a/b", "https://gist.github.com/a", "https://bad.com/"]
    assert judge(urls, **WORDS)[0] == [None, None, "banned_domain"]
    assert judge(urls, **WORDS, curated_sources=CURATED_SOURCES)[0] == ["curated_source", None, "banned_domain"]


def test_soft_words_say_how_many():
    _, (first, other) = judge(["https://a.b/sex/nude/bet", "https://bad.com/sex/nude"], **WORDS)
    assert (first["value"], first["limit"]) == (3.0, 2.0) and other["value"] is None
    assert judge(["https://a.b/sex/nude"], **WORDS, min_soft_words=3)[0] == [None]


def test_empty_lists_and_no_rows():
    nothing = dict.fromkeys(WORDS, ())
    assert judge(["https://porn.com/xxx"], **nothing)[0] == [None]
    assert judge([], **WORDS)[0] == []


def test_default_lists_are_small_and_at_work():
    assert sum(map(len, SMALL_LISTS.values())) < 50
    assert judge(["https://doubleclick.net/a", "https://en.example/history"])[0] == ["banned_domain", None]


def test_directory_of_lists_and_identity(tmp_path):
    (tmp_path / "my_words_hard.txt").write_text("Foo\nbar\n\nfoo\n")
    config = FilterUrl(lists=str(tmp_path))
    assert resolve_lists(config) == {"domains": [], "strict": [], "hard": ["bar", "foo"], "soft": [], "curated": []}
    before = filter_url.identity(config)
    (tmp_path / "my_words_hard.txt").write_text("bar\nfoo")
    assert filter_url.identity(config) == before  # the same words in another order
    (tmp_path / "my_words_hard.txt").write_text("bar\nfoo\nbaz")
    assert filter_url.identity(config) != before
    assert resolve_lists(FilterUrl(lists=str(tmp_path), hard_words=("own",)))["hard"] == ["own"]


def test_directory_without_lists_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no \\*domains\\*"):
        resolve_lists(FilterUrl(lists=str(tmp_path)))


@pytest.mark.skipif(not BANLISTS.is_dir(), reason="../shared/data/banlists is absent")
def test_refinedweb_lists_against_plain_python():
    lists = resolve_lists(FilterUrl(lists=str(BANLISTS)))
    assert (len(lists["strict"]), len(lists["hard"]), len(lists["soft"])) == (117, 176, 83)
    words = [w for kind in ("strict", "hard", "soft") for w in lists[kind]]
    urls = [
        f"https://site.org/{a}{joint}{b}/index.html"
        for a in words[::9]
        for b in ("plain", *words[::40])
        for joint in "-x/"
    ]
    want = []
    for url in urls:
        whole = set(re.findall(r"[^\W_]+", url))
        strict = any(w in url.replace("-", "").replace(".", "") for w in lists["strict"])
        soft = len(whole & set(lists["soft"])) >= 2
        want.append(
            "strict_word" if strict else "hard_word" if whole & set(lists["hard"]) else "soft_words" if soft else None
        )
    assert judge(urls, lists=str(BANLISTS))[0] == want and set(want) == {"strict_word", "hard_word", "soft_words", None}
