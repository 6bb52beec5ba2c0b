"""Choices are measured once each, without waiting, and the fastest is kept."""

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("triton")
from torchtangents.triton.tuning import CHOICES, Tuner

SECONDS = dict(zip(CHOICES, (3.0, 1.0, 2.0, 5.0), strict=True))


class Clock:
    """Events of a device that finishes when it is told to."""

    def __init__(self):
        self.now, self.done = 0.0, 0.0

    def event(self):
        clock = self

        class Event:
            def record(self):
                self.at = clock.now

            def query(self):
                return self.at <= clock.done

            def elapsed_time(self, end):
                return end.at - self.at

        return Event()


def launched(tuner, clock, units=10):
    with tuner.choice(units) as chosen:
        clock.now += SECONDS[chosen] * units
    return chosen


def test_every_choice_takes_one_launch_and_the_fastest_all_others():
    clock = Clock()
    tuner = Tuner(clock.event)
    chosen = []
    for _ in range(8):
        chosen.append(launched(tuner, clock))
        clock.done = clock.now
    assert chosen[: len(CHOICES) + 1] == [CHOICES[0], *CHOICES]
    assert set(chosen[len(CHOICES) + 1 :]) == {CHOICES[1]}
    assert tuner.times == SECONDS


def test_nothing_waits_for_a_device_that_is_behind():
    clock = Clock()
    tuner = Tuner(clock.event)
    assert [launched(tuner, clock) for _ in range(9)][len(CHOICES) + 1 :] == [CHOICES[0]] * (8 - len(CHOICES))
    assert not tuner.times
    clock.done = clock.now
    assert launched(tuner, clock) == CHOICES[1]


def test_a_launch_that_fails_is_not_measured():
    clock = Clock()
    tuner = Tuner(clock.event)
    launched(tuner, clock)
    with pytest.raises(RuntimeError), tuner.choice(10):
        raise RuntimeError
    for _ in range(len(CHOICES)):
        launched(tuner, clock)
    clock.done = clock.now
    assert launched(tuner, clock) == CHOICES[0]


def test_threads_share_the_choices_between_them():
    clock = Clock()
    clock.done = -1.0  # nothing is known while they run
    tuner = Tuner(clock.event)

    def launch(_):
        with tuner.choice(10) as chosen:
            return chosen

    with ThreadPoolExecutor(8) as pool:
        chosen = sorted(pool.map(launch, range(100)))
    assert chosen == sorted([CHOICES[0]] * (101 - len(CHOICES)) + [*CHOICES[1:]])
