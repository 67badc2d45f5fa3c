"""Numba kernels over Arrow string buffers: each takes numpy views and returns numpy arrays, no Python object per document.

    text = text_view(batch.column("text"))                # bytes and offsets
    tokens = segment_uax29(text)                          # positions, lengths and hashes of all words, found once
    top, repeated, total = ngram_repetition(tokens)       # every statistic that needs words starts from there

A file is one idea and calls no compiled function of another file: Numba caches by the source file of the caller and would
not see such a change. What two kernels share is handed over as arrays.
"""
