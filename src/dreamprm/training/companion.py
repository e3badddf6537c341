"""The vanilla PRM trained beside a run: the same configuration without the upper level, as a process."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from dreamprm.config.errors import UserError
from dreamprm.files.atomic import save_config
from dreamprm.training.level_settings import BaselineSettings, HypergradSettings
from dreamprm.training.run_folder import RunFolder
from dreamprm.training.settings import TrainConfig


def vanilla_config(config: TrainConfig) -> TrainConfig:
    """The same run on all data with fixed, uniform weights; its folder is `vanilla` in the run's own.

    It also scores the untrained model where the run asks for that, because it has the time: it needs no upper
    level.
    """
    return dataclasses.replace(
        config,
        name=f"{config.name}-vanilla",
        output=str(Path(config.output) / "vanilla"),
        resume="auto",
        overwrite=False,
        sandbox=None,
        hypergrad=HypergradSettings(name="none"),
        baseline=BaselineSettings(),
        log=dataclasses.replace(config.log, progress="lines"),
        evaluation=dataclasses.replace(config.evaluation, vanilla="none", quality=None),
    )


class VanillaCompanion:
    """Starts the vanilla run on entry, waits for it on `wait`, and stops it when the run itself fails.

    Does nothing unless `evaluation.vanilla=live`.
    """

    def __init__(self, config: TrainConfig, *, say: Callable[[str], None] = print) -> None:
        self._wanted = config.evaluation.vanilla == "live"
        self._config = vanilla_config(config)
        self.folder = RunFolder(self._config.output)
        self._log = self.folder.path.parent / "vanilla.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._say = say

    def __enter__(self) -> VanillaCompanion:
        if self._wanted:
            request = self.folder.path.parent / "vanilla.yaml"
            save_config(request, self._config)
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "dreamprm", "train", str(request)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C reaches this process, which then stops that one: it must not be hit twice.
                    start_new_session=True,
                )
            self._say(f"training the vanilla PRM beside this one; its log is {self._log}")
        return self

    def wait(self) -> RunFolder | None:
        """The vanilla run's folder once it has ended; None where there is no such run.

        Raises:
            UserError: it failed; the message ends with the last lines of its log.
        """
        if self._process is None:
            return None
        code = self._process.wait()
        if code != 0:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
            raise UserError(
                f"the vanilla run ended with exit code {code}; the last lines of {self._log}:\n{tail}"
            )
        return self.folder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            # It saves a checkpoint on SIGTERM, so a resumed run continues both.
            self._process.terminate()
            self._process.wait()
