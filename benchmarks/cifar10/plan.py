"""Which images belong to which training set, and in which parts a kernel is stored."""

from __future__ import annotations

from typing import Any, NamedTuple


class Plan(NamedTuple):
    """Training sets cut from one random order of `full` images.

    Sizes up to the last of `cuts` are `subsets` disjoint stretches of that order, each of which holds the smaller ones;
    larger sizes are the order's beginning. Kernels are stored in blocks between parts of images: each stretch is cut at
    `cuts`, the rest evenly, so that a training set needs no block of images far beyond it.
    """

    sizes: tuple[int, ...] = (20, 40, 80, 160, 320, 640, 1000, 1280, 5000)
    cuts: tuple[int, ...] = (320, 640, 1000, 1280)
    subsets: int = 3
    full: int = 5000
    test: int = 1017

    def identity(self) -> dict[str, Any]:
        """What results must share to stand in one table: all but the sizes."""
        return {name: value for name, value in self._asdict().items() if name != "sizes"}

    def repeats(self, size: int) -> int:
        """How many training sets of this size there are."""
        return self.subsets if size <= self.cuts[-1] else 1

    def images(self, size: int, subset: int) -> slice:
        """Where in the random order a training set lies."""
        if not 0 <= subset < self.repeats(size) or not 0 < size <= self.full:
            raise ValueError(f"expected one of {self.repeats(size)} subsets of at most {self.full} images, got {subset}, {size}")
        start = subset * self.cuts[-1]
        return slice(start, start + size)

    def parts(self) -> list[slice]:
        """Disjoint, in order, and together all images."""
        ends = [subset * self.cuts[-1] + cut for subset in range(self.subsets) for cut in self.cuts]
        rest = self.full - ends[-1]
        if rest < 0:
            raise ValueError(f"expected {self.subsets} disjoint subsets of {self.cuts[-1]} within {self.full} images")
        pieces = -(-rest // self.cuts[0])
        ends += [ends[-1] + rest * (i + 1) // pieces for i in range(pieces)]
        return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def touched(self, images: slice) -> list[slice]:
        """The parts that hold some of these images."""
        return [part for part in self.parts() if part.start < images.stop and images.start < part.stop]

    def pairs(self, size: int, subset: int) -> int:
        """How many kernel entries a training set needs: its own, half of them by symmetry, and those with the test images."""
        n = sum(part.stop - part.start for part in self.touched(self.images(size, subset)))
        return n * (n + 1) // 2 + n * self.test


QUICK = Plan(sizes=(5, 10), cuts=(5,), subsets=1, full=10, test=4)
