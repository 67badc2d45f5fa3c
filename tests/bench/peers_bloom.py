"""What one would write without a kernel: BFF's old-both deduplication in plain Python, with xxhash and a bytearray as Bloom filter."""

import pyarrow as pa
import xxhash

from stages.kernels.text_view import text_view
from stages.kernels.uax29 import segment_uax29


def bloom_dedup(texts: list[str], bits: int, k: int = 7) -> list[str | None]:
    """Return each text without its repeated paragraphs, or None where the whole document goes; 13-grams, threshold 0.8.

    The tokens are those of `segment_uax29`, so that the filter is compared and not the segmentation, which in plain Python takes far longer.
    """
    n, threshold = 13, 0.8
    view = text_view(pa.array(texts, pa.large_string()))
    data, offsets, tokens = view.data.tobytes(), view.offsets.tolist(), segment_uax29(view)
    bounds, starts, ends = tokens.bounds.tolist(), tokens.starts.tolist(), tokens.ends.tolist()
    seen = bytearray(bits // 8 + 1)
    results: list[str | None] = []
    for doc in range(len(texts)):
        token, last, kept = bounds[doc], bounds[doc + 1], []
        total = total_contained = 0
        start = offsets[doc]
        while start is not None:
            cut = data.find(b"\n", start + 1, offsets[doc + 1])
            end = offsets[doc + 1] if cut < 0 else cut
            words = []
            while token < last and starts[token] < end:
                words.append(data[starts[token] : ends[token]])
                token += 1
            places = []
            for i in range(len(words) - n + 1):
                digest = xxhash.xxh3_128_intdigest(b"\0".join(words[i : i + n]))
                first, step = digest & 0xFFFFFFFFFFFFFFFF, digest >> 64 | 1
                places.append([(first + j * step) % bits for j in range(k)])
            contained = sum(all(seen[place >> 3] >> (place & 7) & 1 for place in gram) for gram in places)
            total, total_contained = total + len(places), total_contained + contained
            if not places or contained / len(places) <= threshold:
                kept.append(data[start:end])
                for gram in places:
                    for place in gram:
                        seen[place >> 3] |= 1 << (place & 7)
            start = cut if cut >= 0 else None
        gone = last == bounds[doc] or (total and total_contained / total > threshold)
        results.append(None if gone else b"".join(kept).decode())
    return results
