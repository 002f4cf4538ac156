#include "pointsman.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handler.h"

// Without memory nothing can be reported here: the host reports the trap.
static char *allocate(size_t size) {
  char *memory = malloc(size);
  if (!memory) __builtin_trap();
  return memory;
}

// How many bytes the UTF-8 character at `at` has, or 0 if there is none.
static size_t character(const uint8_t *at) {
  static const struct {
    uint8_t mask, lead;
    uint32_t least;
  } forms[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
  for (size_t more = 0; more < 4; more++) {
    if ((at[0] & forms[more].mask) != forms[more].lead) continue;
    uint32_t c = at[0] & (uint8_t)~forms[more].mask;
    for (size_t i = 1; i <= more; i++) {
      if ((at[i] & 0xC0) != 0x80) return 0;
      c = c << 6 | (at[i] & 0x3F);
    }
    bool scalar = c < 0xD800 || (c >= 0xE000 && c <= 0x10FFFF);
    return c >= forms[more].least && scalar ? more + 1 : 0;
  }
  return 0;
}

// The contract takes only UTF-8, but C has bytes.
static char *as_utf8(char *text) {
  for (uint8_t *at = (uint8_t *)text; *at;) {
    size_t length = character(at);
    if (length == 0) *at = '?';
    at += length ? length : 1;
  }
  return text;
}

char *pm_utf8(const char *text) { return as_utf8(strdup(text ? text : "")); }

static char *format_text(const char *format, va_list arguments) {
  // Address 0 can be read in WebAssembly: a NULL would read whatever is there.
  if (!format) return strdup("(null)");
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, again);
  va_end(again);
  // Wide characters without an encoding.
  if (length < 0) return strdup("a text that cannot be formatted");
  char *text = allocate((size_t)length + 1);
  vsnprintf(text, (size_t)length + 1, format, arguments);
  return as_utf8(text);
}

#define FORMATTED(text, last)              \
  va_list arguments;                       \
  va_start(arguments, last);               \
  char *text = format_text(last, arguments); \
  va_end(arguments)

pm_result pm_answer(const char *json_format, ...) {
  FORMATTED(text, json_format);
  return (pm_result){PM_ANSWER, text, -1};
}

pm_result pm_no_answer(void) { return (pm_result){PM_ANSWER, NULL, -1}; }

pm_result pm_rejected(const char *format, ...) {
  FORMATTED(text, format);
  return (pm_result){PM_REJECTED, text, -1};
}

pm_result pm_unavailable(int64_t retry_after_ms, const char *format, ...) {
  FORMATTED(text, format);
  return (pm_result){PM_UNAVAILABLE, text, retry_after_ms};
}

void pm_log(pm_level level, const char *format, ...) {
  FORMATTED(text, format);
  handler_string_t message;
  handler_string_set(&message, text);
  if (level < PM_TRACE || level > PM_ERROR) level = PM_ERROR;
  pointsman_handler_log_log((pointsman_handler_log_level_t)level, &message);
}

static const char *terminated(handler_string_t string) {
  char *text = allocate(string.len + 1);
  if (string.len) memcpy(text, string.ptr, string.len);
  text[string.len] = 0;
  return text;
}

const char *pm_config(const char *key) {
  if (!key) return NULL;
  handler_string_t name, value;
  handler_string_set(&name, as_utf8(strdup(key)));
  return pointsman_handler_config_get(&name, &value) ? terminated(value) : NULL;
}

uint64_t pm_now_ms(void) { return pointsman_handler_clock_now(); }

void pm_sleep_ms(int64_t duration_ms) {
  // As an unsigned number, it would wait forever.
  if (duration_ms < 0)
    pm_log(PM_ERROR, "pm_sleep_ms: the duration must be 0 or more, not %lld", (long long)duration_ms);
  else
    pointsman_handler_clock_sleep((uint64_t)duration_ms);
}

void pm_random(uint8_t *bytes, uint32_t count) {
  // The contract returns at most this many at a time.
  const uint32_t most = 65536;
  while (count > 0) {
    handler_list_u8_t list;
    pointsman_handler_random_bytes(count < most ? count : most, &list);
    memcpy(bytes, list.ptr, list.len);
    bytes += list.len;
    count -= (uint32_t)list.len;
    handler_list_u8_free(&list);
  }
}

// JSON. The host has checked that the attributes are one valid object; the end of
// the text is still checked.

static const char *skip_space(const char *at) { return at + strspn(at, " \t\r\n"); }

static const char *skip_string(const char *at) {
  for (at++; *at && *at != '"'; at++)
    if (*at == '\\' && at[1]) at++;
  return *at ? at + 1 : at;
}

static const char *skip_value(const char *at) {
  if (*at == '"') return skip_string(at);
  if (*at != '{' && *at != '[') return at + strcspn(at, ",}] \t\r\n");
  size_t depth = 0;
  while (*at) {
    if (*at == '"') {
      at = skip_string(at);
      continue;
    }
    if (*at == '{' || *at == '[') depth++;
    if ((*at == '}' || *at == ']') && --depth == 0) return at + 1;
    at++;
  }
  return at;
}

static uint32_t hex4(const char *digits) {
  char text[5] = {0};
  strncpy(text, digits, 4);
  return (uint32_t)strtoul(text, NULL, 16);
}

static char *put_utf8(char *out, uint32_t c) {
  if (c < 0x80) {
    *out++ = (char)c;
    return out;
  }
  int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
  *out++ = (char)(lead[more] | (c >> (6 * more)));
  while (more--) *out++ = (char)(0x80 | ((c >> (6 * more)) & 0x3F));
  return out;
}

// The JSON string at `at`, or NULL if it contains a NUL, which C strings cannot.
static char *unquote(const char *at) {
  const char *end = skip_string(at) - 1;
  char *text = allocate((size_t)(end - at) + 1), *out = text;
  for (at++; at < end; at++) {
    if (*at != '\\') {
      *out++ = *at;
      continue;
    }
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *escape = strchr(escapes, *++at);
    if (escape) {
      *out++ = meanings[escape - escapes];
      continue;
    }
    uint32_t c = hex4(at + 1);
    at += 4;
    if (c >= 0xD800 && c < 0xE000) {
      uint32_t low = c < 0xDC00 && at[1] == '\\' && at[2] == 'u' ? hex4(at + 3) : 0;
      bool pair = low >= 0xDC00 && low < 0xE000;
      c = pair ? 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00) : 0xFFFD;
      if (pair) at += 6;
    }
    if (c == 0) return NULL;
    out = put_utf8(out, c);
  }
  *out = 0;
  return text;
}

// Where the value of the top-level attribute `name` starts, or NULL.
static const char *find_field(const char *object, const char *name) {
  if (!name) return NULL;
  const char *at = skip_space(object);
  while (*at == '{' || *at == ',') {
    at = skip_space(at + 1);
    if (*at != '"') return NULL;
    const char *key = unquote(at);
    at = skip_space(skip_string(at));
    if (*at != ':') return NULL;
    at = skip_space(at + 1);
    if (key && strcmp(key, name) == 0) return at;
    at = skip_space(skip_value(at));
  }
  return NULL;
}

const char *pm_raw_field(const pm_command *command, const char *name) {
  const char *value = find_field(command->attributes, name);
  return value ? strndup(value, (size_t)(skip_value(value) - value)) : NULL;
}

const char *pm_string_field(const pm_command *command, const char *name, pm_result *failure) {
  const char *value = find_field(command->attributes, name);
  if (!value) {
    *failure = pm_rejected("the command has no `%s`", name ? name : "(null)");
    return NULL;
  }
  const char *text = *value == '"' ? unquote(value) : NULL;
  if (!text) *failure = pm_rejected("`%s` of the command is %s", name, *value == '"' ? "a string with a NUL in it" : "no string");
  return text;
}

const char *pm_quote(const char *format, ...) {
  FORMATTED(text, format);
  char *quoted = allocate(6 * strlen(text) + 3), *out = quoted;
  *out++ = '"';
  for (const char *at = text; *at; at++) {
    if ((uint8_t)*at < 0x20)
      out += sprintf(out, "\\u%04x", (unsigned)*at);
    else {
      if (*at == '"' || *at == '\\') *out++ = '\\';
      *out++ = *at;
    }
  }
  *out++ = '"';
  *out = 0;
  return quoted;
}

// The export of the contract. The generated code frees what it returns, so that is
// always a copy on the heap.
bool exports_pointsman_handler_command_handler_handle(
    exports_pointsman_handler_command_handler_command_t *sent, handler_option_string_t *answer,
    exports_pointsman_handler_command_handler_failure_t *failure) {
  const pm_command command = {
      terminated(sent->id), terminated(sent->attributes), sent->attempt, terminated(sent->delivery_id),
      sent->traceparent.is_some ? terminated(sent->traceparent.val) : NULL,
  };
  pm_result result = pm_handle(&command);
  // One that was created by hand.
  if (!result.text && result.kind != PM_ANSWER) result.text = "(null)";
  switch (result.kind) {
    case PM_ANSWER:
      answer->is_some = result.text != NULL;
      if (result.text) handler_string_dup(&answer->val, result.text);
      return true;
    case PM_REJECTED:
      failure->tag = POINTSMAN_HANDLER_TYPES_FAILURE_REJECTED;
      handler_string_dup(&failure->val.rejected, result.text);
      return false;
    case PM_UNAVAILABLE:
      failure->tag = POINTSMAN_HANDLER_TYPES_FAILURE_UNAVAILABLE;
      handler_string_dup(&failure->val.unavailable.message, result.text);
      failure->val.unavailable.retry_after_ms.is_some = result.retry_after_ms >= 0;
      failure->val.unavailable.retry_after_ms.val = (uint64_t)result.retry_after_ms;
      return false;
  }
  __builtin_trap();
}
