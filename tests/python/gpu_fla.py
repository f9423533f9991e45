# SPDX-License-Identifier: MIT
"""maskc.ops beside flash-linear-attention, on a GPU: errors against float64, times, host time.

    MASKC_LIBRARY=build/libmaskc.so PYTHONPATH=python:FOLDER_OF_FLA python3 tests/python/gpu_fla.py
        --device cuda:1        another device; cpu: errors only
        --only delta,kda       functions whose names have one of these in them
        --fla none|timed|all   where FLA runs, too: nowhere, where it is timed (the default), always
        --no-time              errors only

Each line of the table is a call of one function: the relative L2 error of o and of the final state
of ours and, where it ran, of FLA's, both against a recurrence in float64 on the same inputs, and
the time on the device. Then come what only a GPU can show (streams, graphs, threads, devices), and
the time of the host for a call, beside a bare torch.library op and FLA's. Not in CI; ends with 1
if anything is out of tolerance or fails.

fla_cases.py has the calls.
"""

import argparse
import importlib
import inspect
import statistics
import sys
import threading
import time

import torch
from fla_cases import BF16, CASES, error, expected, inputs

import maskc
from maskc import ops

# Relative L2, of o and of states; three times that to FLA's, where float64 would take too long.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 4e-3, torch.bfloat16: 5e-3}


# ---- running ----


def theirs(function):
    """FLA's function of the same name, or None."""
    module = "fla.ops." + function.removeprefix("chunk_").removeprefix("fused_recurrent_")
    try:
        return getattr(importlib.import_module(module), function)
    except ImportError as lacks:
        print(f"no {function} of FLA: {lacks}")
        return None


def final_state(ret, options):
    state = ret[1]
    if isinstance(state, tuple) and options.get("normalize"):
        state = state[0]
    if state is not None and options.get("state_v_first"):
        state = state.transpose(-1, -2)
    return state if torch.is_tensor(state) else None


def device_ms(call, times=20):
    """The median of single calls, by events of the stream."""
    for _ in range(3):
        call()
    spans = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        spans.append(begin.elapsed_time(end))
    return statistics.median(spans)


def host_us(call, times=300, rounds=7):
    """Of the fastest of some rounds: the time that calls take to return."""
    best = float("inf")
    for _ in range(rounds):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(times):
            call()
        best = min(best, time.perf_counter() - begin)
    torch.cuda.synchronize()
    return best / times * 1e6


def words(options):
    return " ".join(n if x is True else f"{n}={x}" for n, x in options.items())


def show(*columns):
    widths = (33, 31, 17, 17, 13, 9, 0)
    print("  ".join(f"{c:<{w}}" for c, w in zip(columns, widths)).rstrip(), flush=True)


def pair(x, y, form="{:.2e}"):
    one = "-" if x is None else form.format(x)
    return one if y is None else f"{one} {form.format(y)}"


def runs_fla(arguments, timed):
    return arguments.fla == "all" or (arguments.fla == "timed" and timed)


def called(function, a):
    """FLA's result, or None where it has none; that is not our failure."""
    other = theirs(function)
    try:
        return other and other(**a)
    except Exception as failure:
        print(f"{function} of FLA failed: {repr(failure)[:200]}")
        return None


def times(function, a, with_fla):
    """Columns: ms on the device and us of the host, ours and FLA's."""
    ours, other = getattr(ops, function), theirs(function) if with_fla else None
    ms = device_ms(lambda: ours(**a)), other and device_ms(lambda: other(**a))
    us = host_us(lambda: ours(**a), 50, 3), other and host_us(lambda: other(**a), 50, 3)
    return pair(*ms, "{:.3f}"), pair(*us, "{:.0f}")


def run_case(function, case, arguments):
    """Prints a line; whether it is within tolerance."""
    shape, dtype, options = case
    device = torch.device(arguments.device)
    timed = options.get("timed", False)
    a, means = inputs(function, shape, dtype, options, device)
    size = "x".join(map(str, shape)) + " " + str(dtype)[6:]
    try:
        ret = getattr(ops, function)(**a)
    except maskc.NotServedError as lacks:
        show(function, size, "not served", "", "", "", str(lacks).splitlines()[0])
        return True
    their = called(function, a) if runs_fla(arguments, timed) else None
    big = shape[0] * shape[1] * shape[3] > 200_000  # a recurrence of minutes
    if big:
        o, S = their[0].double() if their else None, None
        errors, their_errors = (error(ret[0], o), None), (None, None)
    else:
        o, S = expected(function, a, means, options)
        errors = error(ret[0], o), error(final_state(ret, options), S)
        their_errors = their and (error(their[0], o), error(final_state(their, options), S))
    spent = times(function, a, their is not None) if timed else ("-", "-")
    pairs = [pair(*e) for e in zip(errors, their_errors or (None, None))]
    show(function, size, *pairs, *spent, words(options))
    limit = TOLERANCE[dtype] * (3 if big else 1)
    return all(e is None or e < limit for e in errors)


def check_signatures():
    """Names, order and defaults of arguments are FLA's."""
    right = True
    for function in CASES:
        other = theirs(function)
        if other is None:
            return True
        mine = [
            (p.name, p.default)
            for p in inspect.signature(getattr(ops, function)).parameters.values()
        ]
        its = [(p.name, p.default) for p in inspect.signature(other).parameters.values()]
        if mine != its:
            right = False
            print(f"{function}: arguments {mine} where FLA has {its}")
    print("signatures: " + ("as FLA's" if right else "DIFFERENT"))
    return right


# ---- what only a GPU can show ----


def small(device, B=2, T=100, H=4, D=64):
    make = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(B, T, H, D, generator=make).to(device, BF16) for _ in range(3))
    return q, k, v, -torch.rand(B, T, H, generator=make).to(device)


def on_a_stream(device):
    arrays = small(device)
    right = ops.chunk_simple_gla(*arrays)[0]
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)  # a launch on another stream would not wait for it
        late = [x * 1 for x in arrays]
        o = ops.chunk_simple_gla(*late)[0]
    stream.synchronize()
    return torch.equal(o, right)


def in_a_graph(device):
    arrays = [x.clone() for x in small(device)]
    ops.chunk_simple_gla(*arrays)  # prepared before the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        o = ops.chunk_simple_gla(*arrays)[0]
    arrays[0].mul_(2)
    graph.replay()
    torch.cuda.synchronize()
    return torch.equal(o, ops.chunk_simple_gla(*arrays)[0])


def in_a_fresh_thread(device):
    arrays, ret = small(device), []
    right = ops.chunk_simple_gla(*arrays)[0]

    def work():
        try:
            ret.append(torch.equal(ops.chunk_simple_gla(*arrays)[0], right))
        except Exception as failure:
            ret.append(repr(failure))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return ret[0]


def compiled(device):
    arrays = small(device)

    def model(q, k, v, g):
        return ops.chunk_simple_gla(q, k, v, g)[0].float().relu() + 1

    return torch.allclose(
        torch.compile(model, fullgraph=True)(*arrays), model(*arrays), rtol=1e-2, atol=1e-2
    )


def on_another_device(device):
    if torch.cuda.device_count() < 2:
        return "skipped: one GPU"
    other = torch.device("cuda", (device.index + 1) % torch.cuda.device_count())
    here, there = small(device), small(other)
    return torch.equal(ops.chunk_simple_gla(*here)[0].cpu(), ops.chunk_simple_gla(*there)[0].cpu())


def refuses_mixed_devices(device):
    q, k, v, g = small(device)
    try:
        ops.chunk_simple_gla(q, k.cpu(), v, g)
    except ValueError as refusal:
        return "k is on cpu" in str(refusal)
    return False


def refuses_cu_seqlens_of_the_host(device):
    q, k, v, g = (x[:1] for x in small(device))
    try:
        ops.chunk_simple_gla(q, k, v, g, cu_seqlens=torch.tensor([0, 100]))
    except ValueError as refusal:
        return "cu_seqlens is on cpu" in str(refusal)
    return False


def run_checks(device):
    right = True
    for check in (
        on_a_stream,
        in_a_graph,
        in_a_fresh_thread,
        compiled,
        on_another_device,
        refuses_mixed_devices,
        refuses_cu_seqlens_of_the_host,
    ):
        try:
            verdict = check(device)
        except Exception as failure:
            verdict = repr(failure)
        right = right and (verdict is True or str(verdict).startswith("skipped"))
        print(
            f"{check.__name__.replace('_', ' '):32s} {'ok' if verdict is True else verdict}",
            flush=True,
        )
    return right


# ---- host time ----


def bare_op():
    """An operator that does as little as one can: allocate o, and one launch."""

    @torch.library.custom_op("maskc_bare::op", mutates_args=())
    def op(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return torch.neg(v)

    library = torch.library.Library("maskc_bare", "FRAGMENT")
    library.define("low(Tensor q, Tensor k, Tensor v, Tensor g) -> Tensor")
    library.impl("low", lambda q, k, v, g: torch.neg(v), "CUDA")
    return library, op, torch.ops.maskc_bare.low.default


def run_host_times(device, with_fla):
    q, k, v, g = small(device, 1, 16, 2, 64)
    state = torch.zeros(1, 2, 64, 64, device=device)
    keep, custom, low = bare_op()
    step, one = maskc.op("simple_gla", step=True), [x[:, :1] for x in (q, k, v, g)]
    calls = {
        "torch.library.custom_op, bare": lambda: custom(q, k, v, g),
        "torch.library.Library, bare": lambda: low(q, k, v, g),
        "maskc.op": lambda f=maskc.op("simple_gla"): f(q=q, k=k, v=v, g=g),
        "maskc.op, step": lambda: step(q=one[0], k=one[1], v=one[2], g=one[3], state=state),
        "chunk_simple_gla": lambda: ops.chunk_simple_gla(q, k, v, g),
        "chunk_simple_gla, states": lambda: ops.chunk_simple_gla(
            q, k, v, g, initial_state=state, output_final_state=True
        ),
        "fused_recurrent_simple_gla": lambda: ops.fused_recurrent_simple_gla(
            *one, initial_state=state, output_final_state=True
        ),
    }
    for name in ("chunk_simple_gla", "fused_recurrent_simple_gla"):
        if with_fla and theirs(name):
            calls[f"FLA's {name}"] = lambda f=theirs(name): f(
                q, k, v, g, initial_state=state, output_final_state=True
            )
    print("\nhost time a call, us")
    for name, call in calls.items():
        print(f"  {name:36s} {host_us(call):7.2f}", flush=True)
    del keep


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--only", default="")
    parser.add_argument("--fla", choices=("none", "timed", "all"), default="timed")
    parser.add_argument("--no-time", dest="time", action="store_false")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        print(
            torch.cuda.get_device_name(device),
            "torch",
            torch.__version__,
            "maskc",
            maskc.library_version(),
        )
    right = check_signatures() if arguments.fla != "none" else True
    show("function", "BxTxHxHVxKxV", "o (FLA's)", "ht (FLA's)", "ms (FLA's)", "host us", "options")
    for function, cases in CASES.items():
        if not any(word in function for word in arguments.only.split(",")):
            continue
        for case in cases:
            if case[2].get("timed") and not (arguments.time and device.type == "cuda"):
                continue
            try:
                ok = run_case(function, case, arguments)
            except Exception as failure:
                show(function, str(case[0]), "FAILED", "", "", "", repr(failure)[:300])
                ok = False
            if not ok:
                print(f"{function} {case}: out of tolerance or failed")
            right = right and ok
    if device.type == "cuda":
        right = run_checks(device) and right
        if arguments.time:
            run_host_times(device, arguments.fla != "none")
    print("all right" if right else "SOMETHING IS WRONG")
    return 0 if right else 1


if __name__ == "__main__":
    with torch.no_grad():
        sys.exit(main())
