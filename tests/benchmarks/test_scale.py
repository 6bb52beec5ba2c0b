"""The benchmark of stored kernels: its measures, and a run at a small size."""

import json

import pytest

pytest.importorskip("zarr", minversion="3")

from benchmarks import scale


def test_span_excludes_the_start():
    records = [{"time": 10.0, "seconds": 2.0, "write_seconds": 0.5}, {"time": 11.0, "seconds": 3.0, "write_seconds": 0.5}]
    assert scale._span(records) == (3.5, 5.0)


@pytest.mark.parametrize("broken", [False, True])
def test_a_run_is_written_and_a_broken_promise_fails(tmp_path, monkeypatch, broken):
    out = tmp_path / "out.json"
    out.write_text(json.dumps({"other": 1}))
    if broken:
        monkeypatch.setattr(scale, "_alike", lambda *stores: False)
    with pytest.raises(SystemExit) as ended:
        scale.main(["--quick", "--only", "flipped-bytes", "--out", str(out), "--folder", str(tmp_path)])
    found = json.loads(out.read_text())
    assert found["other"] == 1
    assert (found["flipped-bytes"]["kept"], bool(ended.value.code)) == (not broken, broken)
    assert "cores" in found["flipped-bytes"]["machine"]
