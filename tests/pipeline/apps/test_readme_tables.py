"""Tables between their markers in a document."""

from pathlib import Path

import pytest

from pipeline.apps.readme import with_results

TEXT = "before\n<!-- table: {0} -->\nold\n<!-- end -->\nafter\n"


def test_a_csv_file_in_reports_stands_between_its_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    Path("reports/faults.csv").write_text('fault,lost\n"killed, twice",nothing\na_b|c,nothing\n')
    table = "| fault | lost |\n| --- | --- |\n| killed, twice | nothing |\n| a_b\\|c | nothing |\n"
    assert with_results(TEXT.format("faults")) == TEXT.format("faults").replace("old\n", table)


@pytest.mark.parametrize("name", ["faults", "toy/decoders"])
def test_a_table_that_is_not_made_says_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_results(TEXT.format(name)) == TEXT.format(name).replace("old", "Not made yet.")
