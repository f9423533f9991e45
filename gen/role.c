/* SPDX-License-Identifier: MIT
 * role.c - takes the scalars of a role apart from what has channels. See role.h.
 */
#include "role.h"

#include "expr.h"
#include "row_code.h"

static const struct expr minus_one = {.op = OP_CONST, .width = 1, .lo = -1, .hi = -1, .value = -1};

static bool add_term(struct role *r, const struct expr *e, bool inverse) {
  if (r->nterms == ROLE_MAX_TERMS || expr_not_emitted(e, AXIS_NONE)) return false;
  r->terms[r->nterms++] = (struct expr_term){e, inverse};
  return true;
}

/* Takes one scalar off the product e; NULL: there is none that can be taken. */
static const struct expr *take_scalar(struct role *r, const struct expr *e) {
  const struct expr *x = e->arg[0], *y = e->arg[1];
  if (e->op == OP_NEG) return add_term(r, &minus_one, false) ? x : NULL;
  if (e->op == OP_MUL && !x->axis && add_term(r, x, false)) return y;
  if ((e->op == OP_MUL || e->op == OP_DIV) && !y->axis && add_term(r, y, e->op == OP_DIV)) return x;
  return NULL;
}

struct inputs {
  struct leaf_list *list;
  enum axis axis;
};

static void add_input(void *data, const struct leaf *leaf) {
  struct inputs *inputs = data;
  if (!leaf->param && leaf->axis == inputs->axis) leaf_list_add(inputs->list, leaf);
}

void leaf_list_add_inputs(struct leaf_list *list, const struct expr *e, enum axis axis) {
  struct inputs inputs = {list, axis};
  expr_each_leaf(e, add_input, &inputs);
}

const char *role_split(const struct expr *e, enum axis axis, struct role *ret) {
  *ret = (struct role){0};
  for (const struct expr *rest = e; (rest = take_scalar(ret, e));) e = rest;
  if (e->step) return "a value over steps";
  if (e->axis != axis || e->width != 1) return "channels of its own width";
  if (e->op == OP_INPUT && !e->leaf->fp32) {
    ret->leaf = e->leaf;
    return NULL;
  }
  struct leaf_list inputs = {.n = 0};
  leaf_list_add_inputs(&inputs, e, axis);
  if (inputs.n == 0) return "no input over channels";
  ret->leaf = inputs.at[0];
  ret->row = e;
  return row_code_lacks(e, axis);
}
