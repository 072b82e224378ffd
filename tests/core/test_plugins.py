"""What is registered can be named without being imported."""

from __future__ import annotations

import pytest

from edgecnn.core import plugins
from edgecnn.core.errors import InputError
from edgecnn.core.stage import Stage


def test_stages_are_known_by_their_word() -> None:
    known = plugins.names("stages")
    assert {"export", "cast", "quantize"} <= set(known)
    for name in known:
        stage = plugins.load("stages", name)
        assert issubclass(stage, Stage)
        assert stage.kind == name


def test_a_misspelt_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        plugins.load("stages", "quantise")
    assert caught.value.code == "unknown-stage"
    assert "'quantize'" in caught.value.hint
