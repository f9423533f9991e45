/* SPDX-License-Identifier: MIT
 * options.c - the tables of commands and options, see options.h.
 */
#include "options.h"

#include <string.h>

#define C(id) (1u << COMMAND_##id)
#define RUNS (C(CHECK) | C(SHOW) | C(BUILD) | C(RUN) | C(LIST) | C(CACHE) | C(DOCTOR))
#define ANY (RUNS | C(HELP) | C(VERSION))

static const char spec_help[] =
    "SPEC is a file (simple_gla.lua, ./x.lua) or the name of a shipped spec (simple_gla).\n";

const struct command command_table[COMMAND_COUNT] = {
    [COMMAND_CHECK] = {"check", "SPEC", 1, 1, NULL,
                       "says what a spec means and proves it on small inputs",
                       "Loads the spec, prints what it means as update equations, and compares its "
                       "dense,\nrecurrent and chunked forms in float64 on random inputs.\n"},
    [COMMAND_SHOW] =
        {"show", "SPEC", 1, 1, NULL, "draws the mask, the equations, the plan and its floor",
         "The mask is drawn for random gates: the row is the reading token, the column "
         "the read\none, the shade the weight.\n"},
    [COMMAND_BUILD] =
        {"build", "SPEC...", 1, 64, NULL,
         "emits kernels: CUDA source, PTX, cubins, or a pack of many",
         "Without -o, a single cu or ptx goes to standard output and anything else to\n"
         "NAME.ARCH.EXT in the current directory. -o FILE takes a single output (- is standard\n"
         "output); several go to -o DIR/ or to a pattern in which %n is the variant's name and\n"
         "%a the architecture: -o 'out/%n-%a.cubin'.\n"
         "--emit=pack compiles every combination of SPEC, --pass, --dtype, --dk, --dv and --arch\n"
         "(comma lists) into one file, -o all.mkp, which the library runs without a compiler;\n"
         "--emit=asm writes that file as assembler source and a header, to link into a program.\n"},
    [COMMAND_RUN] =
        {"run", "SPEC", 1, 1, NULL,
         "runs an op on arrays and compares it with the float64 reference",
         "Arrays are named as the spec names its inputs, and h0 (initial state), o (output), ht\n"
         "(final state). Without --in all are random. With --in every input but h0 must be given;\n"
         "B, T, H, dk and dv follow from the arrays. .npy files hold float32 or float64 in C\n"
         "order, [B,T,H,d] for q, k and v; outputs are float32. --shape B=2,T=200,H=4,dk=64,dv=64\n"
         "sets sizes; the default is that one. Hqk=1 gives random q and k one head for all.\n"},
    [COMMAND_LIST] = {"list", "", 0, 0, NULL, "lists the shipped specs, or what a pack holds",
                      "A spec marked 'no schedule' can be checked and shown, but not built yet.\n"
                      "With --pack, every op of the pack, after a check of all its bytes.\n"},
    [COMMAND_CACHE] = {"cache", "ACTION", 1, 1, "stat|prune|clear|path",
                       "shows or empties the cache of compiled kernels",
                       "ACTION is one of\n"
                       "  stat    the directory, whether it is trusted, how much it holds\n"
                       "  prune   removes what was used least recently, down to --max-bytes\n"
                       "  clear   removes every entry\n"
                       "  path    prints the directory\n"
                       "Only entries are removed: other files stay, and no link is followed.\n"},
    [COMMAND_DOCTOR] = {"doctor", "", 0, 0, NULL,
                        "says what this machine has: GPU, NVRTC, compiler, cache",
                        "Exits 0 when an op can run here on some device, 3 when none can.\n"},
    [COMMAND_HELP] = {"help", "[COMMAND]", 0, 1, NULL, "explains a command", ""},
    [COMMAND_VERSION] = {"version", "", 0, 0, NULL, "prints the version", ""},
};

const struct option option_table[OPTION_COUNT] = {
    [OPTION_ALIGN] = {.name = "align",
                      .kind = KIND_CHOICE,
                      .value = "16|8|4|2",
                      .commands = C(SHOW) | C(BUILD) | C(RUN),
                      .help =
                          "bytes that arrays and their strides are multiples of (what dk and dv "
                          "allow)"},
    [OPTION_ARCH] = {.name = "arch",
                     .kind = KIND_TEXT,
                     .value = "ARCH",
                     .repeat = true,
                     .commands = C(BUILD) | C(SHOW) | C(RUN),
                     .help =
                         "GPU architecture: sm_80, sm_90a, ... (sm_90a; run: the device's own); "
                         "build and show: also a comma list, or repeated, or all; of a "
                         "pack also cpu, source for the CPU device alone"},
    [OPTION_ASCII] = {.name = "ascii",
                      .commands = C(SHOW),
                      .help = "draw with ASCII characters, whatever the locale"},
    [OPTION_CHECK] = {.name = "check",
                      .kind = KIND_CHOICE,
                      .value = "address|race",
                      .commands = C(RUN),
                      .help =
                          "on the CPU device: look for stray accesses (AddressSanitizer), or for "
                          "accesses that no barrier orders"},
    [OPTION_CHUNK] = {.name = "chunk",
                      .kind = KIND_NUMBER,
                      .value = "N",
                      .min = 1,
                      .max = 4096,
                      .commands = C(SHOW) | C(BUILD) | C(RUN),
                      .help = "tokens a chunk (the planner's choice)"},
    [OPTION_COLOR] = {.name = "color",
                      .kind = KIND_CHOICE,
                      .value = "auto|always|never",
                      .commands = RUNS,
                      .help = "colours; auto: on a terminal, unless NO_COLOR is set"},
    [OPTION_COMPLETION] = {.name = "completion",
                           .kind = KIND_CHOICE,
                           .value = "bash|zsh|fish",
                           .commands = C(HELP),
                           .help = "print the script that completes command lines in this shell"},
    [OPTION_DEPFILE] = {.name = "depfile",
                        .kind = KIND_TEXT,
                        .value = "FILE",
                        .commands = C(BUILD),
                        .help = "also write which spec files the outputs depend on, for make"},
    [OPTION_DEVICE] = {.name = "device",
                       .kind = KIND_TEXT,
                       .value = "cpu|cuda:N",
                       .commands = C(RUN),
                       .help = "where to run (cpu)"},
    [OPTION_DK] = {.name = "dk",
                   .kind = KIND_NUMBER,
                   .value = "N",
                   .min = 1,
                   .max = 65536,
                   .commands = C(SHOW) | C(BUILD) | C(RUN),
                   .lists = C(BUILD),
                   .help =
                       "channels of a head's q and k (128; run: 64); of a pack also a comma list"},
    [OPTION_DTYPE] = {.name = "dtype",
                      .kind = KIND_CHOICE,
                      .value = "bf16|fp16|fp32",
                      .commands = C(SHOW) | C(BUILD) | C(RUN),
                      .lists = C(BUILD),
                      .help = "type of q, k, v and o (bf16); of a pack also a comma list"},
    [OPTION_DV] = {.name = "dv",
                   .kind = KIND_NUMBER,
                   .value = "N",
                   .min = 1,
                   .max = 65536,
                   .commands = C(SHOW) | C(BUILD) | C(RUN),
                   .lists = C(BUILD),
                   .help =
                       "channels of a head's v and o (128; run: 64); of a pack also a comma list"},
    [OPTION_EMIT] = {.name = "emit",
                     .kind = KIND_CHOICE,
                     .value = "cu|ptx|cubin|pack|asm",
                     .commands = C(BUILD),
                     .help = "what to write (cubin)"},
    [OPTION_H0] = {.name = "h0",
                   .commands = C(RUN),
                   .help = "random runs: start from a random state instead of zeros"},
    [OPTION_HEADER] = {.name = "header",
                       .kind = KIND_TEXT,
                       .value = "FILE",
                       .commands = C(BUILD),
                       .help =
                           "of --emit=asm: the header (beside -o, with .h in place of its end)"},
    [OPTION_HEADS] = {.name = "heads",
                      .kind = KIND_NUMBER,
                      .value = "N",
                      .min = 1,
                      .max = 1 << 30,
                      .commands = C(SHOW) | C(BUILD) | C(RUN),
                      .help =
                          "choose the plan for launches of B * H = N (enough to fill the card)"},
    [OPTION_HELP] = {.name = "help", .letter = 'h', .commands = ANY, .help = "explain the command"},
    [OPTION_IN] = {.name = "in",
                   .kind = KIND_TEXT,
                   .value = "NAME=FILE.npy",
                   .repeat = true,
                   .commands = C(RUN),
                   .help = "read an input from a file"},
    [OPTION_JOBS] = {.name = "jobs",
                     .letter = 'j',
                     .kind = KIND_NUMBER,
                     .value = "N",
                     .min = 1,
                     .max = 256,
                     .commands = C(BUILD),
                     .help = "compile so many at a time (one a processor)"},
    [OPTION_JSON] = {.name = "json",
                     .commands = RUNS,
                     .help = "machine-readable output on standard output"},
    [OPTION_LENGTHS] = {.name = "lengths",
                        .kind = KIND_TEXT,
                        .value = "N,N,...",
                        .commands = C(RUN),
                        .help = "a packed batch (cu_seqlens) of random sequences of these lengths"},
    [OPTION_LINES] = {.name = "lines",
                      .commands = C(BUILD),
                      .help = "keep #line directives, to templates and specs, in --emit=cu"},
    [OPTION_MAN] = {.name = "man", .commands = C(HELP), .help = "print the man page maskc(1)"},
    [OPTION_MAX_BYTES] = {.name = "max-bytes",
                          .kind = KIND_TEXT,
                          .value = "N",
                          .commands = C(CACHE),
                          .help = "prune: what may stay, also as 500K, 64M, 2G "
                                  "(MASKC_CACHE_MAX_SIZE, else 1G)"},
    [OPTION_NO_CACHE] = {.name = "no-cache",
                         .commands = C(BUILD) | C(RUN),
                         .help = "neither read nor write the cache on disk"},
    [OPTION_NO_PTX] = {.name = "no-ptx",
                       .commands = C(BUILD),
                       .help = "of a pack: leave out the PTX that serves GPUs without a cubin"},
    [OPTION_NO_REFERENCE] = {.name = "no-reference",
                             .commands = C(RUN),
                             .help = "do not compare with the reference"},
    [OPTION_OUT] = {.name = "out",
                    .kind = KIND_TEXT,
                    .value = "NAME=FILE.npy",
                    .repeat = true,
                    .commands = C(RUN),
                    .help = "write an output (o, ht; of a step state) to a file"},
    [OPTION_OUTPUT] = {.name = "output",
                       .letter = 'o',
                       .kind = KIND_TEXT,
                       .value = "FILE",
                       .commands = C(BUILD),
                       .help = "where to write; - is standard output"},
    [OPTION_PACK] = {.name = "pack",
                     .kind = KIND_TEXT,
                     .value = "FILE",
                     .commands = C(LIST) | C(RUN),
                     .help = "list: what this pack holds; run: the op in it, or an error"},
    [OPTION_PASS] = {.name = "pass",
                     .kind = KIND_CHOICE,
                     .value = "forward|step",
                     .commands = C(SHOW) | C(BUILD) | C(RUN),
                     .lists = C(BUILD),
                     .help = "forward: sequences; step: decode, the state in place (forward); of a "
                             "pack also both, with a comma"},
    [OPTION_PLAN] = {.name = "plan",
                     .commands = C(SHOW),
                     .help = "print every plan instead, what it costs and why it is taken or not"},
    [OPTION_POSITIONS] = {.name = "positions",
                          .kind = KIND_TEXT,
                          .value = "P,P,...",
                          .commands = C(RUN),
                          .help = "tokens that each sequence has had before, under a fenwick mask"},
    [OPTION_REFERENCE] = {.name = "reference",
                          .commands = C(RUN),
                          .help = "compare also where the whole reference would take too long: the "
                                  "first and last (batch, head), over all tokens"},
    [OPTION_REPEAT] = {.name = "repeat",
                       .kind = KIND_NUMBER,
                       .value = "N",
                       .min = 1,
                       .max = 100000,
                       .commands = C(RUN),
                       .help = "launches to time; the median counts (cuda: 20, cpu: 1)"},
    [OPTION_SEED] = {.name = "seed",
                     .kind = KIND_NUMBER,
                     .value = "N",
                     .min = 0,
                     .max = INT64_MAX,
                     .commands = C(CHECK) | C(SHOW) | C(RUN),
                     .help = "seed of the random arrays (1)"},
    [OPTION_SET] = {.name = "set",
                    .kind = KIND_TEXT,
                    .value = "NAME=N",
                    .repeat = true,
                    .commands = C(CHECK) | C(SHOW) | C(BUILD) | C(RUN),
                    .help = "give an option of the spec a value"},
    [OPTION_SHAPE] = {.name = "shape",
                      .kind = KIND_TEXT,
                      .value = "B=2,T=200,...",
                      .repeat = true,
                      .commands = C(RUN),
                      .help = "sizes: B batch, T tokens, H heads, dk, dv"},
    [OPTION_SKIP_UNSERVED] = {.name = "skip-unserved",
                              .commands = C(BUILD),
                              .help =
                                  "of a pack: leave out what no schedule serves, with a warning, "
                                  "instead of failing"},
    [OPTION_SVG] = {.name = "svg",
                    .kind = KIND_TEXT,
                    .value = "FILE",
                    .commands = C(SHOW),
                    .help = "write an SVG instead: the mask, a roofline with the plan on it, the "
                            "equations; - is standard output"},
    [OPTION_TOKENS] = {.name = "tokens",
                       .kind = KIND_NUMBER,
                       .value = "N",
                       .min = 1,
                       .max = 256,
                       .commands = C(SHOW),
                       .help = "tokens to draw (32)"},
    [OPTION_VERBOSE] = {.name = "verbose",
                        .letter = 'v',
                        .commands = C(BUILD) | C(RUN),
                        .help = "say what happens inside: cache hits, compile times"},
};

const char *const exit_status_table[] = {"done",
                                         "the input is wrong",
                                         "the command line is wrong",
                                         "the environment lacks something",
                                         "a bug of maskc",
                                         "the result is out of tolerance",
                                         NULL};

const char *const example_table[] = {"maskc list", "maskc show simple_gla",
                                     "maskc run simple_gla --device cpu", NULL};

/* Words of `text`, from `column` on, broken into lines of at most `width`. */
static void add_wrapped(struct buf *out, const char *text, size_t column, size_t width) {
  size_t at = column;
  while (*text) {
    const size_t n = strcspn(text, " ");
    if (at > column) {
      const bool fits = at + 1 + n <= width;
      if (fits)
        buf_puts(out, " ");
      else
        buf_printf(out, "\n%*s", (int)column, "");
      at = fits ? at + 1 : column;
    }
    buf_write(out, text, n);
    at += n;
    text += n;
    text += strspn(text, " ");
  }
  buf_puts(out, "\n");
}

enum { HELP_COLUMN = 28, HELP_WIDTH = 96 };

static void add_option(struct buf *out, const struct option *o) {
  struct buf left = {0};
  buf_puts(&left, "  ");
  if (o->letter) buf_printf(&left, "-%c, ", o->letter);
  buf_printf(&left, "--%s", o->name);
  if (o->kind != KIND_FLAG) buf_printf(&left, "=%s", o->value);
  const bool fits = left.len + 1 < HELP_COLUMN;
  buf_puts(out, buf_text(&left));
  buf_printf(out, fits ? "%*s" : "\n%*s", (int)(HELP_COLUMN - (fits ? left.len : 0)), "");
  add_wrapped(out, o->help, HELP_COLUMN, HELP_WIDTH);
  buf_finish(&left);
}

/* More than --help. */
static bool takes_options(enum command_id id) {
  for (int i = 0; i < OPTION_COUNT; i++)
    if (i != OPTION_HELP && option_table[i].commands & 1u << id) return true;
  return false;
}

void help_command(struct buf *out, enum command_id id) {
  const struct command *c = &command_table[id];
  buf_printf(out, "usage: maskc %s%s%s%s\n\n%s\n\n", c->name,
             takes_options(id) ? " [OPTION...]" : "", *c->operands ? " " : "", c->operands,
             c->summary);
  buf_puts(out, c->details);
  if (strncmp(c->operands, "SPEC", 4) == 0) buf_puts(out, spec_help);
  buf_puts(out, *c->details ? "\noptions:\n" : "options:\n");
  for (int i = 0; i < OPTION_COUNT; i++)
    if (option_table[i].commands & 1u << id) add_option(out, &option_table[i]);
}

void help_overview(struct buf *out) {
  buf_puts(out, "usage: maskc COMMAND [OPTION...] [SPEC]\n\n"
                "maskc compiles mask specs of sub-quadratic attention to CUDA kernels.\n\n"
                "commands:\n");
  for (int i = 0; i < COMMAND_COUNT; i++)
    buf_printf(out, "  %-8s %-10s %s\n", command_table[i].name, command_table[i].operands,
               command_table[i].summary);
  buf_puts(out, "\n'maskc help COMMAND' lists a command's options; 'maskc --version' prints the "
                "version.\n\nexit status:\n");
  for (int i = 0; exit_status_table[i]; i++) buf_printf(out, "  %d  %s\n", i, exit_status_table[i]);
  buf_puts(out, "\nfirst steps:\n");
  for (int i = 0; example_table[i]; i++) buf_printf(out, "  %s\n", example_table[i]);
}
