/* SPDX-License-Identifier: MIT
 * ops.h - every operation of an expression, once: OP(enum, name, arity, CUDA spelling).
 *
 * The name is what a spec writes and what messages print. The spelling is the C text of the
 * operation inside a kernel, with $1 and $2 for its operands; functions named tile_* are in the
 * tile vocabulary (templates/tile_cuda.h). Those over the channels of a token are spelled with $r
 * and $s, the first and the second of their reductions (row_code.h). NULL: has no value inside a
 * kernel, or no schedule computes it yet.
 *
 * Adding one: a line here, its bounds in expr_bounds.c, its value in op_value.c.
 */
/* leaves and symbols */
OP(CONST, "const", 0, NULL)
OP(INPUT, "input", 0, NULL)
OP(PARAM, "param", 0, NULL)
OP(OPTION, "option", 0, NULL)
OP(SYMBOL, "symbol", 0, NULL)
/* pointwise */
OP(NEG, "-", 1, "-$1")
OP(ADD, "+", 2, "$1 + $2")
OP(SUB, "-", 2, "$1 - $2")
OP(MUL, "*", 2, "$1 * $2")
OP(DIV, "/", 2, "$1 / $2")
OP(POW, "^", 2, "tile_pow($1, $2)")
OP(MIN, "min", 2, "tile_min($1, $2)")
OP(MAX, "max", 2, "tile_max($1, $2)")
OP(EXP, "exp", 1, "tile_exp($1)")
OP(LOG, "log", 1, "tile_log($1)")
OP(LOG1P, "log1p", 1, "tile_log1p($1)")
OP(SQRT, "sqrt", 1, "tile_sqrt($1)")
OP(ABS, "abs", 1, "tile_abs($1)")
OP(SIGMOID, "sigmoid", 1, "tile_sigmoid($1)")
OP(SOFTPLUS, "softplus", 1, "tile_softplus($1)")
OP(SILU, "silu", 1, "tile_silu($1)")
OP(TANH, "tanh", 1, "tile_tanh($1)")
OP(RELU, "relu", 1, "tile_max($1, 0.0f)")
OP(ELU, "elu", 1, "tile_elu($1)")
OP(SIN, "sin", 1, "tile_sin($1)")
OP(COS, "cos", 1, "tile_cos($1)")
/* over the channels of one token */
OP(SUM, "sum", 1, "$r")
OP(L2NORM, "l2norm", 1, "$1 * $r")
OP(RMSNORM, "rmsnorm", 1, "$1 * $r")
OP(SOFTMAX, "softmax", 1, "tile_exp($1 - $r) * $s")
OP(CONCAT, "concat", 2, NULL)
