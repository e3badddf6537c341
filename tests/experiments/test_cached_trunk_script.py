"""What the script on cached states measures, on a tiny model."""

import pytest
import torch
from experiment_scripts import load_script


def test_the_states_that_are_read_alone_take_little_room(tmp_path, monkeypatch: pytest.MonkeyPatch):
    script = load_script("cached_trunk")
    for name, value in {"COTS": 4, "META": 4, "WINDOWS": 2}.items():
        monkeypatch.setattr(script, name, value)
    config = script.world(tmp_path, "tiny")
    plain, head, layer = (
        script.measure(config, [script.trained_from(first, 2), f"model.cache_trunk={kind}", place])
        for first, kind, place in (
            (2, "none", f"data.cache_dir={tmp_path}/none"),
            (2, "float32", f"data.cache_dir={tmp_path}/head"),
            (1, "float32", f"data.cache_dir={tmp_path}/layer"),
        )
    )
    assert plain.trained == head.trained == 33 and layer.trained > 5000
    assert plain.bytes == 0 < 5 * head.bytes < layer.bytes
    torch.testing.assert_close(head.losses, plain.losses, rtol=1e-4, atol=1e-5)
