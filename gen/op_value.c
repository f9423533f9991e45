/* SPDX-License-Identifier: MIT
 * op_value.c - the value of one pointwise operation, in float64: the meaning that the reference
 * evaluates and that the emitted kernels approximate in fp32.
 */
#include "ir.h"

#include <math.h>

static double softplus(double x) {
  return fmax(x, 0) + log1p(exp(-fabs(x)));
}
static double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

/* Like fmin and fmax, but a NaN on either side is the result. */
static double min2(double x, double y) {
  return isnan(x) || isnan(y) ? x + y : fmin(x, y);
}
static double max2(double x, double y) {
  return isnan(x) || isnan(y) ? x + y : fmax(x, y);
}

bool op_is_pointwise(enum op op) {
  return op >= OP_NEG && op <= OP_COS;
}

double op_value(enum op op, double x, double y) {
  switch (op) {
  case OP_NEG: return -x;
  case OP_ADD: return x + y;
  case OP_SUB: return x - y;
  case OP_MUL: return x * y;
  case OP_DIV: return x / y;
  case OP_POW: return pow(x, y);
  case OP_MIN: return min2(x, y);
  case OP_MAX: return max2(x, y);
  case OP_EXP: return exp(x);
  case OP_LOG: return log(x);
  case OP_LOG1P: return log1p(x);
  case OP_SQRT: return sqrt(x);
  case OP_ABS: return fabs(x);
  case OP_SIGMOID: return sigmoid(x);
  case OP_SOFTPLUS: return softplus(x);
  case OP_SILU: return x * sigmoid(x);
  case OP_TANH: return tanh(x);
  case OP_RELU: return max2(x, 0);
  case OP_ELU: return x > 0 ? x : expm1(x);
  case OP_SIN: return sin(x);
  case OP_COS: return cos(x);
  default: return NAN; /* not pointwise */
  }
}
