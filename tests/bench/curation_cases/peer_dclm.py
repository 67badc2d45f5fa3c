"""DCLM's heuristics in plain Python, document by document: steps 6, 7, 9 to 19 of its RefinedWeb recipe, in its order.

Written from what the recipe does, with nothing of winnow's but the list of top-level domains: str methods, re, Counter. The words of
the n-gram rules (UAX#29) are handed in, since uniseg, DCLM's own segmenter, would drown the rest at some 0.05 MB/s.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

STOP_WORDS = frozenset("the be to of and that have with".split())
BULLETS = ("●", "•", "*", "-")
ELLIPSES = ("...", ". . .", "…")
NOUNS = "likes shares comments retweets reposts quotes bookmarks upvotes downvotes downloads views followers".split()
COUNTER = re.compile(rf"^\W*\d[,.\d]*[kmb]?\s+(?:{'|'.join(NOUNS)})\W*$")
SUBSTRINGS = {
    letter: [re.compile(p, re.IGNORECASE) for p in (r"\s?items in cart", rf"\s?read more{'...' if letter else '[.]{3}'}$", r"^sign-in\s?")]
    for letter in (True, False)
}
"""To the letter of DCLM, where a full stop is any character, and as it was meant."""
TAIL = r"[-a-zA-Z0-9()@:%_+.~#?&/=]*"
ADDRESS = re.compile(rf"\s{{0,10}}\b(?:(?:https?|ftp)://)?(?:[0-2]?[0-9]{{1,2}}\.){{3}}[0-2]?[0-9]{{1,2}}{TAIL}")
MANY_NEWLINES = re.compile(r"\n{3,}")
FASTTEXT_SPACE = re.compile("[ \n\r\t\v\f\0]+")
TOP_LIMITS = {2: 0.20, 3: 0.18, 4: 0.16}
DUP_LIMITS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def edit_text(text: str, domains: tuple[str, ...], letter: bool) -> str:
    """Steps 6 and 7: take out URLs and addresses, shorten runs of newlines.

    To the letter of DCLM URLs go only where the text begins with the name of a top-level domain; otherwise everywhere.
    """
    begins, url = _url_patterns(domains)
    if not letter or begins.match(text):
        text = url.sub("", text)
    return MANY_NEWLINES.sub("\n\n", ADDRESS.sub("", text))


def quality_rule(text: str) -> str | None:
    """Steps 9 to 15: the first rule that the text breaks."""
    tokens, lines = text.split(), _segments(text, "\n")
    count = count_words(text)
    if not 50 <= count <= 100_000:
        return "word_count"
    if not 3 <= sum(map(len, tokens)) / len(tokens) <= 10:
        return "mean_word_length"
    if sum(text.count(symbol) for symbol in ("#", *ELLIPSES)) / len(tokens) > 0.1:
        return "symbol_ratio"
    if sum(line.startswith(BULLETS) for line in lines) > 0.9 * len(lines):
        return "bullet_lines"
    if sum(line.endswith(ELLIPSES) for line in lines) > 0.3 * len(lines):
        return "ellipsis_lines"
    if sum(not any(map(str.isalpha, token)) for token in tokens) / len(tokens) > 0.2:
        return "alphabetic_words"
    if sum(token.lower() in STOP_WORDS for token in tokens) < 2:
        return "stop_words"
    return None


def repetition_rule(text: str, words: Sequence[str]) -> str | None:
    """Step 16: the first rule of repetition that the text breaks; `words` are its UAX#29 words that begin with a letter or digit."""
    lines, paragraphs = _segments(text, "\n"), _segments(text, "\n\n")
    (line_share, line_chars), (paragraph_share, paragraph_chars) = map(_repeated, (lines, paragraphs))
    for name, share, limit in (
        ("dup_lines", line_share, 0.3),
        ("dup_paragraphs", paragraph_share, 0.3),
        ("dup_line_chars", line_chars, 0.2),
        ("dup_paragraph_chars", paragraph_chars, 0.2),
    ):
        if share > limit:
            return name
    total = sum(map(len, words))
    for n in range(2, 11):
        grams = list(zip(*(words[k:] for k in range(n)), strict=False))
        counts = Counter(grams)
        most = max(counts.values(), default=1)
        if most == 1:
            return None  # of the longer ones none repeats either
        if n in TOP_LIMITS:
            longest = max(sum(map(len, gram)) for gram, count in counts.items() if count == most)
            if longest * most / total > TOP_LIMITS[n]:
                return f"top_{n}_gram"
        else:
            inside = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
            if sum(len(words[i]) for i in inside) / total > DUP_LIMITS[n]:
                return f"dup_{n}_grams"
    return None


def edit_lines(text: str, letter: bool) -> tuple[str, str]:
    """Steps 17 to 19: drop and trim lines; the reason of a drop ("" for none) and the text that is left. The text has words."""
    before = count_words(text)
    lines = [line for line in text.split("\n") if not line or sum(map(str.isupper, line)) / len(line) <= 0.5]
    lines = [line for line in _stripped(lines) if not line or sum(map(str.isdigit, line)) / len(line) <= 0.999999]
    lines = [line for line in _stripped(lines) if not COUNTER.search(line.lower())]
    lines = [line for line in _stripped(lines) if not line or len(line.split()) >= 2]
    for pattern in SUBSTRINGS[letter]:
        lines = _stripped(_without(pattern, lines))
    text = "\n".join(lines)
    return ("removed_words", "") if (before - count_words(text)) / before > 0.05 else ("", text)


def count_words(text: str) -> int:
    """Words as fastText splits them, without those that begin with neither letter nor digit."""
    return sum(word[:1].isalnum() for word in FASTTEXT_SPACE.split(text))


def _without(pattern: re.Pattern[str], lines: Iterable[str]) -> list[str]:
    kept = []
    for line in lines:
        if len(line.split()) <= 10:
            left = pattern.sub("", line)
            if line and (not left or left.isspace()):
                continue
            line = left
        kept.append(line)
    return kept


def _stripped(lines: list[str]) -> list[str]:
    """Lines of the joined and stripped text: DCLM joins, strips and splits again between any two of its steps."""
    return "\n".join(lines).strip().split("\n")


def _segments(text: str, end: str) -> list[str]:
    return [stripped for segment in text.split(end) if (stripped := segment.strip())]


def _repeated(segments: list[str]) -> tuple[float, float]:
    """Shares of segments, and of their characters, that occur twice or more, all copies counted; one segment alone repeats nothing."""
    counts = Counter(segments)
    repeated = [(segment, count) for segment, count in counts.items() if count > 1]
    chars = sum(map(len, segments)) or 1
    return sum(count for _, count in repeated) / max(1, len(segments)), sum(len(segment) * count for segment, count in repeated) / chars


@cache
def _url_patterns(domains: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    names = _trie_pattern(domains)
    url = rf"\s{{0,10}}(?:(?:https?|ftp)://)?[-a-zA-Z0-9@:%._+~#=]{{1,256}}\.{names}\b{TAIL}"
    return re.compile(names, re.IGNORECASE), re.compile(url)


def _trie_pattern(names: Iterable[str]) -> str:
    """A regular expression for any of `names`, common beginnings written once: an alternation of 1,590 would be ten times as slow."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        if name:
            groups.setdefault(name[0], []).append(name[1:])
    branches = [re.escape(first) + (_trie_pattern(rest) if any(rest) else "") for first, rest in groups.items()]
    pattern = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{pattern})?" if "" in names else pattern
