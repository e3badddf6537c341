"""Images inside the rows of records: bytes, base64, data URLs and URLs become files, in their order."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dreamprm.config.errors import DataError
from dreamprm.data import read_meta_records, read_step_records
from dreamprm.formats.convert import convert_file


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 3), colour).save(file, "PNG")
    return file.getvalue()


def encoded(colour: str) -> str:
    return base64.b64encode(picture(colour)).decode()


def colours(paths: tuple[str, ...]) -> list[Any]:
    return [Image.open(path).convert("RGB").getpixel((0, 0)) for path in paths]


RED, BLUE = (255, 0, 0), (0, 0, 255)
ROW = {"prompt": "<image 1> or <image 2>?", "completions": ["a"], "labels": [True]}
DATA = {
    "data URL": f"data:image/png;base64,{encoded('red')}",
    "bytes in base64": {"bytes": encoded("red"), "path": "lost.png"},
    "a path": {"bytes": None, "path": "red.png"},
}


def source(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "red.png").write_bytes(picture("red"))
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("given", DATA.values(), ids=DATA)
def test_images_in_json_become_files_in_their_order(given: Any, tmp_path: Path) -> None:
    blue = f"data:image/png;base64,{encoded('blue')}"
    path = source(tmp_path, ROW | {"images": [blue, given]}, ROW | {"image": given})
    convert_file("trl", path, tmp_path / "own.jsonl")
    first, second = read_step_records(tmp_path / "own.jsonl")
    assert colours(first.images) == [BLUE, RED] and colours(second.images) == [RED]
    given_again = json.loads((tmp_path / "own.jsonl").read_text().splitlines()[0])["images"]
    assert not any(Path(image).is_absolute() for image in given_again)


def test_images_in_parquet_and_of_meta_records(tmp_path: Path) -> None:
    rows = [ROW | {"images": [{"bytes": picture("red"), "path": "x.png"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    convert_file("trl", tmp_path / "t.parquet", tmp_path / "own.jsonl", image_folder=tmp_path / "pictures")
    (record,) = read_step_records(tmp_path / "own.jsonl")
    assert colours(record.images) == [RED] and Path(record.images[0]).parent == tmp_path / "pictures"
    turns = [{"from": "human", "value": "q"}, {"from": "human", "value": "s"}]
    meta = {"image": f"data:image/png;base64,{encoded('blue')}", "conversations": turns, "true_false": True}
    convert_file("dreamprm15", source(tmp_path, meta), tmp_path / "meta.jsonl")
    assert colours(next(read_meta_records(tmp_path / "meta.jsonl")).images) == [BLUE]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("data:image/png;base64,@@", r"allowed: the bytes of an image file in base64 \(not base64"),
        ("data:image/png,abc", "a data URL without ';base64,'"),
        (f"data:image/png;base64,{base64.b64encode(b'no image').decode()}", "bytes of an image file"),
        ({"bytes": 5}, "allowed: an image path, the bytes of an image file, a data URL"),
        ("https://example.org/1.png", "this is a URL: set allow_urls=true to download such images"),
        ("ftp://example.org/1.png", "this is a URL"),
    ],
)
def test_what_is_no_image_is_an_error_and_leaves_nothing(given: Any, message: str, tmp_path: Path) -> None:
    path = source(tmp_path, ROW | {"image": DATA["data URL"]}, ROW | {"image": given})
    with pytest.raises(DataError, match=message) as caught:
        convert_file("trl", path, tmp_path / "own.jsonl")
    assert "rows.jsonl:2" in str(caught.value) and len(str(caught.value)) < 700
    assert sorted(file.name for file in tmp_path.iterdir()) == ["red.png", "rows.jsonl"]
    convert_file("trl", path, tmp_path / "own.jsonl", on_error="skip", max_bad_fraction=0.5)
    assert len(list((tmp_path / "own_images").iterdir())) == 1


@pytest.fixture
def address() -> Iterator[str]:
    """A server on loopback that has one picture, red."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/red.png"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(picture("red") if found else b"no")

        def log_message(self, *arguments: Any) -> None:
            del arguments

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_urls_are_downloaded_only_if_allowed(address: str, tmp_path: Path) -> None:
    path = source(tmp_path, ROW | {"image": f"{address}/red.png"})
    with pytest.raises(DataError, match="set allow_urls=true"):
        convert_file("trl", path, tmp_path / "own.jsonl")
    convert_file("trl", path, tmp_path / "own.jsonl", allow_urls=True)
    assert colours(next(read_step_records(tmp_path / "own.jsonl")).images) == [RED]
    options = {"question": "prompt", "answer": "a", "image": "image", "allow_urls": True}
    convert_file(
        "table",
        source(tmp_path, ROW | {"image": f"{address}/red.png", "a": "4"}),
        tmp_path / "q.jsonl",
        **options,
    )
    gone = source(tmp_path, ROW | {"image": f"{address}/blue.png"})
    with pytest.raises(DataError, match="the download failed: HTTP Error 404"):
        convert_file("trl", gone, tmp_path / "n.jsonl", allow_urls=True)


def test_our_readers_say_that_records_hold_paths(tmp_path: Path) -> None:
    own = {"question": "q", "domain": "d", "steps": ["s"], "labels": [1], "image": DATA["data URL"]}
    path = source(tmp_path, own)
    with pytest.raises(DataError, match="no path, but the image itself or a URL; dreamprm convert") as caught:
        list(read_step_records(path))
    assert len(str(caught.value)) < 700
    (record,) = read_step_records(path, missing_image="text_only")
    assert record.images == ()
