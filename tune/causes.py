"""What went wrong, in one line."""

from __future__ import annotations

import re


def cause_of(error: BaseException) -> str:
    """The worker's own error in one line, out of the traces that Ray and Tune wrap it in."""
    cause = getattr(error, "cause", None) or error.__cause__
    if isinstance(cause, BaseException):
        return cause_of(cause)
    lines = str(error).splitlines()
    named = [place for place, line in enumerate(lines) if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit)\b", line)]
    return " ".join(" ".join(lines[named[-1] if named else 0 :]).split()) or type(error).__name__
