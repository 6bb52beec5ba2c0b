"""Compiles every kernel ahead of time, without a GPU, and prints a JSON line of its registers and local memory for each."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from torchtangents.triton import kernels, moves, resident, runs

AFFINE, RELU, SIGN, ERF, GELU, WAVE, RBF, TABLE, GAIN, NORMALIZE, DROPOUT, MEANS, _, FOLDED = range(14)
STEP = {
    "STEP0": 1,
    "STEP1": 1,
    "OFF0": (-1, 0, 1),
    "OFF1": (-1, 0, 1),
    "N0": 3,
    "N1": 3,
    "LOADED": False,
    "SHARED": True,
    "PB": 4,
    "CB": 128,
}
CHAIN = {"SHARED": True, "CB": 128}
TAIL = {"TAIL": (AFFINE,), "TAIL_COUNTS": (0,), "M": 1}
NARROW = {"relu": (AFFINE, FOLDED, AFFINE, RELU), "norm": (AFFINE, NORMALIZE, GAIN), "means": (DROPOUT, MEANS)}
LAYERS = {"folded": (AFFINE, FOLDED)}  # of a chain, in a loop
WIDE = {
    **NARROW,
    "sign": (AFFINE, SIGN),
    "erf": (AFFINE, ERF),
    "gelu": (AFFINE, GELU),
    "wave": (AFFINE, WAVE),
    "rbf": (AFFINE, RBF),
    "table": (TABLE,),
}
PLANE = {"H": 32, "W": 32, "R": 8, "C": 4, "LY": 4, "LX": 8}  # the largest that a warp holds
HALF = {"H1": 16, "W1": 16, "R1": 4, "C1": 2, "LY1": 4, "LX1": 8}
RUN = {
    **PLANE,
    "LW": 32,
    "V": 4,
    "P": 4,
    "NTK": True,
    "EXACT": False,
    "ADDS": False,
    "KEEPS": True,
    "SAME": True,
    "SUMS": False,
    "HALVED": False,
    "SPREAD": False,
    "ODD": False,
    "FRESH": False,
    "WIDE": 0,
}
QUARTER = {"H": 16, "W": 16, "R": 4, "C": 2, "V": 1}
RUNS = {
    "exact": {"EXACT": True, "KEEPS": False, "SUMS": True},
    "branches": {"ADDS": True, "SAME": False},
    "halved": {"KEEPS": False, "HALVED": True},
    "spread": {"KEEPS": False, "SPREAD": True, "FRESH": True},
    "spread-odd": {"KEEPS": False, "SPREAD": True, "ODD": True},
    "near": {"KEEPS": False, "HALVED": True, "V": 1, "WIDE": 2},
    "double": {**QUARTER, "ADDS": True, "WIDE": 1},
    "nngp": {**QUARTER, "NTK": False, "SUMS": True, "KEEPS": False},
}
POOLED = {"MOST": 9, "HW1": 1024, "NTK": True, "ADD": True, "PB": 4, "B": 128}
MOVES = {
    "window": (moves.window, {**PLANE, **HALF, "STEP0": 2, "STEP1": 2, "OFF0": (0, 1, 2), "OFF1": (0, 1, 2), "N0": 3, "N1": 3}),
    "stored": (moves.stored, PLANE),
    "joined": (moves.joined, {"HW": 256}),
    "pooled": (moves.pooled, {**POOLED, "HW": 256, "UNIFORM": True}),
    "pooled-nngp": (moves.pooled, {**POOLED, "HW": 256, "UNIFORM": True, "NTK": False}),
    "cells": (moves.pooled, {**POOLED, "HW": 0, "UNIFORM": False}),
}
DATA = {
    "memory",
    "table1",
    "table2",
    "coefficients",
    "packed",
    "consts",
    "out",
    "first",
    "second",
    "x1",
    "x2",
    "numbers1",
    "numbers2",
    "nngp",
    "ntk",
    "value",
}
DOUBLE = {"held", "weights", "tables", "product", "norm1", "norm2", "target", "weight0", "weight1"}
WHOLE = {"code", "offsets", "cell", "place", "plane", "source", "lookup", "at0", "at1"}


def operating(kinds, exact, wide):
    """Options of a kernel with these operations, of four numbers each."""
    return {"KINDS": kinds, "COUNTS": (4,) * len(kinds), "N": len(kinds), "NTK": True, "EXACT": exact, "WIDE": wide}


def jobs(largest):
    """Names, kernels, their constants, and whether they are of double precision; `largest`: planes of 32 x 32 and every function
    in both places, which takes as long as all else."""
    for wide in (False, True):
        for name, kinds in (WIDE if wide and largest else NARROW).items():
            for exact in (False, True) if kinds[-1] in (RELU, GAIN, MEANS) else (False,):
                options = operating(kinds, exact, wide)
                yield f"map-{name}-{exact}", kernels.step, {**STEP, **options, "GATHER": 0}, wide
        for gather in (1, 2):
            options = {"KINDS": (AFFINE, RELU), "COUNTS": (0, 1), "N": 2, "NTK": True, "EXACT": True, "WIDE": wide}
            yield f"gather-{gather}", kernels.step, {**STEP, **options, "GATHER": gather}, wide
        for name, kinds in (LAYERS | (WIDE if wide else {"norm": NARROW["norm"]})).items():
            for exact in (False, True) if name in LAYERS else (False,):
                options = {**TAIL, **operating(kinds, exact, wide)}
                yield f"chain-{name}-{exact}", kernels.chain, {**CHAIN, **options, "RB": 4 if wide else 8}, wide
        for fields in (0, 2):
            yield f"reduce-{fields}", kernels.reduce, {"NTK": True, "FIELDS": fields, "PB": 4, "CB": 128, **PLANE}, wide
    for name, options in RUNS.items():
        yield f"run-{name}", resident.run, {**RUN, **options, **({} if largest else QUARTER)}, options.get("WIDE", 0) > 0
    for name, (kernel, options) in MOVES.items():
        given = {"B": 512, "FIELDS": 2, **options}
        yield name, kernel, {n: v for n, v in given.items() if n in kernel.arg_names}, name == "cells"
    one = {"KINDS": (AFFINE, RELU), "COUNTS": (0, 1), "N": 2, "NTK": True, "EXACT": True, "WIDE": False}
    yield "ones-chain", kernels.chain, ones(kernels.chain, {**CHAIN, **TAIL, **one, "RB": 8}), False


def ones(kernel, constants):
    """With every whole number 1, which Triton makes a constant."""
    whole = [a for a in kernel.arg_names if type_of(a, constants, False) == "i32"]
    return {**constants, **dict.fromkeys(whole, 1)}


def type_of(name, constants, wide):
    if name in constants:
        return "constexpr"
    if name in DATA:
        return "*fp64" if wide else "*fp32"
    if name in DOUBLE:
        return "*fp64"
    if name in WHOLE:
        return "*i32"
    return {"slots": "*i64", "bound": "fp32", "weight": "fp32", "slot_stride": "i64"}.get(name, "i32")


def main(capability, part):
    """Of all kernels those of one part of some, such as 0/2."""
    first, parts = map(int, part.split("/"))
    tool = next(Path(triton.__file__).parent.glob("backends/nvidia/bin/cuobjdump*"))
    every = list(jobs(capability == 90 or os.environ.get("TORCHTANGENTS_LONG") == "1"))
    for name, kernel, constants, wide in every[first::parts]:
        signature = {a: type_of(a, constants, wide) for a in kernel.arg_names}
        options = {"enable_fp_fusion": True}
        if kernel is resident.run and not constants["WIDE"] and not constants["ADDS"]:
            options["maxnreg"] = runs._REGISTERS[constants["EXACT"]]
        target = GPUTarget("cuda", capability, 32)
        aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(kernel.arg_names) if signature[a].startswith("*")}
        source = ASTSource(kernel, signature, constants, aligned)  # as torch's memory is
        code = triton.compile(source, target=target, options=options).asm["cubin"]
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(code)
            file.flush()
            said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
        fields = dict(
            part.split(":")
            for part in (said.stdout + said.stderr).split(kernel.__name__)[-1].split()
            if part.count(":") == 1 and part[-1] != ":"
        )
        print(
            json.dumps(
                {
                    "name": name,
                    "wide": wide,
                    "registers": int(fields["REG"]),
                    "local": int(fields["LOCAL"]) + int(fields["STACK"]),
                    "bytes": len(code),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
