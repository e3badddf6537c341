"""`dreamprm export`: writes a PRM as a checkpoint that other software loads with its head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dreamprm.config.errors import UserError
from dreamprm.files.content import FileDigests
from dreamprm.models.exported_checkpoint import export_prm
from dreamprm.models.storage import SETTINGS_FILE, read_settings
from dreamprm.runtime.process import prepare_process
from dreamprm.scorers.opening import open_local_scorer
from dreamprm.scorers.published import PublishedPRM
from dreamprm.scorers.settings import ScorerSettings
from dreamprm.serving.export_settings import ExportConfig


def run_export(config: ExportConfig) -> None:
    """Write the folder, and say what it holds.

    Raises:
        UserError: there is no readable PRM of ours, its files are not those that were saved, or the folder
            holds something else.
    """
    prepare_process(None)
    settings = ScorerSettings(
        model=config.model,
        base=config.base,
        processor=config.processor,
        max_pixels=config.max_pixels,
        device="cpu",
    )
    target = Path(config.to).resolve()
    if target == Path(config.model).resolve() or target in Path(config.model).resolve().parents:
        raise UserError(f"to={config.to} holds the model; choose another folder")
    scorer = open_local_scorer(settings, FileDigests())
    if isinstance(scorer.prm, PublishedPRM):
        raise UserError(
            f"{config.model} is a PRM of another project, which has its own form already; export writes PRMs "
            "trained here"
        )
    if scorer.changed is not None:
        raise UserError(scorer.changed)
    facts = export_prm(scorer.prm, config.to, form=config.form, training=_training(Path(config.model)))
    shown = ""
    if facts.tokens:
        shown = (
            f"; right and wrong are the tokens {facts.tokens['right']} and {facts.tokens['wrong']}, and "
            f"{facts.bias:.9g} is added to the difference of their log-probs"
        )
    print(
        f"{config.to}: a PRM in the form {config.form}{shown}; its README.md says how it is used", flush=True
    )


def _training(folder: Path) -> dict[str, Any]:
    """The settings that a PRM of ours was trained with; none for the public code's."""
    for place in (folder, folder / "model"):
        if (place / SETTINGS_FILE).is_file():
            found = read_settings(place).get("training")
            return found if isinstance(found, dict) else {}
    return {}
