"""Build the page of a study, reports/<study>/index.html, and the same for a git host, README.md beside it.

    python -m pipeline.report digits

The page is one file and needs no network.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from capsnet.files import write_whole
from pipeline.reporting.page import Page, gather
from pipeline.reporting.typeset import markdown, markdown_parts, numeric, plain_note
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.paths import REPORTS
from pipeline.settings.params import find, load_params

TEMPLATES = Path(__file__).parent / "reporting" / "templates"
# Characters with a meaning in Markdown: an underscore at the edge of a word, the others anywhere.
MARKUP = re.compile(r"([\\`*\[\]<>|~&#]|(?<!\w)_|_(?!\w))")


def html(page: Page) -> str:
    """Return the page. Its policy lets browsers run and load only what is in it."""
    style, script = (Markup((TEMPLATES / f"report.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js"))
    policy = f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return _render("report.html.j2", page, escaped=True, style=style, script=script, policy=policy)


def readme(page: Page) -> str:
    """Return the page in GitHub's Markdown, with links to its figures."""
    return _render("report.md.j2", page, escaped=False)


def plain(text: str) -> str:
    """Return text that Markdown shows unchanged."""
    return MARKUP.sub(r"\\\1", text)


def with_commands(text: str) -> Markup:
    """Return text as HTML, with the commands between `...` in it as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _render(template: str, page: Page, escaped: bool, **others: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(numeric=numeric, markdown=markdown, markdown_parts=markdown_parts, plain=plain)
    environment.filters.update(plain_note=plain_note, with_commands=with_commands)
    return environment.get_template(template).render(page=page, **others)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "STUDY", "a key of `studies` in params.yaml", argv)
    params = load_params()
    find(name, params.studies, "study")
    page = gather(name, params)
    for path, text in ((REPORTS / name / "index.html", html(page)), (REPORTS / name / "README.md", readme(page))):
        write_whole(path, text)
        print(path)


if __name__ == "__main__":
    run_stage(main)
