"""AI2D: grade-school science diagrams with multiple-choice questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamprm.config.errors import DataError
from dreamprm.data.fields import Fields
from dreamprm.data.json_stream import Row
from dreamprm.data.records import QuestionRecord
from dreamprm.formats.answer_fields import letter_at, option_texts
from dreamprm.formats.image_folder import ImageFolder
from dreamprm.formats.json_rows import as_fields, object_rows
from dreamprm.formats.questions.layout import SplitLayout
from dreamprm.formats.table_files import read_table


@dataclass(frozen=True)
class AI2D(SplitLayout):
    """AI2D (Kembhavi et al., A Diagram Is Worth A Dozen Images, ECCV 2016, arXiv 1603.07396).

    Two layouts are read:

    - the release: a folder with `questions/NAME.png.json`, each `{"imageName", "questions": {TEXT:
      {"questionId", "answerTexts", "correctAnswer", "abcLabel"}}}`, and `images/NAME.png`. The options of a
      question with `abcLabel` are letters drawn over the diagram's labels: its image is taken from
      `abc_images/NAME.png` if that folder exists (InternLM-XComposer provides it), else it is the plain
      image, which lacks the letters;
    - the hub's `lmms-lab/ai2d`: columns `question`, `options`, `answer` (the option's index as a text),
      `image`.
    """

    name = "AI2D"
    prefix = "ai2d"
    help = "AI2D: the release's folder, or the hub's lmms-lab/ai2d"
    signature = (("answerTexts", "correctAnswer", "imageName"),)

    def rows(self, path: Path) -> Iterator[Fields | DataError]:
        """One row per question."""
        if not (path / "questions").is_dir():
            yield from read_table(path, split=self.split)
            return
        for page in object_rows(sorted((path / "questions").glob("*.json"))):
            if isinstance(page, DataError):
                yield page
                continue
            parts = page.values.get("questions")
            if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
                yield page.error("questions", "an object that maps each question's text to an object")
                continue
            image = {"imageName": page.values.get("imageName")}
            values = ({"question": text, **image, **part} for text, part in parts.items())
            yield from as_fields((Row(index, value) for index, value in enumerate(values, 1)), page.path)

    def record(self, row: Fields, images: ImageFolder) -> QuestionRecord:
        """The question of one row."""
        from_release = "answerTexts" in row.values
        options = option_texts(row, "answerTexts" if from_release else "options")
        if from_release:
            base = row.path.parent.parent
            image = row.text("imageName")
            folders = ("abc_images", "images") if row.optional_truth("abcLabel") else ("images",)
            places = [f"{folder}/{image}" for folder in folders]
            paths: tuple[str, ...] = (images.find(row, "imageName", places, base=base),)
            id = f"{self.prefix}-{row.text('questionId')}"
        else:
            paths, id = images.take(row, "image"), ""
        return self.question_record(
            question=row.text("question").strip(),
            images=paths,
            answer=letter_at(row, "correctAnswer" if from_release else "answer", options),
            options=options,
            id=id,
        )
