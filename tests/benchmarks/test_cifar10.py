"""The CIFAR-10 experiment on synthetic images: readers, training sets, stored kernels, scores, and a run that is interrupted."""

import json
import math
import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch

pytest.importorskip("zarr")
import torchtangents as tt
from benchmarks.cifar10 import __main__ as command
from benchmarks.cifar10 import evaluate, finite, plot, preprocess, results
from benchmarks.cifar10.data import BATCHES, Images, load
from benchmarks.cifar10.kernels import StoredKernel, Work
from benchmarks.cifar10.models import MODELS
from benchmarks.cifar10.plan import QUICK, Plan
from benchmarks.cifar10.results import Key, Record, Row


def synthetic(train=60, test=20, seed=0):
    """Images whose mean colour tells the class a little."""
    rng = np.random.default_rng(seed)
    parts = []
    for n in (train, test):
        y = rng.permutation(np.arange(n) % 10).astype(np.uint8)
        x = rng.integers(0, 156, (n, 3, 32, 32)) + 10 * y[:, None, None, None]
        parts += [x.astype(np.uint8), y]
    return Images(*parts)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, **synthetic()._asdict())
    return path


class TestData:
    def batches(self, folder, images):
        """The Python version of CIFAR-10."""
        folder.mkdir()
        for i, name in enumerate((*BATCHES, "test_batch")):
            x, y = (images.x_test, images.y_test) if name == "test_batch" else (images.x_train[i::5], images.y_train[i::5])
            content = {
                b"data": x.reshape(len(x), -1),
                b"labels": y.tolist(),
                b"batch_label": b"batch",
                b"filenames": [b"a.png"] * len(y),
            }
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))

    def test_both_formats_give_the_same_images(self, tmp_path):
        images = synthetic()
        np.savez(tmp_path / "images.npz", **images._asdict())
        self.batches(tmp_path / "cifar-10-batches-py", images)
        one, two, three = (load(tmp_path / name) for name in ("images.npz", "cifar-10-batches-py", ""))
        order = np.concatenate([np.arange(60)[i::5] for i in range(5)])
        assert np.array_equal(one.x_train[order], two.x_train)
        assert np.array_equal(one.y_train[order], two.y_train)
        assert np.array_equal(one.x_test, two.x_test)
        assert one.fingerprint() != two.fingerprint() == three.fingerprint()

    def test_what_is_no_cifar_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="an .npz file, or a folder".replace(".", r"\.")):
            load(tmp_path / "nowhere")
        images, path = synthetic(), tmp_path / "images.npz"
        for change, match in (
            ({"x_train": images.x_train.astype(float)}, "x_train: expected uint8"),
            ({"x_test": images.x_test.transpose(0, 2, 3, 1)}, r"x_test: expected .* \(N, 3, 32, 32\)"),
            ({"y_train": images.y_train + 1}, "y_train: expected 60 integers in 0 .. 9"),
            ({"y_test": images.y_test[:-1]}, "y_test: expected 20 integers"),
        ):
            np.savez(path, **{**images._asdict(), **change})
            with pytest.raises(ValueError, match=match):
                load(path)
        np.savez(path, x_train=images.x_train)
        with pytest.raises(ValueError, match="expected arrays x_train, y_train"):
            load(path)
        self.batches(tmp_path / "batches", images)
        (tmp_path / "batches" / "data_batch_3").unlink()
        with pytest.raises(FileNotFoundError, match="missing: data_batch_3"):
            load(tmp_path / "batches")
        (tmp_path / "batches" / "data_batch_3").write_bytes(pickle.dumps([1]))
        with pytest.raises(ValueError, match="expected a dictionary with b'data'"):
            load(tmp_path / "batches")

    def test_a_pickle_that_runs_code_is_refused(self, tmp_path):
        self.batches(tmp_path / "batches", synthetic())
        (tmp_path / "batches" / "data_batch_1").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        with pytest.raises(pickle.UnpicklingError, match="refusing to load"):
            load(tmp_path / "batches")

    def test_images_are_drawn_in_rounds_of_all_classes(self):
        images = synthetic(300, 40)
        many, few = images.drawn(200, 30), images.drawn(50, 10)
        assert np.array_equal(few.x_train, many.x_train[:50])
        assert np.array_equal(few.x_test, many.x_test[:10])
        for start in range(0, 200, 10):
            assert sorted(many.y_train[start : start + 10]) == list(range(10))
        assert not np.array_equal(many.x_train, images.drawn(200, 30, seed=1).x_train)
        pairs = {(x.tobytes(), y) for x, y in zip(images.x_train, images.y_train, strict=True)}
        assert {(x.tobytes(), y) for x, y in zip(many.x_train, many.y_train, strict=True)} <= pairs
        with pytest.raises(ValueError, match="expected at least 301 training images, the data have 300"):
            images.drawn(301, 1)


class TestPreprocess:
    x = torch.from_numpy(synthetic(50).x_train[:, :, :8, :8].copy())

    def test_channels_are_standardised(self):
        z = preprocess.standardised(self.x)(self.x)
        assert z.dtype == torch.float32
        torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
        torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(3))

    def test_zca_whitens_where_the_regulariser_is_small(self):
        x = torch.randn(400, 3, 2, 2, generator=torch.Generator().manual_seed(0)).cumsum(3)
        z = preprocess.whitened(x, 1e-9)(x).double().flatten(1)
        covariance = (z - z.mean(0)).mT @ (z - z.mean(0)) / len(z)  # all but the direction that contrast normalisation removes
        constant = torch.full((12,), 12**-0.5, dtype=torch.float64)
        expected = torch.eye(12, dtype=torch.float64) - torch.outer(constant, constant)
        torch.testing.assert_close(covariance, expected * 12 / 11, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("epsilon", [0.1, 100.0])
    def test_zca_is_the_symmetric_root_of_the_regularised_covariance(self, epsilon):
        z = self.x.double().flatten(1)
        z = (z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True, correction=0)
        c = torch.cov(z.mT, correction=0)
        root = torch.linalg.inv(c + epsilon * c.trace() / len(c) * torch.eye(len(c)))
        found = preprocess.whitened(self.x, epsilon)(self.x).double().flatten(1)
        expected = (z - z.mean(0)) @ root @ (z - z.mean(0)).mT  # inner products know the matrix's square
        expected = expected / expected.trace() * found.numel()
        torch.testing.assert_close(found @ found.mT, expected, rtol=0, atol=1e-3)

    def test_a_flat_image_is_finite_and_no_regulariser_is_refused(self):
        assert preprocess.whitened(self.x)(torch.full_like(self.x[:1], 7)).isfinite().all()
        with pytest.raises(ValueError, match="epsilon: expected a number > 0"):
            preprocess.whitened(self.x, 0.0)


class TestPlan:
    plan = Plan(sizes=(4, 8, 20), cuts=(4, 8), subsets=2, full=22, test=5)

    @pytest.mark.parametrize("plan", [plan, Plan(), QUICK])
    def test_parts_hold_every_image_once_and_respect_subsets(self, plan):
        parts = plan.parts()
        assert [i for part in parts for i in range(part.start, part.stop)] == list(range(plan.full))
        for size in plan.sizes:
            for subset in range(plan.repeats(size)):
                images, touched = plan.images(size, subset), plan.touched(plan.images(size, subset))
                assert touched[0].start == images.start
                assert images.stop - images.start == size
                assert size > plan.cuts[-1] or touched[-1].stop <= (subset + 1) * plan.cuts[-1]

    def test_subsets_are_disjoint_and_nested(self):
        assert self.plan.images(8, 1) == slice(8, 16)
        assert self.plan.images(4, 1) == slice(8, 12)
        assert [self.plan.repeats(size) for size in self.plan.sizes] == [2, 2, 1]
        assert self.plan.pairs(3, 0) == 4 * 5 // 2 + 4 * 5  # a whole part

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match="expected one of 1 subsets"):
            self.plan.images(20, 1)
        with pytest.raises(ValueError, match="expected 3 disjoint subsets"):
            self.plan._replace(subsets=3).parts()


class TestStoredKernel:
    plan = Plan(cuts=(3, 5), subsets=2, full=12, test=4)
    x, x_test = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)).split([12, 4])

    @pytest.mark.parametrize("images", [slice(0, 2), slice(5, 10), slice(0, 12), slice(0, 11)])
    def test_slices_are_those_of_the_whole_kernel(self, images, tmp_path):
        net = MODELS["fc"].build()
        stored = StoredKernel(net, self.x, self.x_test, tmp_path, self.plan)
        whole, cross = tt.kernels(net, self.x), tt.kernels(net, self.x_test, self.x)
        for kind in ("nngp", "ntk"):
            torch.testing.assert_close(stored.train(images, kind), getattr(whole, kind)[images, images], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(stored.test(images, kind), getattr(cross, kind)[:, images], rtol=1e-5, atol=1e-5)

    def test_nothing_is_computed_twice_and_other_images_are_refused(self, tmp_path):
        net = MODELS["fc"].build()
        stored = StoredKernel(net, self.x, self.x_test, tmp_path, self.plan)
        stored.train(slice(0, 2), "ntk")
        assert stored.work.pairs == 6  # the first part, with itself
        stored.train(slice(0, 5), "ntk")
        assert stored.work.pairs == 15
        stored.test(slice(0, 5), "nngp")
        assert stored.work.pairs == 35
        again = StoredKernel(net, self.x, self.x_test, tmp_path, self.plan)
        assert torch.equal(again.train(slice(0, 5), "nngp"), stored.train(slice(0, 5), "nngp"))
        assert again.work == Work()
        other = StoredKernel(net, self.x + 1, self.x_test, tmp_path, self.plan)
        with pytest.raises(ValueError, match="holds another kernel"):
            other.train(slice(0, 5), "nngp")


class TestEvaluate:
    def kernel(self, n=40, m=200, noise=1.0):
        generator = torch.Generator().manual_seed(0)
        labels, labels_test = (torch.arange(k) % 10 for k in (n, m))
        centres = torch.randn(10, 6, generator=generator).double()
        x, x_test = (centres[y] + noise * torch.randn(len(y), 6, generator=generator).double() for y in (labels, labels_test))
        return x @ x.mT + 1, labels, x_test @ x.mT + 1, labels_test

    def test_probabilities_are_better_than_chance(self):
        train, labels, test, labels_test = self.kernel()
        found = evaluate.predict(train, labels, test)
        torch.testing.assert_close(found.log_p.exp().sum(1), torch.ones(200).double())
        score = evaluate.score(found.log_p, labels_test)
        assert score.accuracy > 0.3
        assert score.log_likelihood > -math.log(10) + 0.2

    def test_the_regulariser_is_the_best_by_brute_force(self):
        train, labels, _, _ = self.kernel()
        y = torch.nn.functional.one_hot(labels, 10).double() - 0.1

        def likelihood(diag_reg):
            scores = torch.empty_like(y)
            for i in range(len(y)):
                kept = torch.arange(len(y)) != i
                k = train[kept][:, kept] + diag_reg * train.diagonal().mean() * torch.eye(len(y) - 1)
                scores[i] = train[i, kept] @ torch.linalg.solve(k, y[kept])
            log_p = (scores / tt.predict.temperature(scores, labels)).log_softmax(1)
            return log_p.gather(1, labels[:, None]).mean().item()

        found = evaluate.best_diag_reg(evaluate._Stored(train, labels))
        assert found == max(evaluate.GRID, key=likelihood)
        assert evaluate.GRID[0] < found < evaluate.GRID[-1]

    def test_the_bootstrap_gives_the_standard_error_of_a_mean(self):
        each = torch.stack([torch.randn(1000, generator=torch.Generator().manual_seed(0)), torch.ones(1000)], 1).double()
        found = evaluate.bootstrap(each)
        assert found[0].item() == pytest.approx(each[:, 0].std().item() / 1000**0.5, rel=0.1)
        assert found[1].item() == pytest.approx(0, abs=1e-12)
        assert torch.equal(found, evaluate.bootstrap(each))

    def test_scores_are_those_of_the_labels(self):
        log_p = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]]).double().log()
        found = evaluate.score(log_p, torch.tensor([0, 0, 0]))
        assert found.accuracy == pytest.approx(2 / 3)
        assert found.log_likelihood == pytest.approx(math.log(0.7 * 0.4 * 0.9) / 3)


class TestFinite:
    def test_augmentation_flips_and_shifts(self):
        x = torch.rand(300, 1, 6, 7, generator=torch.Generator().manual_seed(0))
        out = finite.augmented(x, torch.Generator().manual_seed(0), shift=1)
        padded = torch.nn.functional.pad(torch.stack([x, x.flip(3)], 1), (1, 1, 1, 1))  # (300, 2, 1, 8, 9)
        windows = padded.unfold(3, 6, 1).unfold(4, 7, 1).reshape(300, 18, 6, 7)
        same = (windows == out).all(-1).all(-1)
        assert same.any(1).all()
        assert same.any(0).all()  # each of 2 x 3 x 3 occurs

    def test_it_learns_and_repeats(self):
        images = synthetic(200, 100)
        x, x_test = (torch.from_numpy(part) / 64 - 2 for part in (images.x_train, images.x_test))
        y = torch.from_numpy(images.y_train).long() // 5
        found = finite.train(x, y, x_test, 0, steps=20)
        assert found.log_p.shape == (100, 10)
        torch.testing.assert_close(found.log_p.exp().sum(1), torch.ones(100).double())
        assert (found.log_p.argmax(1) == torch.from_numpy(images.y_test).long() // 5).double().mean() > 0.7
        assert torch.equal(found.log_p, finite.train(x, y, x_test, 0, steps=20).log_p)


def row(**changes):
    given = {"model": "fc", "kernel": "ntk", "preprocessing": "zca", "size": 20, "subset": 0, "accuracy": 0.25}
    rest = {"accuracy_error": 0.03, "log_likelihood": -2.0, "log_likelihood_error": 0.4, "diag_reg": 0.1, "temperature": 0.5}
    return Row(**(given | rest | {"chosen_by": "a, b", "test_images": 100} | changes))


class TestResults:
    def test_rows_come_back_and_a_cut_line_does_not_count(self, tmp_path):
        path = tmp_path / "rows.csv"
        assert results.read(path) == []
        results.append(path, row())
        results.append(path, row(subset=1))
        assert results.read(path) == [row(), row(subset=1)]
        path.write_text(path.read_text() + "fc,ntk,zca,40")
        assert len(results.read(path)) == 2
        results.append(path, row(subset=2))
        assert results.read(path) == [row(), row(subset=1), row(subset=2)]
        assert row().key == Key("fc", "ntk", "zca", 20, 0)

    def test_other_columns_and_other_data_are_refused(self, tmp_path):
        (tmp_path / "rows.csv").write_text("model,accuracy\nfc,1\n")
        with pytest.raises(ValueError, match="expected the columns model, kernel"):
            results.read(tmp_path / "rows.csv")
        Record(tmp_path / "a.json", {"data": "x", "plan": (1, 2)}, {"command": "c"}).save(work=1)
        Record(tmp_path / "a.json", {"data": "x", "plan": (1, 2)}, {"command": "d"}).save()
        assert json.loads((tmp_path / "a.json").read_text())["runs"] == [{"command": "c", "work": 1}, {"command": "d"}]
        with pytest.raises(ValueError, match="choose another folder with --out"):
            Record(tmp_path / "a.json", {"data": "y", "plan": (1, 2)}, {})

    def test_points_add_both_variances(self):
        (points,) = plot.summary([row(accuracy=0.2), row(accuracy=0.3, subset=1)]).values()
        assert points[20].accuracy == pytest.approx(0.25)
        assert points[20].accuracy_error == pytest.approx(math.sqrt(0.03**2 + 0.005 / 2))
        (alone,) = plot.summary([row()]).values()
        assert alone[20].accuracy_error == pytest.approx(0.03)
        assert "| FC, 3 hidden layers | NTK | regularised ZCA | 25.0 ± 3.0; -2.000 ± 0.400 |" in plot.table([row()])


class TestCommand:
    def options(self, **changes):
        given = {"only": ["fc", "myrtle5", "finite-cnn"], "preprocess": ["standardised", "zca"], "sizes": None, "subsets": None}
        return Namespace(**(given | {"devices": None} | changes))

    def test_work_is_cheapest_first_and_stops_where_a_cpu_does(self):
        plan = Plan()
        jobs = command.jobs(plan, self.options())
        assert [job.seconds(plan) for job in jobs] == sorted(job.seconds(plan) for job in jobs)
        sizes = {
            model: {j.size for j in jobs if j.model == model and j.preprocessing == "standardised"}
            for model in ("fc", "myrtle5", "finite-cnn")
        }
        assert sizes == {"fc": {*plan.sizes}, "myrtle5": {20, 40, 80, 160, 320, 640, 1000}, "finite-cnn": {*plan.sizes}}
        assert max(job.size for job in jobs if job.preprocessing == "zca") == 1280
        assert not any(job.preprocessing == "zca" for job in jobs if job.model == "finite-cnn")
        assert any(job.size == 5000 for job in command.jobs(plan, self.options(only=["myrtle5"], devices=["cuda:0"])))
        asked = command.jobs(plan, self.options(only=["myrtle5"], sizes=[5000, 320], subsets=1, preprocess=["standardised"]))
        assert [(job.size, job.subset) for job in asked] == [(320, 0), (5000, 0)]

        for wrong in ({"sizes": [5001]}, {"sizes": [0]}, {"subsets": 0}):
            with pytest.raises(SystemExit, match=r"expected 1 .. 5000 images"):
                command.jobs(plan, self.options(**wrong))

    def test_an_interrupted_run_goes_on(self, file, tmp_path, monkeypatch):
        arguments = ["--data", str(file), "--store", str(tmp_path), "--quick", "--preprocess", "standardised", "--only"]
        arguments += ["fc", "cnn-flatten", "finite-cnn"]
        predict, calls = evaluate.predict, []

        def tired(*given):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return predict(*given)

        monkeypatch.setattr(evaluate, "predict", tired)
        with pytest.raises(KeyboardInterrupt):
            command.main(arguments)
        early = results.read(tmp_path / "cifar10.csv")
        assert len(early) == 2
        command.main(arguments)
        whole, text = results.read(tmp_path / "cifar10.csv"), (tmp_path / "cifar10.csv").read_text()
        assert whole[:2] == early
        expected = {key for job in command.jobs(QUICK, command._options(arguments)) for key in job.rows()}
        assert {r.key for r in whole} == expected
        assert len(whole) == len(expected) == 2 * 2 * 2 + 2  # models, kernels, training sets; the finite CNN
        assert len(calls) == 1 + len([r for r in whole if r.kernel != "finite"])  # the interrupted one twice
        assert (tmp_path / "cifar10.png").stat().st_size > 10_000
        runs = json.loads((tmp_path / "cifar10.json").read_text())["runs"]
        work = [run.get("work", {}).get("fc, standardised", {"pairs": 0})["pairs"] for run in runs]
        assert sum(work) == QUICK.pairs(10, 0)  # each once, whichever run did it
        command.main(arguments)  # nothing is left to do
        assert (tmp_path / "cifar10.csv").read_text() == text

    @pytest.mark.long
    def test_every_model_runs(self, file, tmp_path):
        command.main(["--data", str(file), "--store", str(tmp_path), "--quick", "--sizes", "5", "--subsets", "1"])
        assert {r.model for r in results.read(tmp_path / "cifar10.csv")} == {*MODELS, "finite-cnn"}
