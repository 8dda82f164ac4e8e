"""What MkDocs calls while it builds the site: generated pages, formulas, links out of docs/."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parents[2]))  # `mkdocs`, unlike `python -m mkdocs`, leaves the root out

from docs.site import api, commands, configuration, formulas, links, notebook

DOCS = Path(__file__).parents[1]
MODULES = "# Modules of the library\n\n"
DECISIONS = "# Decisions\n\nWhy things are as they are, in the order in which it was decided.\n\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    made = {f"reference/api/{name}": text for name, text in api.pages(api.openapi()).items()}
    made["reference/configuration.md"] = configuration.page()
    made["reference/commands.md"] = commands.page()
    made["reference/modules.md"] = MODULES + "\n".join(f"::: dale.{name}\n" for name in _modules())
    made["decisions/index.md"] = DECISIONS + "".join(map(_decision, sorted((DOCS / "decisions").glob("0*.md"))))
    made["in-one-notebook.md"] = notebook.page(DOCS / "notebook.ipynb")
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Mend links that leave docs/."""
    return links.within_site(markdown, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Turn formulas into MathML."""
    return formulas.to_mathml(html)


def _modules() -> list[str]:
    return sorted(path.stem for path in (DOCS.parent / "dale").glob("*.py") if not path.stem.startswith("_"))


def _decision(path: Path) -> str:
    title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    number = int(path.name[:4])
    return f"- {number}: [{title.removeprefix(f'{number}. ')}]({path.name})\n"
