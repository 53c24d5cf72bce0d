import pytest

import models
from models.zoo import Architecture


@pytest.mark.parametrize("function", [models.build, models.load])
@pytest.mark.parametrize(("name", "meant"), [("emoij", "'emoji'"), ("cc12m", "'cc12m_1'")])
def test_unknown_name_is_told_with_those_that_there_are(function, name, meant):
    with pytest.raises(ValueError, match=f"did you mean {meant}") as error:
        function(name)
    assert all(known in str(error.value) for known in models.names())


def test_channels_that_no_head_divides_are_told():
    with pytest.raises(ValueError, match=r"\(96, 100\).*multiples of head_channels, 32"):
        Architecture(channels=(20, 96, 100), blocks=1, attention_from=1, head_channels=32)


def test_what_is_no_name_at_all_is_told_as_well():
    with pytest.raises(ValueError, match="no network None: there are emoji"):
        models.load(None)
