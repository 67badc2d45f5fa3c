import random
import re
from urllib.parse import urlparse

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kernels.text_view import text_view
from stages.kernels.trie import build_automaton, build_trie
from stages.kernels.url_words import count_words, hash_sites, holds_word, site_hashes

WORDS = ["sex", "sex-bet", "bet", "s&m", "c++", "g-spot", "中", "é", "a", "ab", "_x"]
PIECES = [*WORDS, "-", ".", "_", "/", ":", "?", "#", "@", "//", "http://", "www.", "wwww", "www", "bad.com", ":80", "1", "😀", "\t", "\n", " ", "x", "\x00", "user"]
URLS = st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=5).map(str.lower), max_size=5)


def column(urls):
    return text_view(pa.array(urls, pa.string()))


def netloc(url):
    try:
        return urlparse(url).netloc
    except ValueError:  # brackets that do not fit, and characters that would become a slash: read all the same
        return None


def plain_site(url):
    site = netloc(url).rpartition("@")[2]
    return re.sub(r":[0-9]*$", "", site).removeprefix("www.")


@settings(deadline=None, max_examples=300)
@given(URLS)
def test_sites_are_those_of_urllib(urls):
    urls = [url for url in urls if netloc(url) is not None]
    assert site_hashes(column(urls), True).tolist() == hash_sites(column([netloc(url).replace("www", "") for url in urls])).tolist()
    assert site_hashes(column(urls), False).tolist() == hash_sites(column([plain_site(url) for url in urls])).tolist()


def test_different_sites_have_different_hashes():
    names = [f"{a}{b}.com" for a in range(300) for b in "abc"] + ["", "a", "aa", "\x00"]
    assert len(set(hash_sites(column(names)).tolist())) == len(names)


@settings(deadline=None, max_examples=300)
@given(URLS)
def test_words_against_plain_python(urls):
    found = holds_word(column(urls), build_automaton(WORDS)).tolist()
    assert found == [any(word in url.replace("-", "").replace(".", "") for word in WORDS) for url in urls]
    pattern = re.compile(r"\b(?:" + "|".join(re.escape(w) for w in sorted(WORDS, key=len, reverse=True)) + r")\b")
    assert count_words(column(urls), build_trie(WORDS), True).tolist() == [len(set(pattern.findall(url))) for url in urls]
    apart = {word: re.compile(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])") for word in WORDS}
    assert count_words(column(urls), build_trie(WORDS), False).tolist() == [sum(bool(p.search(url)) for p in apart.values()) for url in urls]


def test_words_on_many_more():
    rng = random.Random(4)
    urls = ["".join(rng.choice(PIECES) for _ in range(rng.randint(0, 12))) for _ in range(4000)]
    pattern = re.compile(r"\b(?:" + "|".join(re.escape(w) for w in sorted(WORDS, key=len, reverse=True)) + r")\b")
    assert count_words(column(urls), build_trie(WORDS), True).tolist() == [len(set(pattern.findall(url))) for url in urls]


def test_empty_lists_and_bytes_that_are_not_utf8():
    urls = column(["http://a.b/", None])
    assert not holds_word(urls, build_automaton([])).any() and not count_words(urls, build_trie([]), False).any()
    raw = b"http://\xff\xe4"
    broken = pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer((0).to_bytes(8, "little") + len(raw).to_bytes(8, "little")), pa.py_buffer(raw)])
    assert count_words(text_view(broken), build_trie(["http"]), False).tolist() == [1]
    assert len(site_hashes(text_view(broken), False)) == 1
