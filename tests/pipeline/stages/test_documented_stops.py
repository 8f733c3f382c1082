"""The table of stops in CONTRIBUTING.md names tests that exist."""

import re

from tiny_project import ROOT


def test_every_test_that_the_table_names_exists() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Stops and their tests")[2].partition("\n## ")[0]
    named = re.findall(r"`(test_\w+)`", section)
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) >= 10
    assert [name for name in named if f"def {name}(" not in tests] == []
