"""Plain values from YAML that somebody else may have written; nothing runs code or reads the environment.

Everything that Python's YAML and configuration libraries choke on is a user error here, with the line where
it is known: tags of other types, nesting that exhausts the stack, numbers and characters that nothing can
hold.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dreamprm.config.errors import UserError, shortened
from dreamprm.config.schema import LARGEST_INTEGER

_DEEPEST = 50
_MOST_BYTES = 2**24
_MOST_REPEATED = 100_000
_YAML = "tag:yaml.org,2002:"
_TAGS = frozenset(f"{_YAML}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge"))
# Resolvers that read other keys of the same configuration; all others read the environment or run code.
_HARMLESS = frozenset({"oc.select", "oc.dict.keys", "oc.dict.values"})
_REFERENCE_TOKEN = re.compile(r"\$\{|[}:]")
_UNUSABLE_CHARACTER = re.compile("[\0\ud800-\udfff]")


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file, interpolations unresolved.

    Raises:
        UserError: with the line where it is known.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"configuration file {path} {what}; give a YAML file")
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from error
    if len(content) > _MOST_BYTES:
        raise UserError(f"{path}: larger than {_MOST_BYTES >> 20} MB, which is no configuration")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        form = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise UserError(
            f"{path}: cannot be read as YAML: line {line} is {form}; save the file as UTF-8"
        ) from error
    value = _parsed(text, str(path), lambda: _contained(OmegaConf.load(io.StringIO(text))))
    if not isinstance(value, dict):
        found = type(value).__name__
        raise UserError(f"{path}: must hold keys and values (`key: value` lines), got a {found}")
    require_plain(value, "", str(path))
    return {str(key): part for key, part in value.items()}


def parse_yaml(text: str) -> Any:
    """The value of a YAML text that is shown or compared, as PyYAML reads it, not used as a configuration.

    Raises:
        UserError: with the line where it is known.
    """
    return _parsed(text, "the text", lambda: yaml.safe_load(text))


def parse_override(text: str, key: str, source: str) -> Any:
    """The value of `key=text`, as YAML.

    Raises:
        UserError: naming the key.
    """
    try:
        # Through OmegaConf, whose YAML reads 5e-7 as a number.
        value = _parsed(text, "", lambda: _contained(OmegaConf.from_dotlist(["value=" + text])))["value"]
    except UserError as error:
        raise UserError(
            f"{source}: the value of {key} is not valid YAML: {shortened(text)}{error}"
        ) from error
    require_plain(value, key, source)
    return value


def require_plain(value: Any, key: str, source: str) -> None:
    """Check that a value can be stored, and that its interpolations read nothing but other keys.

    Raises:
        UserError: naming the key.
    """
    waiting = [(key, value)]
    while waiting:
        key, part = waiting.pop()
        if isinstance(part, dict):
            waiting += [(f"{key}.{name}" if key else str(name), held) for name, held in part.items()]
            waiting += [(key, name) for name in part]
        elif isinstance(part, list):
            waiting += [(f"{key}[{index}]", held) for index, held in enumerate(part)]
        elif isinstance(part, str):
            _check_references(part, key, source)
        elif isinstance(part, int) and abs(part) > LARGEST_INTEGER:
            raise UserError(
                f"{source}: {key} must be a number of at most 64 bits, got one of {part.bit_length()}"
            )


def require_usable_characters(value: Any, source: str) -> None:
    """Check that no text of a configuration holds NUL, which ends a path, or half a surrogate pair.

    Raises:
        UserError: naming the key.
    """
    waiting = [("", value)]
    while waiting:
        key, part = waiting.pop()
        if isinstance(part, dict):
            waiting += [(f"{key}.{name}" if key else str(name), held) for name, held in part.items()]
        elif isinstance(part, list):
            waiting += [(f"{key}[{index}]", held) for index, held in enumerate(part)]
        elif isinstance(part, str) and (character := _UNUSABLE_CHARACTER.search(part)) is not None:
            raise UserError(f"{source}: {key} must not hold the character {character[0]!r}")


def _parsed(text: str, source: str, load: Callable[[], Any]) -> Any:
    """What `load` makes of a YAML text that has been checked."""

    def problem(words: str, line: int | None = None) -> UserError:
        place = f", line {line}" if line is not None and (source or line > 1) else ""
        return UserError(f"{source}{place}: not valid YAML: {words}" if source else f"{place}: {words}")

    unprintable = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if unprintable is not None:
        line = text.count("\n", 0, unprintable.start()) + 1
        raise problem(f"the character {unprintable[0]!r} is not allowed", line)
    try:
        _check_events(text, problem)
        return load()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise problem(str(error.problem), mark.line + 1 if mark else None) from error
    except UserError:
        raise
    # The libraries' parsers raise what Python's own conversions raise, and other errors for other values.
    except (
        yaml.YAMLError,
        OmegaConfBaseException,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        raise problem(_first_line(error)) from error
    except (ArithmeticError, OSError, RecursionError, AssertionError) as error:
        raise problem(_first_line(error)) from error


def _contained(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=False)


def _check_events(text: str, problem: Callable[[str, int | None], UserError]) -> None:
    """Check what the libraries do not: nesting, tags, aliases, and scalars that Python cannot convert."""
    depth, seen, repeated = 0, 0, 0  # values read, and those more that aliases stand for
    anchors: dict[str, int] = {}  # how many values each anchored one is
    begun: list[tuple[str | None, int]] = []
    converter = yaml.SafeLoader("")
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark is not None else None
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise problem(f"more than {_DEEPEST} lists or sections within one another", line)
            begun.append((event.anchor, seen + repeated))
            seen += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            anchor, before = begun.pop()
            if anchor is not None:
                anchors[anchor] = seen + repeated - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in begun):
                raise problem(f"*{event.anchor} is within what it stands for", line)
            repeated += anchors.get(str(event.anchor), 1)
            if repeated > _MOST_REPEATED:
                raise problem(f"aliases that stand for more than {_MOST_REPEATED:,} values", line)
        else:
            seen += 1
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!" and tag not in _TAGS:
            raise problem(f"the tag {tag.replace(_YAML, '!!')} is not supported; write a plain value", line)
        if isinstance(event, yaml.ScalarEvent):
            tag = tag or converter.resolve(yaml.ScalarNode, event.value, event.implicit)
            if tag not in (f"{_YAML}int", f"{_YAML}float"):
                continue
            try:
                converter.construct_object(yaml.ScalarNode(tag, event.value))
            except (ValueError, LookupError, ArithmeticError) as error:
                raise problem(f"{shortened(event.value)} is not a number that can be used", line) from error


def _check_references(text: str, key: str, source: str) -> None:
    """Refuse `${resolver:...}`, also with a computed name, except for resolvers that only read other keys."""
    begins: list[int | None] = []  # of the names of references that are open; None once the name is known
    for token in _REFERENCE_TOKEN.finditer(text):
        if token[0] == "${":
            begins.append(token.end())
        elif token[0] == "}":
            if begins:
                begins.pop()
        elif begins and begins[-1] is not None:
            name = text[begins[-1] : token.start()].strip()
            if name not in _HARMLESS:
                raise UserError(
                    f"{source}: {key}: ${{{shortened(name)[1:-1]}:...}} is not resolved, as a configuration "
                    "reads no environment variables and runs no code; let the shell put the value in, as in "
                    f'{key}="$NAME" on the command line'
                )
            begins[-1] = None


def _first_line(error: BaseException) -> str:
    words = str(error).partition("\n")[0][:300]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
