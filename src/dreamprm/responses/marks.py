"""The Markdown around a heading, which says nothing of what the heading is."""

MARKS = r"[ \t#>*_\-]*"
"""What generators put before a heading on its line: '### Step 1', '**Step 1:**', '- Step 1.', '> Step 1'.

One character class, not a repeated group: that takes time exponential in the length of a line of dashes.
"""


def unmarked(line: str) -> str:
    """A line without the Markdown emphasis and the white space around it."""
    return line.strip().strip("*_").strip()
