"""Checkpoints that `transformers` loads, with every tensor accounted for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging

from dreamprm.config.errors import UserError

_LISTED = 5
"""How many tensors of each kind a message names; all are counted."""


def load_strictly(auto: Any, source: str | Path, *, except_heads: Sequence[str] = (), **settings: Any) -> Any:
    """`auto.from_pretrained(source, **settings)`, which must find exactly the model's tensors.

    `transformers` draws missing tensors at random and ignores surplus ones, with a warning at most: a model
    of which a part is random gives other figures at every start. Names of older layouts that `transformers`
    converts itself are accepted, a tied weight need not be in the files, and buffers that are computed from
    the config may be.

    Args:
        auto: a class of `transformers` with `from_pretrained`.
        source: a folder or hub name.
        except_heads: what names of tensors start with that may be missing or surplus: heads that the caller
            does not use, or reads itself.

    Raises:
        UserError: tensors that are missing, surplus or of another shape, with the names of the first; or a
            folder that holds an adapter.
        OSError, ImportError, ValueError, SafetensorError: raised by `from_pretrained`.
    """
    refuse_adapter(source)
    try:
        with _without_its_own_report():
            model, found = auto.from_pretrained(
                source, output_loading_info=True, ignore_mismatched_sizes=True, **settings
            )
    except RuntimeError as error:
        if "state_dict" not in str(error):  # memory that ran out, for example
            raise
        raise UserError(f"cannot read a model from {source}: {error}") from error
    problems = [
        *_named("is missing", "are missing", _without(found["missing_keys"], except_heads)),
        *_named("is surplus", "are surplus", _without(found["unexpected_keys"], except_heads)),
        *_named(
            "has another shape",
            "have other shapes",
            sorted(
                f"{name} ({_shape(stored)} in the files, {_shape(expected)} in the model)"
                for name, stored, expected in found["mismatched_keys"]
            ),
        ),
        *found["error_msgs"],
    ]
    if problems:
        raise UserError(
            f"the files in {source} do not hold the model that its config.json describes: "
            f"{'; '.join(problems)}. Download or save the checkpoint again, completely; if a training or a "
            "conversion wrote it, check that it saved the whole model, and that config.json belongs to it"
        )
    return model


def refuse_adapter(source: str | Path) -> None:
    """Raise a UserError if a folder holds an adapter, which may or may not be applied to the weights in it,
    depending on the packages that are installed."""
    if os.path.isfile(os.path.join(source, "adapter_config.json")):
        own = os.path.isfile(os.path.join(source, "prm.json"))
        how = "PRM.from_pretrained(...).save_pretrained(...)" if own else "peft: merge_and_unload"
        raise UserError(
            f"{source} holds an adapter (adapter_config.json); merge it into its base model ({how}), save "
            "that and give its folder"
        )


@contextmanager
def _without_its_own_report() -> Iterator[None]:
    """Without the table that `transformers` logs of missing and surplus tensors; ours is the error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _without(names: Iterable[str], starts: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith(tuple(starts)))


def _named(one: str, several: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    count = f"1 tensor {one}" if len(names) == 1 else f"{len(names)} tensors {several}"
    return [f"{count}: {', '.join(names[:_LISTED])}{more}"]


def _shape(size: Sequence[int]) -> str:
    return "x".join(map(str, size)) or "a single number"
