# SPDX-License-Identifier: MIT
"""What the functions of maskc.ops share: refusals, states and the two kinds of calls.

chunked() is the forward pass, recurrent() the decode step from an initial state. Both take arrays
as a dict by the spec's names and give (o, final state or None).
"""

import warnings

import torch

from .. import torch_ops
from ..errors import ArgumentError, NotServedError
from . import specs


@torch.compiler.assume_constant_result
def spec(*args, **kwargs):
    """specs.spec, which torch.compile takes for the constant that it is."""
    return specs.spec(*args, **kwargs)


def refuse(function, name, instead):
    raise NotServedError(f"{function}: {name} is not served yet; {instead}")


def take_keywords(function, kwargs, known=()):
    """What is left in **kwargs: of known names, whose values are returned; all else is refused.

    chunk_size is how FLA's kernels cut a sequence; the planner of maskc chooses for itself, so the
    number is checked and has no effect.
    """
    if not kwargs:
        return (None,) * len(known)
    if "head_first" in kwargs:
        raise ArgumentError(
            f"{function}: head_first was removed from FLA; arrays are [B, T, H, ...]"
        )
    chunk = kwargs.pop("chunk_size", None)
    if chunk is not None and (chunk < 1 or chunk & (chunk - 1)):
        raise ArgumentError(f"{function}: chunk_size is {chunk}; it takes a power of 2")
    ret = tuple(kwargs.pop(name, None) for name in known)
    if kwargs:
        raise TypeError(f"{function} takes no argument {', '.join(kwargs)}")
    return ret


def v_first(function, state_v_first, kwargs):
    """state_v_first, which was called transpose_state_layout."""
    if "transpose_state_layout" not in kwargs:
        return state_v_first
    if state_v_first:
        raise ArgumentError(
            f"{function}: state_v_first and its old name transpose_state_layout, both"
        )
    warnings.warn(
        "transpose_state_layout is now called state_v_first", DeprecationWarning, stacklevel=3
    )
    return kwargs.pop("transpose_state_layout")


def refuse_reverse(function, reverse):
    if reverse:
        refuse(function, "reverse=True", "flip the arrays along T, and o")


def fp32(x):
    """Gates, rates, params and states are float32; of another type they are converted, exactly."""
    return x if x.dtype is torch.float32 else x.float()


def require_fp32(function, initial_state):
    if initial_state is not None and initial_state.dtype is not torch.float32:
        raise TypeError(
            f"{function}: initial_state is {initial_state.dtype}; it takes torch.float32"
        )


def _of_one_type(arrays):
    """q, k and v as they are, or, where their types differ, of the type that holds them all."""
    q, k, v = arrays["q"], arrays["k"], arrays["v"]
    if not q.dtype == k.dtype == v.dtype:
        common = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
        arrays.update(q=q.to(common), k=k.to(common), v=v.to(common))
    return v.dtype


def chunked(function, text, arrays, initial_state, output_final_state, cu_seqlens, v_first=False):
    """The forward pass. A state of [V, K] is transposed on its way in and out; o has v's type."""
    dtype = _of_one_type(arrays)
    if initial_state is not None:
        h0 = fp32(initial_state)
        arrays["h0"] = h0.transpose(-1, -2).contiguous() if v_first else h0
    if cu_seqlens is not None:
        arrays["cu_seqlens"] = cu_seqlens
    o, ht = torch_ops.forward(
        function, text, " ".join(arrays), list(arrays.values()), output_final_state
    )
    o = o if o.dtype == dtype else o.to(dtype)
    return o, ht.transpose(-1, -2).contiguous() if v_first and ht is not None else ht


def _new_state(arrays, initial_state, v_first):
    """A copy of the initial state, or zeros, that the step may write."""
    q, k, v = arrays["q"], arrays["k"], arrays["v"]
    if initial_state is None:
        heads = max(x.shape[2] for x in (q, k, v))
        return k.new_zeros((k.shape[0], heads, k.shape[-1], v.shape[-1]), dtype=torch.float32)
    state = (initial_state.transpose(-1, -2) if v_first else initial_state).detach()
    dense = torch.contiguous_format
    if state.dtype is torch.float32:
        return state.clone(memory_format=dense)
    return state.to(torch.float32, memory_format=dense)


def recurrent(function, text, arrays, initial_state, output_final_state, cu_seqlens, v_first=False):
    """The step over all tokens of the call. It has no packed batches: those are the forward pass's,
    which computes the same in chunks."""
    if cu_seqlens is not None:
        return chunked(
            function, text, arrays, initial_state, output_final_state, cu_seqlens, v_first
        )
    dtype = _of_one_type(arrays)
    state = _new_state(arrays, initial_state, v_first)
    inputs = list(arrays.values())
    o = torch_ops.step(function, text, " ".join(arrays), inputs, state, initial_state=initial_state)
    o = o if o.dtype == dtype else o.to(dtype)
    if not output_final_state:
        return o, None
    return o, state.transpose(-1, -2).contiguous() if v_first else state
