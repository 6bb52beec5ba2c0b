"""The demonstration: every file, and finite ensembles that approach the infinite one."""

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("PIL")

from torchtangents import demo
from torchtangents.demo import ensemble

pytestmark = pytest.mark.slow
FILES = ("ensemble.png", "ensemble.gif", "gaussian.png", "digits.csv", "digits.png")


def test_run_writes_every_file_and_says_where(tmp_path, capsys):
    demo.run(tmp_path / "new", quick=True)
    printed = capsys.readouterr().out
    for name in FILES:
        path = tmp_path / "new" / name
        assert path.stat().st_size > 200
        assert str(path) in printed
    assert (tmp_path / "new" / "ensemble.gif").stat().st_size < 2_000_000


def test_only_one_part(tmp_path):
    demo.run(tmp_path, only="gaussian", quick=True)
    assert [path.name for path in tmp_path.iterdir()] == ["gaussian.png"]


def test_unknown_part_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected one of"):
        demo.run(tmp_path, only="nothing")


def test_wider_networks_come_closer_to_the_law():
    _, law, views = ensemble.compare(quick=True)
    errors = [ensemble.differences(view, law) for view in views.values()]
    assert errors[-1][0] < errors[0][0]
    assert errors[-1][1] < errors[0][1]
