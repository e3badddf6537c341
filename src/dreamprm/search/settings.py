"""`dreamprm search`: which questions, what writes, what scores, and how the search is led."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dreamprm.answers.settings import JudgedAnswers
from dreamprm.config.choices import AGGREGATIONS, PROMPTS, SPLITS
from dreamprm.config.names import check_names
from dreamprm.config.schema import LARGEST_SEED, REQUIRED, open_settings, section, setting
from dreamprm.generators.settings import GeneratorSettings
from dreamprm.runtime.settings import ProgressSettings, QuestionFileSettings, require_end
from dreamprm.scorers.settings import ScorerSettings

CHOSEN = "chosen"
"""The name of a score that is 1 for the chosen chain and 0 for the others: a selector of `evaluate`."""


@dataclass
class MethodSettings:
    """How the search is led."""

    name: str = setting(
        "best_of_n",
        "best_of_n: whole chains, until the answer is settled; beam: the best beginnings, step by step; "
        "dvts: several independent trees; mcts: a tree search that can return to what it left",
    )
    settings: dict[str, Any] = open_settings(
        "the named method's own settings, written next to name:",
        registry="dreamprm.search.methods:METHODS",
        build=True,
    )


@dataclass
class BudgetSettings:
    """What a question may cost."""

    n: int = setting(
        16, "size of the search: chains drawn (best_of_n, mcts), or held at a time (beam, dvts)", minimum=1
    )
    generated_tokens: int | None = setting(
        None,
        "most tokens generated for a question; one that reaches it ends with what it has, and is counted. "
        "The last continuations are drawn one by one where all at once could exceed it; null: no limit",
        minimum=1,
    )
    step_tokens: int | None = setting(
        None, "most tokens of one step; null: generator.max_tokens, which limits a whole chain", minimum=1
    )
    steps: int = setting(32, "a chain of so many steps is continued to its end in one piece", minimum=1)

    def check(self) -> None:
        """Refuse a search that would never end."""
        require_end("n", self.n)


@dataclass
class SearchConfig:
    """Questions in; candidate records with a chosen chain, and what it cost, out."""

    output: str = setting(
        REQUIRED, "folder for the results; a run that was stopped resumes from those already there"
    )
    seed: int = setting(0, "seed for the sampling", minimum=0, maximum=LARGEST_SEED)
    prompt: str = setting(
        "five_stage", "ask for the paper's five steps, or for no structure (ablation)", choices=PROMPTS
    )
    split: str = setting(
        "headings",
        "what a step is: text under a 'Step k:' heading, a paragraph, a sentence, or the whole response; "
        "auto: headings where there are several, else paragraphs",
        choices=SPLITS,
    )
    aggregation: str = setting(
        "mean_log_odds",
        "how the scores of a chain's steps become the score by which chains are compared, complete or not; "
        "those that grow with the number of steps (sum_log_odds) prefer the longer of two beginnings",
        choices=AGGREGATIONS,
    )
    scorer_name: str | None = setting(
        None, "name under which scores are stored; null: the name of the run folder (or the model's)"
    )
    together: int = setting(16, "questions searched at the same time, in rounds", minimum=1)
    max_failed_fraction: float = setting(
        0.05, "largest share of questions that may fail before the run stops", minimum=0, maximum=1
    )
    threads: int | None = setting(None, "CPU threads for torch; null: torch's default", minimum=1)
    method: MethodSettings = section(MethodSettings)
    budget: BudgetSettings = section(BudgetSettings)
    questions: QuestionFileSettings = section(QuestionFileSettings)
    generator: GeneratorSettings = section(GeneratorSettings)
    scorer: ScorerSettings = section(ScorerSettings)
    answers: JudgedAnswers = section(JudgedAnswers)
    log: ProgressSettings = section(ProgressSettings)

    def check(self) -> None:
        """Require questions, and a name that can be one."""
        if not self.questions.files:
            raise ValueError("questions.files must name at least one file of question records, got []")
        if self.scorer_name is not None:
            check_names([self.scorer_name], "scorer_name")
            if self.scorer_name == CHOSEN:
                raise ValueError(f"scorer_name={CHOSEN} is the mark of the chosen chain; give another name")
        require_end("together", self.together)
