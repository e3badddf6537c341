"""The README of an exported PRM: what it is, how its rows are made and read, how servers are started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dreamprm.models.backbone import reads_images
from dreamprm.models.model_card import settings_table, what_was_trained

EXPORT_FILE = "dreamprm_export.json"

RIGHT, WRONG = "<|prm_right|>", "<|prm_wrong|>"
"""The tokens that `form=step_token` adds."""

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from dreamprm.models.processing import PRMProcessor

_ROWS = """\
## How a row is made

1. The chat template is rendered with one turn of the user{images}, and its prompt for
   the assistant: `{before}` + question + `{after}`.
2. After it come the steps, each followed by {separator}. Tokenise the chat and every
   step (with its separator) by themselves, without special tokens added, and join the ids.
3. A step's log-odds are read at the last token of its separator;
   p = 1 / (1 + exp(-log-odds)) is the probability that the steps so far lead to a right
   answer.{response}
"""

_SUFFIX_ROWS = """\
## How a row is made

Each step has a row of its own: the chat template is rendered with one turn of the
user{images}, whose text is the question, {question_separator}, and all steps up to this
one, joined by {separator}; and with its prompt for the assistant. The step's log-odds are
read at the row's last token; p = 1 / (1 + exp(-log-odds)) is the probability that the
steps so far lead to a right answer.{response}
"""

_TEXT_CODE = """\
## With transformers (checked by dreamprm's tests, on tiny models)

```python
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForTokenClassification.from_pretrained(".").eval()
with torch.no_grad():  # ids, ends: see above
    log_odds = model(torch.tensor([ids])).logits[0, ends, 0]
```
"""

_VISION_CODE = """\
## With transformers (checked by dreamprm's tests, on tiny models)

The head stands next to the generating model's weights; transformers reports it as
unexpected and leaves it out.

```python
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText

model = AutoModelForImageTextToText.from_pretrained(".").eval()
# Of several files, the one that model.safetensors.index.json names for score.weight.
with safe_open("model.safetensors", framework="pt") as file:
    weight, bias = file.get_tensor("score.weight"), file.get_tensor("score.bias")
with torch.no_grad():  # inputs, ends: see above
    states = model(**inputs, output_hidden_states=True).hidden_states[-1]
    log_odds = states[0, ends] @ weight[0] + bias
```
"""

_VLLM = """\
## With vLLM ({run})

By its documentation and its source: the conversion `classify` reads `score.weight` and
`score.bias`, and the number of classes from the text model's config.

```bash
vllm serve . --runner pooling --convert classify
curl http://localhost:8000/pooling -H 'Content-Type: application/json' \\
    -d '{{"model": ".", "task": "token_classify", "input": [IDS],
         "use_activation": false}}'
```

The answer has one number per token of the row: take those at the ends of the steps. They
are log-odds; with `"use_activation": true`, the default, probabilities. Older versions
call that field `activation`; where a version leaves the bias out, add {bias:.9g} to every
log-odds.{images}
"""

_SGLANG_HF = """\
## With SGLang

It documents no token classifier with a head of this form. Export with `form=step_token`.
"""

_STEP_TOKEN = """\
## How log-odds are read

    log-odds = log p({right}) - log p({wrong}) {bias}

of the next token at the end of a step: the normalisation over the vocabulary cancels. The
two tokens never stand in a row themselves. The constant is the head's bias, which a
vocabulary head has no place for: the client adds it, and the scores are then exact.

```python
import torch
from transformers import {auto}

model = {auto}.from_pretrained(".").eval()
with torch.no_grad():  # see above
    logits = model({inputs}).logits[0, ends]
log_odds = logits[:, {right_id}] - logits[:, {wrong_id}] {bias}
```

## With SGLang (not run by us)

One request per row gives the log-probabilities of both tokens at every position:

```bash
python -m sglang.launch_server --model-path . --port 30000
curl http://localhost:30000/generate -H 'Content-Type: application/json' \\
    -d '{{"input_ids": IDS, "sampling_params": {{"max_new_tokens": 1}},
         "return_logprob": true, "logprob_start_len": 0,
         "token_ids_logprob": [{right_id}, {wrong_id}]}}'
```

They stand in `meta_info.input_token_ids_logprobs`, whose entry i is of the token at i,
given those before it: a step that ends at token e is read at e + 1, and one that ends the
row in `meta_info.output_token_ids_logprobs`.

## With vLLM (not run by us)

One request per step, whose prompt ends with the step (common beginnings are cached):

```bash
vllm serve . --enable-prefix-caching
curl http://localhost:8000/v1/completions -H 'Content-Type: application/json' \\
    -d '{{"model": ".", "prompt": IDS, "max_tokens": 1, "return_tokens_as_token_ids": true,
         "logprob_token_ids": [{right_id}, {wrong_id}]}}'
```

For versions without `logprob_token_ids`, start the server with
`--logprobs-mode processed_logprobs` and send
`"logprobs": 2, "allowed_token_ids": [{right_id}, {wrong_id}]` in its place. Servers that
return the likeliest tokens alone, as OpenAI's API does, cannot give these scores.
"""

_IMAGES = """
With images, send `messages` in place of `input`, and find the ends of the steps by
counting from the row's end."""


def export_readme(
    config: PreTrainedConfig, processor: PRMProcessor, facts: Mapping[str, Any], training: Mapping[str, Any]
) -> str:
    """The text for an export of these `ExportFacts`."""
    vision, form, bias = reads_images(config), facts["form"], float(facts["bias"])
    before, after = processor.frame(0)
    rows = (_ROWS if facts["readout"] == "step_end" else _SUFFIX_ROWS).format(
        images=", the images before its text" if vision else "",
        before=_shown(before),
        after=_shown(after),
        separator=_named(facts["step_separator"]),
        question_separator=_named(facts["question_separator"]),
        response=" It is an outcome reward model: the last step's are the response's."
        if facts["scores"] == "response"
        else "",
    )
    parts = [
        "---\nlibrary_name: transformers\ntags: [process-reward-model, dreamprm]\n---\n",
        f"# Process reward model ({form})\n",
        f"A PRM trained with dreamprm, exported for other software (`form={form}`). "
        f"{what_was_trained(training)}\n",
        rows,
    ]
    if form == "hf":
        run = "not run by us" if vision else "run by us on a tiny Qwen2: version 0.32, on a CPU"
        servers = _VLLM.format(bias=bias, run=run, images=_IMAGES if vision else "")
        parts += [_VISION_CODE if vision else _TEXT_CODE, servers, _SGLANG_HF]
    else:
        parts.append(
            _STEP_TOKEN.format(
                right=RIGHT,
                wrong=WRONG,
                right_id=facts["tokens"]["right"],
                wrong_id=facts["tokens"]["wrong"],
                bias=f"{'-' if bias < 0 else '+'} {abs(bias):.9g}",
                auto="AutoModelForImageTextToText" if vision else "AutoModelForCausalLM",
                inputs="**inputs" if vision else "torch.tensor([ids])",
            )
        )
    told = settings_table(training) if training else "No training settings were recorded.\n"
    return "\n".join([*parts, "## Training\n", told])


def _shown(text: str) -> str:
    return text.replace("\n", "\\n").replace("`", "'")


def _named(text: str) -> str:
    return {"\n": "a new line", "\n\n": "two new lines", "": "nothing"}.get(text, f"`{_shown(text)}`")
