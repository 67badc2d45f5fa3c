import unicodedata

from stages.kernels.tlds import RIGHT_TO_LEFT, TOP_LEVEL_DOMAINS


def test_names_are_lower_case_and_told_apart_by_direction():
    names = TOP_LEVEL_DOMAINS + RIGHT_TO_LEFT
    assert len(names) == len(set(names)) == 1591
    assert all(name == name.lower() and not any(c.isspace() or c in ".-\u200e" for c in name) for name in names)
    assert all(unicodedata.bidirectional(name[0]) in ("R", "AL") for name in RIGHT_TO_LEFT)
    assert not any(unicodedata.bidirectional(c) in ("R", "AL") for name in TOP_LEVEL_DOMAINS for c in name)
    assert {"com", "org", "museum", "uk", "tp", "рф", "中国", "भारत"} <= set(TOP_LEVEL_DOMAINS)
