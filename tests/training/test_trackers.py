"""Trackers, throughput and the upload of a finished run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from tiny_run import TinyRun

from dreamprm.config.errors import UserError
from dreamprm.training import trackers
from dreamprm.training.processes import ALONE
from dreamprm.training.throughput import MEASURED, Throughput
from dreamprm.training.trackers import check_trackers


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_every_window(tiny: TinyRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert tiny.train("log.trackers=[tensorboard]") == 0
    events = EventAccumulator(str(tiny.output / "trackers" / "tiny"))
    events.Reload()
    rows, weights = tiny.lines("metrics.jsonl"), tiny.lines("domain_weights.jsonl")
    for key in ("inner_loss", "meta_loss", "alpha_grad_norm", "tokens_per_second"):
        found = [(event.step, event.value) for event in events.Scalars(key)]
        assert found == [(row["step"], pytest.approx(row[key])) for row in rows], key
    domain, weight = next(iter(weights[-1]["weights"].items()))
    assert events.Scalars(f"weight/{domain}")[-1].value == pytest.approx(weight)


def test_a_tracker_that_is_missing_or_unknown_is_refused(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny.train("log.trackers=[weights-and-biases]") == 2
    assert "log.trackers must be some of" in capsys.readouterr().err
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    with pytest.raises(UserError, match=r"log\.trackers=\[comet_ml\] needs a package.*pip install comet-ml"):
        check_trackers(["comet_ml"])
    assert not tiny.output.exists()


def test_a_tracker_that_fails_is_told_of_once_and_the_training_goes_on(
    tiny: TinyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*values: Any, **step: Any) -> None:
        raise ConnectionError("the service is gone")

    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.log", refused)
    assert tiny.train("log.trackers=[tensorboard]") == 0
    told = capsys.readouterr().out
    assert told.count("log.trackers: ConnectionError: the service is gone. No more figures are sent") == 1
    assert len(tiny.lines("metrics.jsonl")) == 4


def test_throughput_counts_rows_tokens_and_waiting() -> None:
    now = [0.0]
    throughput = Throughput(ALONE, clock=lambda: now[0])

    def batches() -> Any:
        for tokens in (3, 5):
            now[0] += 1.0  # reading it
            mask = torch.zeros(2, 6, dtype=torch.long)
            mask.view(-1)[:tokens] = 1
            yield {"inputs": {"attention_mask": mask}, "text": {"attention_mask": mask[:1]}}

    source = throughput.counted(batches())
    throughput.begin()
    for _ in range(2):
        next(source)
        now[0] += 3.0  # training on it
    figures = throughput.figures()
    assert figures["window_seconds"] == 8.0 and figures["waiting_seconds"] == 2.0
    assert figures["cots_per_second"] == round((2 + 1) * 2 / 8.0, 2)
    assert figures["tokens_per_second"] == round((3 + 3 + 5 + 5) / 8.0, 1)
    assert figures["peak_memory_gib"] > 0.05
    assert set(figures) == set(MEASURED) - {"seconds"}
    throughput.begin()
    assert throughput.figures()["tokens_per_second"] == 0


class Hub:
    """A hub's client, in a process's memory."""

    refusal = ""
    uploads: list[dict[str, Any]]

    def __init__(self) -> None:
        self.uploads = []

    def whoami(self) -> dict[str, str]:
        if self.refusal == "login":
            raise OSError("Token is required, but no token found.\nSee a page.")
        return {"name": "user"}

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> str:
        assert exist_ok
        return f"hub/{name}" + ("" if private else " (public)")

    def upload_folder(self, **given: Any) -> None:
        if self.refusal == "upload":
            raise RuntimeError("503 Server Error: Service Unavailable")
        self.uploads.append(given | {"files": sorted(p.name for p in Path(given["folder_path"]).iterdir())})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: found)
    return found


def test_a_trained_model_is_uploaded_with_its_card(
    tiny: TinyRun, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.train("push_to_hub=user/prm", "hub_private=false") == 0
    assert "uploaded to hub/user/prm (public)" in capsys.readouterr().out
    (upload,) = hub.uploads
    assert upload["repo_id"] == "user/prm"
    assert {"README.md", "model.safetensors", "config.json"} <= set(upload["files"])
    card = (tiny.output / "model" / "README.md").read_text()
    assert "Trained with DreamPRM" in card or "A vanilla PRM" in card
    # On which weights: the checkpoint's name, and what its files held.
    assert re.search(r"It began with the weights of `\S+` \(files of digest [0-9a-f]{16}\)\.", card)
    assert "| domain_weights | {" in card.replace("\\", "")


def test_an_upload_that_must_fail_is_refused_at_the_start(
    tiny: TinyRun, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refusal = "login"
    assert tiny.train("push_to_hub=user/prm") == 2
    told = capsys.readouterr().err
    assert "push_to_hub=user/prm: Token is required, but no token found.. Log in" in told.replace(
        "found. ", "found.. "
    )
    assert "See a page" not in told and not tiny.output.exists()
    assert tiny.train("push_to_hub=a//b") == 2
    assert "push_to_hub='a//b' is no repository, such as USER/NAME" in capsys.readouterr().err


def test_an_upload_that_fails_leaves_the_model_and_the_same_command_tries_again(
    tiny: TinyRun, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refusal = "upload"
    assert tiny.train("push_to_hub=user/prm") == 2
    told = capsys.readouterr().err
    assert (
        f"the model is saved in {tiny.output / 'model'}, but could not be uploaded to user/prm: 503" in told
    )
    assert f"`hf upload user/prm {tiny.output}/model` uploads it" in told
    hub.refusal = ""
    assert tiny.train("push_to_hub=user/prm") == 0
    assert len(hub.uploads) == 1
