"""The report of `transfer submit`: a place that cannot be written is told before anything moves."""

from pathlib import Path

import pytest

from makegood import transfer_commands


def test_a_report_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "transfers.csv"
    file.write_text("key,source,target,amount_minor,currency\n")
    with pytest.raises(SystemExit) as ended:
        transfer_commands.submit_file(file, report=tmp_path / "nowhere" / "r", api="http://[::1]:1")
    assert ended.value.code == 2
    assert "No such file or directory" in " ".join(capsys.readouterr().out.split())
