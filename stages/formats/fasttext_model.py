"""Read a fastText model file (.bin, and the quantised .ftz) without fastText (Bojanowski et al. 2017; quantised: Joulin et al. 2016, "FastText.zip").

The file, little-endian throughout:
    int32 magic, version;  12 int32 of settings and a double;
    dictionary: int32 entries, words, labels;  int64 tokens, pruned (-1 if not);  entries (bytes, NUL, int64 count, int8 kind), words first;
                if pruned, so many pairs int32 (bucket, row below the words)
    bool;  input matrix, quantised if so;  bool;  output matrix, likewise (only if the input is quantised too)
    a matrix:           int64 rows, columns;  float32[rows, columns]
    a quantised matrix: bool norms;  int64 rows, columns;  int32 bytes of codes;  uint8 codes[rows, parts];  quantiser;
                        if norms: uint8 codes[rows], quantiser of one column
    a quantiser:        int32 columns, parts, width of a part, width of the last part;  float32 centroids[256 * columns]
The file is mapped: a dense matrix is a view of it, paid for as it is read, in pages that all processes share.
"""

import mmap
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

MAGIC, VERSION = 793712314, 12
MODELS = {1: "cbow", 2: "skipgram", 3: "supervised"}
LOSSES = {1: "hs", 2: "ns", 3: "softmax", 4: "ova"}
CENTROIDS = 256
WORD, LABEL = 0, 1


@dataclass(frozen=True)
class FasttextModel:
    """A model as its file tells it."""

    name: str
    """Path of the file, for messages."""
    settings: dict[str, Any]
    """dim, word_n_grams, loss, model, bucket, minn, maxn and the rest of what fastText was told."""
    entries: Any
    """stages.kernels.text_view.Text of the words and, after them, the labels."""
    counts: np.ndarray
    """int64[entries], how often each was seen in training."""
    num_words: int
    num_labels: int
    pruned: np.ndarray | None
    """int32[kept, 2], bucket and row below the words, of the n-grams that a pruned model kept; None = all buckets have rows."""
    quantised: bool
    input: "np.ndarray | Quantised"
    """A row of `dim` for each word and, after them, for each bucket (or kept n-gram)."""
    output: "np.ndarray | Quantised"
    """A row for each label; with loss hs, for each inner node of the tree."""

    @cached_property
    def words(self) -> list[bytes]:
        """The words in order of their rows."""
        return self._slices(0, self.num_words)

    @cached_property
    def labels(self) -> list[str]:
        """The labels in order of their numbers; bytes that are no UTF-8 are replaced."""
        return [label.decode(errors="replace") for label in self._slices(self.num_words, self.num_words + self.num_labels)]

    def input_rows(self) -> np.ndarray:
        """Return the input matrix, float32[rows, dim]: the view of the file, or the quantised one decoded."""
        return self.input.decode() if isinstance(self.input, Quantised) else self.input

    def output_rows(self) -> np.ndarray:
        """Return the output matrix, likewise."""
        return self.output.decode() if isinstance(self.output, Quantised) else self.output

    def _slices(self, first: int, last: int) -> list[bytes]:
        data, offsets = self.entries.data.tobytes(), self.entries.offsets.tolist()
        return [data[offsets[i] : offsets[i + 1]] for i in range(first, last)]


@dataclass(frozen=True)
class Quantiser:
    """Centroids of the parts that a row is cut into: part p of a row is one of 256 short vectors."""

    centroids: np.ndarray
    """float32[256 * columns], part after part."""
    columns: int
    parts: int
    width: int
    last_width: int

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return float32[rows, columns] of codes uint8[rows, parts]."""
        pieces = []
        for part in range(self.parts):
            width = self.last_width if part == self.parts - 1 else self.width
            begin = part * CENTROIDS * self.width
            pieces.append(self.centroids[begin : begin + CENTROIDS * width].reshape(CENTROIDS, width)[codes[:, part]])
        return np.concatenate(pieces, axis=1)


@dataclass(frozen=True)
class Quantised:
    """A product-quantised matrix, and its norms if they were quantised apart."""

    codes: np.ndarray
    quantiser: Quantiser
    norm_codes: np.ndarray | None
    norm_quantiser: Quantiser | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.codes), self.quantiser.columns

    def decode(self) -> np.ndarray:
        """Return float32[rows, columns]."""
        rows = self.quantiser.decode(self.codes)
        if self.norm_quantiser is not None:
            rows *= self.norm_quantiser.decode(self.norm_codes[:, None])
        return rows


def read_fasttext_model(path: str | Path) -> FasttextModel:
    """Map a local model file and read all of it but its matrices, which are views.

    ValueError for a file of another kind or version, one that ends early, and one that contradicts itself.
    """
    from stages.kernels.fasttext_words import read_entries

    with open(path, "rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise ValueError(f"{path} is empty; a fastText model is expected (.bin or .ftz)") from None
    cursor = _Cursor(mapped, str(path))
    if len(mapped) < 8 or (magic := cursor.take("<i")) != MAGIC:
        begins = f"with {mapped[:8]!r}" if len(mapped) < 8 else f"with {magic}, not {MAGIC}"
        raise ValueError(f"{path} is no fastText model: it begins {begins}; give a .bin or .ftz (a .vec is text, and holds no classifier)")
    version = cursor.take("<i")
    if not 11 <= version <= VERSION:
        raise ValueError(f"{path} is a fastText model of version {version}, and 11 and 12 can be read; save it anew with fastText 0.9")
    settings = _settings(cursor, version)
    size, num_words, num_labels = cursor.take("<iii")
    _, pruned_size = cursor.take("<qq")
    if not (0 <= num_words <= size and num_words + num_labels == size):
        raise ValueError(f"{path} has {size} entries, {num_words} words and {num_labels} labels, which do not add up; fetch it again")
    entries, counts, kinds, stop = read_entries(cursor.data, cursor.at, size)
    if stop < 0:
        raise cursor.short("its dictionary")
    cursor.at = stop
    if (kinds[:num_words] != WORD).any() or (kinds[num_words:] != LABEL).any():
        raise ValueError(f"{path} has labels among its words; it was not saved by fastText, or is damaged: fetch it again")
    pruned = cursor.array(np.int32, max(pruned_size, 0) * 2, "its kept n-grams").reshape(-1, 2) if pruned_size >= 0 else None
    quantised = bool(cursor.take("<B"))
    if pruned is not None and not quantised:
        raise ValueError(f"{path} is pruned, but its input is not quantised: a file of an old format; fetch the model anew")
    input_ = _read_matrix(cursor, quantised, "its input matrix")
    output = _read_matrix(cursor, bool(cursor.take("<B")) and quantised, "its output matrix")
    model = FasttextModel(str(path), settings, entries, counts, num_words, num_labels, pruned, quantised, input_, output)
    _check(model)
    return model


def _check(model: FasttextModel) -> None:
    """The parts agree in size: what goes through a model by numbers relies on it."""
    settings, hashed = model.settings, model.settings["bucket"] if model.pruned is None else len(model.pruned)
    num_output = model.num_labels if settings["model"] == "supervised" else model.num_words
    for part, matrix, rows in (("input", model.input, model.num_words + hashed), ("output", model.output, num_output)):
        if matrix.shape != (rows, settings["dim"]):
            raise ValueError(f"{model.name}: its {part} matrix is {matrix.shape}, not {(rows, settings['dim'])}; it is damaged: fetch it again")
    if model.pruned is not None and not (((model.pruned >= 0) & (model.pruned < [settings["bucket"], hashed])).all()):
        raise ValueError(f"{model.name} has kept n-grams of buckets or rows that there are not; it is damaged: fetch it again")
    if settings["bucket"] < 1 and (settings["maxn"] > 0 or settings["word_n_grams"] > 1):
        raise ValueError(f"{model.name} has n-grams but no bucket for them; it is damaged: fetch it again")


class _Cursor:
    """A place in the file."""

    def __init__(self, mapped: mmap.mmap, name: str) -> None:
        self.mapped, self.name, self.at = mapped, name, 0
        self.data = np.frombuffer(mapped, np.uint8)

    def short(self, part: str) -> ValueError:
        return ValueError(f"{self.name} ends within {part}, after {len(self.mapped):,} bytes; it was cut short: fetch it again")

    def take(self, format_: str) -> Any:
        if self.at + struct.calcsize(format_) > len(self.mapped):
            raise self.short("its header")
        values = struct.unpack_from(format_, self.mapped, self.at)
        self.at += struct.calcsize(format_)
        return values[0] if len(values) == 1 else values

    def array(self, dtype: Any, count: int, part: str) -> np.ndarray:
        """A view of the next `count` values, which need not be aligned."""
        size = count * np.dtype(dtype).itemsize
        if count < 0 or self.at + size > len(self.mapped):
            raise self.short(part)
        view = np.frombuffer(self.mapped, dtype, count, self.at) if count else np.empty(0, dtype)
        self.at += size
        return view


def _settings(cursor: _Cursor, version: int) -> dict[str, Any]:
    names = "dim window epoch min_count neg word_n_grams loss model bucket minn maxn lr_update_rate".split()
    settings = dict(zip(names, cursor.take("<12i"), strict=True)) | {"sampling_threshold": cursor.take("<d")}
    for name, known in (("loss", LOSSES), ("model", MODELS)):
        if settings[name] not in known:
            raise ValueError(f"{cursor.name} has {name} {settings[name]}, which is none of fastText's ({', '.join(known.values())}); fetch it again")
        settings[name] = known[settings[name]]
    if version == 11 and settings["model"] == "supervised":
        settings["maxn"] = 0  # classifiers of that version had no character n-grams, whatever the field says
    return settings


def _read_matrix(cursor: _Cursor, quantised: bool, part: str) -> np.ndarray | Quantised:
    if not quantised:
        rows, columns = cursor.take("<qq")
        return cursor.array(np.float32, rows * columns, part).reshape(rows, columns)
    norms = bool(cursor.take("<B"))
    rows, columns = cursor.take("<qq")
    num_codes = cursor.take("<i")
    codes = cursor.array(np.uint8, num_codes, part)
    quantiser = _read_quantiser(cursor, part)
    if rows * quantiser.parts != num_codes or quantiser.columns != columns:
        raise ValueError(f"{cursor.name}: {part} has {num_codes} codes for {rows} rows of {quantiser.parts} parts; it is damaged: fetch it again")
    norm_codes = cursor.array(np.uint8, rows, part) if norms else None
    return Quantised(codes.reshape(rows, quantiser.parts), quantiser, norm_codes, _read_quantiser(cursor, part) if norms else None)


def _read_quantiser(cursor: _Cursor, part: str) -> Quantiser:
    columns, parts, width, last_width = cursor.take("<4i")
    if not (0 < last_width <= width and (parts - 1) * width + last_width == columns):
        raise ValueError(
            f"{cursor.name}: {part} is quantised in {parts} parts of {width} and {last_width} columns, not {columns}; it is damaged: fetch it again"
        )
    return Quantiser(cursor.array(np.float32, CENTROIDS * columns, part), columns, parts, width, last_width)
