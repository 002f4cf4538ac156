// What a handler needs of Pointsman. Leave this file and `pointsman.c` as they are.
//
// Every call runs in a fresh instance that is thrown away afterwards: nothing
// here has to be freed. Texts are UTF-8 and end with a NUL; a byte that is no
// UTF-8 becomes a `?`. Formats are those of `printf`. A NULL where a text is taken
// is no text: no key, no attribute, and `(null)` in a message.

#ifndef POINTSMAN_H
#define POINTSMAN_H

#include <stdint.h>

#define PM_FORMAT(text, first) __attribute__((format(printf, text, first)))

// One command on its way to this handler.
typedef struct {
  const char *id;           // a UUID, the same for every handler of the command
  const char *attributes;   // the command as it was sent: the text of one JSON object
  uint32_t attempt;         // which try this is: 1 on the first
  const char *delivery_id;  // stable across retries: the idempotency key of side effects
  const char *traceparent;  // the caller's W3C trace context, or NULL
} pm_command;

// What became of it: made by one of the four functions below.
typedef struct {
  enum { PM_ANSWER, PM_REJECTED, PM_UNAVAILABLE } kind;
  const char *text;         // the answer as JSON, or NULL for none; or the reason
  int64_t retry_after_ms;   // less than 0: the host's backoff decides
} pm_result;

typedef enum { PM_TRACE, PM_DEBUG, PM_INFO, PM_WARN, PM_ERROR } pm_level;

// Yours: handles one command.
pm_result pm_handle(const pm_command *command);

// The answer, as JSON text.
pm_result pm_answer(const char *json_format, ...) PM_FORMAT(1, 2);
// Done, with nothing to say.
pm_result pm_no_answer(void);
// The command is wrong for this handler: it will not be tried again.
pm_result pm_rejected(const char *format, ...) PM_FORMAT(1, 2);
// It cannot be done now: it will be tried again, `retry_after_ms` from now at
// the earliest, or when the host's backoff says so if that is less than 0.
pm_result pm_unavailable(int64_t retry_after_ms, const char *format, ...) PM_FORMAT(2, 3);

// A string attribute of the command. Where it is missing or of another type,
// NULL, with the rejection in `failure`.
const char *pm_string_field(const pm_command *command, const char *name, pm_result *failure);
// The JSON text of an attribute, for `strtod` and the like; NULL where it is missing.
const char *pm_raw_field(const pm_command *command, const char *name);
// A text as a JSON string, quotes and all.
const char *pm_quote(const char *format, ...) PM_FORMAT(1, 2);

// A copy of a text in which each byte that is no UTF-8 is a `?`.
char *pm_utf8(const char *text);

// Writes one log line.
void pm_log(pm_level level, const char *format, ...) PM_FORMAT(2, 3);
// The value of `key` in this handler's configuration, or NULL.
const char *pm_config(const char *key);
// The wall clock in milliseconds since 1970.
uint64_t pm_now_ms(void);
// Waits. It costs no CPU time and counts towards the timeout. Less than 0 does
// not wait, and is logged as an error.
void pm_sleep_ms(int64_t duration_ms);
// Fills `bytes` with random bytes.
void pm_random(uint8_t *bytes, uint32_t count);

#endif
