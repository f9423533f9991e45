/* SPDX-License-Identifier: MIT
 * setting.c - the caller's values for a spec's options, in place of their defaults.
 *
 *   --set window=64 --set taps=4     ->     { {"window", 64}, {"taps", 4} }
 */
#include "front.h"

#include <string.h>

mkc_status settings_check(const struct front *f, struct error *err) {
  for (int i = 0; i < f->nsettings; i++) {
    const mkc_setting *s = &f->settings[i];
    if (!s->name) return error_set(err, MKC_E_ARGUMENT, "%s: a setting without a name", f->path);
    if (s->value < 1 || s->value > MAX_SIZE)
      return error_set(err, MKC_E_ARGUMENT, "%s: option %s is set to %d; it takes 1 to %d", f->path,
                       s->name, s->value, (int)MAX_SIZE);
    for (int j = 0; j < i; j++)
      if (strcmp(f->settings[j].name, s->name) == 0)
        return error_set(err, MKC_E_ARGUMENT, "%s: option %s is set twice", f->path, s->name);
  }
  return MKC_OK;
}

int settings_value(const struct front *f, const char *name, int default_value) {
  for (int i = 0; i < f->nsettings; i++)
    if (strcmp(f->settings[i].name, name) == 0) return f->settings[i].value;
  return default_value;
}

/* "; it has window = 512, taps = 4" */
static mkc_status unknown(const struct front *f, const char *name, struct error *err) {
  const char *names[MAX_OPTIONS + 1] = {NULL};
  error_set(err, MKC_E_ARGUMENT, "%s has no option %s", f->path,
            diag_quote(f->arena, name, strlen(name)));
  for (int i = 0; i < f->noptions; i++) names[i] = f->options[i].name;
  const char *near = diag_nearest(name, names);
  if (near) error_append(err, "; did you mean \"%s\"?", near);
  error_append(err, f->noptions ? "\n  note: its options are" : "\n  note: it has none");
  for (int i = 0; i < f->noptions; i++)
    error_append(err, "%s %s = %d", i ? "," : "", f->options[i].name, f->options[i].default_value);
  return err->status;
}

mkc_status settings_met(const struct front *f, struct error *err) {
  for (int i = 0; i < f->nsettings; i++) {
    bool met = false;
    for (int j = 0; j < f->noptions; j++)
      met |= strcmp(f->options[j].name, f->settings[i].name) == 0;
    if (!met) return unknown(f, f->settings[i].name, err);
  }
  return MKC_OK;
}

void settings_note(const struct front *f, struct error *err) {
  for (int i = 0; i < f->noptions; i++)
    if (f->options[i].value != f->options[i].default_value)
      error_append(err, "\n  note: option %s is set to %d; its default is %d", f->options[i].name,
                   f->options[i].value, f->options[i].default_value);
}
