"""What a release is made of: one version, a citation, forms for issues, and one list of checks."""

from pathlib import Path

import pytest

import torchtangents as tt

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[1]


def test_the_version_is_written_in_one_place():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    (version,) = (line.split('"')[1] for line in lines if line.startswith("version ="))
    assert tt.__version__.removesuffix(".dev0") == version
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_citation_has_what_its_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert citation["license"] == "MIT"


@pytest.mark.parametrize("name", ["wrong_result", "no_rule", "slow_or_large"])
def test_a_form_for_issues_is_whole(name):
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text())
    assert form.keys() >= {"name", "description", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_commits_and_ci_run_the_same_checks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = {hook["id"] for repo in config["repos"] for hook in repo["hooks"]}
    assert hooks == {"ruff", "format", "pyright", "rules"}
    assert "pre-commit run --all-files" in (ROOT / ".ci/run").read_text()
