"""Drop documents by their URL: banned domains and three kinds of word lists (RefinedWeb, Penedo et al. 2023; as DCLM runs them).

Reads url, adds nothing; a document without a URL stays. The URL is lower-cased and judged in this order:

    banned_domain   its site (without user, port and a leading "www.") is on the list of domains, which holds whole host names
    curated_source  likewise on the list of sites that other corpora take care of
    strict_word     it holds a strict word anywhere, once "-" and "." are taken out of both
    hard_word       a hard word stands in it as a whole word: between characters that are neither letters nor digits
    soft_words      at least `min_soft_words` different soft words stand in it as whole words

Cost: less than a microsecond a URL with RefinedWeb's word lists. Domains are compared by 64-bit hashes.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

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

CURATED_SOURCES = (
    "arxiv.org",
    "askubuntu.com",
    "courtlistener.com",
    "en.wikipedia.org",
    "exporter.nih.gov",
    "github.com",
    "irclogs.ubuntu.com",
    "mathoverflow.net",
    "ncbi.nlm.nih.gov",
    "news.ycombinator.com",
    "reddit.com",
    "stackapps.com",
    "stackexchange.com",
    "stackoverflow.com",
    "statmt.org",
    "uspto.gov",
)
"""What RefinedWeb leaves to curated corpora; DCLM-Baseline keeps these sites, so a recipe that wants them out says so."""


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
    curated_sources: tuple[str, ...] = ()
    """More sites to drop, for a reason of their own: CURATED_SOURCES are those of RefinedWeb."""
    dclm_compat: bool = False
    """True: every "www" is deleted from a site and nothing else, so that www.bad.com becomes .bad.com and passes, as does bad.com:80;
    lists are taken as they are written, so that a strict word with "-" or "." never matches; "_" is part of a word; and of words that
    overlap only the first, longest one counts, as in DCLM's regular expressions (where one soft word spelt with a long s and with an s
    would count twice; here it does not). False: as said above."""

    def __post_init__(self) -> None:
        if self.min_soft_words < 1:
            raise ValueError(f"min_soft_words is {self.min_soft_words}; it counts words, so give 1 or more")


def resolve_lists(config: FilterUrl) -> dict[str, list[str]]:
    """Return the lists that `config` means, "curated" with them, sorted and without repeats; ValueError for a directory without any."""
    given = {
        "domains": config.banned_domains,
        "strict": config.strict_words,
        "hard": config.hard_words,
        "soft": config.soft_words,
    }
    found = _read_lists(config.lists) if config.lists else SMALL_LISTS
    lists = {kind: found.get(kind, ()) if words is None else words for kind, words in given.items()}
    lists["curated"] = config.curated_sources
    lists = {kind: {word.lower() for word in words} for kind, words in lists.items()}
    if not config.dclm_compat:
        for kind in ("domains", "curated"):
            lists[kind] = {domain.strip().removeprefix("www.") for domain in lists[kind]}
        lists["strict"] = {word.replace("-", "").replace(".", "").strip() for word in lists["strict"]}
        lists["hard"], lists["soft"] = ({word.strip() for word in lists[kind]} for kind in ("hard", "soft"))
    return {kind: sorted(words - {""}) for kind, words in lists.items()}


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
    version=2,
    kind="map",
    needs={"url"},
    drop_band=(0.0, 0.5),
    identity=lambda config: {kind: digest(words) for kind, words in resolve_lists(config).items()},
)
def filter_url(config: FilterUrl, inputs: Inputs, resources: Resources) -> Callable[[pa.RecordBatch], Verdict]:
    """Drop documents whose URL is of a banned domain or holds banned words."""
    from stages.kernels.ignore_case import ignore_case, map_characters
    from stages.kernels.text_view import text_view
    from stages.kernels.trie import build_automaton, build_trie
    from stages.kernels.unicode import lower_case
    from stages.kernels.url_words import count_words, hash_sites, holds_word, site_hashes

    lists = resolve_lists(config)
    compat = config.dclm_compat
    domains, curated = (np.sort(hash_sites(text_view(pa.array(lists[kind], pa.large_string())))) for kind in ("domains", "curated"))
    table = ignore_case()
    same = {kind: ["".join(chr(table[ord(c)]) for c in word) for word in lists[kind]] for kind in ("strict", "hard", "soft")}
    strict, hard, soft = build_automaton(same["strict"]), build_trie(same["hard"]), build_trie(same["soft"])
    reasons = pa.array(["banned_domain", "curated_source", "strict_word", "hard_word", "soft_words"])

    def judge(batch: pa.RecordBatch) -> Verdict:
        urls = text_view(batch.column("url"))
        sites = site_hashes(map_characters(urls, lower_case()), compat)
        urls = map_characters(urls, table)
        soft_words = count_words(urls, soft, compat)
        code = np.full(len(urls), -1, np.int32)
        code[soft_words >= config.min_soft_words] = 4
        code[count_words(urls, hard, compat) > 0] = 3
        code[holds_word(urls, strict)] = 2
        code[_among(sites, curated)] = 1
        code[_among(sites, domains)] = 0
        value = pa.array(soft_words, pa.float64(), mask=code != 4)
        limit = pa.array(np.full(len(urls), float(config.min_soft_words)), mask=code != 4)
        return Verdict(
            keep=pa.array(code < 0),
            reason=pa.DictionaryArray.from_arrays(pa.array(code, mask=code < 0), reasons),
            detail=detail_array(len(urls), value=value, limit=limit),
        )

    return judge


def _among(hashes: np.ndarray, members: np.ndarray) -> np.ndarray:
    if not len(members):
        return np.zeros(len(hashes), np.bool_)
    return members[np.searchsorted(members, hashes) % len(members)] == hashes
