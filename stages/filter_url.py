"""Drop documents by their URL: banned domains and three kinds of word lists (RefinedWeb, Penedo et al. 2023; as DCLM runs them).

Reads url, adds nothing; a document without a URL stays. The URL is lower-cased (ASCII) and judged in this order:

    banned_domain  its netloc (user and port included) without "www" and the dot that this leaves is on the list of domains
    strict_word    it holds a strict word anywhere, once "-" and "." are taken out
    hard_word      a hard word stands in it as a whole word: between characters that are neither letters nor digits
    soft_words     at least `min_soft_words` different soft words stand in it as whole words

Cost: regular expressions of Arrow's RE2 over the column, some 20 microseconds a URL.
"""

from collections.abc import Callable
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from stages.core.config import config, location
from stages.core.fingerprint import digest
from stages.core.schema import detail_array
from stages.core.stage import Inputs, Resources, Verdict, stage

SMALL_LISTS = {
    "domains": ("adserver.example", "doubleclick.net", "linkfarm.example"),
    "strict": (
        "camgirl",
        "creampie",
        "gangbang",
        "hardcoresex",
        "onlinecasino",
        "pornhub",
        "sexcam",
        "xvideos",
        "xxxvideo",
    ),
    "hard": ("bdsm", "cialis", "dildo", "hentai", "levitra", "milf", "porn", "porno", "slut", "viagra", "xxx"),
    "soft": ("adult", "bet", "casino", "erotic", "escort", "hardcore", "nude", "poker", "sex", "sexy", "webcam"),
}
"""A handful of words to start with, far smaller than the lists of RefinedWeb: give `lists` for real work."""


@config
class FilterUrl:
    lists: str | None = location(None)
    """Directory with one word a line in files whose names hold domains, strict, hard or soft (*.txt); one of the four may be missing."""
    banned_domains: tuple[str, ...] | None = None
    """Domains to drop; None takes those of `lists`, or where there are none the small list shipped here. So do the next three."""
    strict_words: tuple[str, ...] | None = None
    """Words that condemn a URL even inside other words."""
    hard_words: tuple[str, ...] | None = None
    """Words that condemn a URL as a whole word."""
    soft_words: tuple[str, ...] | None = None
    """Words that condemn a URL together."""
    min_soft_words: int = 2
    """Different soft words that make a URL fail."""

    def __post_init__(self) -> None:
        if self.min_soft_words < 1:
            raise ValueError(f"min_soft_words is {self.min_soft_words}; it counts words, so give 1 or more")


def resolve_lists(config: FilterUrl) -> dict[str, list[str]]:
    """Return the four lists that `config` means, normalised, sorted and without repeats; ValueError for a directory without any."""
    given = {
        "domains": config.banned_domains,
        "strict": config.strict_words,
        "hard": config.hard_words,
        "soft": config.soft_words,
    }
    found = _read_lists(config.lists) if config.lists else SMALL_LISTS
    lists = {kind: found.get(kind, ()) if words is None else words for kind, words in given.items()}
    lists["domains"] = [domain.replace("www", "").lstrip(".") for domain in map(str.lower, lists["domains"])]
    lists["strict"] = [word.replace("-", "").replace(".", "") for word in lists["strict"]]
    return {kind: sorted({word.lower().strip() for word in words} - {""}) for kind, words in lists.items()}


def _read_lists(place: str) -> dict[str, list[str]]:
    import fsspec

    store, root = fsspec.core.url_to_fs(place)
    lists = {}
    for kind in SMALL_LISTS:
        for path in sorted(store.glob(f"{root.rstrip('/')}/*{kind}*.txt")):
            lists.setdefault(kind, []).extend(store.cat_file(path).decode().splitlines())
    if not lists:
        raise ValueError(
            f"filter_url: no *domains*.txt, *strict*.txt, *hard*.txt or *soft*.txt in {place}; correct `lists` or leave it out"
        )
    return lists


@stage(
    version=1,
    kind="map",
    needs={"url"},
    drop_band=(0.0, 0.5),
    identity=lambda config: {kind: digest(words) for kind, words in resolve_lists(config).items()},
)
def filter_url(config: FilterUrl, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents whose URL is of a banned domain or holds banned words."""
    lists = resolve_lists(config)
    domains = pa.array(lists["domains"], pa.string())
    reasons = pa.array(["banned_domain", "strict_word", "hard_word", "soft_words"])

    def judge(batch: pa.RecordBatch) -> Verdict:
        url = pc.ascii_lower(batch.column("url").cast(pa.string()).fill_null(""))
        host = pc.struct_field(pc.extract_regex(url, r"^[^/?#]*//(?P<netloc>[^/?#]*)"), "netloc")
        host = pc.utf8_ltrim(pc.replace_substring(host, "www", ""), characters=".")
        bare = pc.replace_substring(pc.replace_substring(url, "-", ""), ".", "")
        soft = _soft_words(url, lists["soft"], config.min_soft_words)
        hits = [
            pc.is_in(host, value_set=domains),
            _matches(bare, _any_of(lists["strict"])),
            _matches(url, _whole(lists["hard"])),
            pc.greater_equal(soft, config.min_soft_words),
        ]
        drop = reduce(pc.or_, hits)
        code = pc.case_when(pc.make_struct(*hits), *[pa.scalar(i, pa.int32()) for i in range(4)])
        by_soft = pc.equal(code, 3).fill_null(False)
        nothing = pa.scalar(None, pa.float64())
        detail = detail_array(
            len(url),
            value=pc.if_else(by_soft, pc.cast(soft, pa.float64()), nothing),
            limit=pc.if_else(by_soft, pa.scalar(float(config.min_soft_words)), nothing),
        )
        return Verdict(keep=pc.invert(drop), reason=pa.DictionaryArray.from_arrays(code, reasons), detail=detail)

    return judge


def _soft_words(url: pa.Array, words: list[str], enough: int) -> pa.Array:
    """Count the different soft words in each URL; one word at a time, but only over the few URLs that hold any."""
    import numpy as np

    counts = np.zeros(len(url), np.int64)
    rows = np.flatnonzero(_matches(url, _whole(words)).to_numpy(zero_copy_only=False))
    if len(rows):
        some = url.take(pa.array(rows))
        for word in words:
            counts[rows] += _matches(some, _whole([word])).to_numpy(zero_copy_only=False)
    return pa.array(counts)


def _matches(column: pa.Array, pattern: str | None) -> pa.Array:
    return pa.repeat(False, len(column)) if pattern is None else pc.match_substring_regex(column, pattern)


def _any_of(words: list[str]) -> str | None:
    return "|".join("".join(map(_literal, word)) for word in words) if words else None


def _whole(words: list[str]) -> str | None:
    return rf"(?:^|[^\pL\pN])(?:{_any_of(words)})(?:$|[^\pL\pN])" if words else None


def _literal(character: str) -> str:
    return (
        character if character.isalnum() or not character.isascii() else "\\" + character
    )  # RE2 takes a backslash before any ASCII mark
