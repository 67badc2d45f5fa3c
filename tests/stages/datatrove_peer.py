"""datatrove's own filters, given winnow's words: what the filters that follow datatrove are held against."""

import json
import random
from contextlib import ExitStack
from functools import cache
from unittest.mock import patch

import pyarrow as pa


@cache
def words_of(text):
    """The tokens that winnow's splitter finds, as strings."""
    from stages.kernels.text_view import text_view
    from stages.kernels.uax29 import segment_uax29

    view = text_view(pa.array([text], pa.string()))
    tokens = segment_uax29(view)
    return [view.data[a:b].tobytes().decode() for a, b in zip(tokens.starts, tokens.ends, strict=True)]


def decide(block, texts, **splitters):
    """Run a datatrove filter over texts with these functions in the place of the ones that its module imported.

    Returns a list of drop reasons, None where the document stays, and the texts as they are afterwards.
    """
    from datatrove.data import Document

    module = __import__(type(block).__module__, fromlist=["_"])
    reasons, after = [], []
    with ExitStack() as stack:
        for name, function in splitters.items():
            stack.enter_context(patch.object(module, name, lambda text, language, function=function: function(text)))
        for text in texts:
            document = Document(text=text, id="")
            answer = block.filter(document)
            reasons.append(answer[1] if isinstance(answer, tuple) else None if answer else "dropped")
            after.append(document.text)
    return reasons, after


def judge(stage, texts, **fields):
    """Run a stage of winnow's over texts: its drop reasons, its verdict."""
    from stages.core.stage import Inputs, Resources

    verdict = stage(stage.config_type(**fields), Inputs(), Resources())(pa.record_batch({"text": pa.array(texts, pa.string())}))
    reasons = verdict.reason.to_pylist()
    assert [reason is None for reason in reasons] == verdict.keep.to_pylist()
    return reasons, verdict


SENTENCES = (
    "The river runs past the old mill and down to the sea.",
    "Every spring the people of the village come to mend the banks!",
    "They have done so with care, for as long as anyone can tell.",
    "In a dry year the water hardly covers the stones; in a wet one it takes away fences, boats, even a bridge?",
    '"Nobody minds much," he said, because a meadow that is fed by floods grows twice the hay.',
    "Déjà vu: l'été à Zürich, 东京都の人口。 Что это? 🐎🐎 don't!",
)
SCRAPS = ("...", "# #", "- the", "• one", "42", "…", "3.14 % 17", "___", "a b c d e", "\u2028", "\r\n", "\x85 - x", "to be", "|", "")


def random_document(rng):
    """A document in which sentences, lines, words and scraps come back often enough for every rule to have some to drop."""
    words = " ".join(SENTENCES).split()
    pool = [rng.choice(SENTENCES) for _ in range(rng.randint(1, 6))]
    pool += [" ".join(rng.sample(words, rng.randint(1, 20))) for _ in range(rng.randint(0, 8))]
    parts = [rng.choice(pool) for _ in range(rng.randint(1, rng.choice((3, 12, 40))))]
    scraps = rng.sample(SCRAPS, rng.randint(0, 3))
    parts += [rng.choice(scraps) for _ in range(rng.randint(0, rng.choice((1, 4, 60)))) if scraps]
    rng.shuffle(parts)
    ends = rng.choice(((" ",), (" ", " ", "\n"), (" ", "\n", "\n\n"), ("\n", "...\n", " \n\n\n"), ("\n",)))
    return "".join(part + rng.choice(ends) for part in parts)


def random_documents(count, seed=3):
    """`count` of them, the same ones every time, and a few that have next to nothing in them."""
    rng = random.Random(seed)
    return ["", " ", "\n", "\n\na\n", "word", "...", "a\nb"] + [random_document(rng) for _ in range(count)]


@cache
def real_documents(shared):
    """Some 2,200 web pages, news articles and stretches of an encyclopaedia and of speeches, most of them 3,000 characters at most."""
    texts = [json.loads(line)["text"] for line in (shared / "quality" / "majority_data.jsonl").open(encoding="utf-8")]
    texts += [json.loads(line)["text"] for line in (shared / "instruct" / "c4_demo.jsonl").open(encoding="utf-8")]
    texts += (shared / "neardup" / "articles_1000.train").read_text(errors="replace").split("\n")
    for path in sorted((shared / "text" / "wikitext-2").glob("*")) + sorted((shared / "text" / "udhr2").glob("*"))[::6]:
        text = path.read_text(errors="replace")
        texts += [text[i : i + 3000] for i in range(0, len(text), 3000)][:200]
    return texts
