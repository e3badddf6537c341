"""Any checkpoint that `transformers` can run, in this process."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field
from typing import TYPE_CHECKING

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import setting
from dreamprm.data.image_decoder import ImageReading
from dreamprm.files.content import FileDigests
from dreamprm.generators.base import Completion, GenerationError, Generator, Request, Sampling
from dreamprm.runtime.progress import say_beside_bars
from dreamprm.runtime.settings import ground_colour, image_ground_setting, truncated_image_setting

if TYPE_CHECKING:
    from dreamprm.generators.local_model import LocalModel, Part

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass
class TransformersGenerator(Generator):
    """Samples from an image-text-to-text model or a language model, loaded into this process.

    Each prefix is encoded once for all of its samples, and samples of several prefixes are decoded in one
    batch, which they leave as they end. Use it if one GPU (or a CPU) and one process are enough; a server
    (`generator=openai` with vLLM or SGLang) is faster for large models and many questions.

    The prompt is formatted with the checkpoint's own chat template, with the images first, and the prefix is
    the beginning of the answer, in the model's own tokens. Samples are drawn from softmax(logits /
    temperature) only: the checkpoint's own top-k, top-p and penalties are ignored. A sample's random numbers
    depend on its request's seed and its index; the rest of the batch affects only the rounding of the logits.

    Args:
        model: a checkpoint's folder or hub name. No code from the checkpoint is run.
        device: "auto" (the first GPU, otherwise the CPU), or a torch device.
        dtype: of the weights; "auto" is the checkpoint's own on a GPU and float32 on a CPU.
        batch_size: samples decoded at once, >= 1; halved, with a message, when memory runs out.
        together: number of chains of thought that one call should combine, >= 1.
        min_pixels, max_pixels: size limits of images for the Qwen-VL families; None keeps the checkpoint's.
        image_ground: the colour that transparent areas of images show.
        truncated_image: `read` also shows images that are cut off, as far as they go; `error` refuses them.

    Raises:
        UserError: a setting is outside its allowed range.
    """

    model: str = setting(MISSING, "a checkpoint's folder or hub name; no code from the checkpoint is run")
    device: str = setting("auto", "auto: the first GPU, otherwise the CPU; or a torch device")
    dtype: str = setting(
        "auto", "of the weights; auto: the checkpoint's own on a GPU, float32 on a CPU", choices=DTYPES
    )
    batch_size: int = setting(
        32, "samples decoded at once; halved, with a message, when memory runs out", minimum=1
    )
    together: int = setting(8, "number of chains of thought that one call combines", minimum=1)
    min_pixels: int | None = setting(
        None,
        "images are enlarged to at least this many pixels (Qwen-VL); null: the checkpoint's limit",
        minimum=1,
    )
    max_pixels: int | None = setting(
        None,
        "images are reduced to at most this many pixels (Qwen-VL); null: the checkpoint's limit",
        minimum=1,
    )
    image_ground: str = image_ground_setting()
    truncated_image: str = truncated_image_setting()
    _loaded: LocalModel | None = field(init=False, default=None, repr=False, compare=False)
    _rows: int = field(init=False, default=0, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise UserError(f"min_pixels ({self.min_pixels}) must be <= max_pixels ({self.max_pixels})")
        ground_colour(self.image_ground)
        self._rows = self.batch_size

    def complete_all(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion] | GenerationError]:
        """See `Generator.complete_all`.

        A request is refused if an image cannot be read, if it has more tokens than the model supports, or if
        it has images and the model takes none.

        Raises:
            UserError: the model cannot be loaded.
        """
        local = self._local()
        results: list[list[Completion] | GenerationError] = [[] for _ in requests]
        numbered: list[tuple[int, Part]] = []
        for index, request in enumerate(requests):
            refusal = local.encoder.refusal(request)
            if refusal is not None:
                results[index] = GenerationError(refusal, refused=True)
            else:
                numbered.append((index, _whole(request)))
        # Prefixes of similar length share a batch, so that there is less padding.
        numbered.sort(key=lambda entry: (len(entry[1].request.images), _length(entry[1].request)))
        batches = deque(_batches(numbered, self._rows))
        while batches:
            batch = batches.popleft()
            outcome = self._attempt(local, [part for _, part in batch], sampling)
            if isinstance(outcome, list):
                for (index, _), completions in zip(batch, outcome, strict=True):
                    known = results[index]
                    if not isinstance(known, GenerationError):
                        known.extend(completions)
            elif outcome is None:
                rows = sum(len(part.samples) for _, part in batch)
                if rows == 1:
                    results[batch[0][0]] = GenerationError(
                        "memory ran out with a single sample; lower max_tokens or max_pixels, or use "
                        "dtype=bfloat16 or a smaller model"
                    )
                    continue
                self._rows = max(1, rows // 2)
                say_beside_bars(
                    f"{self.model}: memory ran out with {rows} samples at once; continuing with {self._rows}"
                )
                left = [entry for waiting in (batch, *batches) for entry in waiting]
                batches = deque(_batches(left, self._rows))
            elif len(batch) == 1:
                results[batch[0][0]] = outcome
            else:  # one of them is at fault: try each on its own
                batches.extendleft([entry] for entry in reversed(batch))
        return results

    def contents(self, digests: FileDigests) -> dict[str, dict[str, str | None]]:
        """See `Generator.contents`."""
        from dreamprm.models.checkpoint_files import checkpoint_contents

        return {"model": checkpoint_contents(self.model, digests)}

    def describe(self) -> dict[str, str]:
        """See `Generator.describe`."""
        told = {
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "batch_size": str(self._rows),
            "prefixes": "continued token by token as the beginning of the answer",
        }
        if self._loaded is not None:
            told |= {
                "device": str(self._loaded.model.device),
                "dtype": str(self._loaded.model.dtype).removeprefix("torch."),
            }
        return told

    def close(self) -> None:
        """Free the model; the next call loads it again."""
        self._loaded = None
        _free_memory()

    def _local(self) -> LocalModel:
        if self._loaded is None:
            from dreamprm.generators.local_model import load_local_model

            self._loaded = load_local_model(
                self.model,
                device=self.device,
                dtype=self.dtype,
                min_pixels=self.min_pixels,
                max_pixels=self.max_pixels,
                images=ImageReading(self.image_ground, self.truncated_image == "read"),
            )
        return self._loaded

    @staticmethod
    def _attempt(
        local: LocalModel, parts: Sequence[Part], sampling: Sampling
    ) -> list[list[Completion]] | GenerationError | None:
        """The batch's completions, the reason why it cannot be served, or None if memory ran out."""
        try:
            return local.complete(parts, sampling)
        except GenerationError as error:
            return error
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        # Outside the handler, because the error's traceback keeps the batch's tensors alive.
        _free_memory()
        return None


def _whole(request: Request) -> Part:
    from dreamprm.generators.local_model import Part

    return Part(request, range(request.n))


def _length(request: Request) -> int:
    return len(request.prompt) + len(request.prefix)


def _batches(parts: Sequence[tuple[int, Part]], rows: int) -> Iterator[list[tuple[int, Part]]]:
    """The parts in order, as batches of at most `rows` samples, either all with images or all without."""
    from dreamprm.generators.local_model import Part

    batch: list[tuple[int, Part]] = []
    free = rows
    for index, part in parts:
        if batch and bool(batch[0][1].request.images) != bool(part.request.images):
            yield batch
            batch, free = [], rows
        left = part.samples
        while left:
            if not free or (batch and len(left) > free and len(left) <= rows):
                # Split a part, and encode its prefix twice, only if it is unavoidable.
                yield batch
                batch, free = [], rows
            batch.append((index, Part(part.request, left[:free])))
            taken = len(batch[-1][1].samples)
            left, free = left[taken:], free - taken
    if batch:
        yield batch


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # On a CPU, torch raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
