/* SPDX-License-Identifier: MIT
 * row_cost.c - what the expressions over channels take of a block's time, see schedule_scan.h.
 *
 * In: expressions. Out: instructions a channel, counted in sm_90a's code of one value of each
 * function (NVRTC 13.0), and from them ns. A MUFU instruction takes 8 clocks of a quarter of an SM:
 * there a warp's 32 lanes go 4 at a time.
 */
#include "row_code.h"
#include "schedule_scan.h"

struct cost {
  double instructions, mufu;
};

static struct cost cost_of(enum op op) {
  switch (op) {
  case OP_CONST:
  case OP_INPUT:
  case OP_PARAM:
  case OP_OPTION:
  case OP_SYMBOL: return (struct cost){0, 0};
  case OP_EXP: return (struct cost){8, 1};
  case OP_LOG: return (struct cost){25, 0};
  case OP_LOG1P: return (struct cost){28, 0};
  case OP_SQRT: return (struct cost){13, 1};
  case OP_DIV: return (struct cost){14, 1};
  case OP_POW: return (struct cost){85, 1};
  case OP_SIGMOID: return (struct cost){9, 2};
  case OP_SOFTPLUS: return (struct cost){38, 1};
  case OP_SILU: return (struct cost){10, 2};
  case OP_TANH: return (struct cost){15, 2};
  case OP_ELU: return (struct cost){12, 1};
  case OP_SIN:
  case OP_COS: return (struct cost){72, 0};
  case OP_L2NORM:
  case OP_RMSNORM: return (struct cost){2, 0};  /* the square's sum, the product */
  case OP_SOFTMAX: return (struct cost){19, 2}; /* the largest; e^x twice */
  default: return (struct cost){1, 0};
  }
}

/* What stands below several operations counts with each: few expressions have such. */
static struct cost sum_costs(const struct expr *e) {
  struct cost sum = cost_of(e->op);
  for (int i = 0; i < 2 && e->arg[i]; i++) {
    if (e->axis != AXIS_NONE && e->arg[i]->axis == AXIS_NONE)
      continue; /* once a token, if so often */
    const struct cost x = sum_costs(e->arg[i]);
    sum.instructions += x.instructions;
    sum.mufu += x.mufu;
  }
  return sum;
}

double scan_channel_clocks(const struct expr *e) {
  enum { MUFU_CLOCKS = 8 };
  const struct cost sum = sum_costs(e);
  const double mufu = MUFU_CLOCKS * sum.mufu;
  return sum.instructions > mufu ? sum.instructions : mufu;
}

double scan_rows_clocks(const struct expr *const *rows, int n, int channels) {
  enum { MOVE = 3 }; /* to and from shared memory and floats, a channel's part of two words */
  double clocks = 0;
  for (int i = 0; i < n; i++)
    if (rows[i]) clocks += channels / 32.0 * (scan_channel_clocks(rows[i]) + MOVE);
  return clocks;
}

double scan_roles_clocks(const struct plan *p, const struct variant *v,
                         const struct scan_roles *roles) {
  const struct expr *keys[] = {roles->q.row, roles->k.row};
  const struct expr *values[] = {roles->v.row, v->output};
  return scan_rows_clocks(keys, 2, p->config.dk) + scan_rows_clocks(values, 2, p->dv_tile);
}

/* An instruction waits 4 clocks or more for what it reads, and a warp has some that do not wait for
 * each other: 1.4, by what an H100 took for gla (docs/PERFORMANCE.md). So 8 warps keep 2.8 quarters
 * busy; what is left idle another block may use. */
void scan_add_clocks(struct plan *p, double clocks) {
  const double clocks_a_ns = 1.7, quarters = 4, ready = 1.4, wait = 4;
  const double busy = p->threads / 32.0 * ready / wait;
  p->share_ns += clocks / quarters / clocks_a_ns;
  if (busy < quarters) p->alone_ns += clocks * (1 / busy - 1 / quarters) / clocks_a_ns;
}
