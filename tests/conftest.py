"""What every test process shares: no network, one thread, the same seeds before each test."""

import os

# Before torch, numpy and the hub client are imported anywhere: they read these once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checked_rows
import fuzzing
import pytest
from loopback_servers import real_server, tiny_served_model

# Defined once: each conftest that imported these would have a server of its own.
__all__ = ["real_server", "tiny_served_model"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-rows",
        action="store_true",
        help="check every row of the long tables in every test; without it, each test checks a third of them",
    )
    parser.addoption(
        "--third",
        type=int,
        default=0,
        help="which third it is: 0, 1 and 2 together are all rows",
    )
    parser.addoption(
        "--cases",
        type=int,
        help="try at least this many random cases on each target of tests/fuzz, other ones in each run; "
        "without it, a few, the same in each run",
    )


def pytest_configure(config: pytest.Config) -> None:
    checked_rows.all_rows = config.getoption("--all-rows")
    checked_rows.turn = config.getoption("--third")
    fuzzing.cases = config.getoption("--cases")


def pytest_report_header() -> str:
    return "tables: " + ("all rows" if checked_rows.all_rows else "a third of their rows (--all-rows: all)")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Imported here: the process that only hands the tests out to others starts without.
    import torch

    torch.set_num_threads(1)
    # Adam's second moments of tiny gradients are denormal numbers, which slow a CPU several-fold.
    torch.set_flush_denormal(True)


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Seed the global generators, so that no test depends on which ran before it in its process."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _ctrl_c_arrives() -> Iterator[None]:
    """Give each test, and the processes it starts, the SIGINT handler of a program in the foreground.

    A shell starts a background job (`nohup make test &` in a script) with SIGINT ignored, and its children
    inherit that. Between tests it stays ignored, as whoever started the job asked for.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backbone's checkpoint of all tiny runs, which only read it."""
    from tiny_run import save_tiny_checkpoint

    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), layers=1, vision_layers=1)


@pytest.fixture
def tiny(tmp_path: Path, tiny_checkpoint: Path) -> Any:
    """A `tiny_run.TinyRun` of the test's own."""
    from tiny_run import tiny_run

    return tiny_run(tmp_path, tiny_checkpoint)
