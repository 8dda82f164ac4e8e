"""Links of the documents to files of the repository that are not pages of the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)\)")


def within_site(markdown: str, page: str) -> str:
    """A link to a module of `dale` leads to its place in the library reference; one to another such file is text.

    Args:
        markdown: the document.
        page: its path within docs/, with `/`.
    """

    def replace(found: re.Match[str]) -> str:
        text, target = found.groups()
        if ":" in target:
            return found[0]
        path = PurePosixPath(posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target)))
        if path.parts[0] == "docs":
            return found[0]
        if path.parts[0] == "dale" and path.suffix == ".py":
            up = "../" * page.count("/")
            return f"[{text}]({up}reference/modules.md#dale.{path.stem})"
        return text

    return _LINK.sub(replace, markdown)
