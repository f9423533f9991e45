/* SPDX-License-Identifier: MIT
 * lex.h - the tokens of a spec, for messages: Lua runs the text, this only finds places in it.
 */
#ifndef MKC_LEX_H
#define MKC_LEX_H

#include <stdbool.h>
#include <stddef.h>

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_STRING, TOKEN_OTHER };

struct token {
  enum token_kind kind;
  size_t start, len; /* in the text; a string's with its quotes */
  int line;          /* of its first character, from 1 */
};

struct lexer {
  const char *text;
  size_t len, pos;
  int line;
};

void lexer_init(struct lexer *l, const char *text, size_t len);
/* Skips space and comments. Never fails: what is no Lua comes out as TOKEN_OTHER. */
struct token lexer_next(struct lexer *l);
/* The token is this name, this operator, or a string of this content; of "\"x\"": a string of the
 * content x. */
bool token_is(const struct lexer *l, const struct token *t, const char *word);

/* Where `name =` stands in the braces of `variant { }` (the first at or after this line), or of the
 * n-th table of its `branches` (from 1; 0: not in branches). False: not found. */
bool lex_find_field(const char *text, size_t len, int line, int branch, const char *name,
                    struct token *ret);

#endif
