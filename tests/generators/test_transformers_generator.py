"""The transformers generator: against the library's own generate, token by token; its draws and refusals."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from local_checkpoints import FAMILIES, QWEN, save_local_checkpoint
from PIL import Image
from tiny_models import tiny_image
from transformers import DynamicCache, GenerationConfig, T5Config
from transformers.cache_utils import DynamicLayer

from dreamprm.config.errors import UserError
from dreamprm.generators import Completion, GenerationError, Request, Sampling, build_generator
from dreamprm.generators import local_model as local_model_module
from dreamprm.generators.local_decoding import NonFiniteLogits, OpenCompletion, RoomyLayer, pick, spread_rows
from dreamprm.generators.local_model import LocalModel, Part, load_local_model
from dreamprm.generators.transformers import TransformersGenerator
from dreamprm.models import PRMProcessor

GREEDY = Sampling(temperature=0.0, max_tokens=12)


def letters(ids: Sequence[int]) -> str:
    """A text from which the tokens can be read again."""
    return "".join(chr(0x4E00 + token) for token in ids)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Images of different sizes."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for index, size in enumerate([(56, 56), (84, 28), (28, 56)]):
        paths.append(str(folder / f"{index}.png"))
        tiny_image(index, size=size).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's checkpoint."""
    made: dict[str, Path] = {}

    def find(family: str) -> Path:
        if family not in made:
            made[family] = save_local_checkpoint(tmp_path_factory.mktemp(family), family)
        return made[family]

    return find


@pytest.fixture
def loaded(checkpoint: Callable[[str], Path]) -> Callable[[str], LocalModel]:
    """A family's model in float64, in which batching changes no token."""

    def load(family: str) -> LocalModel:
        return load_local_model(
            str(checkpoint(family)), device="cpu", dtype="float64", min_pixels=None, max_pixels=None
        )

    return load


def requests(images: Sequence[str], *, shown: bool = True, n: int = 2) -> list[Request]:
    """Prompts and prefixes of different lengths, images of different sizes."""
    texts = [("How many bars?", ""), ("Sum?", "Step 1: we add both values"), ("What is it then?", "Step 1:")]
    return [
        Request(prompt, (image,) if shown else (), prefix, n=n, seed=index)
        for index, ((prompt, prefix), image) in enumerate(zip(texts, images, strict=True))
    ]


def generated(local: LocalModel, request: Request, *, end: int | None = None) -> list[int]:
    """What the library generates for this request by itself, greedily."""
    inputs = local.encoder.encode([request])
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    config = GenerationConfig(
        max_new_tokens=GREEDY.max_tokens, do_sample=False, eos_token_id=end, pad_token_id=0
    )
    out = local.model.generate(**inputs, generation_config=config)[0, inputs["input_ids"].shape[1] :].tolist()
    return out[:-1] if end is not None and out[-1] == end else out


# PaliGemma's processor makes arrays of tensors in a way that numpy warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_generate(
    family: str,
    loaded: Callable[[str], LocalModel],
    images: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = loaded(family)
    asked = requests(images, shown=family != "llama")
    local.end = frozenset()
    expected = [generated(local, request) for request in asked]
    assert len({token for ids in expected for token in ids}) > 6  # no model that says one thing
    monkeypatch.setattr(local, "_text", letters)
    got = local.complete([Part(request, range(2)) for request in asked], GREEDY)
    assert got == [[Completion(letters(ids), 12, False)] * 2 for ids in expected]

    # The same with an end token that comes early in one response: its rows leave the batch.
    end = expected[1][3]
    local.end = frozenset([end])
    expected = [generated(local, request, end=end) for request in asked]
    assert len(expected[1]) <= 3
    got = local.complete([Part(request, range(2)) for request in asked], GREEDY)
    assert got == [[Completion(letters(ids), len(ids), len(ids) < 12)] * 2 for ids in expected]


@pytest.mark.parametrize("family", ["qwen2_vl", "gemma3"])
def test_greedy_tokens_of_several_images_and_of_none(
    family: str,
    loaded: Callable[[str], LocalModel],
    images: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = loaded(family)
    local.end = frozenset()
    several = [Request("Which one?", tuple(images), "The"), Request("And?", (images[1], images[0]), "")]
    for asked in (several, requests(images, shown=False)):
        expected = [letters(generated(local, request)) for request in asked]
        with monkeypatch.context() as patch:
            patch.setattr(local, "_text", letters)
            got = local.complete([Part(request, range(1)) for request in asked], GREEDY)
        assert [completion.text for (completion,) in got] == expected


@pytest.mark.parametrize("family", QWEN)
def test_qwens_inputs_are_those_of_the_prms_processor(
    family: str, loaded: Callable[[str], LocalModel], images: list[str]
) -> None:
    local = loaded(family)
    asked = requests(images)[1]
    inputs = local.encoder.encode([asked])
    encoder: Any = local.encoder
    processor = PRMProcessor(encoder.tokenizer, encoder._image_processor)
    with Image.open(images[1]) as image:
        encoded = processor.encode(asked.prompt, [image], [asked.prefix])
        of_the_library = encoder._image_processor(images=[image], return_tensors="pt")
    batch = processor.collate([encoded])
    # The PRM's processor ends each step with a new line.
    assert inputs["input_ids"].tolist() == batch["input_ids"][:, :-1].tolist()
    assert inputs["mm_token_type_ids"].tolist() == batch["mm_token_type_ids"][:, :-1].tolist()
    assert torch.equal(inputs["pixel_values"], batch["pixel_values"])
    assert torch.equal(inputs["pixel_values"], of_the_library["pixel_values"])
    assert torch.equal(inputs["image_grid_thw"], of_the_library["image_grid_thw"])


@pytest.mark.parametrize("family", ["qwen2_vl", "llava"])
def test_a_sample_does_not_depend_on_its_batch(
    family: str, checkpoint: Callable[[str], Path], images: list[str]
) -> None:
    asked = requests(images, n=5)
    sampling = Sampling(temperature=1.0, max_tokens=6)
    results = []
    for batch_size in (1, 4, 32):
        generator = TransformersGenerator(str(checkpoint(family)), dtype="float64", batch_size=batch_size)
        results.append(generator.complete_all(asked, sampling))
    results.append([generator.complete_all([request], sampling)[0] for request in reversed(asked)][::-1])
    assert all(result == results[0] for result in results)
    texts = [completion.text for group in results[0] if isinstance(group, list) for completion in group]
    assert len(texts) == 15 and len(set(texts)) == 15
    # Fewer samples of a request are the first of more, or those from a number on; another seed gives others.
    (first,) = generator.complete_all([Request(asked[0].prompt, asked[0].images, "", n=2, seed=0)], sampling)
    assert isinstance(first, list) and [completion.text for completion in first] == texts[:2]
    later = Request(asked[0].prompt, asked[0].images, "", n=2, seed=3, first=3)
    (last,) = generator.complete_all([later], sampling)
    assert isinstance(last, list) and [completion.text for completion in last] == texts[3:5]
    other = generator.complete(asked[0].prompt, images[0], n=2, max_tokens=6, seed=7)
    assert {completion.text for completion in other}.isdisjoint(texts)


def test_a_roomy_layer_holds_what_the_librarys_layer_holds() -> None:
    cache = DynamicCache()
    plain = DynamicLayer()
    for tokens in (7, 2):
        states = torch.randn(2, tokens * 3, 4).reshape(2, 3, tokens, 4)
        cache.update(states, -states, 0)
        plain.update(states, -states)
    spread_rows(cache, torch.tensor([0, 0, 1]))
    plain.reorder_cache(torch.tensor([0, 0, 1]))
    (roomy,) = cache.layers
    assert isinstance(roomy, RoomyLayer) and cache.get_seq_length() == 9
    for step in range(150):  # past the room there is at first, and past the second one
        if step == 70:
            for layer in (roomy, plain):
                layer.reorder_cache(torch.tensor([2, 0]))
        states = torch.randn(3 if step < 70 else 2, 3, 1, 4)
        got, expected = cache.update(states, -states, 0), plain.update(states, -states)
        assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])
    assert cache.get_seq_length() == 159 and roomy.get_mask_sizes(1) == plain.get_mask_sizes(1) == (160, 0)


def test_a_prefix_is_read_once_for_all_of_its_samples(
    loaded: Callable[[str], LocalModel], images: list[str]
) -> None:
    local = loaded("qwen2_vl")
    local.end = frozenset()
    shapes: list[tuple[int, ...]] = []
    local.model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: shapes.append(tuple(inputs[0].shape))
    )
    seen: list[int] = []
    local.model.model.visual.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    asked = requests(images, n=8)[:2]
    local.complete([Part(request, range(8)) for request in asked], Sampling(max_tokens=5))
    length = max(local.encoder.encode([request])["input_ids"].shape[1] for request in asked)
    assert shapes == [(2, length)] + [(16, 1)] * 4  # the fifth token is not read again
    assert seen == [4 * 4 + 6 * 2]  # each image's patches once


def test_the_first_token_is_where_the_samples_draw_falls(
    loaded: Callable[[str], LocalModel], images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    local = loaded("qwen2_vl")
    request = requests(images)[0]
    inputs = local.encoder.encode([request])
    inputs["pixel_values"] = inputs["pixel_values"].double()
    with torch.no_grad():
        shares = torch.softmax(local.model(**inputs).logits[0, -1] / 0.7, dim=-1).tolist()
    expected = []
    for sample in range(40):
        left = random.Random(f"3/{sample}").random()
        token = 0
        while left >= shares[token]:
            left -= shares[token]
            token += 1
        expected.append(token)
    assert len(set(expected)) > 5
    local.end = frozenset()
    monkeypatch.setattr(local, "_text", letters)
    ((*got,),) = local.complete(
        [Part(Request(request.prompt, request.images, n=40, seed=3), range(40))],
        Sampling(temperature=0.7, max_tokens=1),
    )
    assert [completion.text for completion in got] == [letters([token]) for token in expected]


def test_pick_turns_draws_into_tokens_by_their_shares() -> None:
    logits = torch.tensor([0.1, 0.0, 0.2, 0.7]).log().repeat(7, 1)
    draws = torch.tensor([0.0, 0.0999, 0.1001, 0.2999, 0.3001, 0.9999, 1 - 2**-53], dtype=torch.float64)
    assert pick(logits, temperature=1.0, draws=draws).tolist() == [0, 0, 2, 2, 3, 3, 3]
    # At temperature 1/2 the shares are squared: 0.01, 0, 0.04, 0.49 of 0.54.
    draws = torch.tensor([0.0184, 0.0186, 0.0925, 0.0927, 0.5, 0.9, 0.99], dtype=torch.float64)
    assert pick(logits, temperature=0.5, draws=draws).tolist() == [0, 2, 2, 3, 3, 3, 3]
    assert pick(logits, temperature=0.0, draws=draws).tolist() == [3] * 7
    for temperature in (0.0, 1.0):
        with pytest.raises(NonFiniteLogits):
            pick(torch.tensor([[0.0, float("nan")]]), temperature=temperature, draws=draws[:1])


def grown(texts: Sequence[str], *, stop: Sequence[str] = (), max_tokens: int = 50) -> tuple[Completion, int]:
    """The completion of tokens with these texts, of which the last is offered last; and how many it took."""
    vocabulary = ["<end>", *dict.fromkeys(texts)]

    def text(ids: Sequence[int]) -> str:
        return "".join(vocabulary[token] for token in ids)

    one = OpenCompletion(text, [], seed=0, sample=0, end=frozenset([0]), max_tokens=max_tokens, stop=stop)
    for taken, word in enumerate([*texts, "<end>"], start=1):
        if one.add(vocabulary.index(word)):
            return one.completion(), taken
    raise AssertionError("the end token did not end it")


@pytest.mark.parametrize(
    "texts, stop, expected, taken",
    [
        (["a", "b", "c"], [], Completion("abc", 3), 4),
        (["a", "b"], ["x"], Completion("ab", 2), 3),
        (["Step", " 1", "\n", "\n", "Step"], ["\n\n"], Completion("Step 1", 2), 4),
        (["ab", "cd", "ef"], ["bc"], Completion("a", 1), 2),  # in the middle of tokens
        (["ab", "cd", "ef"], ["de", "cd"], Completion("ab", 1), 2),
        (["xyz"], ["z", "y"], Completion("x", 1), 1),  # the one that comes first counts
        (["stop"], ["stop"], Completion("", 0), 1),
        (["a", "b"], [""], Completion("ab", 2), 3),  # an empty text stops nothing
        ([*"Final answer: 3\nmore"], ["\n"], Completion("Final answer: 3", 15), 16),
    ],
)
def test_a_completion_ends_before_the_first_stop_text(
    texts: list[str], stop: list[str], expected: Completion, taken: int
) -> None:
    assert grown(texts, stop=stop) == (expected, taken)


def test_a_completion_is_unfinished_at_its_limit_alone() -> None:
    assert grown(["a", "b", "c"], max_tokens=2) == (Completion("ab", 2, False), 2)
    assert grown(["a", "b", "c"], max_tokens=2, stop=["b"]) == (Completion("a", 1, True), 2)


@pytest.mark.parametrize(
    ("texts", "stop", "expected"),
    [(["a", "b"], ["c", "b"], "b"), (["a", "b"], ["c"], ""), (["a", "b"], [], None)],
)
def test_a_completion_says_what_stopped_it(texts: list[str], stop: list[str], expected: str | None) -> None:
    assert grown(texts, stop=stop)[0].stopped_by == expected
    assert grown(["a", "b"], max_tokens=3) == (Completion("ab", 2, True), 3)


def test_the_space_before_the_first_word_is_kept() -> None:
    vocabulary = ["\u2581so", "\u2581the", "\u2581answer"]

    def sentencepiece(ids: Sequence[int]) -> str:
        return "".join(vocabulary[token] for token in ids).replace("\u2581", " ").removeprefix(" ")

    one = OpenCompletion(sentencepiece, [0], seed=0, sample=0, end=frozenset(), max_tokens=2, stop=())
    assert [one.add(1), one.add(2)] == [False, True]
    assert one.completion() == Completion(" the answer", 2, False)
    assert sentencepiece([1, 2]) == "the answer"


def test_characters_of_several_tokens_are_whole(loaded: Callable[[str], LocalModel]) -> None:
    local = loaded("llama")
    ids = local.encoder.tokenizer("\u4e09\u00b0 \u2192 7")["input_ids"]
    before = local.encoder.tokenizer("\u2192\u2192")["input_ids"]
    one = OpenCompletion(
        local._text, before, seed=0, sample=0, end=frozenset(), max_tokens=99, stop=["\u2192"]
    )
    assert [one.add(token) for token in ids[:9]] == [False] * 8 + [True]
    assert one.completion() == Completion("\u4e09\u00b0 ", 6)


def test_the_chat_is_the_checkpoints_template_and_the_prefix(
    loaded: Callable[[str], LocalModel], images: list[str]
) -> None:
    request = Request("Sum?", (images[0], images[1]), "Step 1: ")
    block = "<|vision_start|><|image_pad|><|vision_end|>"
    assert loaded("qwen2_vl").encoder.text(request) == (
        f"<|im_start|>user\n{block}{block}Sum?<|im_end|>\n<|im_start|>assistant\nStep 1: "
    )
    assert loaded("llava").encoder.text(request) == (
        "<|im_start|>user\n<image><image>Sum?<|im_end|>\n<|im_start|>assistant\nStep 1: "
    )
    assert loaded("llama").encoder.text(Request("Sum?")) == (
        "<|im_start|>user\nSum?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_it_is_a_registered_generator_that_says_what_it_runs(checkpoint: Callable[[str], Path]) -> None:
    folder = str(checkpoint("llama"))
    generator = build_generator("transformers", model=folder, batch_size=4)
    assert isinstance(generator, TransformersGenerator)
    assert (generator.parallel, generator.together) == (1, 8)
    told = {
        "model": folder,
        "device": "auto",
        "dtype": "auto",
        "batch_size": "4",
        "prefixes": "continued token by token as the beginning of the answer",
    }
    assert generator.describe() == told
    (before,) = generator.complete("Sum?", max_tokens=3)
    assert generator.describe() == told | {"device": "cpu", "dtype": "float32"}
    generator.close()
    assert generator.complete("Sum?", max_tokens=3) == [before]  # it loads the model again


def test_the_end_tokens_are_those_of_the_generation_configuration(
    checkpoint: Callable[[str], Path], loaded: Callable[[str], LocalModel], tmp_path: Path
) -> None:
    local = loaded("llama")
    tokenizer = local.encoder.tokenizer
    assert local.end == {tokenizer.eos_token_id}
    model = local.model
    model.generation_config = GenerationConfig(eos_token_id=[5, 7], repetition_penalty=2.0)
    assert LocalModel(model, local.encoder).end == {5, 7}
    assert model.generation_config.repetition_penalty in (None, 1.0)  # no penalty changes what is drawn
    model.generation_config = GenerationConfig()
    tokenizer.eos_token = None
    assert LocalModel(model, local.encoder).end == frozenset()


def test_memory_that_runs_out_halves_the_batch_and_changes_nothing(
    checkpoint: Callable[[str], Path],
    images: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(checkpoint("qwen2_vl"))
    asked = requests(images, n=4)
    sampling = Sampling(max_tokens=4)
    expected = TransformersGenerator(folder, dtype="float64").complete_all(asked, sampling)
    complete = LocalModel.complete
    sizes: list[int] = []

    def short_of_memory(local: LocalModel, parts: Sequence[Part], sampling: Sampling) -> Any:
        sizes.append(sum(len(part.samples) for part in parts))
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return complete(local, parts, sampling)

    monkeypatch.setattr(LocalModel, "complete", short_of_memory)
    limit = 3
    generator = TransformersGenerator(folder, dtype="float64", batch_size=10)
    assert generator.complete_all(asked, sampling) == expected
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2]
    assert capsys.readouterr().err == (
        f"{folder}: memory ran out with 8 samples at once; continuing with 4\n"
        f"{folder}: memory ran out with 4 samples at once; continuing with 2\n"
    )
    assert generator.describe()["batch_size"] == "2"
    limit = 0
    results = TransformersGenerator(folder, batch_size=1).complete_all(asked[:1], sampling)
    assert isinstance(results[0], GenerationError) and not results[0].refused
    assert "memory ran out with a single sample; lower max_tokens or max_pixels" in str(results[0])


def test_another_runtime_error_is_not_taken_for_memory(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(LocalModel, "complete", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        TransformersGenerator(str(checkpoint("llama"))).complete("Sum?")


def test_a_request_that_cannot_be_served_leaves_the_others(
    checkpoint: Callable[[str], Path], images: list[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    generator = TransformersGenerator(str(checkpoint("qwen2_vl")), dtype="float64")
    good = requests(images, n=3)
    sampling = Sampling(max_tokens=4)
    expected = generator.complete_all(good, sampling)
    bad = [
        Request("Sum?", (str(tmp_path / "broken.png"),)),
        Request("Sum?", (str(tmp_path / "none.png"),)),
        Request("Sum <|image_pad|>?", (images[0],)),
        Request("Sum?" * 200, (images[0],)),
    ]
    first, broken, missing, second, padded, long, third = generator.complete_all(
        [good[0], *bad[:2], good[1], *bad[2:], good[2]], sampling
    )
    assert [first, second, third] == expected
    for result, message in (
        (broken, r"broken.png cannot be read: UnidentifiedImageError"),
        (missing, "none.png cannot be read: FileNotFoundError"),
        (padded, r"contains 2 <\|image_pad\|> tokens for 1 images"),
        (long, r"has 8\d\d tokens; with max_tokens=4 that is more than the 512"),
    ):
        assert isinstance(result, GenerationError) and result.refused
        with pytest.raises(GenerationError, match=message):
            raise result


def test_a_transparent_image_is_shown_on_white(loaded: Callable[[str], LocalModel], tmp_path: Path) -> None:
    Image.new("RGBA", (56, 56), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (56, 56), (255, 255, 255)).save(tmp_path / "white.png")
    for family in ("qwen2_vl", "llava"):
        clear, white = (
            loaded(family).encoder.encode([Request("?", (str(tmp_path / name),))])["pixel_values"]
            for name in ("clear.png", "white.png")
        )
        assert torch.equal(clear, white) and clear.unique().numel() == 3  # a value a channel


def test_a_language_model_refuses_images(checkpoint: Callable[[str], Path], images: list[str]) -> None:
    generator = TransformersGenerator(str(checkpoint("llama")), dtype="float64")
    refused, answered = generator.complete_all(
        [Request("Sum?", (images[0],)), Request("Sum?", n=2)], Sampling(max_tokens=2)
    )
    assert isinstance(refused, GenerationError) and refused.refused and "takes no images" in str(refused)
    assert isinstance(answered, list) and len(answered) == 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_output_that_is_not_finite_is_told(loaded: Callable[[str], LocalModel], temperature: float) -> None:
    local = loaded("llama")
    with torch.no_grad():
        local.model.lm_head.weight[3] = float("nan")
    with pytest.raises(GenerationError, match="contains NaN or infinity; use dtype=float32 or bfloat16"):
        local.complete([Part(Request("Sum?"), range(2))], Sampling(temperature=temperature, max_tokens=3))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"dtype": "fp8"}, "dtype must be one of auto, float32, bfloat16, float16, float64, got 'fp8'"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"together": True}, "together must be a whole number >= 1, got True"),
        ({"min_pixels": 200, "max_pixels": 100}, r"min_pixels \(200\) must be <= max_pixels \(100\)"),
    ],
)
def test_settings_are_checked_when_it_is_made(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TransformersGenerator("anything", **settings)


def test_a_model_that_cannot_be_used_is_the_users_mistake(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    def refused(model: Path, message: str, **settings: Any) -> None:
        with pytest.raises(UserError, match=message):
            TransformersGenerator(str(model), **settings).complete("Sum?", max_tokens=1)

    refused(tmp_path / "nothing", r"cannot read a model from .*nothing: .*; give a checkpoint.s folder")
    T5Config().save_pretrained(tmp_path / "t5")
    refused(tmp_path / "t5", "is a 't5' model; the transformers generator needs a decoder")
    refused(
        checkpoint("llama"),
        "device 'cuda:97' cannot be used: .*; use auto, cpu, cuda or cuda:N",
        device="cuda:97",
    )
    refused(checkpoint("llava"), r"max_pixels can be set only for the Qwen-VL families", max_pixels=784)
    plain = save_local_checkpoint(tmp_path / "plain", "qwen2_vl")
    (plain / "chat_template.jinja").unlink()
    refused(plain, "has no chat template; use an instruction-tuned checkpoint")
    (plain / "tokenizer.json").unlink()
    refused(plain, "cannot read a model from")


def test_size_limits_of_images_are_kept(checkpoint: Callable[[str], Path], images: list[str]) -> None:
    def pads(**limits: int) -> int:
        local = load_local_model(
            str(checkpoint("qwen2_vl")),
            device="cpu",
            dtype="auto",
            **{"min_pixels": None, "max_pixels": None, **limits},
        )
        return int(local.encoder.encode([Request("?", (images[0],))])["mm_token_type_ids"].sum())

    assert pads() == 4  # 56 x 56 pixels, a token for each 28 x 28
    assert pads(max_pixels=28 * 28) == 1
    assert pads(min_pixels=112 * 112, max_pixels=112 * 112) == 16


def test_importing_the_generator_loads_no_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, dreamprm.generators.transformers as m; m.TransformersGenerator('x');"
        "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert local_model_module.LocalModel is LocalModel
