"""Pages of the site that live outside docs/: the README as its first page, CHANGELOG, CONTRIBUTING, and the
measurements in experiments/results with their plots.

Links are written for the repository, where they work as they stand. The site has another tree (docs/X.md is
at its top, next to the README), so they are rewritten here; a link to a file that is not in the site (a
script, a configuration) keeps its text and loses its address.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent.parent
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def pages() -> dict[str, Path]:
    """The added files: their place in the site's tree, and where they are."""
    found = {
        "index.md": ROOT / "README.md",
        "CHANGELOG.md": ROOT / "CHANGELOG.md",
        "CONTRIBUTING.md": ROOT / "CONTRIBUTING.md",
    }
    for path in sorted((ROOT / "experiments" / "results").iterdir()):
        if path.suffix in (".md", ".png", ".json"):
            found[path.relative_to(ROOT).as_posix()] = path
    return found


def on_files(files, config):
    """Add them to the site."""
    for place, path in pages().items():
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrite the page's links from the repository's tree to the site's."""
    here = in_repository(page.file.src_uri)

    def rewrite(link: re.Match) -> str:
        mark, text, address = link.groups()
        if re.match(r"[a-z]+:|#", address):
            return link[0]
        path, hash_mark, anchor = address.partition("#")
        target = in_site(posixpath.normpath(posixpath.join(posixpath.dirname(here), path)))
        if files.get_file_from_path(target) is None:
            if (ROOT / posixpath.dirname(here) / path).exists():
                return text
            return link[0]  # a broken link: mkdocs names it
        start = posixpath.dirname(page.file.src_uri) or "."
        return f"{mark}[{text}]({posixpath.relpath(target, start)}{hash_mark}{anchor})"

    return LINK.sub(rewrite, markdown)


def in_repository(place: str) -> str:
    """Where a page of the site is in the repository."""
    if place == "index.md":
        return "README.md"
    if place.startswith("experiments/") or place in pages():
        return place
    return f"docs/{place}"


def in_site(path: str) -> str:
    """The place in the site of a file of the repository."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")
