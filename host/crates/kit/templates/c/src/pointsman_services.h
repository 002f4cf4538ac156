// Databases, state and follow-up commands. Leave this file and `pointsman_services.c` as they are.
//
// `[sql.<name>]`, `[state]` and `[emit]` of the handler's settings grant them. Every function says in its
// `pm_error` whether it worked. As everywhere here, texts end with a NUL and nothing has to be freed; a pointer to what
// is given back may be NULL where nobody wants it.

#ifndef POINTSMAN_SERVICES_H
#define POINTSMAN_SERVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pointsman.h"

// Whether a function worked, and why it did not.
typedef struct {
  enum {
    PM_OK,
    PM_DENIED,  // not granted, or over one of the operator's limits
    PM_WRONG,   // it never will work as it is: a wrong statement, a constraint, a key too long
    PM_LOST     // it may work later: no connection, a deadlock, a timeout
  } kind;
  const char *message;  // NULL where it worked
  const char *code;     // the SQLSTATE of PostgreSQL or the name of SQLite's code, else NULL
} pm_error;

// What an error makes of the command: unavailable where it may pass, else rejected.
pm_result pm_failure(const pm_error *error);

// One value, of a parameter or in a row.
typedef struct {
  enum { PM_NULL, PM_BOOLEAN, PM_INTEGER, PM_REAL, PM_TEXT, PM_BYTES } kind;
  bool boolean;
  int64_t integer;
  double real;
  const void *bytes;  // of a text or of bytes; ends with a NUL that is not counted
  size_t length;      // of `bytes`
} pm_value;

pm_value pm_null(void);
pm_value pm_boolean(bool value);
pm_value pm_integer(int64_t value);
pm_value pm_real(double value);
pm_value pm_text(const char *text);  // NULL is `pm_null()`
pm_value pm_blob(const void *bytes, size_t length);

// The rows of a query, or the first of them.
typedef struct {
  size_t columns;
  const char *const *names;  // of the columns
  size_t rows;
  const pm_value *values;    // row by row: the value in column c of row r is values[r * columns + c]
  bool more;                 // whether `pm_sql_next` gives more
} pm_rows;

// Parameters are `$1`, `$2` and so on, for every database.
pm_error pm_sql_query(const char *database, const char *statement, const pm_value *parameters, size_t count, pm_rows *rows);
// The next rows of the last query of this database, until another statement is run on it.
pm_error pm_sql_next(const char *database, pm_rows *rows);
pm_error pm_sql_execute(const char *database, const char *statement, const pm_value *parameters, size_t count, uint64_t *changed);
// What is open at the end of the call is rolled back.
pm_error pm_sql_begin(const char *database);
pm_error pm_sql_commit(const char *database);
pm_error pm_sql_rollback(const char *database);

// Values are JSON text; NULL stands for no entry. A `ttl_ms` of 0 or less is none.
pm_error pm_state_get(const char *key, const char **json);
pm_error pm_state_set(const char *key, const char *json, int64_t ttl_ms);
pm_error pm_state_delete(const char *key, bool *was_there);
pm_error pm_state_compare_and_set(const char *key, const char *expected, const char *json, int64_t ttl_ms, bool *done);
pm_error pm_state_increment(const char *key, int64_t by, int64_t ttl_ms, int64_t *sum);

typedef struct {
  const char *key;
  const char *json;
} pm_entry;

// Entries whose keys begin with `prefix`, behind the key `after`, which may be NULL; at most `limit`, 1 to 1000.
pm_error pm_state_list(const char *prefix, const char *after, uint32_t limit, const pm_entry **entries, size_t *count);

typedef struct {
  int64_t delay_ms;          // 0 or less: none
  const char *ordering_key;  // NULL: none
  int32_t priority;          // higher runs first
} pm_emit_options;

// Emits a command, which enters the queue once the handler has succeeded. `options` may be NULL.
pm_error pm_emit(const char *json, const pm_emit_options *options, const char **id);

#endif
