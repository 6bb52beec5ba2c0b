"""The command line."""

import pytest

from torchtangents import cli


def test_info_prints_versions_and_backends(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    for word in ("torchtangents", "torch", "gpytorch", "reference", "cpu native", "threads"):
        assert word in printed


def test_no_command_is_an_error(capsys):
    assert cli.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["demo", "--only", "nothing"])
    assert "ensemble" in capsys.readouterr().err
