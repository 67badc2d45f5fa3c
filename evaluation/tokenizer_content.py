"""What the definition of a tokenizer tells: its identity, and whether its texts may be tokenised line by line.

Usage: `tokenizer_hash(tokenizer)`, `splits_at_newlines(tokenizer)`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from .protocol import HuggingFaceTokenizer, Tokenizer

if TYPE_CHECKING:
    import tokenizers


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """sha256 of the tokenizer.json, as the library writes it, and the end-of-text id; the file's path and layout do not enter.

    A tokenizer of another kind states its identity in a `content_hash: str` of its own. Raises ValueError where it has none.
    """
    content = getattr(tokenizer, "content_hash", None)
    backend = _backend(tokenizer)
    if backend is not None:
        content = backend.to_str()
    elif not isinstance(content, str) or not content:
        raise ValueError(
            f"tokenizer_hash: a {type(tokenizer).__name__} has no tokenizer.json to be known by; give it a `content_hash` that "
            "changes with its vocabulary and rules, or compile without a store"
        )
    return hashlib.sha256(f"{tokenizer.eos_token_id}\n{content}".encode()).hexdigest()


def splits_at_newlines(tokenizer: Tokenizer) -> bool:
    r"""Whether ids("a\nb") = ids("a") + ids("\n") + ids("b") for all texts where "\n" stands between two characters that are no white space.

    Read from the definition, not tried out. GPT-2's byte-level splitting (GPT-NeoX, SmolLM and others) makes such a newline a
    piece of its own: no alternative of its expression holds a newline beside another character, merges stay inside pieces,
    and NFC composes nothing across a newline. False wherever one of these is not known to hold.
    """
    backend = _backend(tokenizer)
    if backend is None:
        return False
    from tokenizers import models, normalizers

    model = backend.model
    return (
        (backend.normalizer is None or isinstance(backend.normalizer, normalizers.NFC))
        and isinstance(model, models.BPE)
        and not model.dropout
        and _is_gpt2_splitting(backend)
        # an added token is cut out of the text first: it must neither hold the newline nor swallow one beside it
        and not any("\n" in each.content or each.lstrip or each.rstrip for each in backend.get_added_tokens_decoder().values())
    )


def _is_gpt2_splitting(backend: tokenizers.Tokenizer) -> bool:
    if backend.pre_tokenizer is None:
        return False
    rule = json.loads(backend.pre_tokenizer.__getstate__())
    steps = rule["pretokenizers"] if rule["type"] == "Sequence" else [rule]
    *before, last = steps
    digits_apart = all(step["type"] == "Digits" for step in before)  # splits beside digits only, so never inside "\n"
    return digits_apart and last["type"] == "ByteLevel" and last.get("use_regex", True) and not last["add_prefix_space"]


def _backend(tokenizer: Tokenizer) -> tokenizers.Tokenizer | None:
    return tokenizer._backend if isinstance(tokenizer, HuggingFaceTokenizer) else None
