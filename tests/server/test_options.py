"""The options of a request are what their description says."""

import re

import hypothesis
import pydantic
import pytest
from hypothesis import strategies as st

from pixelwise.inference.views import PAPERS
from pixelwise.server.options import MOST_LETTERS, SCALES, Options


@hypothesis.given(st.from_regex(SCALES, fullmatch=True).filter(lambda text: len(text) <= MOST_LETTERS))
@hypothesis.settings(deadline=None)
def test_what_the_description_allows_is_taken(scales):
    seen = Options(scales=scales).views
    if scales in PAPERS:
        assert seen == PAPERS[scales]
    else:
        assert list(seen.scales) == list(dict.fromkeys(float(part) for part in scales.split(",")))


@pytest.mark.parametrize("scales", ["", "0", "0.0", "-1", "8.1", "nan", "inf", "1e3", "1;2", "pspnett", "1,pspnet"])
def test_what_it_does_not_allow_is_refused(scales):
    assert not re.search(SCALES, scales)
    if scales:  # nothing is as if it were left out
        with pytest.raises(pydantic.ValidationError):
            Options(scales=scales)
