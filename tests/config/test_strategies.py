"""Registries of strategies: how settings are declared, described, checked, and refused where nothing reads
them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import pytest

from dreamprm.answers import CHECKERS
from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.help import describe, listing
from dreamprm.config.loading import as_dict, changed_keys, load_config
from dreamprm.config.schema import GIVEN, REQUIRED, open_settings, section, setting
from dreamprm.config.strategies import Registry
from dreamprm.files.atomic import save_config
from dreamprm.formats.benchmarks import BENCHMARKS
from dreamprm.generators import GENERATORS
from dreamprm.hypergrad import ESTIMATORS
from dreamprm.labelling.rollouts import METHODS
from dreamprm.search.methods import METHODS as SEARCHES
from dreamprm.training.baselines import BASELINES

REGISTRIES = {
    registry.what: registry
    for registry in (BASELINES, BENCHMARKS, CHECKERS, ESTIMATORS, GENERATORS, METHODS, SEARCHES)
}


@dataclass(frozen=True)
class Circle:
    """A shape."""

    width: float = setting(MISSING, "its diameter", above=0, advice="a point has none")
    fill: str = setting("none", "how it is filled", choices=("none", "dots", "stripes"))
    dots: int = setting(3, "number of dots", minimum=1, when={"fill": ("dots",)})
    label: str | None = setting(None, "a text in its middle")
    size: int | None = setting(None, "of the label", minimum=1, when={"label": GIVEN})
    tags: list[str] = setting([], "further names")
    bold: bool = setting(False, "thick lines")
    pen: Any = None  # a part: code hands it over

    def __post_init__(self) -> None:
        check_settings(self)
        if self.bold and self.width < 1:
            raise ValueError("a bold circle needs width >= 1")


@dataclass(frozen=True)
class Line:
    """Another shape."""

    length: float = setting(1.0, "from end to end", above=0)
    dots: int = setting(0, "number of dots", minimum=0)


SHAPES: Registry[Any] = Registry("shape", {"circle": f"{__name__}:Circle", "line": f"{__name__}:Line"})


@dataclass
class Drawing:
    name: str | None = setting("line", "which shape; null: none")
    pages: int = setting(1, "of paper", minimum=1)
    both_sides: bool = setting(False, "print on both sides", when={"pages": (2, 4)})
    settings: dict[str, Any] = open_settings("the shape's own settings:", registry=f"{__name__}:SHAPES")


@dataclass
class Book:
    title: str = setting("a", "title")
    cover: Drawing = section(Drawing)
    back: Drawing = section(Drawing, when={"title": ("a", "b")})
    others: list[Drawing] = setting([], "more drawings")


def test_a_registry_is_a_mapping_of_names_that_builds() -> None:
    assert list(SHAPES) == ["circle", "line"] and "line" in SHAPES and len(SHAPES) == 2
    assert SHAPES.build("line", length=2) == Line(2) and SHAPES.kind("line") is Line
    assert SHAPES.settings("line") == {"length": 1.0, "dots": 0}
    assert SHAPES.settings("circle")["width"] == REQUIRED and "pen" not in SHAPES.settings("circle")
    assert SHAPES.assemble("circle", {"width": 2}, pen="red") == Circle(2, pen="red")
    with pytest.raises(TypeError):
        SHAPES["mine"] = "x:Y"  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lin", {}, "unknown shape 'lin', did you mean 'line'?; known: circle, line"),
        (
            "line",
            {"lenght": 1},
            "shape 'line' has no setting 'lenght', did you mean 'length'?; its settings: le",
        ),
        (
            "line",
            {"fill": "dots"},
            "shape 'line' has no setting 'fill', which circle reads; its settings: length",
        ),
        ("circle", {}, "shape 'circle' needs width"),
        ("circle", {"width": "2"}, "shape 'circle': width must be a number > 0, got '2'; a point has none"),
        ("circle", {"width": True}, "width must be a number > 0, got True"),
        ("circle", {"width": -1}, "shape 'circle': width must be > 0, got -1; a point has none"),
        ("circle", {"width": math.inf}, "width must be finite and > 0, got inf"),
        ("circle", {"width": math.nan}, "width must be > 0, got nan"),
        (
            "circle",
            {"width": 1, "fill": "dot"},
            "fill must be one of none, dots, stripes, got 'dot', did you mean",
        ),
        ("circle", {"width": 1, "fill": None}, "fill must be one of none, dots, stripes, got None"),
        ("circle", {"width": 1, "bold": 1}, "bold must be true or false, got 1"),
        ("circle", {"width": 1, "label": 3}, "label must be a text or null, got 3"),
        (
            "circle",
            {"width": 1, "label": "x", "size": 1.0},
            "size must be a whole number >= 1 or null, got 1.0",
        ),
        ("circle", {"width": 1, "tags": "x"}, "tags must be a list of str, got 'x'"),
        ("circle", {"width": 1, "tags": [1]}, "tags must be a list of str, got [1]"),
        (
            "circle",
            {"width": 1, "dots": 4},
            "dots=4 is only read with fill=dots, and fill is none; leave it out",
        ),
        ("circle", {"width": 1, "size": 4}, "size=4 is only read where label is set, and label is null"),
        ("circle", {"width": 0.5, "bold": True}, "shape 'circle': a bold circle needs width >= 1"),
    ],
)
def test_what_a_strategy_does_not_take_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        SHAPES.build(name, **settings)
    assert message in str(caught.value)


def test_a_strategy_made_in_python_is_checked_too() -> None:
    with pytest.raises(UserError, match="^width must be > 0, got 0; a point has none$"):
        Circle(0)
    assert Circle(1, fill="dots", dots=4).dots == 4
    Circle(1, dots=3)  # the default, which need not be read


def test_help_describes_strategies_like_keys() -> None:
    assert listing(SHAPES).splitlines()[1:7] == [
        "    nothing reads them.",
        "    width: float, > 0; required",
        "        its diameter",
        "    fill: str, one of none, dots, stripes; default none",
        "        how it is filled",
        "    dots: int, >= 1; default 3; with fill=dots",
    ]
    text = describe(Book)
    assert "  cover.*: the shape's own settings:\n      circle: Registries of strategies" in text
    assert "          length: float, > 0; default 1.0\n              from end to end\n" in text
    assert "  cover.both_sides: bool; default false; with pages=2 or 4\n" in text


def test_settings_that_nothing_reads_are_refused(tmp_path: Path) -> None:
    for override, message in [
        (
            "cover.size=3",
            "cover: shape 'line' has no setting 'size', which circle reads; its settings: length",
        ),
        ("cover.page=3", "cover: shape 'line' has no setting 'page', did you mean 'pages'?"),
        (
            "cover={name: circle, width: 1, dots: 3}",
            "cover: shape 'circle': dots is only read with fill=dots",
        ),
        (
            "cover={name: circle, width: 1, size: null}",
            "cover: shape 'circle': size is only read where label",
        ),
        ("cover={name: null, dots: 3}", "cover: dots is only read where name is set; leave it out"),
        (
            "cover.both_sides=false",
            "cover.both_sides is only read with pages=2 or 4, and pages is 1; leave it",
        ),
        ("others=[{}, {both_sides: true}]", "others[1].both_sides is only read with pages=2 or 4"),
        ("cover.name=lin", "cover: unknown shape 'lin', did you mean 'line'?"),
        ("cover.length=long", "cover: shape 'line': length must be a number > 0, got 'long'"),
    ]:
        with pytest.raises(UserError) as caught:
            load_config(Book, None, [override])
        assert message in str(caught.value)
        key, _, value = override.partition("=")
        (tmp_path / "given.yaml").write_text(
            f"{key}: {value}" if "." not in key else f"cover: {{{key[6:]}: {value}}}"
        )
        with pytest.raises(UserError) as caught:
            load_config(Book, tmp_path / "given.yaml")
        assert message in str(caught.value)
    with pytest.raises(UserError, match="back is only read with title=a or b, and title is c; leave it out"):
        load_config(Book, None, ["title=c", "back.pages=2"])
    config = load_config(Book, None, ["cover={pages: 4, both_sides: false, dots: 2}", "title=c", "back={}"])
    assert config.cover == Drawing("line", 4, False, {"dots": 2})


def test_a_saved_configuration_lists_what_is_read_and_nothing_else(tmp_path: Path) -> None:
    config = load_config(Book, None, ["cover={name: circle, width: 1, pages: 2}", "title=c"])
    content = as_dict(config)
    assert content == {
        "title": "c",
        "cover": {
            "name": "circle",
            "pages": 2,
            "both_sides": False,
            "width": 1,
            "fill": "none",
            "label": None,
        }
        | {"tags": [], "bold": False},
        "others": [],
    }
    save_config(tmp_path / "config.yaml", config)
    read = load_config(Book, tmp_path / "config.yaml")
    assert as_dict(read) == content and changed_keys(config, read) == {}


def test_a_saved_configuration_may_hold_unread_defaults(tmp_path: Path) -> None:
    """Older ones list every key; so does a saved one of which an override changes what is read."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "title: c\ncover: {name: line, pages: 1, both_sides: false, fill: none, width: 1}\n"
        "back: {pages: 1}\nversions: {python: '3'}\n"
    )
    with pytest.raises(UserError, match="'line' has no setting 'width', which circle reads"):
        load_config(Book, path)
    path.write_text(path.read_text().replace(", width: 1", ", dots: 3"))
    old = load_config(Book, path)
    assert old.cover.settings == {"dots": 3}
    assert load_config(Book, path, ["cover.name=circle", "cover.width=2"]).cover.settings == {"width": 2} | {
        "fill": "none"
    }
    assert changed_keys(old, load_config(Book, None, ["title=c", "cover.dots=3"])) == {}
    for override in ("cover.fill=none", "cover.both_sides=false"):
        with pytest.raises(
            UserError, match="is only read with pages|has no setting 'fill', which circle reads"
        ):
            load_config(Book, path, [override])


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=list(REGISTRIES))
def test_every_strategy_and_every_setting_has_a_meaning(registry: Any) -> None:
    """And each has its default within its own limits, and depends on settings that there are."""
    for name in registry:
        assert len(registry.meaning(name)) > 10, name
        leaves = {leaf.key: leaf for leaf in registry.declared(name, {})}
        for key, leaf in leaves.items():
            assert len(leaf.metadata["help"]) > 5, (name, key)
            choices = leaf.metadata.get("choices")
            assert choices is None or leaf.default in (None, REQUIRED, *choices), (name, key)
            assert set(leaf.metadata.get("when") or {}) <= set(leaves), (name, key)


def test_no_field_of_a_strategy_is_left_undeclared() -> None:
    """Only parts that code hands over are: a generator that judges."""
    parts = set()
    for registry in (BASELINES, BENCHMARKS, CHECKERS, GENERATORS, METHODS, SEARCHES):
        for name in registry:
            fields = dataclasses.fields(registry.kind(name))
            parts |= {field.name for field in fields if field.init and "help" not in field.metadata}
    assert parts == {"judge"}
