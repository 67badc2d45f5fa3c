"""Bring a fastText classifier that someone has published into a plan, in the shape that train_fasttext makes.

DCLM's (Li et al. 2024): hf://mlfoundations/fasttext-oh-eli5/openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train.bin, labels __label__hq and __label__cc.
Read: nothing of the store -> written: model.bin.
Cost: one transfer of the file. Where a plan is made, its sha256 is asked of the hub (hf://) or, elsewhere, computed by reading it, unless it is given.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.core.config import config, location
from stages.core.stage import Artifact, Inputs, Resources, stage

SHA256 = re.compile(r"[0-9a-f]{64}")
PIECE_BYTES = 8 << 20


@config
class ImportFasttext:
    model: str = location()
    """The model file (.bin or .ftz): a local path, http(s):// or s3:// address, or an fsspec URL such as hf://owner/repository/file or
    hf://owner/repository@revision/file."""
    sha256: str | None = location(None)
    """Digest of the file, 64 hex digits: with it, the plan needs no network, and other bytes are an error. It changes no fingerprint, because the
    bytes bear the identity either way. None takes what is there."""

    def __post_init__(self) -> None:
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 is '{self.sha256}'; give the 64 lower-case hex digits of the file's sha256, or leave it out")


@stage(version=1, kind="artifact", takes=(), identity=lambda config: {"model": config.sha256 or published_digest(config.model)})
def import_fasttext(config: ImportFasttext, inputs: Inputs, resources: Resources) -> Artifact:
    """Copy the model to model.bin. Summary: its sha256, words, labels and settings.

    Raises ValueError if the file can not be had, has another digest than `sha256` or the hub says, or is no fastText classifier.
    """
    from stages.formats.fasttext_model import read_fasttext_model

    target = Path(resources.scratch) / "model.bin"
    expected = config.sha256 or (published_digest(config.model) if config.model.startswith("hf://") else None)
    found, size = hashlib.sha256(), 0
    with open(target, "wb") as file:
        for piece in _read(config.model):
            found.update(piece)
            size += file.write(piece)
            resources.report(0.0, f"{size / 1e6:,.0f} MB of the model")
    if expected not in (None, found.hexdigest()):
        raise ValueError(
            f"import_fasttext: {config.model} has sha256 {found.hexdigest()} and {size:,} bytes, not {expected}; correct `sha256`, or run again if the file changed"
        )
    model = read_fasttext_model(target)
    if model.settings["model"] != "supervised":
        raise ValueError(f"import_fasttext: {config.model} is a {model.settings['model']} model, which has no labels; give a classifier (supervised)")
    return Artifact(
        ("model.bin",),
        {
            "sha256": found.hexdigest(),
            "num_bytes": size,
            "num_words": model.num_words,
            "labels": sorted(model.labels),
            "quantised": model.quantised,
            **{name: model.settings[name] for name in ("dim", "word_n_grams", "loss", "bucket", "minn", "maxn")},
        },
    )


def published_digest(url: str) -> str:
    """Return the sha256 of what lies at `url`: as the hub tells it, or computed. ValueError, with what to do instead, where it can not be had."""
    if url.startswith("hf://"):
        with _reached(url):
            if large := _hub().info(url).get("lfs"):  # a small file is not stored apart, and its digest is another one
                return large["sha256"]
    found = hashlib.sha256()
    for piece in _read(url):
        found.update(piece)
    return found.hexdigest()


def _read(url: str) -> Iterator[bytes]:
    """The bytes of the file in pieces."""
    with _reached(url), _open(url) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _open(url: str) -> Any:
    import fsspec

    from stages.formats.remote import is_remote, open_remote

    if url.startswith("hf://"):
        return _hub().open(url, "rb", block_size=0)  # one stream
    return open_remote(url) if is_remote(url) else fsspec.open(url, "rb").open()


def _hub() -> Any:
    from huggingface_hub import HfFileSystem

    return HfFileSystem(skip_instance_cache=True)  # an instance remembers listings, and a plan wants to know what is there now


@contextlib.contextmanager
def _reached(url: str) -> Iterator[None]:
    """Turn whatever keeps a file from being read (each library has errors of its own for that) into a ValueError that says what to do."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"import_fasttext: {url} can not be read: {type(error).__name__}: {str(error) or 'no reason given'}. Check the address and the network "
            "(HF_ENDPOINT names a mirror of the hub); without one, fetch the file elsewhere and give its local path as `model`, or put "
            "train_fasttext in the place of import_fasttext, on positives of your own"
        ) from error
