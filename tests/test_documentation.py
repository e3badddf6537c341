"""The documents hold what they promise: their Python runs, their links lead somewhere, their picture is true.

Every ```python block of a page is executed, in order and in one namespace, in a folder with the small files
that the page talks about. A block that cannot run here stands after a line `<!-- not run: REASON -->`.
"""

from __future__ import annotations

import configparser
import importlib.util
import pkgutil
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from loopback_servers import ScriptedServer
from published_layouts import images, mathv_rows, save
from served import serving
from tiny_models import tiny_image, tiny_prm
from tiny_run import tiny_run

from dreamprm.hypergrad import ESTIMATORS, SOLVERS
from dreamprm.hypergrad.derivatives import DERIVATIVES
from dreamprm.scorers.opening import open_scorer
from dreamprm.serving.settings import ServeConfig

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "experiments").rglob("*.md"))]
BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```python\n(?P<code>.*?)^```$", re.M | re.S)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str | None, str]]:
    """The page's Python, each block with the reason why it is not run, or None."""
    text = page.read_text(encoding="utf-8")
    # The lines before a block stay, so that a traceback names the page's own line.
    return [
        (found["reason"], "\n" * text[: found.start("code")].count("\n") + found["code"])
        for found in BLOCK.finditer(text)
    ]


def training_files(folder: Path, checkpoint: Path) -> None:
    """Two domains, a meta set, images, and the configuration `mine.yaml` of a run of eight steps."""
    run = tiny_run(folder, checkpoint)
    shutil.copy(folder / "maths.jsonl", folder / "geometry.jsonl")
    (folder / "images").mkdir()
    tiny_image().save(folder / "images" / "1.png")
    for key in ("train", "meta"):
        del run.config["data"][key]
    del run.config["output"]
    run.write().rename(folder / "mine.yaml")


def sandbox_files(folder: Path, checkpoint: Path) -> None:
    """A trained PRM and an image, where `make train` leaves them."""
    del checkpoint
    tiny_prm().save_pretrained(folder / "runs" / "sandbox" / "model")
    place = folder / "data" / "sandbox" / "seed0" / "images" / "heldout"
    place.mkdir(parents=True)
    tiny_image().save(place / "00000.png")


def benchmark_files(folder: Path, checkpoint: Path) -> None:
    """A benchmark's questions and two models' predictions."""
    del checkpoint
    images(folder, "images/4.png", "images/5.png")
    save(folder / "testmini.jsonl", mathv_rows())
    for file, model in (("gemini", "gemini-pro-vision"), ("qwen", "qwen-vl")):
        answers = [("4", "\\boxed{6}"), ("5", "\\boxed{A}")]
        rows = [{"id": question, "model": model, "response": answer} for question, answer in answers]
        save(folder / f"{file}.jsonl", rows)


FILES: dict[str, Callable[[Path, Path], None]] = {
    "README.md": training_files,
    "docs/benchmarks.md": benchmark_files,
    "docs/own_data.md": training_files,
    "docs/quickstart.md": sandbox_files,
    "docs/scorers.md": sandbox_files,
}


SERVED = ("docs/serving.md", "docs/use_in_rl.md")
"""Pages that ask servers: a PRM on port 8000, a generator on port 8001."""


@contextmanager
def servers(page: Path, folder: Path) -> Iterator[dict[str, str]]:
    """The servers that a page asks: the address where each is, by the one that the page writes."""
    with ExitStack() as stack:
        if name(page) not in SERVED:
            yield {}
            return
        tiny_prm().save_pretrained(folder / "served" / "model")
        scorer = open_scorer(ServeConfig(model=str(folder / "served")))
        prm = stack.enter_context(serving(scorer))
        generator = stack.enter_context(ScriptedServer().serving())
        yield {"http://127.0.0.1:8000": prm.url, "http://127.0.0.1:8001/v1": generator.url}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name(page) in FILES:
        FILES[name(page)](tmp_path, tiny_checkpoint)
    module = ModuleType("documentation")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    for registry in (ESTIMATORS, SOLVERS, DERIVATIVES):  # what a page registers is gone after it
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    namespace = vars(module)
    with servers(page, tmp_path) as addresses:
        for reason, code in blocks(page):
            for written, there in addresses.items():
                code = code.replace(written, there)
            if reason is None:
                exec(compile(code, str(page), "exec"), namespace)


def test_blocks_are_found_and_their_lines_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n```python\n1 / 0\n```\n<!-- not run: needs a GPU -->\n```python\ny\n```\n")
    (reason, code), other = blocks(page)
    assert reason is None and other == ("needs a GPU", "\n" * 6 + "y\n")
    with pytest.raises(ZeroDivisionError) as raised:
        exec(compile(code, str(page), "exec"))
    assert raised.traceback[-1].lineno == 2  # counted from 0


def test_pages_with_files_exist_and_have_python() -> None:
    assert set(FILES) <= {name(page) for page in PAGES if blocks(page)}


def test_the_readme_s_snippets_are_short() -> None:
    snippets = [code.strip().splitlines() for _, code in blocks(ROOT / "README.md")]
    assert len(snippets) == 3 and max(len(lines) for lines in snippets) <= 10


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    # Code is no prose: `f(x)[0](y)` is no link.
    text = re.sub(r"^```.*?^```$|^ {4}.*$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for address in re.findall(r"\]\(([^()\s]+)\)", text):
        path, _, anchor = address.partition("#")
        if re.match(r"[a-z]+:", address):
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{name(page)}: {address}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {address}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "hooks" / "pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def house(pictures: ModuleType) -> str:
    return str(pictures.FENCE.search((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))[1])


def test_the_picture_shows_the_rooms_of_the_contract(pictures: ModuleType) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = setup["importlinter:contract:rooms"]["layers"].split("\n")
    contract = [sorted(re.split(r"\s*\|\s*", layer.strip())) for layer in layers if layer.strip()]
    _, floors = pictures.parse(house(pictures))
    assert [sorted(room for room, _ in floor) for floor in floors] == contract


def test_the_picture_s_commands_exist(pictures: ModuleType) -> None:
    from dreamprm.cli import COMMANDS

    flow, _ = pictures.parse(house(pictures))
    assert flow[0] == "questions" and flow[-1] == "report.html"
    assert set(flow[1::2]) < set(COMMANDS)


def test_every_room_and_arrow_is_drawn(pictures: ModuleType) -> None:
    flow, floors = pictures.parse(house(pictures))
    drawing = pictures.draw(house(pictures))
    assert "\n" not in drawing and drawing.count("<rect") == len(flow[::2]) + sum(map(len, floors))
    assert drawing.count('class="arrow"') == len(flow[1::2])
    for room, _ in (room for floor in floors for room in floor):
        assert f">{room}</text>" in drawing


def test_every_page_is_in_the_site_s_navigation() -> None:
    navigation = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    own = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    added = {"index.md", "CHANGELOG.md", "CONTRIBUTING.md"}
    added |= {page.relative_to(ROOT).as_posix() for page in (ROOT / "experiments" / "results").glob("*.md")}
    assert navigation == own | added


def test_the_citation_names_this_version() -> None:
    from dreamprm import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_dependency_has_a_row_and_every_row_a_dependency() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    needed = setup["options"]["install_requires"] + "".join(setup["options.extras_require"].values())
    packages = set(re.findall(r"^([\w-]+)", needed, flags=re.M))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    rows = re.findall(r"^\| ([^|]+) \|", text, flags=re.M)[1:]
    # In brackets: the extra that a package belongs to, or what it brings along.
    named = {package for row in rows for package in re.sub(r"\(.*?\)", "", row).replace(" ", "").split(",")}
    apart = {"betty-ml", "higher", "setuptools", "uv"}  # never required, or not by the package
    assert named - {"---"} == packages | apart


ROOMS = {path.name for path in (ROOT / "src" / "dreamprm").iterdir() if path.is_dir()}
NAMED = [page for page in LINKED if page.name != "CHANGELOG.md"]  # which names what was before, too


@pytest.mark.parametrize("page", NAMED, ids=name)
def test_modules_and_files_that_a_page_names_exist(page: Path) -> None:
    for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
        if re.fullmatch(r"dreamprm(\.\w+)+", code):
            pkgutil.resolve_name(code)
        elif re.fullmatch(r"(src|tests|experiments|docs)/[\w./-]+", code):
            assert (ROOT / code).exists(), f"{name(page)}: {code}"
        elif re.fullmatch(r"[a-z_]+/[a-z_/]*(\w+\.py)?", code) and code.partition("/")[0] in ROOMS:
            assert (ROOT / "src" / "dreamprm" / code).exists(), f"{name(page)}: {code}"
