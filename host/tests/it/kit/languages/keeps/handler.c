#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pointsman.h"
#include "pointsman_services.h"

#define TRY(call)                                    \
  do {                                               \
    pm_error error = (call);                         \
    if (error.kind != PM_OK) return pm_failure(&error); \
  } while (0)

static pm_result customers(void) {
  pm_rows rows;
  TRY(pm_sql_query("main", "SELECT id, name FROM customer ORDER BY id", NULL, 0, &rows));
  char text[256] = "[";
  for (size_t r = 0; r < rows.rows; r++) {
    const pm_value *row = &rows.values[r * rows.columns];
    size_t at = strlen(text);
    snprintf(text + at, sizeof text - at, "%s\"%lld %s\"", r ? "," : "", (long long)row[0].integer, (const char *)row[1].bytes);
  }
  return pm_answer("%s]", text);
}

static pm_result many(void) {
  pm_rows rows;
  size_t count = 0;
  TRY(pm_sql_query("main",
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n", NULL,
                   0, &rows));
  for (count = rows.rows; rows.more; count += rows.rows) TRY(pm_sql_next("main", &rows));
  return pm_answer("%zu", count);
}

static pm_result values(void) {
  uint8_t bytes[] = {0, 255};
  pm_value given[] = {pm_null(),      pm_boolean(true), pm_integer(7),      pm_integer(4611686018427387904),
                      pm_real(0.5),   pm_text("Zoë"),   pm_blob(bytes, 2)};
  pm_rows rows;
  TRY(pm_sql_query("main", "SELECT $1, $2, $3, $4, $5, $6, $7", given, 7, &rows));
  const pm_value *row = rows.values;
  const uint8_t *blob = row[6].bytes;
  return pm_answer("[%s, %lld, %lld, \"%lld\", %g, %s, [%d, %d]]", row[0].kind == PM_NULL ? "null" : "?",
                   (long long)row[1].integer, (long long)row[2].integer, (long long)row[3].integer, row[4].real,
                   pm_quote("%s", (const char *)row[5].bytes), blob[0], blob[1]);
}

static pm_result keep(void) {
  TRY(pm_state_set("a", "{\"b\":[1,null]}", 0));
  TRY(pm_state_set("p/1", "1", 3600000));
  TRY(pm_state_set("p/2", "2", 0));
  const char *a, *none;
  bool first, second, third, deleted;
  const pm_entry *entries;
  size_t count;
  TRY(pm_state_get("a", &a));
  TRY(pm_state_get("none", &none));
  TRY(pm_state_compare_and_set("turn", NULL, "1", 0, &first));
  TRY(pm_state_compare_and_set("turn", NULL, "2", 0, &second));
  TRY(pm_state_compare_and_set("turn", "1", NULL, 0, &third));
  TRY(pm_state_delete("a", &deleted));
  TRY(pm_state_list("p/", NULL, 1000, &entries, &count));
  if (count != 2) return pm_rejected("%zu entries", count);
#define SAID(it) ((it) ? "true" : "false")
  return pm_answer("[%s, %s, %s, %s, %s, %s, [[%s, %s], [%s, %s]]]", a, none ? none : "null", SAID(first), SAID(second),
                   SAID(third), SAID(deleted), pm_quote("%s", entries[0].key), entries[0].json,
                   pm_quote("%s", entries[1].key), entries[1].json);
}

pm_result pm_handle(const pm_command *command) {
  pm_result failure;
  const char *what = pm_string_field(command, "do", &failure);
  if (!what) return failure;
  if (!strcmp(what, "insert")) {
    const char *name = pm_string_field(command, "name", &failure);
    if (!name) return failure;
    pm_value row[] = {pm_integer(atoll(pm_raw_field(command, "id"))), pm_text(name)};
    uint64_t changed;
    TRY(pm_sql_execute("main", "INSERT INTO customer VALUES ($1, $2)", row, 2, &changed));
    return pm_answer("%llu", (unsigned long long)changed);
  }
  if (!strcmp(what, "customers")) return customers();
  if (!strcmp(what, "transaction")) {
    TRY(pm_sql_begin("main"));
    TRY(pm_sql_execute("main", "INSERT INTO customer VALUES (8, 'kept?')", NULL, 0, NULL));
    if (pm_raw_field(command, "fail")) {
      TRY(pm_sql_rollback("main"));
      return pm_rejected("no");
    }
    TRY(pm_sql_commit("main"));
    return pm_answer("\"kept\"");
  }
  if (!strcmp(what, "many")) return many();
  if (!strcmp(what, "values")) return values();
  if (!strcmp(what, "caught")) {
    pm_error error = pm_sql_execute("main", "INSERT INTO customer VALUES (7, 'again')", NULL, 0, NULL);
    return pm_answer("[%s, %s]", error.kind == PM_WRONG ? "\"refused\"" : "\"?\"", pm_quote("%s", error.code));
  }
  if (!strcmp(what, "rounded")) {
    pm_rows rows;
    TRY(pm_sql_query("main", "SELECT 9007199254740993", NULL, 0, &rows));
    return pm_answer("\"%lld\"", (long long)rows.values[0].integer);
  }
  if (!strcmp(what, "wrong")) {
    TRY(pm_sql_execute("main", "SELECT $1", NULL, 0, NULL));
    return pm_no_answer();
  }
  if (!strcmp(what, "count")) {
    int64_t sum;
    TRY(pm_state_increment("calls", 1, 0, &sum));
    return pm_answer("%lld", (long long)sum);
  }
  if (!strcmp(what, "state")) return keep();
  if (!strcmp(what, "emit")) {
    pm_emit_options options = {.delay_ms = 3600000, .ordering_key = "k", .priority = 5};
    const char *id;
    TRY(pm_emit("{\"do\":\"nothing\"}", &options, &id));
    return pm_answer("%s", pm_quote("%s", id));
  }
  return pm_no_answer();
}
