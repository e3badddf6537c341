"""Install the package with the lowest versions that setup.cfg allows, for `make test-lowest`.

    python .ci/lowest_environment.py FOLDER [REQUIREMENT ...]

FOLDER becomes a virtual environment of the running Python. Direct dependencies are resolved to their lower
bounds, their own dependencies to the newest versions that fit. A REQUIREMENT such as `torch==2.13.0` narrows
the choice where a machine cannot install every version.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

# uv alone resolves to the lowest versions, but does not read pip's configuration: where a machine says there
# where packages come from, uv is told in its own variables. pip's option: uv's variable.
VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


def main(folder: Path, requirements: list[str]) -> None:
    """Make the environment in `folder`, with `requirements` as further constraints."""
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as narrowed:
        print(*requirements, sep="\n", file=narrowed, flush=True)
        subprocess.run(
            [python, "-m", "uv", "pip", "install", "--python", python]
            # As pip does: the best version of all places, not the first place that knows the name.
            + ["--resolution", "lowest-direct", "--index-strategy", "unsafe-best-match"]
            + ["--constraints", narrowed.name, "--editable", ".[test]"],
            env=os.environ | pip_configuration(python),
            check=True,
        )


def pip_configuration(python: Path) -> dict[str, str]:
    """What `pip config` says about where packages come from, as variables that uv reads."""
    command = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values: dict[str, list[str]] = {}
    for line in listed.splitlines():  # such as global.find-links='/wheels' or :env:.cert='/etc/ssl/ca.pem'
        key, _, value = line.partition("=")
        variable = VARIABLES.get(key.rpartition(".")[2])
        if variable is not None:
            values.setdefault(variable, []).extend(ast.literal_eval(value).split())
    lists = ("UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONSTRAINT")
    separators = {name: "," if name == "UV_FIND_LINKS" else " " for name in lists}
    return {
        name: separators[name].join(dict.fromkeys(found)) if name in lists else found[0]
        for name, found in values.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
