"""Configuration: reading, refusing, describing, saving; and the shipped schemas themselves."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dreamprm.config.choices import SPLITS
from dreamprm.config.errors import UserError
from dreamprm.config.help import describe
from dreamprm.config.loading import as_dict, changed_keys, load_config
from dreamprm.config.schema import REQUIRED, leaves, open_settings, section, setting
from dreamprm.evaluation.benchmark_settings import BenchmarkConfig
from dreamprm.evaluation.search_settings import EvaluateSearchConfig
from dreamprm.evaluation.settings import EvaluateConfig
from dreamprm.evaluation.steps.settings import EvaluateStepsConfig
from dreamprm.files.atomic import save_config
from dreamprm.formats.settings import ConvertConfig
from dreamprm.generators.prompting import PROMPTS
from dreamprm.labelling import settings as label
from dreamprm.labelling.settings import LabelConfig
from dreamprm.sandbox.settings import SandboxConfig
from dreamprm.scoring.settings import ScoreConfig
from dreamprm.search.settings import SearchConfig
from dreamprm.training.settings import TrainConfig

SCHEMAS = (
    BenchmarkConfig,
    ConvertConfig,
    EvaluateConfig,
    EvaluateSearchConfig,
    EvaluateStepsConfig,
    LabelConfig,
    SandboxConfig,
    ScoreConfig,
    SearchConfig,
    TrainConfig,
)
SOURCES = Path(__file__).parents[2] / "src" / "dreamprm"


@dataclass
class Item:
    path: str = setting(REQUIRED, "a file", shorthand=True)
    weight: float = setting(1.0, "its weight", above=0)


@dataclass
class Solver:
    name: str = setting("cg", "which solver", choices=("cg", "neumann"))
    settings: dict[str, Any] = open_settings("its own settings", listing=lambda: "cg: damping=0.1")

    def check(self) -> None:
        if "dampign" in self.settings:
            raise ValueError("cg has no setting dampign; did you mean damping?")


@dataclass
class Optional:
    """A section that may be absent."""

    size: int = setting(3, "how large", minimum=1)


@dataclass
class Schema:
    name: str = setting(REQUIRED, "name of the run")
    output: str = setting("runs/${name}", "run folder")
    steps: int = setting(10, "steps", minimum=1, symbol="T")
    rate: float = setting(5e-7, "learning rate", above=0, below=1)
    flag: bool = setting(False, "a switch")
    limit: int | None = setting(None, "a limit", maximum=9)
    betas: list[float] = setting([0.9, 0.999], "decays", minimum=0, below=1, length=2)
    files: list[Item] = setting([], "files")
    suites: dict[str, str] = setting({}, "suites by name")
    solver: Solver = section(Solver)
    extra: Optional | None = setting(None, "absent by default")


def load(text: str, *overrides: str, folder: Path) -> Schema:
    path = folder / "given.yaml"
    path.write_text(text)
    return load_config(Schema, path, overrides)


def test_defaults_file_and_overrides_are_read_in_this_order(tmp_path: Path) -> None:
    config = load("name: a\nsteps: 20\nrate: 5e-4\n", "steps=30", "steps=40", "flag=true", folder=tmp_path)
    assert (config.name, config.steps, config.rate, config.flag) == ("a", 40, 5e-4, True)
    assert (config.output, config.limit, config.betas) == ("runs/a", None, [0.9, 0.999])


def test_sections_lists_and_mappings_become_instances(tmp_path: Path) -> None:
    text = (
        "name: a\nfiles: [one.json, {path: two.json, weight: 2}]\nsuites: {first: x.json}\nextra: {size: 5}\n"
    )
    config = load(
        text, "files.0.weight=0.5", "files[1].path=${name}.json", "suites.second=y.json", folder=tmp_path
    )
    assert config.files == [Item("one.json", 0.5), Item("a.json", 2.0)]
    assert config.suites == {"first": "x.json", "second": "y.json"}
    assert config.extra == Optional(5)
    assert config.solver == Solver("cg", {})


def test_overrides_replace_lists_and_reach_into_absent_sections() -> None:
    config = load_config(
        Schema, None, ["name=a", "files=[x.json]", "extra.size=7", "betas=[0.5, 0.6]", "limit=null"]
    )
    assert (config.files, config.extra, config.betas, config.limit) == (
        [Item("x.json")],
        Optional(7),
        [0.5, 0.6],
        None,
    )


def test_a_string_that_stands_for_a_section_may_interpolate(tmp_path: Path) -> None:
    config = load('name: a\nfiles: ["${name}/x.json"]\n', folder=tmp_path)
    assert config.files == [Item("a/x.json", 1.0)]


def test_values_may_hold_equals_signs_and_numbers_may_be_names() -> None:
    config = load_config(Schema, None, ["name=2024", "output=a=b"])
    assert (config.name, config.output) == ("2024", "a=b")


def test_keys_beside_the_fields_of_an_open_section_are_its_settings(tmp_path: Path) -> None:
    text = "name: a\nsolver: {name: neumann, terms: 3}\n"
    config = load(text, "solver.damping=1e-3", "solver.nested.deep=1", folder=tmp_path)
    assert config.solver == Solver("neumann", {"terms": 3, "damping": 1e-3, "nested": {"deep": 1}})
    with pytest.raises(UserError, match="^solver: cg has no setting dampign; did you mean damping"):
        load("name: a", "solver.dampign=1", folder=tmp_path)


def test_instances_share_no_default() -> None:
    first, second = (load_config(Schema, None, ["name=a"]) for _ in range(2))
    first.betas.append(0.0)
    first.solver.settings["x"] = 1
    assert second.betas == [0.9, 0.999] and Schema().betas == [0.9, 0.999]
    assert second.solver.settings == {} == Schema().solver.settings


REFUSED = [
    # text of the file, the overrides, what the message must say
    ("name: a\nstep: 3", [], "given.yaml: unknown key step, did you mean 'steps'?"),
    ("name: a", ["sovler.name=cg"], "command line: unknown key sovler.name, did you mean"),
    ("name: a\nsize: 3", [], "given.yaml: unknown key size, did you mean 'extra.size'?"),
    ("name: a\nfiles: [{pth: x}]", [], "given.yaml: unknown key files[0].pth, did you mean 'files[].path'?"),
    ("name: a\nqqqqqq: 3", [], "given.yaml: unknown key qqqqqq; the top-level keys are name, output, steps"),
    ("name: a", ["steps.deep=3"], "command line: unknown key steps.deep, did you mean 'steps'?"),
    ("name: a\nsteps: few", [], "given.yaml: steps must be int, got 'few' (str)"),
    ("name: a", ["steps=1.5"], "command line: steps must be int, got 1.5 (float)"),
    ("name: a\nsteps: true", [], "given.yaml: steps must be int, got True (bool)"),
    ("name: a\nsteps: null", [], "given.yaml: steps must be int, got None (NoneType)"),
    ("name: a\nflag: 1", [], "given.yaml: flag must be bool, got 1 (int)"),
    ("name: a\nrate: [1]", [], "given.yaml: rate must be float, got [1] (list)"),
    ("name: a\nlimit: x", [], "given.yaml: limit must be int or null, got 'x' (str)"),
    ("name: no", [], "given.yaml: name must be str, got False (bool); put quotes around it"),
    ("name: a\nbetas: 0.9", [], "given.yaml: betas must be list of float, got 0.9 (float)"),
    ("name: a\nbetas: [0.9, x]", [], "given.yaml: betas[1] must be float, got 'x' (str)"),
    ("name: a\nfiles: x.json", [], "files must be list of section, got 'x.json' (str); write [x.json]"),
    ("name: a\nsuites: [x]", [], "suites must be mapping of name to str, got ['x'] (list)"),
    ("name: a\nextra: 3", [], "extra must be a section with the keys size, got 3 (int)"),
    (
        "name: a",
        ["files.0.weight=1"],
        "command line: files.0.weight: files holds 0 members here; '0' is not the number",
    ),
    ("name: a\nsteps: 0", [], "steps (T) must be >= 1, got 0"),
    ("name: a\nrate: 1", [], "rate must be > 0 and < 1, got 1"),
    ("name: a\nrate: .nan", [], "rate must be > 0 and < 1, got nan"),
    ("name: a\nlimit: 10", [], "limit must be <= 9, got 10"),
    ("name: a\nbetas: [0.9, 1]", [], "betas[1] must be >= 0 and < 1, got 1"),
    ("name: a\nbetas: [0.9]", [], "betas must hold 2 values, got 1: [0.9]"),
    ("name: a\nfiles: [{path: x, weight: 0}]", [], "files[0].weight must be > 0, got 0"),
    ("name: a\nextra: {size: 0}", [], "extra.size must be >= 1, got 0"),
    (
        "name: a",
        ["solver.name=neuman"],
        "solver.name must be one of cg, neumann, got 'neuman', did you mean 'neumann'?",
    ),
    ("steps: 3", [], "given.yaml: name must be given"),
    ("name: a\nfiles: [{weight: 1}]", [], "given.yaml: files[0].path must be given"),
    ("name: a\nsteps: ${nope}", [], "steps: Interpolation key 'nope' not found"),
    ("name: a\nsteps: ${name}", [], "steps"),
    ("name: a\nbetas: [", [], "given.yaml, line 3: not valid YAML"),
    ("name: a\nname: b", [], "given.yaml, line 2: not valid YAML: found duplicate key name"),
    ("- a", [], "given.yaml: must hold keys and values (`key: value` lines), got a list"),
    ("name: a", ["steps"], "command line: 'steps' is not an override; write key=value"),
    ("name: a", ["=3"], "command line: '=3' is not an override"),
    ("name: a", ["betas=[1"], "command line: the value of betas is not valid YAML: '[1'"),
]


@pytest.mark.parametrize(("text", "overrides", "message"), REFUSED, ids=[row[2][:60] for row in REFUSED])
def test_mistakes_are_refused_with_what_is_allowed(
    text: str, overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        load(text, *overrides, folder=tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass
class Renamed:
    """A section one of whose keys has another name now."""

    moved: ClassVar[Mapping[str, str]] = {"width": "it is called size now"}
    size: int = setting(3, "how large", minimum=1)
    settings: dict[str, Any] = open_settings("other settings", listing=lambda: "")


@dataclass
class Shortened:
    """A schema that has lost a section and a key."""

    moved: ClassVar[Mapping[str, str]] = {
        "evaluation": "run `dreamprm evaluate` afterwards",
        "now.speed": "give steps",
    }
    steps: int = setting(10, "steps", minimum=1)
    now: Renamed = section(Renamed)
    members: list[Renamed] = setting([], "several")


@pytest.mark.parametrize(
    ("text", "override", "key", "advice"),
    [
        (
            "evaluation: {suites: {a: b}}",
            "evaluation.suites.a=b",
            "evaluation",
            "run `dreamprm evaluate` aft",
        ),
        ("evaluation: null", "evaluation=null", "evaluation", "run `dreamprm evaluate` afterwards"),
        ("now: {speed: 3}", "now.speed=3", "now.speed", "give steps"),
        ("now: {width: 3}", "now.width=3", "now.width", "it is called size now"),
        ("members: [{width: 3}]", "members=[{width: 3}]", "members[0].width", "it is called size now"),
        ("evaluations: 3", "evaluations=3", "evaluations", "the top-level keys are steps, now, members"),
        ("moved: {}", "moved.evaluation=3", "moved", "the top-level keys are steps, now, members"),
    ],
)
def test_a_key_that_no_longer_exists_is_refused_with_what_to_do_now(
    text: str, override: str, key: str, advice: str, tmp_path: Path
) -> None:
    (tmp_path / "given.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(Shortened, tmp_path / "given.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/given.yaml: unknown key {key}") and advice in str(
        caught.value
    )
    with pytest.raises(UserError) as caught:
        load_config(Shortened, None, [override])
    assert str(caught.value).startswith(f"command line: unknown key {key}") and advice in str(caught.value)


def test_outdated_sections_of_a_saved_configuration_are_passed_over(tmp_path: Path) -> None:
    @dataclass
    class Outdated(Shortened):
        outdated: ClassVar[tuple[str, ...]] = ("evaluation",)

    text = "steps: 4\nevaluation: {suites: {a: b}}\n"
    (tmp_path / "config.yaml").write_text(text + "versions: {python: '3.11'}\n")
    assert load_config(Outdated, tmp_path / "config.yaml").steps == 4
    (tmp_path / "given.yaml").write_text(text)
    with pytest.raises(UserError, match="unknown key evaluation"):
        load_config(Outdated, tmp_path / "given.yaml")


def test_keys_beside_those_that_moved_are_still_read(tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text("now: {size: 4, widths: 1}")
    config = load_config(Shortened, tmp_path / "given.yaml", ["now.other=2"])
    assert config.now == Renamed(4, {"widths": 1, "other": 2})


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere.yaml does not exist"):
        load_config(Schema, tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="is a folder; give a YAML file"):
        load_config(Schema, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(UserError, match="binary.yaml: cannot be read as YAML"):
        load_config(Schema, tmp_path / "binary.yaml")


def test_a_saved_configuration_reads_back_equal(tmp_path: Path) -> None:
    overrides = ["name='no'", "files=[x.json]", "solver.terms=3", "rate=1e-9", "extra.size=4", "suites.a=b"]
    config = load_config(Schema, None, overrides)
    save_config(tmp_path / "config.yaml", config, extra={"command": "dreamprm train x.yaml"})
    assert load_config(Schema, tmp_path / "config.yaml") == config
    text = (tmp_path / "config.yaml").read_text()
    assert "output: runs/no\n" in text and "command: dreamprm train x.yaml" in text and "  torch: " in text
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_changed_keys_names_what_differs() -> None:
    before = load_config(Schema, None, ["name=a"])
    after = load_config(Schema, None, ["name=a", "steps=5", "solver.terms=3", "extra.size=2"])
    changed = changed_keys(before, after, ignore=["extra"])
    assert changed == {"steps": (10, 5), "solver.terms": (None, 3)}
    assert changed_keys(before, before) == {}
    # A prefix is a whole name: `step` does not hide `steps`.
    assert "steps" in changed_keys(before, after, ignore=["step"])


def test_help_lists_every_key_with_type_default_and_meaning() -> None:
    text = describe(Schema)
    for line in [
        "name: str; required",
        "output: str; default runs/${name}",
        "steps: int, >= 1; default 10",
        "rate: float, > 0 and < 1; default 5e-07",
        "limit: int or null, <= 9; default null",
        "betas: list of float, >= 0 and < 1; default [0.9, 0.999]",
        "files[].path: str; required",
        "suites: mapping of name to str; default {}",
        "solver.name: str, one of cg, neumann; default cg",
        "solver.*: its own settings",
        "cg: damping=0.1",
        "extra.size: int, >= 1; default 3",
        "learning rate",
    ]:
        assert line in text


# The shipped schemas.

TRAIN = ["name=a", "data.train=[t.json]", "data.meta=m.json"]


def test_the_papers_settings_are_the_defaults() -> None:
    config = load_config(TrainConfig, None, TRAIN)
    assert (config.steps, config.inner_steps, config.batch_size) == (10_000, 5, 1)
    assert (config.aggregation, config.meta_loss, config.temperature) == ("sum_log_odds", "aggregation", 1.0)
    assert (config.hypergrad.name, config.weights.normalisation) == ("unrolled", "softplus")
    assert (config.inner.lr, config.inner.step_size, config.inner.gamma) == (5e-7, 5000, 0.5)
    assert (config.upper.lr, config.upper.weight_decay) == (0.01, 1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inner_steps=0", r"inner_steps \(T\) must be >= 1, got 0"),
        ("steps=9999", r"steps must be a multiple of inner_steps \(T\), got 9999 and 5; nearest below: 9995"),
        ("lm_weight=0.5", "lm_weight=0.5 needs a pool of texts"),
        ("aggregation=sum", "aggregation must be one of sum_log_odds, mean_log_odds"),
        ("data.max_pixels=100", "data: min_pixels must be <= max_pixels, got 3136 > 100"),
        ("data.train=[]", "data: train must name at least one file"),
        ("model={path: a, config: b}", "model: give path or config, not both"),
        ("hypergrad.name=unroled", "hypergrad: .*unrolled"),
        ("hypergrad.lr=3", "hypergrad: .*lr"),
        (
            "hypergrad.hvp=finite_difference",
            "'unrolled' has no setting 'hvp', now called 'derivative', which",
        ),
        (
            "hypergrad={name: cg, hvp: finite_difference}",
            "called 'derivative' now; write derivative=central_",
        ),
        ("hypergrad={name: cg, derivative: forward_over_reverse}", "is called 'forward_mode' now"),
        ("inner.lr=0", "inner.lr must be > 0, got 0"),
        (
            "weights.features=[loss]",
            "weights.features is only read with kind=instance_net, and kind",
        ),
        (
            "weights.hidden=16",
            "weights.hidden is only read with kind=instance_net, and kind is",
        ),
        (
            "weights={kind: instance_net, normalisation: softplus}",
            "normalisation is only read with kind=domain",
        ),
        (
            "hypergrad={name: adjoint, radius: null}",
            "radius is only read with derivative=central_difference or",
        ),
        (
            "upper.gamma=0.5",
            "upper.gamma is only read with schedule=step, and schedule is constant; l",
        ),
        ("inner={schedule: cosine, step_size: 3}", "inner.step_size is only read with schedule=step"),
        (
            "inner.decay_start=0.7",
            "decay_start is only read with schedule=linear_decay or cosine, and",
        ),
        ("lm_batch_size=16", "lm_batch_size is only read where lm_weight is set, and lm_weight is 0.0"),
        ("data.lm=x.jsonl", "data.lm is only read with lm_weight > 0; give lm_weight, or data.lm=null"),
        (
            "data.max_bad_fraction=0.01",
            "max_bad_fraction is only read with on_error=skip, and on_error is",
        ),
        ("hypergrad.audit_params=[]", "hypergrad.audit_params is only read where audit_every is set"),
        (
            "baseline={name: random_weights, run: r, spread: 0.25}",
            "spread is only read with run=null, and",
        ),
        (
            "evaluation.suites={a: a.jsonl}",
            "unknown key evaluation.suites: give the suites to `dreamprm score`",
        ),
        (
            "evaluation.shifted=[x]",
            r"unknown key evaluation.shifted: write mean_over=\[...\] to `dreamprm eval",
        ),
        (
            "evaluation.vanilla=live",
            "unknown key evaluation.vanilla: train the vanilla PRM with a separate",
        ),
        (
            "evaluation.base=true",
            "unknown key evaluation.base: score the base checkpoint: .*scores=likelihood",
        ),
        ("evaluation.quality=q.json", "unknown key evaluation.quality: `python experiments/sandbox_targets"),
        ("evaluation.level=1", "unknown key evaluation.level: training no longer evaluates"),
        (
            "sandbox.hidden_size=40",
            "unknown key sandbox.hidden_size: make the world first, with `dreamprm sandbox",
        ),
        ("lr=3", "unknown key lr, did you mean 'inner.lr' or 'upper.lr'"),
    ],
)
def test_training_settings_that_cannot_work_are_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(TrainConfig, None, [*TRAIN, override])


def test_estimators_take_their_own_settings_and_help_lists_them() -> None:
    from dreamprm.hypergrad import ESTIMATORS

    text = describe(TrainConfig)
    for name in ESTIMATORS:
        assert f"      {name}: " in text
        load_config(TrainConfig, None, [*TRAIN, f"hypergrad.name={name}"])


def test_choices_are_those_that_the_code_offers() -> None:
    """The schema lists them itself, so that `--help` need not import torch; here they are compared."""
    import torch

    from dreamprm.config.choices import AGGREGATIONS
    from dreamprm.training import objectives

    for name in AGGREGATIONS:
        score = objectives.aggregate(
            torch.zeros(2), torch.zeros(2, dtype=torch.long), m=1, aggregation=name, temperature=1.0
        )
        assert score.shape == (1,)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_has_a_meaning_and_a_default_that_its_own_limits_allow(schema: type[Any]) -> None:
    for leaf in leaves(schema):
        assert len(leaf.metadata["help"]) > 5, leaf.key
        choices = leaf.metadata.get("choices")
        default = leaf.default or []  # of a mapping each value is a choice, and none is allowed
        allowed = default if isinstance(default, list | dict) else [default]
        assert choices is None or set(allowed) <= set(choices), leaf.key


def test_every_key_is_read_by_some_code() -> None:
    """A key that no code reads is a promise nobody keeps."""
    read: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        tree = ast.parse(path.read_text())
        # In the schemas, only what their own checks read besides declaring; everywhere: `config.inner.lr`.
        own = "schema" in path.parts
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and not (own and _is_self(node)):
                read.add(node.attr)
    unread = [
        leaf.key for schema in SCHEMAS for leaf in leaves(schema) if leaf.key.rpartition(".")[2] not in read
    ]
    assert unread == []


def _is_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def test_as_dict_holds_every_key_once() -> None:
    config = load_config(TrainConfig, None, TRAIN)
    content = as_dict(config)
    unread = ("lm_batch_size", "hub_private", "max_nonfinite")  # with the other keys as they are
    assert list(content) == [f.name for f in dataclasses.fields(TrainConfig) if f.name not in unread]
    assert content["hypergrad"] == {"name": "unrolled", "audit_every": 0}
    assert list(content["inner"]) == ["optimizer", "lr", "weight_decay", "betas", "eps", "schedule"] + [
        *("warmup", "step_size", "gamma", "no_decay", "max_grad_norm")
    ]


def test_the_labelling_schema_names_what_there_is() -> None:
    """It holds its own lists, since importing the prompts would make `--help` slow."""
    assert tuple(PROMPTS) == label.PROMPTS
    assert label.SPLITS == SPLITS


def test_an_older_saved_configuration_with_every_key_is_read(tmp_path: Path) -> None:
    """Saved files used to list the settings of every kind and schedule."""
    text = (
        "name: a\nlm_batch_size: 16\nlm_weight: 0.0\n"
        "data: {train: [{path: t.json, domain: null}], meta: m.json, max_bad_fraction: 0.01}\n"
        "weights: {kind: domain, normalisation: softplus, features: [loss], hidden: 16}\n"
        "upper: {schedule: constant, step_size: 5000, gamma: 0.5, decay_start: 0.7, lr: 0.01}\n"
        "hypergrad: {name: adjoint, audit_every: 0, audit_params: []}\n"
    )
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="is only read"):
        load_config(TrainConfig, path)
    path.write_text(text + "versions: {python: 3.11.7}\n")
    now = load_config(TrainConfig, None, [*TRAIN, "hypergrad.name=adjoint"])
    assert changed_keys(load_config(TrainConfig, path), now) == {}
    changed = load_config(TrainConfig, path, ["weights.kind=instance_net", "upper.schedule=step"])
    assert changed.weights.kind == "instance_net" and changed.upper.schedule == "step"


def test_a_saved_configuration_with_settings_by_their_old_names_is_read(tmp_path: Path) -> None:
    text = "name: a\ndata: {train: [t.json], meta: m.json}\nhypergrad: "
    path = tmp_path / "config.yaml"
    for old, now in (
        ("name: first_order, mixed: finite_difference, radius: 0.1", "name: first_order, radius: 0.1"),
        ("name: adjoint, hvp: forward_over_reverse", "name: adjoint, derivative: forward_mode"),
        ("name: cg, hvp: double_backward, damping: 1", "name: cg, damping: 1"),
    ):
        path.write_text(f"{text}{{{old}}}\n")
        with pytest.raises(UserError, match="it is called 'derivative' now; write derivative="):
            load_config(TrainConfig, path)
        path.write_text(f"{text}{{{old}}}\nversions: {{python: 3.11.7}}\n")
        given = load_config(TrainConfig, None, [*TRAIN, f"hypergrad={{{now}}}"])
        assert changed_keys(load_config(TrainConfig, path), given) == {}
    assert load_config(TrainConfig, path, ["hypergrad.name=none"]).hypergrad.settings == {}
    assert load_config(TrainConfig, path, ["hypergrad.derivative=forward_mode"]).hypergrad.settings == {
        "derivative": "forward_mode",
        "damping": 1,
    }
    overrides = ("hypergrad.hvp=double_backward", "hypergrad.derivative=finite_difference")
    for override in (*overrides, "hypergrad={name: adjoint, derivative: finite_difference}"):
        with pytest.raises(UserError, match="is called '(derivative|central_difference)' now"):
            load_config(TrainConfig, path, [override])


def test_an_override_of_what_decides_leaves_the_files_settings_unread(tmp_path: Path) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(
        "name: a\ndata: {train: [t.json], meta: m.json}\ninner: {schedule: step, gamma: 0.3}\n"
        "hypergrad: {name: first_order, derivative: forward_difference, radius: 0.1}\n"
    )
    config = load_config(TrainConfig, path, ["hypergrad.name=none", "inner.schedule=cosine"])
    assert config.hypergrad.settings == {} and "gamma" not in as_dict(config)["inner"]
    assert load_config(TrainConfig, path, ["hypergrad.derivative=forward_mode"]).hypergrad.settings == {
        "derivative": "forward_mode"
    }
    chosen = "first_order, derivative: forward_difference, radius: 0.1"
    path.write_text(path.read_text().replace(chosen, "implicit, solver: neumann, terms: 3"))
    settings = load_config(TrainConfig, path, ["hypergrad.solver=cg"]).hypergrad.settings
    assert settings == {"solver": "cg"}
    with pytest.raises(UserError, match="'none' has no setting 'radius', which adjoint, first_order, "):
        load_config(TrainConfig, path, ["hypergrad.name=none", "hypergrad.radius=0.1"])
    path.write_text("name: a\ndata: {train: [t.json], meta: m.json}\nhypergrad: {name: none, radios: 1}\n")
    with pytest.raises(UserError, match="'none' has no setting 'radios'"):
        load_config(TrainConfig, path, ["hypergrad.name=unrolled", "hypergrad.name=none"])
