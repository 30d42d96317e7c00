import numpy as np
import pytest

from pixelwise.crf.parameters import PRESETS, CRFParameters
from pixelwise.errors import BadOption
from pixelwise.models import list_models


def test_a_record_is_the_settings():
    settings = CRFParameters(bilateral_weight=5, normalization="after")
    assert CRFParameters.from_record(settings.to_record()) == settings


def test_numbers_may_be_numpys():
    settings = CRFParameters(bilateral_weight=np.float32(3), spatial_sigma_pixels=np.int64(2))
    assert settings == CRFParameters(bilateral_weight=3, spatial_sigma_pixels=2)
    assert all(type(value) is float for name, value in settings.to_record().items() if name != "normalization")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bilateral_weight": -1}, "bilateral_weight is -1: expected more than 0, or 0 for off"),
        ({"spatial_sigma_pixels": 0}, "spatial_sigma_pixels is 0: expected more than 0"),
        ({"bilateral_sigma_color": float("nan")}, "bilateral_sigma_color is nan: expected a number"),
        ({"bilateral_sigma_pixels": "67"}, "bilateral_sigma_pixels is '67'"),
        ({"spatial_weight": True}, "spatial_weight is True"),
        ({"bilateral_weight": 10**400}, "bilateral_weight is 1000.*000: expected a number"),
        ({"normalization": ["after"]}, r"normalization is \['after'\]: expected one of"),
        ({"normalization": "both"}, "normalization is 'both': expected one of symmetric, after, before, none"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(BadOption, match=message):
        CRFParameters(**options)


def test_an_unknown_name_in_a_record():
    with pytest.raises(BadOption, match="CRFParameters has no 'sigma': expected bilateral_weight"):
        CRFParameters.from_record({"sigma": 3})


def test_every_deeplab_of_the_first_two_papers_has_a_preset():
    first_two = {name for name in list_models() if name.startswith("deeplab_") and "v3" not in name}
    assert first_two
    assert first_two <= set(PRESETS)
    assert set(PRESETS) - first_two == {"deeplab_code", "deeplab_script", "pydensecrf_example"}


def test_the_models_of_section_6_1():
    assert PRESETS["deeplab_largefov"] == CRFParameters(
        bilateral_weight=4, bilateral_sigma_pixels=121, bilateral_sigma_color=5, normalization="after"
    )
    assert PRESETS["deeplab_v2_resnet101_aspp"].spatial_sigma_pixels == 1
    assert PRESETS["pydensecrf_example"].normalization == "symmetric"
