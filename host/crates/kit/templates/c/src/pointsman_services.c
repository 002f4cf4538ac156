#include "pointsman_services.h"

#include <stdlib.h>
#include <string.h>

#include "handler.h"

typedef pointsman_handler_sql_value_t value_t;

static void *allocate(size_t size) {
  void *memory = malloc(size ? size : 1);
  if (!memory) __builtin_trap();
  return memory;
}

// Valid UTF-8 only, as in `pointsman.c`; a NULL is an empty string.
static handler_string_t as_string(const char *text) {
  handler_string_t string;
  handler_string_set(&string, pm_utf8(text ? text : ""));
  return string;
}

static const char *terminated(handler_string_t string) {
  char *text = allocate(string.len + 1);
  if (string.len) memcpy(text, string.ptr, string.len);
  text[string.len] = 0;
  return text;
}

static const pm_error OK = {PM_OK, NULL, NULL};

pm_result pm_failure(const pm_error *error) {
  const char *message = error && error->message ? error->message : "no error";
  bool passes = error && error->kind == PM_LOST;
  if (error && error->code) {
    return passes ? pm_unavailable(-1, "%s (%s)", message, error->code) : pm_rejected("%s (%s)", message, error->code);
  }
  return passes ? pm_unavailable(-1, "%s", message) : pm_rejected("%s", message);
}

pm_value pm_null(void) { return (pm_value){.kind = PM_NULL}; }
pm_value pm_boolean(bool value) { return (pm_value){.kind = PM_BOOLEAN, .boolean = value}; }
pm_value pm_integer(int64_t value) { return (pm_value){.kind = PM_INTEGER, .integer = value}; }
pm_value pm_real(double value) { return (pm_value){.kind = PM_REAL, .real = value}; }
pm_value pm_text(const char *text) {
  return text ? (pm_value){.kind = PM_TEXT, .bytes = text, .length = strlen(text)} : pm_null();
}
pm_value pm_blob(const void *bytes, size_t length) {
  return (pm_value){.kind = PM_BYTES, .bytes = bytes, .length = bytes ? length : 0};
}

// A text may contain NULs, which SQLite accepts.
static handler_string_t whole_text(const char *text, size_t length) {
  char *copy = allocate(length + 1);
  for (size_t at = 0; at < length;) {
    const char *part = pm_utf8(text + at);
    size_t part_length = strlen(part);
    if (part_length > length - at) part_length = length - at;
    memcpy(copy + at, part, part_length);
    at += part_length;
    if (at < length) copy[at++] = 0;
  }
  return (handler_string_t){(uint8_t *)copy, length};
}

static value_t parameter(const pm_value *value) {
  value_t sent = {.tag = POINTSMAN_HANDLER_SQL_VALUE_NULL};
  switch (value->kind) {
    case PM_BOOLEAN:
      sent.tag = POINTSMAN_HANDLER_SQL_VALUE_BOOLEAN;
      sent.val.boolean = value->boolean;
      break;
    case PM_INTEGER:
      sent.tag = POINTSMAN_HANDLER_SQL_VALUE_INTEGER;
      sent.val.integer = value->integer;
      break;
    case PM_REAL:
      sent.tag = POINTSMAN_HANDLER_SQL_VALUE_REAL;
      sent.val.real = value->real;
      break;
    case PM_TEXT:
      sent.tag = POINTSMAN_HANDLER_SQL_VALUE_TEXT;
      sent.val.text = whole_text(value->bytes, value->bytes ? value->length : 0);
      break;
    case PM_BYTES:
      sent.tag = POINTSMAN_HANDLER_SQL_VALUE_BYTES;
      sent.val.bytes = (handler_list_u8_t){(uint8_t *)value->bytes, value->length};
      break;
    case PM_NULL:
      break;
  }
  return sent;
}

static pointsman_handler_sql_list_value_t parameters(const pm_value *values, size_t count) {
  value_t *sent = allocate(count * sizeof(value_t));
  for (size_t i = 0; i < count; i++) sent[i] = parameter(&values[i]);
  return (pointsman_handler_sql_list_value_t){sent, count};
}

static pm_value received(const value_t *value) {
  switch (value->tag) {
    case POINTSMAN_HANDLER_SQL_VALUE_BOOLEAN:
      return pm_boolean(value->val.boolean);
    case POINTSMAN_HANDLER_SQL_VALUE_INTEGER:
      return pm_integer(value->val.integer);
    case POINTSMAN_HANDLER_SQL_VALUE_REAL:
      return pm_real(value->val.real);
    case POINTSMAN_HANDLER_SQL_VALUE_TEXT:
      return (pm_value){.kind = PM_TEXT, .bytes = terminated(value->val.text), .length = value->val.text.len};
    case POINTSMAN_HANDLER_SQL_VALUE_BYTES: {
      handler_string_t bytes = {value->val.bytes.ptr, value->val.bytes.len};
      return pm_blob(terminated(bytes), bytes.len);
    }
    default:
      return pm_null();
  }
}

static pm_error sql_error(const pointsman_handler_sql_error_t *error) {
  if (error->tag == POINTSMAN_HANDLER_SQL_ERROR_DENIED) {
    return (pm_error){PM_DENIED, terminated(error->val.denied), NULL};
  }
  bool refused = error->tag == POINTSMAN_HANDLER_SQL_ERROR_REFUSED;
  const pointsman_handler_sql_database_error_t *said = refused ? &error->val.refused : &error->val.unavailable;
  return (pm_error){
      refused ? PM_WRONG : PM_LOST,
      terminated(said->message),
      said->code.is_some ? terminated(said->code.val) : NULL,
  };
}

static void rows_of(const pointsman_handler_sql_page_t *page, pm_rows *rows) {
  const char **names = allocate(page->columns.len * sizeof(char *));
  for (size_t c = 0; c < page->columns.len; c++) names[c] = terminated(page->columns.ptr[c]);
  pm_value *values = allocate(page->rows.len * page->columns.len * sizeof(pm_value));
  for (size_t r = 0; r < page->rows.len; r++) {
    for (size_t c = 0; c < page->columns.len; c++) {
      values[r * page->columns.len + c] = received(&page->rows.ptr[r].ptr[c]);
    }
  }
  if (rows) *rows = (pm_rows){page->columns.len, names, page->rows.len, values, page->more};
}

pm_error pm_sql_query(const char *database, const char *statement, const pm_value *values, size_t count, pm_rows *rows) {
  handler_string_t name = as_string(database), text = as_string(statement);
  pointsman_handler_sql_list_value_t sent = parameters(values, values ? count : 0);
  pointsman_handler_sql_page_t page;
  pointsman_handler_sql_error_t error;
  if (rows) *rows = (pm_rows){0};
  if (!pointsman_handler_sql_query(&name, &text, &sent, &page, &error)) return sql_error(&error);
  rows_of(&page, rows);
  return OK;
}

pm_error pm_sql_next(const char *database, pm_rows *rows) {
  handler_string_t name = as_string(database);
  pointsman_handler_sql_page_t page;
  pointsman_handler_sql_error_t error;
  if (rows) *rows = (pm_rows){0};
  if (!pointsman_handler_sql_next(&name, &page, &error)) return sql_error(&error);
  rows_of(&page, rows);
  return OK;
}

pm_error pm_sql_execute(const char *database, const char *statement, const pm_value *values, size_t count, uint64_t *changed) {
  handler_string_t name = as_string(database), text = as_string(statement);
  pointsman_handler_sql_list_value_t sent = parameters(values, values ? count : 0);
  pointsman_handler_sql_error_t error;
  uint64_t rows = 0;
  bool done = pointsman_handler_sql_execute(&name, &text, &sent, &rows, &error);
  if (changed) *changed = rows;
  return done ? OK : sql_error(&error);
}

pm_error pm_sql_begin(const char *database) {
  handler_string_t name = as_string(database);
  pointsman_handler_sql_error_t error;
  return pointsman_handler_sql_begin(&name, &error) ? OK : sql_error(&error);
}

pm_error pm_sql_commit(const char *database) {
  handler_string_t name = as_string(database);
  pointsman_handler_sql_error_t error;
  return pointsman_handler_sql_commit(&name, &error) ? OK : sql_error(&error);
}

pm_error pm_sql_rollback(const char *database) {
  handler_string_t name = as_string(database);
  pointsman_handler_sql_error_t error;
  return pointsman_handler_sql_rollback(&name, &error) ? OK : sql_error(&error);
}

static pm_error state_error(const pointsman_handler_state_error_t *error) {
  switch (error->tag) {
    case POINTSMAN_HANDLER_STATE_ERROR_DENIED:
      return (pm_error){PM_DENIED, terminated(error->val.denied), NULL};
    case POINTSMAN_HANDLER_STATE_ERROR_INVALID:
      return (pm_error){PM_WRONG, terminated(error->val.invalid), NULL};
    default:
      return (pm_error){PM_LOST, terminated(error->val.unavailable), NULL};
  }
}

static uint64_t *time_to_live(int64_t ttl_ms) {
  if (ttl_ms <= 0) return NULL;
  uint64_t *ttl = allocate(sizeof(uint64_t));
  *ttl = (uint64_t)ttl_ms;
  return ttl;
}

pm_error pm_state_get(const char *key, const char **json) {
  handler_string_t name = as_string(key);
  handler_option_string_t found;
  pointsman_handler_state_error_t error;
  if (json) *json = NULL;
  if (!pointsman_handler_state_get(&name, &found, &error)) return state_error(&error);
  if (json && found.is_some) *json = terminated(found.val);
  return OK;
}

pm_error pm_state_set(const char *key, const char *json, int64_t ttl_ms) {
  handler_string_t name = as_string(key), value = as_string(json);
  pointsman_handler_state_error_t error;
  return pointsman_handler_state_set(&name, &value, time_to_live(ttl_ms), &error) ? OK : state_error(&error);
}

pm_error pm_state_delete(const char *key, bool *was_there) {
  handler_string_t name = as_string(key);
  pointsman_handler_state_error_t error;
  bool there = false;
  bool done = pointsman_handler_state_delete(&name, &there, &error);
  if (was_there) *was_there = there;
  return done ? OK : state_error(&error);
}

pm_error pm_state_compare_and_set(const char *key, const char *expected, const char *json, int64_t ttl_ms, bool *done) {
  handler_string_t name = as_string(key), before = as_string(expected), after = as_string(json);
  pointsman_handler_state_error_t error;
  bool was_set = false;
  bool worked = pointsman_handler_state_compare_and_set(
      &name, expected ? &before : NULL, json ? &after : NULL, time_to_live(ttl_ms), &was_set, &error);
  if (done) *done = was_set;
  return worked ? OK : state_error(&error);
}

pm_error pm_state_increment(const char *key, int64_t by, int64_t ttl_ms, int64_t *sum) {
  handler_string_t name = as_string(key);
  pointsman_handler_state_error_t error;
  int64_t total = 0;
  bool worked = pointsman_handler_state_increment(&name, by, time_to_live(ttl_ms), &total, &error);
  if (sum) *sum = total;
  return worked ? OK : state_error(&error);
}

pm_error pm_state_list(const char *prefix, const char *after, uint32_t limit, const pm_entry **entries, size_t *count) {
  handler_string_t begin = as_string(prefix), behind = as_string(after);
  pointsman_handler_state_list_entry_t found;
  pointsman_handler_state_error_t error;
  if (entries) *entries = NULL;
  if (count) *count = 0;
  if (!pointsman_handler_state_list(&begin, after ? &behind : NULL, limit, &found, &error)) return state_error(&error);
  pm_entry *list = allocate(found.len * sizeof(pm_entry));
  for (size_t i = 0; i < found.len; i++) {
    list[i] = (pm_entry){terminated(found.ptr[i].key), terminated(found.ptr[i].value)};
  }
  if (entries) *entries = list;
  if (count) *count = found.len;
  return OK;
}

pm_error pm_emit(const char *json, const pm_emit_options *options, const char **id) {
  handler_string_t command = as_string(json), given;
  pointsman_handler_emit_options_t how = {0};
  if (options && options->delay_ms > 0) {
    how.delay_ms.is_some = true;
    how.delay_ms.val = (uint64_t)options->delay_ms;
  }
  if (options && options->ordering_key) {
    how.ordering_key.is_some = true;
    how.ordering_key.val = as_string(options->ordering_key);
  }
  if (options) {
    how.priority.is_some = true;
    how.priority.val = options->priority;
  }
  pointsman_handler_emit_error_t error;
  if (id) *id = NULL;
  if (!pointsman_handler_emit_emit(&command, &how, &given, &error)) {
    bool denied = error.tag == POINTSMAN_HANDLER_EMIT_ERROR_DENIED;
    return (pm_error){denied ? PM_DENIED : PM_WRONG, terminated(denied ? error.val.denied : error.val.invalid), NULL};
  }
  if (id) *id = terminated(given);
  return OK;
}
