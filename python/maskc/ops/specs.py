# SPDX-License-Identifier: MIT
"""The specs of the functions in maskc.ops, as texts put together from what a call asks for.

    spec("chunk_simple_gla", decays=("g",))

is

    return variant {
      name = "chunk_simple_gla",
      q = input { "q", dk }, k = input { "k", dk },
      scale = dk^-0.5,
      transition = { decay(exp(input { "g", max = 0 })) },
    }

Arrays are named as the functions' arguments. Nothing is implied: a norm, a gate's activation and
the scale stand in the text because the call asked for them. docs/spec-language.md is the language.
"""

import functools
import math
import numbers
import string

_G = 'input { "g", dk }'
_G_BIAS = _G + ' + param { "dt_bias", dk }'

# What multiplies the state at each token. LOWER is the call's lower_bound.
DECAYS = {
    "g": 'decay(exp(input { "g", max = 0 }))',
    "g over dk": 'decay(exp(input { "g", dk, max = 0 }))',
    "gk": 'decay(exp(input { "gk", dk, max = 0 }))',
    "gv": 'decay(exp(input { "gv", dv, max = 0 }))',
    "g_gamma": 'decay(exp(param { "g_gamma", max = 0 }))',
    "retention": "decay(1 - 2^(-5 - head))",
    "gate": 'decay(exp(-exp(param "A_log") * softplus(input "g")))',
    "gate, bias": 'decay(exp(-exp(param "A_log") * softplus(input "g" + param "dt_bias")))',
    "gate over dk": f'decay(exp(-exp(param "A_log") * softplus({_G})))',
    "gate over dk, bias": f'decay(exp(-exp(param "A_log") * softplus({_G_BIAS})))',
    "bounded gate over dk": f'decay(exp(LOWER * sigmoid(exp(param "A_log") * {_G})))',
    "bounded gate over dk, bias": f'decay(exp(LOWER * sigmoid(exp(param "A_log") * ({_G_BIAS}))))',
}

# The rate of the delta rule: of the argument beta.
RATES = {
    "beta": 'delta(input { "beta", min = 0, max = 2 })',
    "sigmoid": 'delta(sigmoid(input "beta"))',
    "2 sigmoid": 'delta(2 * sigmoid(input "beta"))',
    "1": "delta(1)",
}

FIELDS = {
    "normalize": "normaliser = rowsum + 1e-10",
    "fenwick": 'mask = fenwick(input { "level_scales", levels })',
}

_SPEC = string.Template("""return variant {
  name = "$name",
  q = $q, k = $k,
  scale = $scale,
  transition = { $factors },$field
}
""")


def number(x, what):
    """A number of the call as the spec's text."""
    if isinstance(x, bool) or not isinstance(x, numbers.Real):
        raise TypeError(
            f"{what} is a {type(x).__name__}; it is part of the kernel, so it takes a Python number"
        )
    if not math.isfinite(x):
        raise ValueError(f"{what} is {x}")
    return repr(float(x))


def _row(name, l2norm):
    row = f'input {{ "{name}", dk }}'
    return f"l2norm({row})" if l2norm else row


@functools.cache
def spec(name, scale=None, decays=(), rate=None, l2norm=False, field=None, lower_bound=None):
    """A spec's text. decays, rate and field: keys of the tables above."""
    lower = "" if lower_bound is None else number(lower_bound, "lower_bound")
    factors = [DECAYS[d].replace("LOWER", lower) for d in decays]
    return _SPEC.substitute(
        name=name,
        q=_row("q", l2norm),
        k=_row("k", l2norm),
        scale="dk^-0.5" if scale is None else number(scale, "scale"),
        factors=", ".join(factors + ([RATES[rate]] if rate else [])),
        field=f"\n  {FIELDS[field]}," if field else "",
    )
