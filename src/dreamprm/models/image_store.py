"""Images by path, decoded once and kept while they fit into a bound of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from PIL import Image

from dreamprm.config.errors import DataError


class ImageStore:
    """Opens images; the most recently used ones stay in memory, up to `limit_bytes` of pixels.

    Args:
        limit_bytes: bound on the pixels held; 0 keeps nothing.
        missing: "error", or "text_only" to leave a missing or broken image out.
    """

    def __init__(self, *, limit_bytes: int = 256 << 20, missing: str = "error") -> None:
        self._limit, self._missing = limit_bytes, missing
        self._held: OrderedDict[str, Image.Image] = OrderedDict()
        self._bytes = 0

    def open_all(self, paths: Sequence[str]) -> list[Image.Image]:
        """The RGB images at these paths, in order.

        Raises:
            DataError: a file is missing or is no image, unless missing ones are left out.
        """
        images = []
        for path in paths:
            image = self._open(path)
            if image is not None:
                images.append(image)
        return images

    def _open(self, path: str) -> Image.Image | None:
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, Image.DecompressionBombError) as error:
            if self._missing == "text_only":
                return None
            raise DataError(
                f"image {path} is missing or broken ({error}); mend it, leave its records out "
                "(data.on_error=skip), or set data.missing_image=text_only"
            ) from error
        size = 3 * image.width * image.height
        if size <= self._limit:
            self._held[path] = image
            self._bytes += size
            while self._bytes > self._limit:
                _, oldest = self._held.popitem(last=False)
                self._bytes -= 3 * oldest.width * oldest.height
        return image
